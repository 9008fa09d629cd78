package oauth

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/oauth/ui"
	"github.com/pdskit/pdskit/storage"
)

// maxPassword is how many bytes a password may have that somebody enters. Longer
// ones are wrong.
const maxPassword = 512

// methodPassword names the password where ways to sign in are named.
const methodPassword = "password"

// signInPage asks for identifier and password.
func (v *visit) signInPage() error { return v.show(http.StatusOK, v.newSignInPage()) }

func (v *visit) newSignInPage() *ui.SignInPage {
	page := &ui.SignInPage{
		Frame: v.frame(nil), Form: v.newForm("sign-in"), MethodForm: v.newForm("method"),
		Identifier: v.value(ui.FieldIdentifier), Remember: v.ticked(ui.FieldRemember), RememberOffered: true,
	}
	// Where nobody can sign up, the first page of the request may be this one.
	first := v.signUps() == nil && v.r.URL.Path == pathAuthorize
	if v.req != nil && v.req.Params.LoginHint == "" && v.req.Params.Prompt != promptLogin && !first {
		page.Back = v.link("")
	}
	if hint := v.hintShown(); hint != "" && (page.Identifier == "" || v.identifierFixed()) {
		page.Identifier, page.IdentifierFixed = hint, v.identifierFixed()
	} else if did := v.value(ui.FieldAccount); page.Identifier == "" && did != "" {
		page.Identifier = v.handleOf(syntax.DID(did))
	}
	if is[PasswordResets](v.cfg.Accounts) {
		page.Forgot = v.link("reset")
	}
	if sign := v.signUps(); sign != nil {
		if domains := sign.HandleDomains(); len(domains) > 0 {
			page.HandleDomain = domains[0]
		}
		if v.req == nil || v.req.Params.LoginHint == "" {
			page.SignUp = v.link("sign-up")
		}
	}
	for _, m := range v.cfg.SignInMethods {
		page.Methods = append(page.Methods, ui.MethodLink{ID: m.ID(), Title: m.Title(v.locale)})
	}
	return page
}

// hintShown is what is shown of the account that the app has asked for: the
// handle, also for a DID.
func (v *visit) hintShown() string {
	if v.req == nil || v.req.Params.LoginHint == "" {
		return ""
	}
	hint := v.req.Params.LoginHint
	if did, err := syntax.ParseDID(hint); err == nil {
		return v.handleOf(did)
	}
	return hint
}

// identifierFixed reports whether nobody but the account that the app has asked
// for can sign in. Where accounts act for others, one that does can.
func (v *visit) identifierFixed() bool {
	return v.req != nil && v.req.Params.LoginHint != "" && !is[Delegates](v.cfg.Accounts)
}

// handleOf returns the handle of an account, or its DID.
func (v *visit) handleOf(did syntax.DID) string {
	if a, err := v.cfg.Accounts.Account(v.r.Context(), did); err == nil {
		if handle := accountView(a).Handle; handle != "" {
			return handle
		}
	}
	return string(did)
}

// identifierOf returns what to sign in with: what the app has asked for, or what
// was entered. A name alone is a handle below the default domain.
func (v *visit) identifierOf(entered string) string {
	if v.identifierFixed() {
		return v.req.Params.LoginHint
	}
	entered = strings.ToLower(strings.TrimSpace(strings.TrimPrefix(entered, "@")))
	if sign := v.signUps(); sign != nil && entered != "" && !strings.ContainsAny(entered, ".@:") {
		if domains := sign.HandleDomains(); len(domains) > 0 {
			entered += domains[0]
		}
	}
	return entered
}

// signInPost checks a password.
func (v *visit) signInPost() error {
	var (
		start      = v.now()
		page       = v.newSignInPage()
		identifier = v.identifierOf(v.field(ui.FieldIdentifier))
		password   = v.form.Get(ui.FieldPassword)
	)
	page.Remember = v.ticked(ui.FieldRemember)
	if identifier == "" {
		return v.refused(http.StatusBadRequest, page, ui.Problem{Field: ui.FieldIdentifier, Code: ui.ProblemRequired})
	}
	if password == "" {
		return v.refused(http.StatusBadRequest, page, ui.Problem{Field: ui.FieldPassword, Code: ui.ProblemRequired})
	}
	a, wait, err := v.checkPassword(identifier, password, methodPassword)
	v.pad(start, padSignIn)
	switch {
	case wait > 0:
		return v.tooMany(page, wait)
	case errors.Is(err, ErrWrongCredentials):
		return v.refused(http.StatusUnauthorized, page, ui.Problem{Code: ui.ProblemWrongCredentials})
	case errors.Is(err, ErrBusy):
		return v.refused(http.StatusServiceUnavailable, page, ui.Problem{Code: ui.ProblemBusy})
	case err != nil:
		return err
	case a.Status == TakenDown:
		return v.refused(http.StatusForbidden, page, ui.Problem{Code: ui.ProblemAccountTakenDown})
	case !v.fits(a):
		return v.refused(http.StatusForbidden, page, ui.Problem{Code: ui.ProblemWrongAccount})
	}
	return v.proved(proof{account: a.DID, method: methodPassword, began: start, identifier: identifier, remember: page.Remember && a.Status != Guest})
}

