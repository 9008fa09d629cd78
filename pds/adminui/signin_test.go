package adminui_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/adminui"
	"github.com/pdskit/pdskit/pds/pdstest"
)

func TestAnonymous(t *testing.T) {
	v := pages(t)
	alice := v.srv.CreateAccount("alice")
	for _, path := range []string{"", "accounts", "accounts/" + string(alice.DID), "invites", "jobs", "reports", "events", "audit"} {
		a := v.get(path)
		a.shows(t, http.StatusOK, "Administrator&#39;s password")
		if !strings.HasSuffix(a.url.Path, "/sign-in") || strings.Contains(a.body, alice.Email) {
			t.Errorf("%s: %s", path, a.url)
		}
	}
	a := v.post("accounts/"+string(alice.DID)+"/takedown", url.Values{"csrf": {""}})
	if !strings.HasSuffix(a.url.Path, "/sign-in") {
		t.Errorf("a form led to %s", a.url)
	}
	if d, err := v.srv.AccountDetails(t.Context(), string(alice.DID)); err != nil || d.Status != "active" {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestWrongPasswords(t *testing.T) {
	v := pages(t)
	for range 10 {
		v.post("sign-in", url.Values{"password": {"wrong"}}).shows(t, http.StatusForbidden, "This is not the administrator&#39;s password.")
	}
	v.post("sign-in", url.Values{"password": {pdstest.AdminPassword}}).shows(t, http.StatusTooManyRequests, "Too many attempts.")
	fromElsewhere := func(r *http.Request) { r.Header.Set("X-Forwarded-For", "198.51.100.9") } // not from a trusted proxy
	v.post("sign-in", url.Values{"password": {pdstest.AdminPassword}}, fromElsewhere).shows(t, http.StatusTooManyRequests)
	v.now = v.now.Add(15 * time.Minute)
	v.signIn()
}

func TestSessionsEnd(t *testing.T) {
	v := pages(t)
	signedIn := func() bool { return !strings.HasSuffix(v.get("").url.Path, "/sign-in") }
	v.signIn()
	v.now = v.now.Add(adminui.DefaultIdleTime - time.Second)
	if !signedIn() {
		t.Error("the session ended before its time")
	}
	v.now = v.now.Add(adminui.DefaultIdleTime)
	if signedIn() {
		t.Error("an idle session goes on")
	}
	v.signIn()
	for began := v.now; v.now.Sub(began) < adminui.DefaultMaxTime-20*time.Minute; v.now = v.now.Add(20 * time.Minute) {
		if !signedIn() {
			t.Fatalf("the session ended after %v", v.now.Sub(began))
		}
	}
	v.now = v.now.Add(20 * time.Minute)
	if signedIn() {
		t.Error("a session lasts for ever")
	}
	v.signIn()
	jar := v.client.Jar
	v.send("sign-out")
	if signedIn() {
		t.Error("signed in after signing out")
	}
	v.client.Jar = jar
	if signedIn() {
		t.Error("the cookie is good after signing out")
	}
}

func TestManySessions(t *testing.T) {
	v := pages(t)
	v.signIn()
	first := v.client
	for range 100 {
		v.now = v.now.Add(2 * time.Minute) // for the limit of attempts
		v.forget()
		v.post("sign-in", url.Values{"password": {pdstest.AdminPassword}})
		v.client, first = first, v.client
		if path := v.get("").url.Path; strings.HasSuffix(path, "/sign-in") {
			t.Fatal("a session that is in use ended")
		}
		v.client, first = first, v.client
	}
}

// TestForgedForms sends forms as other sites could.
func TestForgedForms(t *testing.T) {
	v := pages(t)
	alice := v.srv.CreateAccount("alice")
	v.signIn()
	token := csrfField.FindStringSubmatch(v.get("").body)[1]
	path := "accounts/" + string(alice.DID) + "/takedown"
	set := func(name string, values ...string) func(*http.Request) {
		return func(r *http.Request) { r.Header[name] = values }
	}
	for what, forged := range map[string]struct {
		token  string
		adjust func(*http.Request)
		status int
	}{
		"no token":       {"", set("X", "y"), http.StatusForbidden},
		"other token":    {strings.Repeat("A", 26), set("X", "y"), http.StatusForbidden},
		"no origin":      {token, set("Origin"), http.StatusForbidden},
		"null origin":    {token, set("Origin", "null"), http.StatusForbidden},
		"other origin":   {token, set("Origin", "https://evil.example.com"), http.StatusForbidden},
		"handle's host":  {token, set("Origin", "http://"+alice.Handle.String()), http.StatusForbidden},
		"cross-site":     {token, set("Sec-Fetch-Site", "cross-site"), http.StatusForbidden},
		"same-site":      {token, set("Sec-Fetch-Site", "same-site"), http.StatusForbidden},
		"JSON":           {token, set("Content-Type", "application/json"), http.StatusUnsupportedMediaType},
		"plain text":     {token, set("Content-Type", "text/plain"), http.StatusUnsupportedMediaType},
		"token in query": {"", func(r *http.Request) { r.URL.RawQuery = "csrf=" + token }, http.StatusForbidden},
	} {
		a := v.post(path, url.Values{"csrf": {forged.token}}, forged.adjust)
		if a.status != forged.status {
			t.Errorf("%s: status %d, want %d", what, a.status, forged.status)
		}
	}
	v.post(path, url.Values{"csrf": {token}, "reference": {strings.Repeat("x", 70<<10)}}).shows(t, http.StatusBadRequest)
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, v.srv.URL+adminui.DefaultPath+path+"?csrf="+token, nil)
	r.RequestURI = ""
	if a := v.do(r); a.status != http.StatusMethodNotAllowed {
		t.Errorf("GET of an action: status %d", a.status)
	}
	for what, adjust := range map[string]func(*http.Request){
		"sign-in from elsewhere": set("Origin", "https://evil.example.com"), "cross-site sign-in": set("Sec-Fetch-Site", "cross-site"),
	} {
		if a := v.post("sign-in", url.Values{"password": {pdstest.AdminPassword}}, adjust); a.status != http.StatusForbidden {
			t.Errorf("%s: status %d", what, a.status)
		}
	}
	if d, err := v.srv.AccountDetails(t.Context(), string(alice.DID)); err != nil || d.Status != "active" {
		t.Errorf("%+v, %v", d, err)
	}
	list, err := v.srv.AuditLog(t.Context(), 0, 0)
	if err != nil || len(list) != 0 {
		t.Errorf("forged forms are in the audit log: %+v, %v", list, err)
	}
}

func TestNotConfigured(t *testing.T) {
	v := pages(t, func(c *pds.Config) { c.AdminPassword = "" })
	for _, path := range []string{"", "sign-in", "assets/style.css"} {
		if a := v.get(path); a.status != http.StatusNotFound {
			t.Errorf("%q: status %d", path, a.status)
		}
	}
	if a := v.post("sign-in", url.Values{"password": {""}}); a.status != http.StatusNotFound {
		t.Errorf("signing in without a password: status %d", a.status)
	}
}

func TestOtherHosts(t *testing.T) {
	v := pages(t)
	alice := v.srv.CreateAccount("alice")
	for _, host := range []string{alice.Handle.String(), "evil.example.com", "localhost"} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, v.srv.URL+adminui.DefaultPath+"sign-in", nil)
		r.Host = host
		w := httptest.NewRecorder()
		if v.h.ServeHTTP(w, r); w.Code != http.StatusNotFound {
			t.Errorf("%s: status %d", host, w.Code)
		}
	}
}

