package oauth

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/oauth/ui"
	"github.com/pdskit/pdskit/storage"
)

// Errors that go back to the client, of OpenID Connect Core section 3.1.2.6.
const (
	codeLoginRequired   = "login_required"
	codeConsentRequired = "consent_required"
	codeSelectRequired  = "account_selection_required"
)

// present is an account that is signed in on the device.
type present struct {
	signIn  signIn
	account Account
}

// authorize answers who comes from an app, with the parameters that the app has
// pushed before: RFC 9126 section 4.
func (v *visit) authorize() error {
	if v.form == nil && len(v.r.URL.Query()) != 2 {
		return &pageError{status: http.StatusBadRequest, detail: "the address has to hold client_id and request_uri, once each, and nothing else"}
	}
	here, err := v.presentAccounts()
	if err != nil {
		return err
	}
	p := v.req.Params
	switch {
	case p.Prompt == promptNone:
		return v.silently(here)
	case p.Prompt == promptSelectAccount && len(here) == 0:
		return v.refuse(codeSelectRequired, "nobody is signed in on this device")
	case p.Prompt == promptCreate && v.signUps() != nil && p.LoginHint == "":
		return v.signUpPage()
	case p.Prompt == promptLogin:
		return v.signInPage()
	case p.LoginHint != "" && len(here) == 1:
		return v.hinted(here[0])
	case len(here) > 0:
		return v.pickerFor(here)
	case p.LoginHint == "" && v.signUps() != nil && p.Prompt != promptCreate:
		return v.show(http.StatusOK, &ui.WelcomePage{Frame: v.frame(nil), SignIn: *v.link("sign-in"), SignUp: v.link("sign-up")})
	}
	return v.signInPage()
}

// presentAccounts returns the accounts on the device that the request is for.
func (v *visit) presentAccounts() ([]present, error) {
	var found []signIn
	err := v.view(v.r.Context(), func(docs storage.Docs) (err error) {
		found, err = v.signInsOf(docs, v.dev.key, v.context())
		return err
	})
	if err != nil {
		return nil, err
	}
	var here []present
	for _, si := range found {
		a, err := v.cfg.Accounts.Account(v.r.Context(), si.Account)
		switch {
		case errors.Is(err, ErrAccountNotFound):
		case err != nil:
			return nil, err
		case a.Status == TakenDown:
		case v.req == nil || v.hintFits(a):
			here = append(here, present{si, a})
		}
	}
	slices.SortStableFunc(here, func(a, b present) int { return b.signIn.Proved.Compare(a.signIn.Proved) })
	return here, nil
}

// hintFits reports whether an account may be used for the request: any, unless
// the app has asked for one.
func (v *visit) hintFits(a Account) bool {
	hint := v.req.Params.LoginHint
	return hint == "" || hint == string(a.DID) || strings.EqualFold(hint, string(a.Handle))
}

// silently answers the prompt "none": with a code, or by saying what is in the
// way.
func (v *visit) silently(here []present) error {
	if len(here) == 0 {
		return v.refuse(codeLoginRequired, "nobody is signed in on this device")
	}
	if len(here) > 1 {
		return v.refuse(codeSelectRequired, "several accounts are signed in on this device")
	}
	one := here[0]
	if !v.isFresh(&one.signIn) || one.account.Status != Active {
		return v.refuse(codeLoginRequired, "the sign-in has to be renewed")
	}
	if needed, err := v.consentNeeded(one.account.DID, one.account.DID); err != nil {
		return err
	} else if needed {
		return v.refuse(codeConsentRequired, "the account has not agreed to all of this")
	}
	return v.grant(one.account.DID, one.account.DID, strings.Fields(v.req.Params.Scope))
}

// hinted goes on with the account that the app has asked for.
func (v *visit) hinted(p present) error {
	if !v.isFresh(&p.signIn) {
		return v.signInPage()
	}
	if p.account.Status == Active && v.req.Params.Prompt == "" && v.client.trusted() {
		if needed, err := v.consentNeeded(p.account.DID, p.account.DID); err != nil {
			return err
		} else if !needed {
			return v.grant(p.account.DID, p.account.DID, strings.Fields(v.req.Params.Scope))
		}
	}
	if p.account.Status == Deactivated {
		return v.showReactivate(p.account)
	}
	return v.showConsent(p.account)
}

// pickerPage lists the accounts that are signed in on the device.
func (v *visit) pickerPage() error {
	here, err := v.presentAccounts()
	if err != nil {
		return err
	}
	if len(here) == 0 {
		return v.goTo(v.url("sign-in"))
	}
	return v.pickerFor(here)
}

func (v *visit) pickerFor(here []present) error {
	page := &ui.AccountPickerPage{Frame: v.frame(nil), Form: v.newForm("account"), Another: v.link("sign-in")}
	if v.signUps() != nil {
		page.SignUp = v.link("sign-up")
	}
	for _, p := range here {
		page.Accounts = append(page.Accounts, ui.PickedAccount{Account: accountView(p.account), PasswordNeeded: !v.isFresh(&p.signIn)})
	}
	return v.show(http.StatusOK, page)
}

// pickerPost goes on with the account that was picked.
func (v *visit) pickerPost() error {
	return v.proceed(syntax.DID(v.field(ui.FieldAccount)))
}

