package oauth

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/oauth/internal/clients"
	"github.com/pdskit/pdskit/oauth/ui"
	"github.com/pdskit/pdskit/storage"
)

// Names of form fields and query parameters beside those of package ui.
const (
	fieldClient     = "client_id"
	fieldRequestURI = "request_uri" // in addresses; in forms it is ui.FieldRequest
	fieldStep       = "step"
	fieldReturn     = "return"
	fieldNotice     = "notice"
)

// pathAccount is where the account manager is.
const pathAccount = "/account"

// A visit is one request for a page, or one form of it: in the course of an
// authorization request, or else in the account manager. The pages by which
// people sign in are the same in both.
type visit struct {
	*Server
	w    http.ResponseWriter
	r    *http.Request
	dev  *device
	form url.Values // of a POST, else nil

	// Of an authorization request, else nil.
	req        *authRequest
	client     *client
	requestURI string

	owner *owner // in a section of the account manager, else nil

	locale string
	stale  bool // a form without a good CSRF token: nothing is done, it is shown again
}

// context names what the visit belongs to, for sign-ins and forms.
func (v *visit) context() string {
	if v.req != nil {
		return v.req.key
	}
	return managerContext
}

// path returns the path of a page.
func (v *visit) path(page string) string {
	base := pathAccount
	if v.req != nil {
		base = pathAuthorize
	}
	if page == "" {
		return base
	}
	return base + "/" + page
}

// url returns the address of a page with parameters, in pairs of name and value.
func (v *visit) url(page string, pairs ...string) string {
	query := url.Values{}
	if v.req != nil {
		query.Set(fieldClient, v.client.ID)
		query.Set(fieldRequestURI, v.requestURI)
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		query.Set(pairs[i], pairs[i+1])
	}
	if len(query) == 0 {
		return v.path(page)
	}
	return v.path(page) + "?" + query.Encode()
}

// link is a link to a page, see url.
func (v *visit) link(page string, pairs ...string) *ui.Link {
	return &ui.Link{URL: v.url(page, pairs...)}
}

// newForm returns a form that goes to a page, with hidden fields in pairs of
// name and value.
func (v *visit) newForm(page string, pairs ...string) ui.Form {
	f := ui.Form{Action: v.path(page), Hidden: []ui.HiddenField{
		{Name: ui.FieldCSRF, Value: v.csrfToken(v.dev.doc.Secret, v.context())},
	}}
	if v.req != nil {
		f.Hidden = append(f.Hidden,
			ui.HiddenField{Name: ui.FieldRequest, Value: v.requestURI},
			ui.HiddenField{Name: fieldClient, Value: v.client.ID})
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		f.Hidden = append(f.Hidden, ui.HiddenField{Name: pairs[i], Value: pairs[i+1]})
	}
	return f
}

// formTo is newForm for fields that may be nil.
func (v *visit) formTo(page string, pairs ...string) *ui.Form {
	f := v.newForm(page, pairs...)
	return &f
}

// field returns a field of the form, without space around it and no longer than
// MaxParameterBytes.
func (v *visit) field(name string) string {
	return cut(strings.TrimSpace(v.form.Get(name)), MaxParameterBytes)
}

// value returns a field of the form, or a parameter of a page's address.
func (v *visit) value(name string) string {
	if v.form != nil {
		return v.field(name)
	}
	return cut(strings.TrimSpace(v.r.URL.Query().Get(name)), MaxParameterBytes)
}

// ticked reports whether a checkbox was.
func (v *visit) ticked(name string) bool { return v.form.Get(name) == "1" }

// frame returns what all pages have.
func (v *visit) frame(problems []ui.Problem) ui.Frame {
	f := ui.Frame{Locale: v.locale, Host: strings.TrimPrefix(strings.TrimPrefix(v.cfg.Issuer, "https://"), "http://"), Problems: problems}
	if v.r.Method == http.MethodGet {
		form := v.newForm("locale", fieldReturn, v.r.URL.RequestURI())
		f.LocaleForm = &form
		if notice := v.r.URL.Query().Get(fieldNotice); notices[notice] {
			f.Notice = notice
		}
	}
	if v.req != nil {
		f.Client = clientView(v.client)
		cancel := v.newForm("deny")
		f.Cancel = &cancel
	}
	return f
}

