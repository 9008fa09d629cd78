// Package adminui shows the administrator of a server its state in a browser:
// accounts, invite codes, storage, jobs, events and the audit log. Programs
// mount it beside the server:
//
//	admin, err := adminui.New(srv, adminui.Options{})
//	// ...
//	mux.Handle(adminui.DefaultPath, admin)
//	mux.Handle("/", srv)
//
// Who enters the administrator's password is signed in until the session is
// idle for half an hour or twelve hours old; sessions live in this process. So is
// who has signed in to the account manager within the last quarter of an hour as
// an account that [Options.IsAdmin] knows, with all that the account asks for,
// such as a second factor. That session also ends when IsAdmin says no, when the
// account is deactivated, taken down or deleted, gets a new password, or signs
// out of the browser: all of this is looked at for each request.
//
// The pages are plain HTML, work without JavaScript, and share their look with
// those of package oauth/ui. They are served on the host of the server's public
// URL alone, and not at all if there is neither password nor IsAdmin.
//
// A page that changes something takes a form of its own: sent by POST, from the
// same origin, with a token of the session. Each change is an entry of the audit
// log, by "admin" or by the DID of the account, with the action
// "admin page: ...". Attempts to sign in are counted by address.
//
// An account that may use the pages may call none of the methods of
// administration, by any token.
package adminui

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/oauth"
	"github.com/pdskit/pdskit/oauth/ui"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/xrpc"
)

// DefaultPath is where the pages are if [Options] do not say otherwise.
const DefaultPath = "/admin/ui/"

// Defaults and limits.
const (
	DefaultIdleTime = 30 * time.Minute // a session without a request
	DefaultMaxTime  = 12 * time.Hour   // a session in all

	maxSessions   = 100      // at a time; then the one that was used least lately ends
	maxFormBytes  = 64 << 10 // body of a request
	signInTries   = 10       // from one address in signInWindow
	signInWindow  = 15 * time.Minute
	maxSignInKeys = 10_000 // addresses that are counted
)

// Options say how the pages are shown. The zero value is a good one.
type Options struct {
	// Path is where the handler is mounted, with a slash at both ends; it is not
	// stripped from requests. "" = DefaultPath.
	Path string

	// Branding is the look. Without a name it is the host.
	Branding ui.Branding

	// IsAdmin reports whether an account of the server is that of an
	// administrator. It is asked for each request, so it should be fast, and may be
	// called concurrently. An error keeps everybody out. nil: no account is.
	IsAdmin func(ctx context.Context, did syntax.DID) (bool, error)

	// IdleTime and MaxTime end sessions. 0: the defaults.
	IdleTime, MaxTime time.Duration

	// TrustedProxies are the peers whose X-Forwarded-For header is believed. nil:
	// xrpc.PrivateProxies.
	TrustedProxies []netip.Prefix

	// Clock is the time of sessions. nil: time.Now.
	Clock func() time.Time

	// Logger gets what goes wrong, and each sign-in. nil: nothing.
	Logger *slog.Logger
}

//go:embed templates/*.html assets/custom.css
var files embed.FS

// overlay joins the two folders for ui.Options.
type overlay struct{}

// Open implements fs.FS.
func (overlay) Open(name string) (fs.File, error) {
	if strings.HasSuffix(name, ".css") {
		return files.Open("assets/" + name)
	}
	if name == "." {
		return files.Open("templates")
	}
	return files.Open("templates/" + name)
}

// handler serves the pages.
type handler struct {
	srv      *pds.Server
	opts     Options
	origin   string // of the public URL
	host     string
	secure   bool
	pages    *ui.Renderer
	mux      *http.ServeMux
	sessions *sessions
	limiter  xrpc.Limiter
	log      *slog.Logger
	area     *oauth.Area // by which accounts come in, nil if none can
}

