package oauth

import (
	"net/http"

	"github.com/pdskit/pdskit/oauth/ui"
)

// reactivatePage stands before a deactivated account.
func (v *visit) reactivatePage() error {
	p, err := v.ready(v.choice())
	if p == nil {
		return err
	}
	if p.account.Status == Active {
		return v.goTo(v.url("consent", p.choice().fields()...))
	}
	return v.showReactivate(p.account)
}

func (v *visit) showReactivate(a Account) error {
	if !is[Reactivations](v.cfg.Accounts) {
		return errAccountRefused
	}
	return v.show(http.StatusOK, &ui.ReactivatePage{
		Frame: v.frame(nil), Form: v.newForm("reactivate", ui.FieldAccount, string(a.DID)), Account: accountView(a), Another: v.link("accounts"),
	})
}

// reactivatePost makes the account active again, and goes on.
func (v *visit) reactivatePost() error {
	p, err := v.ready(v.choice())
	if p == nil {
		return err
	}
	if a := p.account; a.Status == Deactivated {
		if err := v.cfg.Accounts.(Reactivations).Reactivate(v.r.Context(), a.DID); err != nil {
			return v.refusedFor(&ui.ReactivatePage{
				Frame: v.frame(nil), Form: v.newForm("reactivate", ui.FieldAccount, string(a.DID)), Account: accountView(a),
			}, err)
		}
	}
	return v.proceed(p.choice())
}
