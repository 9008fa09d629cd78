package oauth

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/oauth/ui"
	"github.com/pdskit/pdskit/storage"
)

// confirmFor is how long ago the password may have been entered for a change in
// the account manager.
const confirmFor = 15 * time.Minute

// owner is whom a page of the account manager is about.
type owner struct {
	Account
	signIn signIn
	actor  syntax.DID // whose signIn is; the account, unless somebody acts for it
}

func (o *owner) acting() bool { return o.actor != o.DID }

// managerPages adds the account manager to the server. A section exists if the
// account system can do what it is about.
func (s *Server) managerPages(mux *http.ServeMux) {
	base := pathAccount + "/{did}"
	get := func(page string, show func(*visit) error) {
		mux.HandleFunc("GET "+base+page, s.page(false, entered(show)))
	}
	post := func(page string, do, again func(*visit) error) {
		mux.HandleFunc("POST "+base+page, s.post(false, entered(do), entered(again)))
	}
	mux.HandleFunc("GET "+pathAccount, s.page(false, (*visit).managerAccounts))
	mux.HandleFunc("POST "+pathAccount+"/sign-out", s.post(false, (*visit).managerSignOut, (*visit).managerAccounts))
	mux.HandleFunc("GET "+pathChangePassword, s.changePassword)
	get("", (*visit).managerHome)
	get("/apps", (*visit).managerApps)
	post("/apps", (*visit).managerAppsPost, (*visit).managerApps)
	get("/devices", (*visit).managerDevices)
	post("/devices", (*visit).managerDevicesPost, (*visit).managerDevices)
	if is[Delegates](s.cfg.Accounts) {
		// All that there is of an account for who acts for it.
		apps := base + "/acting/{actor}/apps"
		mux.HandleFunc("GET "+apps, s.page(false, enteredActing((*visit).managerApps)))
		mux.HandleFunc("POST "+apps, s.post(false, enteredActing((*visit).managerAppsPost), enteredActing((*visit).managerApps)))
	}
	if is[EmailManager](s.cfg.Accounts) {
		get("/email", (*visit).managerEmail)
		post("/email", (*visit).managerEmailPost, (*visit).managerEmail)
		post("/email/request", (*visit).managerEmailRequest, (*visit).managerEmail)
		post("/email/confirm", (*visit).managerEmailConfirm, (*visit).managerEmail)
	}
	if is[HandleManager](s.cfg.Accounts) {
		get("/handle", (*visit).managerHandle)
		post("/handle", (*visit).managerHandlePost, (*visit).managerHandle)
	}
	if is[PasswordChanger](s.cfg.Accounts) {
		get("/password", (*visit).managerPassword)
		post("/password", (*visit).managerPasswordPost, (*visit).managerPassword)
	}
	if s.factors() != nil {
		get("/factors", (*visit).managerFactors)
		post("/factors/enrol", (*visit).managerEnrol, (*visit).managerFactors)
		post("/factors/confirm", (*visit).managerFactorConfirm, (*visit).managerFactors)
		post("/factors/remove", (*visit).managerFactorRemove, (*visit).managerFactors)
		post("/factors/recovery", (*visit).managerRecovery, (*visit).managerFactors)
	}
	if is[AppPasswordManager](s.cfg.Accounts) {
		get("/app-passwords", (*visit).managerAppPasswords)
		post("/app-passwords", (*visit).managerAppPasswordsPost, (*visit).managerAppPasswords)
		post("/app-passwords/revoke", (*visit).managerAppPasswordRevoke, (*visit).managerAppPasswords)
		if is[LegacySessions](s.cfg.Accounts) {
			post("/app-passwords/session", (*visit).managerLegacyEnd, (*visit).managerAppPasswords)
		}
	}
	if is[Exporter](s.cfg.Accounts) {
		get("/export", (*visit).managerExport)
		mux.HandleFunc("GET "+base+"/export/{code}", s.download)
	}
	if is[Deactivator](s.cfg.Accounts) {
		get("/deactivate", (*visit).managerDeactivate)
		post("/deactivate", (*visit).managerDeactivatePost, (*visit).managerDeactivate)
	}
	if is[Reactivations](s.cfg.Accounts) {
		post("/reactivate", (*visit).managerReactivate, (*visit).managerHome)
	}
	if is[Deleter](s.cfg.Accounts) {
		get("/delete", (*visit).managerDelete)
		post("/delete", (*visit).managerDeletePost, (*visit).managerDelete)
		post("/delete/request", (*visit).managerDeleteRequest, (*visit).managerDelete)
	}
}

// managerURL returns the address of a section of an account.
func managerURL(did syntax.DID, section string, pairs ...string) string {
	address := pathAccount + "/" + url.PathEscape(string(did))
	if section != "" {
		address += "/" + section
	}
	query := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		query.Set(pairs[i], pairs[i+1])
	}
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	return address
}