// ready returns the account if it is signed in on the device, freshly enough for
// the request, and may be used for it. Otherwise it has answered, and returns
// nil.
func (v *visit) ready(did syntax.DID) (*Account, error) {
	si, err := v.signedIn(did)
	if err != nil {
		return nil, err
	}
	if si == nil {
		return nil, v.goTo(v.url("sign-in"))
	}
	a, err := v.cfg.Accounts.Account(v.r.Context(), did)
	switch {
	case errors.Is(err, ErrAccountNotFound):
		return nil, v.goTo(v.url("sign-in"))
	case err != nil:
		return nil, err
	case !v.hintFits(a):
		return nil, v.goTo(v.url("sign-in"))
	case a.Status == TakenDown:
		return nil, errAccountRefused
	case !v.isFresh(si):
		return nil, v.goTo(v.url("sign-in", ui.FieldAccount, string(did)))
	}
	return &a, nil
}

// errAccountRefused is for accounts that were taken down.
var errAccountRefused = &pageError{status: http.StatusForbidden, code: ui.ErrorAccessDenied}

// proceed goes on with an account after a form: to its reactivation, to the
// consent page, or back to the app. In the account manager it goes there.
func (v *visit) proceed(did syntax.DID) error {
	if v.req == nil {
		return v.goTo(managerURL(did, ""))
	}
	a, err := v.ready(did)
	if a == nil {
		return err
	}
	if a.Status == Deactivated {
		return v.goTo(v.url("reactivate", ui.FieldAccount, string(did)))
	}
	needed, err := v.consentNeeded(did, did)
	if err != nil {
		return err
	}
	if needed {
		return v.goTo(v.url("consent", ui.FieldAccount, string(did)))
	}
	return v.grant(did, did, strings.Fields(v.req.Params.Scope))
}

// grant authorizes the request for an account, by who has signed in, and goes
// back to the app.
func (v *visit) grant(account, actor syntax.DID, scopes []string) error {
	consent := v.newConsentChange(account, actor, scopes)
	to, err := v.grantRequest(v.r.Context(), v.req, v.dev.key, account, actor, scopes, func(docs storage.Docs) error {
		si, err := v.signInOf(docs, v.dev.key, v.context(), actor)
		if err != nil {
			return err
		}
		if si == nil || !v.isFresh(si) {
			return errEnded
		}
		return consent.save(docs)
	})
	switch {
	case errors.Is(err, errEnded):
		return v.goTo(v.url("sign-in"))
	case errors.Is(err, errDeactivated):
		return v.goTo(v.url("reactivate", ui.FieldAccount, string(account)))
	case errors.Is(err, errTakenDown):
		return errAccountRefused
	case errors.Is(err, errRequestGone):
		return errExpired
	case err != nil:
		return err
	}
	return v.leave(to)
}

// refuse ends the request with an error for the app.
func (v *visit) refuse(code, description string) error {
	to, err := v.denyRequest(v.r.Context(), v.req, code, description)
	if errors.Is(err, errRequestGone) {
		return errExpired
	}
	if err != nil {
		return err
	}
	return v.leave(to)
}

// denyPost is the user's refusal.
func (v *visit) denyPost() error {
	if err := v.changeDevice(v.r.Context(), v.w, v.dev, false, func(storage.Docs) error { return nil }); err != nil {
		return err
	}
	return v.refuse(codeAccessDenied, "the user has refused")
}

// leave goes back to the app.
func (v *visit) leave(to redirect) error {
	if to.Mode == modeFormPost {
		page := &ui.FormPostPage{Frame: ui.Frame{Locale: v.locale, Client: clientView(v.client)}, Action: to.URI}
		for name, values := range to.Params {
			for _, value := range values {
				page.Fields = append(page.Fields, ui.HiddenField{Name: name, Value: value})
			}
		}
		slices.SortFunc(page.Fields, func(a, b ui.HiddenField) int { return strings.Compare(a.Name, b.Name) })
		return v.show(http.StatusOK, page)
	}
	v.pageHeaders(v.w.Header(), pageTargets{})
	v.w.Header().Set("Location", to.location())
	v.w.WriteHeader(http.StatusSeeOther)
	return nil
}

// errCookies is the description of the error that the app gets if the browser
// keeps no cookies.
const errCookies = "ERR_COOKIES_UNSUPPORTED"

// cookiesNeeded answers a form that came without our cookies. The request stays
// open: without them, nobody knows who has opened it.
func (v *visit) cookiesNeeded(authorization bool, clientID, requestURI string) error {
	page := &ui.CookiesPage{}
	v.locale = v.cfg.UI.Locale(v.r, v.preferredLocales()...)
	page.Locale = v.locale
	if !authorization {
		page.Retry = &ui.Link{URL: pathAccount}
		return v.show(http.StatusBadRequest, page)
	}
	req, c, err := v.peekRequest(v.r.Context(), clientID, requestURI)
	if errors.Is(err, errRequestGone) {
		return errExpired
	}
	if err != nil {
		return err
	}
	v.req, v.client = req, c
	to := v.answer(req, "error", codeAccessDenied)
	to.Params.Set("error_description", errCookies)
	if to.Mode == modeFormPost {
		return v.leave(to)
	}
	page.Client = clientView(c)
	page.Return = to.location()
	return v.show(http.StatusBadRequest, page)
}