// tooMany shows a page again because of too many attempts.
func (v *visit) tooMany(page ui.Page, wait time.Duration) error {
	setRetryAfter(v.w.Header(), wait)
	minutes := strconv.Itoa(int((wait + time.Minute - 1) / time.Minute))
	return v.refused(http.StatusTooManyRequests, page, ui.Problem{Code: ui.ProblemTooManyTries, Args: ui.Args{"minutes": minutes}})
}

// checkPassword asks the account system, unless there were too many attempts.
// Then it says how long to wait.
func (v *visit) checkPassword(identifier, password, method string) (a Account, wait time.Duration, err error) {
	ctx, ip := v.r.Context(), ipKey(originOf(v.r.Context()).IP)
	rates := v.cfg.Limits.Rates
	pair := hash(identifier) + "/" + ip
	for _, take := range []struct {
		bucket, key string
		rate        Rate
	}{
		{bucketSignIn, ip, rates.SignInPerIP}, {bucketSignInPair, pair, rates.SignInPerPair}, {bucketSignInDay, pair, rates.SignInPerPairDay},
	} {
		if wait := v.limited(ctx, take.bucket, take.key, take.rate); wait > 0 {
			return a, wait, nil
		}
	}
	event := v.event(Event{Kind: EventSignIn, Identifier: identifier, Method: method})
	if err := v.allow(ctx, event); err != nil {
		return a, 0, err
	}
	name, err := v.backoffName(identifier)
	if err != nil {
		return a, 0, err
	}
	if wait, err = v.tryOnce(ctx, name); err != nil || wait > 0 {
		return a, wait, err
	}
	if len(password) > maxPassword || strings.ContainsRune(password, 0) {
		err = ErrWrongCredentials
	} else {
		a, err = v.cfg.Accounts.SignIn(ctx, identifier, password)
	}
	switch {
	case err == nil:
		err = v.forgive(ctx, name)
	case errors.Is(err, ErrWrongCredentials):
		event.Kind = EventSignInFailed
		v.tell(ctx, event)
	default: // it was not checked
		err = errors.Join(err, v.takeBack(ctx, name))
	}
	return a, 0, err
}

// backoffName is the name by which failures to sign in are counted. Handle and DID
// of an account count as one, since everybody knows that they are. An e-mail
// address counts for itself: else the answers would tell whose it is.
func (v *visit) backoffName(identifier string) (string, error) {
	known := false
	err := v.view(v.r.Context(), func(docs storage.Docs) error {
		known = false
		found, err := docs.ScanDocs(kindDeviceAccount, within(v.dev.key))
		if err != nil {
			return err
		}
		for _, d := range found {
			si, err := decodeSignIn(d)
			if err != nil {
				return err
			}
			known = known || si.Identifier == hash(identifier) || string(si.Account) == identifier
		}
		return nil
	})
	if did, err := syntax.ParseDID(identifier); err == nil {
		identifier = v.handleOf(did)
	}
	if known {
		return "device\x00" + v.dev.key + "\x00" + identifier, err
	}
	return "name\x00" + identifier, err
}

// proof says that somebody has proved to be an account, but for the second
// factor.
type proof struct {
	account    syntax.DID
	method     string
	began      time.Time
	identifier string
	remember   bool
}

// proved goes on after a proof: to the second factor, if there is one, or signs
// in.
func (v *visit) proved(p proof) error {
	if v.cfg.SecondFactor != nil {
		a, err := v.cfg.Accounts.Account(v.r.Context(), p.account)
		if err != nil {
			return err
		}
		if a.Status == Guest { // what else they show is up to their own server
			return v.signInWith(p, nil)
		}
		challenge, err := v.cfg.SecondFactor.Begin(v.r.Context(), FactorAttempt{Account: a, Device: v.dev.key, Locale: v.locale})
		if err != nil {
			return err
		}
		if challenge != nil {
			return v.askFactor(p, challenge)
		}
	}
	return v.signInWith(p, nil)
}

// signInWith records that somebody is signed in, and goes on. more, if not nil,
// runs in the same transaction.
func (v *visit) signInWith(p proof, more func(storage.Docs) error) error {
	ctx, now := v.r.Context(), v.now()
	si := &signIn{Account: p.account, Context: v.context(), Proved: p.began, Remembered: p.remember, Identifier: hash(p.identifier)}
	si.Expires = now.Add(v.cfg.Limits.SignInOnce)
	if p.remember {
		si.Expires = now.Add(cookieTTL)
	}
	err := v.changeDevice(ctx, v.w, v.dev, true, func(docs storage.Docs) error {
		if more != nil {
			if err := more(docs); err != nil {
				return err
			}
		}
		var doc accountDoc
		if _, err := load(docs, kindAccount, string(p.account), &doc); err != nil && !errors.Is(err, storage.ErrNotFound) {
			return err
		}
		if p.began.Before(doc.Raised) {
			return errEnded // the password has been changed since it was checked
		}
		si.Generation = doc.Generation
		return putSignIn(docs, v.dev.key, si)
	})
	if errors.Is(err, errEnded) {
		return v.goTo(v.url("sign-in"))
	}
	if err != nil {
		return err
	}
	v.tell(ctx, v.event(Event{Kind: EventSignedIn, Account: p.account, Actor: p.account, Identifier: p.identifier, Method: p.method}))
	return v.choose(p.account)
}
