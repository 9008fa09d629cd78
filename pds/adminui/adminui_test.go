package adminui_test

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/adminui"
	"github.com/pdskit/pdskit/pds/pdstest"
)

// visitor is a browser without scripts that knows the pages of a server.
type visitor struct {
	t      *testing.T
	srv    *pdstest.PDS
	h      http.Handler
	client *http.Client
	now    time.Time
}

// pages starts a server with its pages.
func pages(t *testing.T, adjust ...func(*pds.Config)) *visitor {
	t.Helper()
	return pagesWith(t, adminui.Options{}, adjust...)
}

// pagesWith starts a server with pages that have options.
func pagesWith(t *testing.T, o adminui.Options, adjust ...func(*pds.Config)) *visitor {
	t.Helper()
	v := &visitor{t: t, srv: pdstest.New(t, adjust...), now: time.Now()}
	o.Clock = func() time.Time { return v.now }
	h, err := adminui.New(v.srv.Server, o)
	if err != nil {
		t.Fatal(err)
	}
	routes := http.NewServeMux()
	routes.Handle(adminui.DefaultPath, h)
	routes.Handle("/", v.srv)
	v.h = routes
	v.forget()
	return v
}

// forget drops all cookies.
func (v *visitor) forget() {
	jar, err := cookiejar.New(nil)
	if err != nil {
		v.t.Fatal(err)
	}
	v.client = &http.Client{Jar: jar, Transport: handlerTransport{v.h}}
}

// answer is a page as the browser has it in the end.
type answer struct {
	status int
	url    *url.URL
	header http.Header
	body   string
}

func (v *visitor) do(r *http.Request) *answer {
	v.t.Helper()
	resp, err := v.client.Do(r)
	if err != nil {
		v.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return &answer{resp.StatusCode, resp.Request.URL, resp.Header, strings.ReplaceAll(string(body), "<wbr>", "")}
}

// at is the address of one of the pages, or with a slash of another one.
func (v *visitor) at(path string) string {
	if strings.HasPrefix(path, "/") {
		return v.srv.URL + path
	}
	return v.srv.URL + adminui.DefaultPath + path
}

func (v *visitor) get(path string) *answer {
	v.t.Helper()
	r, err := http.NewRequestWithContext(v.t.Context(), http.MethodGet, v.at(path), nil)
	if err != nil {
		v.t.Fatal(err)
	}
	return v.do(r)
}

// post sends a form as a page of the same origin does; each adjust may change
// the request.
func (v *visitor) post(path string, form url.Values, adjust ...func(*http.Request)) *answer {
	v.t.Helper()
	r, err := http.NewRequestWithContext(v.t.Context(), http.MethodPost, v.at(path), strings.NewReader(form.Encode()))
	if err != nil {
		v.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", v.srv.URL)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	for _, a := range adjust {
		a(r)
	}
	return v.do(r)
}

func (v *visitor) signIn() {
	v.t.Helper()
	a := v.post("sign-in", url.Values{"password": {pdstest.AdminPassword}})
	a.shows(v.t, http.StatusOK, "Overview")
}

var csrfField = regexp.MustCompile(`name="csrf" value="([A-Za-z0-9_-]+)"`)

// send sends a form with the token that the pages have.
func (v *visitor) send(path string, fields ...string) *answer {
	v.t.Helper()
	m := csrfField.FindStringSubmatch(v.get("").body)
	if m == nil {
		v.t.Fatal("no form has a token")
	}
	form := url.Values{"csrf": {m[1]}}
	for i := 0; i < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	return v.post(path, form)
}

// shows checks the status and that the page has these texts.
func (a *answer) shows(t *testing.T, status int, texts ...string) {
	t.Helper()
	if a.status != status {
		t.Errorf("%s: status %d, want %d: %s", a.url.Path, a.status, status, a.body)
	}
	for _, text := range texts {
		if !strings.Contains(a.body, text) {
			t.Errorf("%s does not show %q: %s", a.url.Path, text, a.body)
		}
	}
}

// handlerTransport answers requests by a handler.
type handlerTransport struct{ h http.Handler }

func (t handlerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	in := r.Clone(r.Context())
	in.RemoteAddr, in.RequestURI = "192.0.2.7:1234", r.URL.RequestURI()
	if in.Host == "" {
		in.Host = r.URL.Host
	}
	if in.Body == nil {
		in.Body = http.NoBody
	}
	w := httptest.NewRecorder()
	t.h.ServeHTTP(w, in)
	resp := w.Result()
	resp.Request = r
	return resp, nil
}

// audited checks the newest entry of the audit log, by the password.
func (v *visitor) audited(action, subject string) {
	v.t.Helper()
	v.auditedBy("admin", action, subject)
}

func (v *visitor) auditedBy(actor, action, subject string) {
	v.t.Helper()
	list, err := v.srv.AuditLog(v.t.Context(), 0, 1)
	if err != nil {
		v.t.Fatal(err)
	}
	if len(list) != 1 || list[0].Action != "admin page: "+action || list[0].Subject != subject ||
		list[0].Actor != actor || list[0].Address != "192.0.2.7" || list[0].Result != "ok" {
		v.t.Errorf("the audit log has %+v, want %q of %q by %s", list, action, subject, actor)
	}
}