// notices are the notices that an address may name. There is nothing in them
// that could mislead anybody.
var notices = map[string]bool{
	ui.NoticeResetSent: true, ui.NoticePasswordChanged: true, ui.NoticeEmailChanged: true, ui.NoticeEmailCodeSent: true,
	ui.NoticeEmailConfirmed: true, ui.NoticeHandleChanged: true, ui.NoticeAppRevoked: true, ui.NoticeAppPasswordEnded: true,
	ui.NoticeSessionEnded: true, ui.NoticeDeviceSignedOut: true, ui.NoticeSignedOut: true, ui.NoticeFactorAdded: true,
	ui.NoticeFactorRemoved: true, ui.NoticeDeactivated: true, ui.NoticeReactivated: true, ui.NoticeDeleteCodeSent: true,
	ui.NoticeDeleted: true,
}

// clientView is what pages show of a client. What it says of itself is for
// trusted ones.
func clientView(c *client) *ui.Client {
	view := &ui.Client{ID: c.ID, Host: c.Host(), Trusted: c.trust != Untrusted}
	if c.Class == clients.Loopback {
		view.Host, view.Loopback = "", true
	}
	if view.Trusted {
		m := c.Metadata
		view.Name, view.LogoURL, view.URL, view.TermsURL, view.PolicyURL = m.ClientName, m.LogoURI, m.ClientURI, m.TosURI, m.PolicyURI
	}
	return view
}

func accountView(a Account) ui.Account {
	view := ui.Account{DID: string(a.DID), Email: a.Email, EmailConfirmed: a.EmailConfirmed, Deactivated: a.Status == Deactivated}
	if a.Handle != "" && !a.Handle.IsInvalidHandle() {
		view.Handle = string(a.Handle)
	}
	return view
}

// show answers with a page.
func (v *visit) show(status int, p ui.Page) error {
	targets := pageTargets{forms: true}
	if v.req != nil {
		targets.schemes = schemeOf(v.req.Params.RedirectURI)
		if view := p.Common().Client; view != nil {
			targets.images = originsOf(view.LogoURL)
		}
	}
	if v.stale {
		status = http.StatusForbidden
		p.Common().Problems = append(p.Common().Problems, ui.Problem{Code: ui.ProblemExpired})
	}
	v.pageHeaders(v.w.Header(), targets)
	v.render(v.w, v.r, status, p)
	return nil
}

// refused shows a page again because of its problems.
func (v *visit) refused(status int, p ui.Page, problems ...ui.Problem) error {
	p.Common().Problems = append(p.Common().Problems, problems...)
	return v.show(status, p)
}

// goTo redirects to an address of ours.
func (v *visit) goTo(address string) error {
	v.pageHeaders(v.w.Header(), pageTargets{})
	http.Redirect(v.w, v.r, address, http.StatusSeeOther)
	return nil
}

// pad waits until the time since start is a multiple of step, so that it tells
// little about what took it.
func (v *visit) pad(start time.Time, step time.Duration) {
	v.sleep(v.r.Context(), step-max(v.now().Sub(start), 0)%step)
}

// Steps of pad.
const (
	padSignIn = 400 * time.Millisecond // also for resets and handle checks
	padSignUp = 300 * time.Millisecond
)

// preferredLocales are the languages that somebody has picked, or the app asks
// for.
func (v *visit) preferredLocales() []string {
	var list []string
	if picked := v.cookie(v.r, cookieLocale); picked != "" {
		list = append(list, picked)
	}
	if v.req != nil {
		list = append(list, v.req.Params.UILocales...)
	}
	return list
}

// signedIn returns the sign-in of an account on this device that counts here,
// nil if there is none.
func (v *visit) signedIn(did syntax.DID) (*signIn, error) {
	var si *signIn
	err := v.view(v.r.Context(), func(docs storage.Docs) (err error) {
		si, err = v.signInOf(docs, v.dev.key, v.context(), did)
		return err
	})
	return si, err
}

// maxAge is how long ago the password may have been entered.
func (v *visit) maxAge() time.Duration {
	if v.req != nil && v.req.Params.MaxAge != nil {
		return time.Duration(*v.req.Params.MaxAge) * time.Second
	}
	return v.cfg.Limits.SignInFresh
}

// isFresh reports whether a sign-in does without the password here.
func (v *visit) isFresh(si *signIn) bool {
	if v.req != nil && v.req.Params.Prompt == promptLogin {
		return si.Context == v.context()
	}
	return v.fresh(si, v.context(), v.maxAge())
}

// event adds to an event which client the visit is about.
func (v *visit) event(e Event) Event {
	if v.req != nil {
		e.Client = v.req.ClientID
	}
	return e
}
