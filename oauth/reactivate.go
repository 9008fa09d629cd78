package oauth

import (
	"net/http"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/oauth/ui"
)

// reactivatePage stands before a deactivated account.
func (v *visit) reactivatePage() error {
	a, err := v.ready(syntax.DID(v.value(ui.FieldAccount)))
	if a == nil {
		return err
	}
	if a.Status == Active {
		return v.goTo(v.url("consent", ui.FieldAccount, string(a.DID)))
	}
	return v.showReactivate(*a)
}

func (v *visit) showReactivate(a Account) error {
	if _, ok := v.cfg.Accounts.(Reactivations); !ok {
		return errAccountRefused
	}
	return v.show(http.StatusOK, &ui.ReactivatePage{
		Frame: v.frame(nil), Form: v.newForm("reactivate", ui.FieldAccount, string(a.DID)), Account: accountView(a), Another: v.link("accounts"),
	})
}

// reactivatePost makes the account active again, and goes on.
func (v *visit) reactivatePost() error {
	a, err := v.ready(syntax.DID(v.field(ui.FieldAccount)))
	if a == nil {
		return err
	}
	if a.Status == Deactivated {
		if err := v.cfg.Accounts.(Reactivations).Reactivate(v.r.Context(), a.DID); err != nil {
			return v.refusedFor(&ui.ReactivatePage{
				Frame: v.frame(nil), Form: v.newForm("reactivate", ui.FieldAccount, string(a.DID)), Account: accountView(*a),
			}, err)
		}
	}
	return v.proceed(a.DID)
}
