package oauth

import (
	"net/http"
	"slices"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/oauth/scope"
	"github.com/pdskit/pdskit/oauth/ui"
)

// consentPage asks whether the app may do what it asks for.
func (v *visit) consentPage() error {
	a, err := v.ready(syntax.DID(v.value(ui.FieldAccount)))
	if a == nil {
		return err
	}
	if a.Status == Deactivated {
		return v.goTo(v.url("reactivate", ui.FieldAccount, string(a.DID)))
	}
	return v.showConsent(*a)
}

func (v *visit) showConsent(a Account) error {
	page := &ui.ConsentPage{
		Frame:    v.frame(nil),
		Form:     v.newForm("consent", ui.FieldAccount, string(a.DID)),
		Account:  accountView(a),
		RawScope: v.req.Params.Scope,
		Another:  v.link("accounts"),
	}
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
	did := syntax.DID(v.field(ui.FieldAccount))
	a, err := v.ready(did)
	if a == nil {
		return err
	}
	var granted []string
	for _, field := range v.form[ui.FieldScope] {
		granted = append(granted, strings.Fields(field)...)
	}
	if !slices.Contains(granted, scope.Atproto) {
		return v.refuse(codeAccessDenied, "the user has refused")
	}
	return v.grant(did, did, granted)
}
