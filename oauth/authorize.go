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

// presentAccounts returns the accounts that the request can be for, of those that
// are signed in on the device and of those that they may act for.
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
		case a.Status != TakenDown:
			here = append(here, v.offered(si, a)...)
		}
	}
	slices.SortStableFunc(here, func(a, b present) int { return b.signIn.Proved.Compare(a.signIn.Proved) })
	return here, nil
}

// hintFits reports whether an account may be used for the request: any, unless
// the app has asked for one.
func (v *visit) hintFits(a Account) bool {
	if v.req == nil {
		return true
	}
	hint := v.req.Params.LoginHint
	return hint == "" || hint == string(a.DID) || strings.EqualFold(hint, string(a.Handle))
}

// silently answers the prompt "none": with a code, or by saying what is in the
// way. Nobody acts for another without a word, unless the app names the account.
func (v *visit) silently(here []present) error {
	if mine := own(here); len(mine) > 0 {
		here = mine
	}
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
	if needed, err := v.consentNeeded(one.choice()); err != nil {
		return err
	} else if needed {
		return v.refuse(codeConsentRequired, "the account has not agreed to all of this")
	}
	return v.grant(one.choice(), strings.Fields(v.req.Params.Scope))
}

// hinted goes on with the account that the app has asked for.
func (v *visit) hinted(p present) error {
	if !v.isFresh(&p.signIn) {
		return v.signInPage()
	}
	if p.acting() {
		if now, err := v.ready(p.choice()); now == nil {
			return err
		}
	}
	if p.account.Status == Active && v.req.Params.Prompt == "" && v.client.trusted() {
		if needed, err := v.consentNeeded(p.choice()); err != nil {
			return err
		} else if !needed {
			return v.grant(p.choice(), strings.Fields(v.req.Params.Scope))
		}
	}
	if p.account.Status == Deactivated {
		return v.showReactivate(p.account)
	}
	return v.showConsent(&p)
}

// pickerPage lists the accounts that the request can be for.
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
		account, actor := p.views()
		stale := !v.isFresh(&p.signIn)
		if actor == nil {
			page.Accounts = append(page.Accounts, ui.PickedAccount{Account: account, PasswordNeeded: stale})
			continue
		}
		page.Delegated = append(page.Delegated, ui.DelegatedAccount{
			Account: account, Actor: *actor, PasswordNeeded: stale, Form: v.newForm("account", p.choice().fields()...),
		})
	}
	return v.show(http.StatusOK, page)
}

// pickerPost goes on with the account that was picked.
func (v *visit) pickerPost() error {
	return v.proceed(v.choice())
}

// ready returns what was chosen if the actor is signed in on the device, freshly
// enough for the request, if the account may be used for it, and the actor may
// act for the account. Otherwise it has answered, and returns nil.
func (v *visit) ready(c choice) (*present, error) {
	si, err := v.signedIn(c.actor)
	if err != nil {
		return nil, err
	}
	if si == nil {
		return nil, v.goTo(v.url("sign-in"))
	}
	a, err := v.cfg.Accounts.Account(v.r.Context(), c.actor)
	p := &present{*si, a, a}
	if err == nil && c.account != c.actor {
		if p.account, err = v.cfg.Accounts.Account(v.r.Context(), c.account); errors.Is(err, ErrAccountNotFound) {
			return nil, errAccountRefused
		}
	}
	switch {
	case errors.Is(err, ErrAccountNotFound):
		return nil, v.goTo(v.url("sign-in"))
	case err != nil:
		return nil, err
	case !v.hintFits(p.account):
		return nil, v.goTo(v.url("sign-in"))
	case a.Status == TakenDown || a.Status == Guest && !p.acting():
		return nil, errAccountRefused
	case !v.isFresh(si):
		return nil, v.goTo(v.url("sign-in", ui.FieldAccount, string(c.actor)))
	case !p.acting():
		return p, nil
	}
	may, err := v.mayAct(v.r.Context(), c.account, c.actor)
	if err != nil {
		return nil, err
	}
	if !may || p.account.Status != Active || !a.Status.mayAct() {
		return nil, errAccountRefused
	}
	return p, nil
}

// errAccountRefused is for accounts that were taken down, and for those that
// somebody may not act for.
var errAccountRefused = &pageError{status: http.StatusForbidden, code: ui.ErrorAccessDenied}

// choose goes on after somebody has signed in: with the choice that there is, or
// with that between the own account and others.
func (v *visit) choose(did syntax.DID) error {
	if !is[Delegates](v.cfg.Accounts) {
		return v.proceed(choice{did, did})
	}
	si, err := v.signedIn(did)
	if err != nil {
		return err
	}
	if si == nil {
		return v.goTo(v.url("sign-in"))
	}
	a, err := v.cfg.Accounts.Account(v.r.Context(), did)
	switch {
	case err != nil:
		return err
	case v.req == nil && a.Status == Guest:
		return v.goTo(v.url("")) // there is no account of theirs to manage
	case v.req == nil:
		return v.proceed(choice{did, did})
	}
	switch list := v.offered(*si, a); len(list) {
	case 0:
		return v.goTo(v.url("sign-in"))
	case 1:
		return v.proceed(list[0].choice())
	}
	return v.goTo(v.url("accounts"))
}

// proceed goes on with a choice: to the reactivation of the account, to the
// consent page, or back to the app. In the account manager it goes to the
// account, or back to the [Area] that somebody has come from.
func (v *visit) proceed(c choice) error {
	if v.req == nil {
		if back := v.takeReturn(v.w, v.r); back != "" {
			return v.goTo(back)
		}
		return v.goTo(managerURL(c.account, ""))
	}
	p, err := v.ready(c)
	if p == nil {
		return err
	}
	if p.account.Status == Deactivated {
		return v.goTo(v.url("reactivate", c.fields()...))
	}
	needed, err := v.consentNeeded(c)
	if err != nil {
		return err
	}
	if needed {
		return v.goTo(v.url("consent", c.fields()...))
	}
	return v.grant(c, strings.Fields(v.req.Params.Scope))
}

// grant authorizes the request for an account, by who has signed in, and goes
// back to the app.
func (v *visit) grant(c choice, scopes []string) error {
	consent := v.newConsentChange(c, scopes)
	to, err := v.grantRequest(v.r.Context(), v.req, v.dev.key, c.account, c.actor, scopes, func(docs storage.Docs) error {
		si, err := v.signInOf(docs, v.dev.key, v.context(), c.actor)
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
	case errors.Is(err, errDeactivated) && c.account == c.actor:
		return v.goTo(v.url("reactivate", c.fields()...))
	case errors.Is(err, errDeactivated), errors.Is(err, errTakenDown):
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