func TestCookie(t *testing.T) {
	for _, public := range []string{"", "https://pds.example.com"} {
		srv := pdstest.New(t, func(c *pds.Config) {
			if public != "" {
				c.PublicURL = public
			}
		})
		h, err := adminui.New(srv.Server, adminui.Options{Path: "/operator/"})
		if err != nil {
			t.Fatal(err)
		}
		origin := srv.PublicURL()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, origin+"/operator/sign-in",
			strings.NewReader(url.Values{"password": {pdstest.AdminPassword}}.Encode()))
		r.Header.Set("Origin", origin)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/operator/" {
			t.Fatalf("%d %v", w.Code, w.Header())
		}
		c := w.Result().Cookies()
		secure := public != ""
		if len(c) != 1 || !c[0].HttpOnly || c[0].SameSite != http.SameSiteStrictMode || c[0].Secure != secure ||
			strings.HasPrefix(c[0].Name, "__Host-") != secure || c[0].Path != "/" || c[0].MaxAge != 0 || len(c[0].Value) < 26 {
			t.Errorf("cookies %v", c)
		}
		if hsts := w.Header().Get("Strict-Transport-Security"); (hsts != "") != secure {
			t.Errorf("Strict-Transport-Security %q", hsts)
		}
	}
}

func TestOptions(t *testing.T) {
	srv := pdstest.New(t)
	for _, path := range []string{"admin/", "/admin", "/", "/{x}/", "/a b/"} {
		if _, err := adminui.New(srv.Server, adminui.Options{Path: path}); err == nil || !strings.Contains(err.Error(), "Options.Path") {
			t.Errorf("%q: %v", path, err)
		}
	}
	if _, err := adminui.New(srv.Server, adminui.Options{IdleTime: -1}); err == nil {
		t.Error("a negative time")
	}
}