// actingURL returns the address of what there is of an account for who acts for
// it.
func actingURL(c choice, section string, pairs ...string) string {
	return managerURL(c.account, "acting/"+url.PathEscape(string(c.actor))+"/"+section, pairs...)
}

// section is the address of a section of the visit's account.
func (v *visit) section(name string, pairs ...string) string {
	if v.owner.acting() {
		return actingURL(choice{v.owner.DID, v.owner.actor}, name, pairs...)
	}
	return managerURL(v.owner.DID, name, pairs...)
}

// sectionForm returns a form that goes to a section of the visit's account.
func (v *visit) sectionForm(name string, pairs ...string) ui.Form {
	f := v.newForm("", pairs...)
	f.Action = v.section(name)
	return f
}

// sectionFormTo is sectionForm for fields that may be nil.
func (v *visit) sectionFormTo(name string, pairs ...string) *ui.Form {
	f := v.sectionForm(name, pairs...)
	return &f
}

// entered lets into a section only who is signed in to its account, and lately
// enough.
func entered(show func(*visit) error) func(*visit) error {
	return func(v *visit) error {
		did := syntax.DID(v.r.PathValue("did"))
		si, err := v.signedIn(did)
		if err != nil {
			return err
		}
		if si == nil || !v.isFresh(si) {
			return v.goTo(v.url("sign-in", ui.FieldAccount, string(did)))
		}
		a, err := v.cfg.Accounts.Account(v.r.Context(), did)
		switch {
		case errors.Is(err, ErrAccountNotFound):
			return v.goTo(v.url("sign-in"))
		case err != nil:
			return err
		case a.Status == TakenDown || a.Status == Guest:
			return errAccountRefused
		}
		v.owner = &owner{a, *si, did}
		v.r = v.r.WithContext(context.WithValue(v.r.Context(), signInKey{}, v))
		return show(v)
	}
}

// signInKey is the key under which the context of a change in the account
// manager holds its visit.
type signInKey struct{}

// StillSignedIn returns [ErrSignedOut] if ctx is that of a change in the account
// manager and the sign-in that the page was sent under has ended since then, as
// by a new password. docs is a transaction on the server's store; in any other
// context there is nothing to check.
func StillSignedIn(ctx context.Context, docs storage.Docs) error {
	v, ok := ctx.Value(signInKey{}).(*visit)
	if !ok {
		return nil
	}
	counts, err := v.owner.signIn.counts(docs, v.context(), v.now())
	if err == nil && !counts {
		err = ErrSignedOut
	}
	return err
}

// enteredActing lets into a section who is signed in, lately enough, to an
// account that may act for that of the section now.
func enteredActing(show func(*visit) error) func(*visit) error {
	return func(v *visit) error {
		c := choice{syntax.DID(v.r.PathValue("did")), syntax.DID(v.r.PathValue("actor"))}
		if c.account == c.actor {
			return errNoPage
		}
		p, err := v.ready(c)
		if p == nil {
			return err
		}
		p.account.Email, p.account.EmailConfirmed = "", false
		v.owner = &owner{p.account, p.signIn, c.actor}
		return show(v)
	}
}

// passwordNeeded reports whether a change needs the password.
func (v *visit) passwordNeeded() bool { return v.now().Sub(v.owner.signIn.Proved) >= confirmFor }

// confirmed checks the password that came with a form, if it has to. Otherwise
// it has answered with the page again, and returns false.
func (v *visit) confirmed(page ui.Page, always bool) (bool, error) {
	if !always && !v.passwordNeeded() {
		return true, nil
	}
	password, start := v.form.Get(ui.FieldPassword), v.now()
	if password == "" {
		return false, v.refused(http.StatusUnauthorized, page, ui.Problem{Field: ui.FieldPassword, Code: ui.ProblemPasswordNeeded})
	}
	_, wait, err := v.checkPassword(string(v.owner.DID), password, methodPassword)
	v.pad(start, padSignIn)
	switch {
	case wait > 0:
		return false, v.tooMany(page, wait)
	case errors.Is(err, ErrWrongCredentials):
		return false, v.refused(http.StatusUnauthorized, page, ui.Problem{Field: ui.FieldPassword, Code: ui.ProblemWrongPassword})
	case errors.Is(err, ErrBusy):
		return false, v.refused(http.StatusServiceUnavailable, page, ui.Problem{Code: ui.ProblemBusy})
	case err != nil:
		return false, err
	}
	renewed := v.owner.signIn
	renewed.Proved = start
	err = v.changeDevice(v.r.Context(), v.w, v.dev, true, func(docs storage.Docs) error {
		ok, err := renewed.counts(docs, v.context(), v.now())
		if err != nil || !ok {
			return errors.Join(err, errExpired)
		}
		return putSignIn(docs, v.dev.key, &renewed)
	})
	v.owner.signIn = renewed
	return err == nil, err
}

