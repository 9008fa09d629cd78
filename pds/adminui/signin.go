package adminui

import (
	"errors"
	"net/http"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/oauth"
	"github.com/pdskit/pdskit/oauth/ui"
	"github.com/pdskit/pdskit/xrpc"
)

// paramReturned is in the address of the page for signing in when somebody comes
// back from the account manager.
const paramReturned = "signed-in"

// arrive begins a visit. The session of an account is there only while the
// account is an administrator's and its entry is good; otherwise it ends here.
func (h *handler) arrive(w http.ResponseWriter, r *http.Request) (*visit, error) {
	v := &visit{w: w, r: r}
	found := h.sessions.find(h.cookie(r))
	if found == nil || found.did == "" {
		v.session = found
		return v, nil
	}
	account, err := h.area.Entered(w, r, found.did)
	admin := false
	if err == nil {
		admin, err = h.opts.IsAdmin(r.Context(), found.did)
	}
	switch {
	case errors.Is(err, oauth.ErrSignedOut) || err == nil && !admin:
		found.end()
		h.setCookie(w, "")
		h.log.InfoContext(r.Context(), "the session of an administrator's account has ended", "account", found.did)
		return v, nil
	case err != nil:
		return v, err
	}
	v.session, v.account = found, &account
	return v, nil
}

func (h *handler) showSignIn(w http.ResponseWriter, r *http.Request) {
	v, err := h.arrive(w, r)
	if err == nil && v.session != nil {
		http.Redirect(w, r, h.opts.Path, http.StatusSeeOther)
		return
	}
	var page *signInPage
	if err == nil {
		page, err = h.signInPage(v)
	}
	if err != nil {
		h.fail(v, err)
		return
	}
	if len(page.Ready) == 0 && len(page.others) > 0 && r.URL.Query().Has(paramReturned) {
		page.Problems = []ui.Problem{{Text: page.others[0].Name + " is not an administrator's account."}}
	}
	h.render(v, http.StatusOK, page)
}

// signInPage returns the page for signing in, with the accounts that can go on
// without another password.
func (h *handler) signInPage(v *visit) (*signInPage, error) {
	page := &signInPage{Form: ui.Form{Action: h.opts.Path + "sign-in"}, Password: h.srv.HasAdminPassword()}
	if h.area == nil {
		return page, nil
	}
	page.Account = h.opts.Path + "sign-in/account"
	list, err := h.area.Ready(v.w, v.r)
	if err != nil {
		return nil, err
	}
	for _, a := range list {
		admin, err := h.opts.IsAdmin(v.r.Context(), a.DID)
		switch one := (readyAccount{a.DID, nameOf(&a)}); {
		case err != nil:
			return nil, err
		case admin:
			page.Ready = append(page.Ready, one)
		default:
			page.others = append(page.others, one)
		}
	}
	return page, nil
}

// nameOf is how an account is called.
func nameOf(a *oauth.Account) string {
	if a.Handle == "" || a.Handle.IsInvalidHandle() {
		return string(a.DID)
	}
	return string(a.Handle)
}

// signIn takes the password, or the account that was chosen. An attempt counts
// before it is looked at.
func (h *handler) signIn(w http.ResponseWriter, r *http.Request) {
	v := &visit{w: w, r: r}
	if err := h.trySignIn(v); err != nil {
		h.fail(v, err)
	}
}

func (h *handler) trySignIn(v *visit) error {
	if err := h.checkForm(v.w, v.r); err != nil {
		return err
	}
	ip := xrpc.ForwardedIP(v.r, h.opts.TrustedProxies)
	limit := xrpc.Limit{Name: "sign-in", Points: signInTries, Window: signInWindow}
	state, err := h.limiter.Take(v.r.Context(), limit.Name, xrpc.AddressKey(ip), 1, limit)
	if err != nil {
		return err
	}
	page, err := h.signInPage(v)
	if err != nil {
		return err
	}
	log := h.log.With("ip", ip)
	refuse := func(status int, field, text string) error {
		page.Problems = []ui.Problem{{Field: field, Text: text}}
		h.render(v, status, page)
		return nil
	}
	field := ui.FieldPassword
	did := syntax.DID(v.r.PostFormValue(ui.FieldAccount))
	if did != "" || !page.Password {
		field = ""
	}
	switch {
	case !state.Allowed:
		log.WarnContext(v.r.Context(), "too many attempts to sign in as an administrator")
		return refuse(http.StatusTooManyRequests, field, "Too many attempts. Wait a quarter of an hour.")
	case did != "":
		if !page.isReady(did) {
			log.WarnContext(v.r.Context(), "an account that is no administrator's, or is not signed in", "account", did)
			return refuse(http.StatusForbidden, "", "Sign in with your account again. It has to be an administrator's.")
		}
		_, err := h.area.Enter(v.w, v.r, did, h.opts.MaxTime)
		if errors.Is(err, oauth.ErrSignedOut) { // since a moment ago
			return refuse(http.StatusForbidden, "", "Sign in with your account again.")
		}
		if err != nil {
			return err
		}
	case !h.srv.IsAdminPassword(v.r.PostFormValue(ui.FieldPassword)):
		log.WarnContext(v.r.Context(), "a wrong password of the administrator")
		return refuse(http.StatusForbidden, field, "This is not the administrator's password.")
	}
	log.InfoContext(v.r.Context(), "an administrator signed in", "account", did)
	if old := h.sessions.find(h.cookie(v.r)); old != nil {
		old.end()
	}
	h.setCookie(v.w, h.sessions.begin(did))
	http.Redirect(v.w, v.r, h.opts.Path, http.StatusSeeOther)
	return nil
}

func (h *handler) signOut(v *visit) error {
	v.session.end()
	if v.account != nil {
		if err := h.area.Leave(v.w, v.r, v.account.DID); err != nil {
			return err
		}
	}
	h.setCookie(v.w, "")
	http.Redirect(v.w, v.r, h.opts.Path+"sign-in", http.StatusSeeOther)
	return nil
}
