package oauth

import (
	"net/http"
	"slices"
	"strings"

	"github.com/pdskit/pdskit/oauth/scope"
	"github.com/pdskit/pdskit/oauth/ui"
)

// consentPage asks whether the app may do what it asks for.
func (v *visit) consentPage() error {
	p, err := v.ready(v.choice())
	if p == nil {
		return err
	}
	if p.account.Status == Deactivated {
		return v.goTo(v.url("reactivate", p.choice().fields()...))
	}
	return v.showConsent(p)
}

func (v *visit) showConsent(p *present) error {
	page := &ui.ConsentPage{
		Frame:    v.frame(nil),
		Form:     v.newForm("consent", p.choice().fields()...),
		RawScope: v.req.Params.Scope,
		Another:  v.link("accounts"),
	}
	page.Account, page.Actor = p.views()
	cards, required, err := v.permissions(v.req.Params.Scope)
	if err != nil {
		return err
	}
	page.Permissions = cards
	page.Form.Hidden = append(page.Form.Hidden, ui.HiddenField{Name: ui.FieldScope, Value: strings.Join(required, " ")})
	return v.show(http.StatusOK, page)
}

// consentPost grants what was left ticked.
func (v *visit) consentPost() error {
	p, err := v.ready(v.choice())
	if p == nil {
		return err
	}
	var granted []string
	for _, field := range v.form[ui.FieldScope] {
		granted = append(granted, strings.Fields(field)...)
	}
	if !slices.Contains(granted, scope.Atproto) {
		return v.refuse(codeAccessDenied, "the user has refused")
	}
	return v.grant(p.choice(), granted)
}