// New returns the handler of the pages of a server.
func New(srv *pds.Server, o Options) (http.Handler, error) {
	o.Path = cmp.Or(o.Path, DefaultPath)
	if len(o.Path) < 2 || o.Path[0] != '/' || o.Path[len(o.Path)-1] != '/' || strings.ContainsAny(o.Path, "{}?#% ") {
		return nil, fmt.Errorf("adminui: Options.Path: %q must have a slash at both ends, and nothing that is escaped", o.Path)
	}
	if o.IdleTime < 0 || o.MaxTime < 0 {
		return nil, errors.New("adminui: Options.IdleTime and MaxTime must not be negative")
	}
	o.IdleTime, o.MaxTime = cmp.Or(o.IdleTime, DefaultIdleTime), cmp.Or(o.MaxTime, DefaultMaxTime)
	if o.TrustedProxies == nil {
		o.TrustedProxies = xrpc.PrivateProxies()
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	public, err := url.Parse(srv.PublicURL())
	if err != nil {
		return nil, fmt.Errorf("adminui: %w", err)
	}
	h := &handler{
		srv: srv, opts: o, origin: srv.PublicURL(), host: public.Host, secure: public.Scheme == "https",
		sessions: newSessions(o.Clock, o.IdleTime, o.MaxTime),
		limiter:  xrpc.NewMemoryLimiter(o.Clock, maxSignInKeys), log: o.Logger,
	}
	h.pages, err = ui.New(ui.Options{Branding: o.Branding, Overlay: overlay{}, Catalogs: texts, AssetsPath: o.Path + "assets/"})
	if err != nil {
		return nil, fmt.Errorf("adminui: %w", err)
	}
	if o.IsAdmin != nil {
		if srv.OAuth() == nil {
			return nil, errors.New("adminui: Options.IsAdmin: accounts sign in by the server's OAuth pages, which it does not have")
		}
		if h.area, err = srv.OAuth().NewArea(o.Path + "sign-in?" + paramReturned + "=1"); err != nil {
			return nil, fmt.Errorf("adminui: %w", err)
		}
	}
	h.mux = h.routes()
	return h, nil
}

// visit is a request of somebody who is signed in, or of anybody on the page
// for that.
type visit struct {
	w       http.ResponseWriter
	r       *http.Request
	session *session       // nil: nobody
	account *oauth.Account // whose session it is, nil if it is that of the password
}

// actor is who acts, for the audit log.
func (v *visit) actor() string {
	if v.account == nil {
		return "admin"
	}
	return string(v.account.DID)
}

// by is who acts, for the server.
func (v *visit) by() pds.By {
	if v.account == nil {
		return pds.By{}
	}
	return pds.By{Actor: v.account.DID}
}

// action serves a page. An error of type *xrpc.Error is shown, others are
// logged.
type action func(v *visit) error

func (h *handler) routes() *http.ServeMux {
	mux := http.NewServeMux()
	at := func(pattern string, do action) {
		method, path, _ := strings.Cut(pattern, " ")
		mux.HandleFunc(method+" "+h.opts.Path+path, func(w http.ResponseWriter, r *http.Request) { h.member(w, r, do) })
	}
	at("GET {$}", h.showHome)
	at("GET accounts", h.showAccounts)
	at("GET accounts/{did}", h.showAccount)
	at("GET accounts/{did}/delete", h.showDelete)
	at("POST accounts/{did}/takedown", h.takeDown)
	at("POST accounts/{did}/restore", h.restore)
	at("POST accounts/{did}/invites", h.setInvites)
	at("POST accounts/{did}/reset", h.mailReset)
	at("POST accounts/{did}/delete", h.deleteAccount)
	at("GET invites", h.showInvites)
	at("POST invites", h.createInvites)
	at("POST invites/disable", h.disableInvite)
	at("GET jobs", h.showJobs)
	at("POST jobs/retry", h.retryJob)
	at("GET reports", h.showReports)
	at("POST reports/close", h.forgetReport)
	at("GET events", h.showEvents)
	at("GET audit", h.showAudit)
	at("POST sign-out", h.signOut)
	mux.HandleFunc("GET "+h.opts.Path+"sign-in", h.showSignIn)
	mux.HandleFunc("POST "+h.opts.Path+"sign-in", h.signIn)
	if h.area != nil {
		mux.HandleFunc("GET "+h.opts.Path+"sign-in/account", h.area.SignIn)
	}
	mux.Handle(h.opts.Path+"assets/", h.pages.Assets())
	return mux
}

// ServeHTTP implements http.Handler.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !h.srv.HasAdminPassword() && h.area == nil || !strings.EqualFold(r.Host, h.host) {
		http.NotFound(w, r)
		return
	}
	if !strings.HasPrefix(r.URL.Path, h.opts.Path+"assets/") {
		h.setHeaders(w.Header())
	}
	h.mux.ServeHTTP(w, r)
}

