package oauth_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/pdskit/pdskit/oauth"
)

// Whatever a browser sends to a page, with good cookies and a good token: it is
// answered, and not by an error of ours.
func FuzzPages(f *testing.F) {
	e := newEnv(f, func(c *oauth.Config) {
		c.Accounts = newPeople()
		c.Limits.Rates = oauth.Rates{
			SignInPerPair: oauth.Rate{Points: -1}, SignInPerIP: oauth.Rate{Points: -1}, SignInPerPairDay: oauth.Rate{Points: -1}, DevicePerIP: oauth.Rate{Points: -1},
			ResetPerIP: oauth.Rate{Points: -1}, ResetPerIPDay: oauth.Rate{Points: -1}, SignUpPerIP: oauth.Rate{Points: -1}, HandleCheckPerIP: oauth.Rate{Points: -1},
		}
	})
	e.srv.SetSleep((&sleeps{}).sleep)
	first := httptest.NewRecorder()
	e.srv.ServeHTTP(first, httptest.NewRequest(http.MethodGet, issuer+"/account/sign-in", nil))
	_, rest, _ := strings.Cut(first.Body.String(), `name="csrf" value="`)
	token, _, _ := strings.Cut(rest, `"`)
	if token == "" {
		f.Fatal("the page has no token")
	}
	paths := []string{
		"/account", "/account/sign-in", "/account/sign-up", "/account/reset", "/account/reset-password", "/account/handle", "/account/factor", "/account/step",
		"/account/method", "/account/locale", "/account/sign-out", "/account/did:plc:x/email", "/oauth/authorize", "/oauth/authorize/consent", "/oauth/callback/x",
	}
	f.Add(byte(1), "notice=signed_out&account=did:plc:x", "identifier=alice&password=x&remember=1")
	f.Add(byte(2), "", "handle=a&domain=.example.com&email=a@b.c&password=12345678&invite=welcome")
	f.Add(byte(4), "", "code=x&new_password=12345678")
	f.Add(byte(5), "handle=a.example.com", "")
	f.Add(byte(9), "", "locale=de&return=/account/sign-in?a=b")
	f.Add(byte(12), "client_id=http://localhost&request_uri=urn:ietf:params:oauth:request_uri:req-0", "request=x&client_id=y")
	f.Add(byte(14), "state=stp-00000000000000000000000000000000", "step=%zz")
	f.Fuzz(func(t *testing.T, path byte, query, body string) {
		address := issuer + paths[int(path)%len(paths)] + "?" + query
		if _, err := url.Parse(address); err != nil || strings.ContainsAny(query, " \r\n\x00") {
			return // no address that a browser sends
		}
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			r, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body+"&csrf="+token))
			if err != nil {
				return
			}
			r.RemoteAddr = "192.0.2.1:1"
			r.Header.Set("Origin", issuer)
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			for _, c := range first.Result().Cookies() {
				r.AddCookie(c)
			}
			rec := httptest.NewRecorder()
			e.srv.ServeHTTP(rec, r)
			if rec.Code >= http.StatusInternalServerError {
				t.Errorf("%s %s: status %d", method, address, rec.Code)
			}
			if to := rec.Header().Get("Location"); to != "" && !strings.HasPrefix(to, "/account") && !strings.HasPrefix(to, "/oauth/") {
				t.Errorf("%s %s: leads to %q", method, address, to)
			}
		}
	})
}
