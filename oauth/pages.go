package oauth

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/pdskit/pdskit/oauth/ui"
)

// pages adds the pages to the server. Those of the first group are there twice:
// in the course of an authorization request, and for the account manager.
func (s *Server) pages(mux *http.ServeMux) {
	for _, base := range []string{pathAuthorize, pathAccount} {
		get := func(page string, show func(*visit) error) {
			mux.HandleFunc("GET "+base+"/"+page, s.page(base == pathAuthorize, show))
		}
		post := func(page string, do, again func(*visit) error) {
			mux.HandleFunc("POST "+base+"/"+page, s.post(base == pathAuthorize, do, again))
		}
		get("sign-in", (*visit).signInPage)
		post("sign-in", (*visit).signInPost, (*visit).signInPage)
		get("factor", (*visit).factorPage)
		post("factor", (*visit).factorPost, (*visit).factorPage)
		post("factor/other", (*visit).factorOther, (*visit).factorPage)
		post("method", (*visit).methodPost, (*visit).signInPage)
		get("step", (*visit).stepPage)
		post("step", (*visit).stepPost, (*visit).stepPage)
		post("locale", (*visit).localePost, nil)
		if is[PasswordResets](s.cfg.Accounts) {
			get("reset", (*visit).resetPage)
			post("reset", (*visit).resetPost, (*visit).resetPage)
			get("reset-password", (*visit).resetPasswordPage)
			post("reset-password", (*visit).resetPasswordPost, (*visit).resetPasswordPage)
		}
		if s.hasSignUp() {
			get("sign-up", (*visit).signUpPage)
			post("sign-up", (*visit).signUpPost, (*visit).signUpPage)
			mux.HandleFunc("GET "+base+"/handle", s.handleCheck)
		}
	}
	mux.HandleFunc("GET "+pathAuthorize, s.page(true, (*visit).authorize))
	mux.HandleFunc("GET "+pathAuthorize+"/accounts", s.page(true, (*visit).pickerPage))
	mux.HandleFunc("POST "+pathAuthorize+"/account", s.post(true, (*visit).pickerPost, (*visit).pickerPage))
	mux.HandleFunc("GET "+pathAuthorize+"/consent", s.page(true, (*visit).consentPage))
	mux.HandleFunc("POST "+pathAuthorize+"/consent", s.post(true, (*visit).consentPost, (*visit).consentPage))
	mux.HandleFunc("POST "+pathAuthorize+"/deny", s.post(true, (*visit).denyPost, (*visit).authorize))
	if is[Reactivations](s.cfg.Accounts) {
		mux.HandleFunc("GET "+pathAuthorize+"/reactivate", s.page(true, (*visit).reactivatePage))
		mux.HandleFunc("POST "+pathAuthorize+"/reactivate", s.post(true, (*visit).reactivatePost, (*visit).reactivatePage))
	}
	mux.HandleFunc("GET "+pathCallback+"{method}", s.callback)
	mux.Handle(ui.AssetsPath, s.cfg.UI.Assets())
	s.managerPages(mux)
}

// page makes a handler of what shows a page.
func (s *Server) page(authorization bool, show func(*visit) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v := &visit{Server: s, w: w, r: r}
		if err := v.arrive(authorization, show); err != nil {
			s.fail(w, r, err)
		}
	}
}

func (v *visit) arrive(authorization bool, show func(*visit) error) error {
	if err := v.checkNavigation(v.r); err != nil {
		return err
	}
	query, err := url.ParseQuery(v.r.URL.RawQuery)
	if err != nil {
		return &pageError{status: http.StatusBadRequest}
	}
	if authorization && (len(query[fieldClient]) != 1 || len(query[fieldRequestURI]) != 1) {
		return &pageError{status: http.StatusBadRequest, detail: "the address has to hold client_id and request_uri, once each, and nothing else"}
	}
	known, err := v.knownDevice(v.w, v.r)
	if err != nil {
		return err
	}
	if v.dev = known; known == nil {
		if v.dev, err = v.newDevice(v.w, v.r); err != nil {
			return err
		}
	}
	if authorization {
		if err := v.open(query.Get(fieldClient), query.Get(fieldRequestURI)); err != nil {
			return err
		}
	}
	v.locale = v.cfg.UI.Locale(v.r, v.preferredLocales()...)
	return show(v)
}

// open binds the visit to an authorization request.
func (v *visit) open(clientID, requestURI string) error {
	var err error
	v.req, v.client, err = v.openRequest(v.r.Context(), clientID, requestURI, v.dev.key)
	v.requestURI = requestURI
	if errors.Is(err, errRequestGone) {
		return errExpired
	}
	if err == nil && !v.client.MatchRedirect(v.req.Params.RedirectURI) {
		return errExpired // it is registered no more
	}
	return err
}

// post makes a handler of what takes a form. A form that was open for too long
// is shown again.
func (s *Server) post(authorization bool, do, again func(*visit) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v := &visit{Server: s, w: w, r: r}
		if err := v.submit(authorization, do, again); err != nil {
			s.fail(w, r, err)
		}
	}
}

func (v *visit) submit(authorization bool, do, again func(*visit) error) error {
	var err error
	if v.form, err = v.readPageForm(v.w, v.r); err != nil {
		return err
	}
	clientID, requestURI := v.form.Get(fieldClient), v.form.Get(ui.FieldRequest)
	if _, _, ok := v.deviceCookies(v.r); !ok {
		return v.cookiesNeeded(authorization, clientID, requestURI)
	}
	if v.dev, err = v.knownDevice(v.w, v.r); err != nil {
		return err
	}
	if v.dev == nil {
		return errExpired
	}
	context := managerContext
	if authorization {
		context = requestKey(requestURI)
	}
	if !v.csrfValid(v.dev, context, v.form.Get(ui.FieldCSRF)) {
		if again == nil {
			return errForbidden
		}
		v.stale, do = true, again
	}
	if authorization {
		if err := v.open(clientID, requestURI); err != nil {
			return err
		}
	}
	v.locale = v.cfg.UI.Locale(v.r, v.preferredLocales()...)
	return do(v)
}

// localePost keeps the language that was picked, and goes back.
func (v *visit) localePost() error {
	picked := v.field(ui.FieldLocale)
	if !isLanguageTag(picked) {
		return &pageError{status: http.StatusBadRequest}
	}
	back, err := url.ParseRequestURI(v.form.Get(fieldReturn))
	if err != nil || back.Scheme != "" || back.Host != "" || !v.ownPage(back.Path) {
		return &pageError{status: http.StatusBadRequest}
	}
	v.setCookie(v.w, cookieLocale, picked)
	return v.goTo(back.RequestURI())
}

// ownPage reports whether a path is one of those that the visit belongs to.
func (v *visit) ownPage(path string) bool {
	return path == v.path("") || strings.HasPrefix(path, v.path("")+"/") && !strings.Contains(path, "..")
}

// maxLanguageTag is how long the tag of a language may be.
const maxLanguageTag = 35

func isLanguageTag(s string) bool {
	if s == "" || len(s) > maxLanguageTag {
		return false
	}
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") == ""
}

// sleepFor waits, or until the context ends.
func sleepFor(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