// setHeaders sets the headers that every page has.
func (h *handler) setHeaders(out http.Header) {
	out.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "+
		"base-uri 'none'; frame-ancestors 'none'; form-action 'self'")
	out.Set("X-Frame-Options", "DENY")
	out.Set("X-Content-Type-Options", "nosniff")
	out.Set("Cross-Origin-Opener-Policy", "same-origin")
	out.Set("Cross-Origin-Resource-Policy", "same-origin")
	out.Set("Cache-Control", "no-store")
	out.Set("X-Robots-Tag", "noindex")
	out.Set("Referrer-Policy", "same-origin") // with no-referrer, browsers send forms with the Origin "null"
	if h.secure {
		out.Set("Strict-Transport-Security", "max-age=63072000") // two years
	}
}

// member lets only who is signed in do something, and changes only by a form of
// our own.
func (h *handler) member(w http.ResponseWriter, r *http.Request, do action) {
	v, err := h.arrive(w, r)
	if err == nil && v.session == nil {
		http.Redirect(w, r, h.opts.Path+"sign-in", http.StatusSeeOther)
		return
	}
	if err == nil && r.Method == http.MethodPost {
		err = h.checkForm(w, r)
		if err == nil && !v.session.owns(r.PostFormValue(ui.FieldCSRF)) {
			err = errForged()
		}
	}
	if err == nil {
		err = do(v)
	}
	if err != nil {
		h.fail(v, err)
	}
}

// fail shows an error.
func (h *handler) fail(v *visit, err error) {
	refused, ok := errors.AsType[*xrpc.Error](err)
	if !ok {
		h.log.ErrorContext(v.r.Context(), "an administration page failed", "path", v.r.URL.Path, "error", err)
		refused = xrpc.NewError(http.StatusInternalServerError, "", "")
	}
	p := &errorPage{base: h.base(v, ""), Status: refused.Status, Message: refused.Message}
	if refused.Status >= http.StatusInternalServerError {
		p.Message = "The server could not do this. Its log says why."
	}
	h.render(v, refused.Status, p)
}

func (h *handler) render(v *visit, status int, p ui.Page) {
	p.Common().Locale, p.Common().Host = "en", h.host
	if err := h.pages.Render(v.w, v.r, status, p); err != nil {
		h.log.ErrorContext(v.r.Context(), "an administration page could not be shown", "page", p.Name(), "error", err)
		http.Error(v.w, "Internal Server Error", http.StatusInternalServerError)
	}
}

// leave leads to another page after a change, with a notice.
func (h *handler) leave(v *visit, path, notice string) error {
	v.session.notice(notice)
	http.Redirect(v.w, v.r, h.opts.Path+path, http.StatusSeeOther)
	return nil
}

// audit does something under an entry of the audit log.
func (h *handler) audit(v *visit, what, subject, detail string, do func() error) error {
	entry := pds.AuditEntry{
		Actor: v.actor(), Client: v.r.UserAgent(), Action: "admin page: " + what, Subject: subject, Detail: detail,
	}
	if ip := xrpc.ForwardedIP(v.r, h.opts.TrustedProxies); ip.IsValid() {
		entry.Address = ip.String()
	}
	return h.srv.Audit(v.r.Context(), entry, func(context.Context) error { return do() })
}