// guess lets somebody try a code that was mailed. Failures are counted for the
// account. If the code was not good it has answered with the page again, and
// returns false.
func (v *visit) guess(page ui.Page, purpose string, try func() error) (bool, error) {
	name := "code\x00" + purpose + "\x00" + string(v.owner.DID)
	wait, err := v.tryOnce(v.r.Context(), name)
	if err != nil {
		return false, err
	}
	if wait > 0 {
		return false, v.tooMany(page, wait)
	}
	err = try()
	switch {
	case err == nil:
		err = v.forgive(v.r.Context(), name)
		return err == nil, err
	case !errors.Is(err, ErrCodeInvalid): // nothing is said about the code
		if back := v.takeBack(v.r.Context(), name); back != nil {
			return false, errors.Join(err, back)
		}
	}
	return false, v.refusedFor(page, err)
}

// stayIn signs in again after a change that has ended all sign-ins.
func (v *visit) stayIn() error {
	si := v.owner.signIn
	si.Proved = v.now()
	return v.changeDevice(v.r.Context(), v.w, v.dev, true, func(docs storage.Docs) error {
		generation, err := loadGeneration(docs, si.Account)
		if err != nil {
			return err
		}
		si.Generation = generation
		return putSignIn(docs, v.dev.key, &si)
	})
}

// manager returns what all pages of the account manager have.
func (v *visit) manager(here string) ui.Manager {
	m := ui.Manager{Account: accountView(v.owner.Account), Accounts: &ui.Link{URL: pathAccount}}
	add := func(code, section string, exists bool) {
		if exists {
			m.Sections = append(m.Sections, ui.Section{Code: code, URL: v.section(section), Here: code == here})
		}
	}
	if v.owner.acting() {
		add(ui.SectionApps, "apps", true)
		return m
	}
	m.PasswordNeeded, m.SignOut = v.passwordNeeded(), v.formTo("sign-out", ui.FieldAccount, string(v.owner.DID))
	a := v.cfg.Accounts
	add(ui.SectionHome, "", true)
	add(ui.SectionEmail, "email", is[EmailManager](a))
	add(ui.SectionHandle, "handle", is[HandleManager](a))
	add(ui.SectionPassword, "password", is[PasswordChanger](a))
	add(ui.SectionFactors, "factors", v.factors() != nil)
	add(ui.SectionApps, "apps", true)
	add(ui.SectionAppPasswords, "app-passwords", is[AppPasswordManager](a))
	add(ui.SectionDevices, "devices", true)
	add(ui.SectionExport, "export", is[Exporter](a))
	add(ui.SectionDeactivate, "deactivate", is[Deactivator](a))
	add(ui.SectionDelete, "delete", is[Deleter](a))
	return m
}

// is reports whether v is a T.
func is[T any](v any) bool {
	_, ok := v.(T)
	return ok
}

// managerAccounts lists the accounts that are signed in on this device, and those
// that they may act for.
func (v *visit) managerAccounts() error {
	here, err := v.presentAccounts()
	if err != nil {
		return err
	}
	if len(here) == 0 {
		return v.goTo(v.url("sign-in"))
	}
	page := &ui.ManagerAccountsPage{Frame: v.frame(nil), SignOut: v.newForm("sign-out"), SignIn: v.link("sign-in")}
	if v.signUps() != nil {
		page.SignUp = v.link("sign-up")
	}
	for _, p := range here {
		one := ui.ManagedAccount{URL: managerURL(p.account.DID, "")}
		if one.Account, one.Actor = p.views(); p.acting() {
			one.URL = actingURL(p.choice(), "apps")
		}
		page.Accounts = append(page.Accounts, one)
	}
	return v.show(http.StatusOK, page)
}

// managerHome is the overview of an account.
func (v *visit) managerHome() error {
	page := &ui.ManagerHomePage{Frame: v.frame(nil), Manager: v.manager(ui.SectionHome)}
	if v.owner.Status == Deactivated && is[Reactivations](v.cfg.Accounts) {
		page.Reactivate = v.sectionFormTo("reactivate")
	}
	return v.show(http.StatusOK, page)
}

// managerSignOut signs an account out of this device.
func (v *visit) managerSignOut() error {
	did := syntax.DID(v.field(ui.FieldAccount))
	err := v.changeDevice(v.r.Context(), v.w, v.dev, false, func(docs storage.Docs) error { return signOut(docs, v.dev.key, did) })
	if err != nil {
		return err
	}
	here, err := v.presentAccounts()
	if err != nil {
		return err
	}
	if len(here) == 0 {
		return v.goTo(v.url("sign-in", fieldNotice, ui.NoticeSignedOut))
	}
	return v.goTo(v.url("", fieldNotice, ui.NoticeSignedOut))
}

// changePassword is where password managers look for the page to change a
// password.
func (s *Server) changePassword(w http.ResponseWriter, r *http.Request) {
	to := pathAccount
	if is[PasswordResets](s.cfg.Accounts) {
		to += "/reset-password"
	}
	http.Redirect(w, r, to, http.StatusFound)
}
