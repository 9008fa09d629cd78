package oauth_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"image/png"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/pdskit/pdskit/oauth"
	oauthtotp "github.com/pdskit/pdskit/oauth/totp"
)

// newFactorSite makes a site with authenticator apps as the second factor.
func newFactorSite(t *testing.T) *site {
	t.Helper()
	s := newSite(t)
	factor, err := oauthtotp.New(oauthtotp.Config{
		Store: s.store, Secret: bytes.Repeat([]byte("f"), 32), Issuer: "pds.example.com", Clock: s.clock.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.cfg.SecondFactor = factor
	s.restart()
	return s
}

// otp returns the code of now.
func (s *site) otp(secret string) string {
	s.env.t.Helper()
	code, err := totp.GenerateCode(secret, s.clock.Now())
	if err != nil {
		s.env.t.Fatal(err)
	}
	return code
}

// enrolled enrols alice and returns the secret of the app and the recovery
// codes.
func (s *site) enrolled(b *browser) (secret string, recovery []string) {
	b.t.Helper()
	p := b.visit("/account").signIn("remember", "1").link("/factors").submit("/factors/enrol").is(http.StatusOK, "/factors/confirm")
	for _, img := range nodes(p.doc, "img") {
		if data, ok := strings.CutPrefix(attr(img, "src"), "data:image/png;base64,"); ok {
			if _, err := png.DecodeConfig(newBase64(data)); err != nil {
				b.t.Errorf("the QR code: %v", err)
			}
		}
	}
	for _, n := range nodes(p.doc, "code", "bdi", "span", "p") {
		if n.FirstChild != nil && len(strings.ReplaceAll(n.FirstChild.Data, " ", "")) == 32 {
			secret = strings.ReplaceAll(n.FirstChild.Data, " ", "")
		}
	}
	if secret == "" {
		b.t.Fatalf("no secret in the page:\n%s", p.text())
	}
	p.submit("/factors/confirm", "code", "000000", "name", "Phone").is(http.StatusBadRequest, "/factors/confirm")
	p = p.submit("/factors/confirm", "code", s.otp(secret), "name", "Phone").is(http.StatusOK, "Phone")
	for _, n := range nodes(p.doc, "li", "code") {
		if n.FirstChild != nil && len(n.FirstChild.Data) == 11 && n.FirstChild.Data[5] == '-' {
			recovery = append(recovery, n.FirstChild.Data)
		}
	}
	if len(recovery) != oauthtotp.RecoveryCodes {
		b.t.Fatalf("%d recovery codes are in the page:\n%s", len(recovery), p.text())
	}
	return secret, recovery
}

// Enrolment in the account manager, then sign-in with a code, and with a
// recovery code; removal.
func TestSecondFactor(t *testing.T) {
	s := newFactorSite(t)
	a, home := s.newApp("app.example.org"), s.newBrowser(t)
	home.start(a).signIn().is(http.StatusOK, "/consent") // nothing more is needed yet
	secret, recovery := s.enrolled(home)

	b := s.newBrowser(t)
	s.clock.advance(time.Minute)
	p := b.start(a).signIn().is(http.StatusOK, "/factor")
	step := p.URL.Query().Get("step")
	s.restart()
	p.submit("/factor", "code", "").is(http.StatusBadRequest, "/factor")
	p.submit("/factor", "code", "123456").is(http.StatusUnauthorized, "/factor")
	// Nobody is signed in before.
	b.visit("/oauth/authorize/consent?"+p.URL.RawQuery+"&account="+url.QueryEscape(string(alice))).is(http.StatusOK, "/sign-in")
	spaced := s.otp(secret)[:3] + " " + s.otp(secret)[3:]
	p = p.submit("/factor", "code", spaced).is(http.StatusOK, "/consent")
	p.submit("/consent").code(a)
	b.visit("/oauth/authorize/factor?step="+step+"&"+p.URL.RawQuery).is(http.StatusBadRequest, "")

	p = s.newBrowser(t).start(a).signIn().is(http.StatusOK, "/factor")
	p = p.submit("/factor/other", "method", "recovery").is(http.StatusOK, "/factor")
	p.submit("/factor", "code", "aaaaa-aaaaa").is(http.StatusUnauthorized, "/factor")
	p.submit("/factor", "code", strings.ToUpper(recovery[3])).is(http.StatusOK, "/consent")
	p = s.newBrowser(t).start(a).signIn().submit("/factor/other", "method", "recovery")
	p.submit("/factor", "code", recovery[3]).is(http.StatusUnauthorized, "/factor")
	p = p.submit("/factor/other", "method", "totp").is(http.StatusOK, "/factor")
	p.submit("/factor/other", "method", "carrier pigeon").is(http.StatusBadRequest, "")

	factors := home.visit("/account/"+url.PathEscape(string(alice))+"/factors").is(http.StatusOK, "9")
	again := factors.submit("/factors/recovery").is(http.StatusOK, "10")
	if strings.Contains(again.Body, recovery[0]) {
		t.Error("an old recovery code is shown")
	}
	remove := nodes(factors.formTo("/factors/remove"), "button")
	factors = factors.submit("/factors/remove", "factor", attr(remove[0], "value"))
	if factors.hasForm("/factors/recovery") {
		t.Error("recovery codes without a factor")
	}
	s.newBrowser(t).start(a).signIn().is(http.StatusOK, "/consent")
}

// After the password was entered long ago, it is asked for again.
func TestFactorsNeedThePassword(t *testing.T) {
	s := newFactorSite(t)
	b := s.newBrowser(t)
	p := b.visit("/account").signIn("remember", "1")
	s.clock.advance(15 * time.Minute)
	p = p.link("/factors")
	p.submit("/factors/enrol").is(http.StatusUnauthorized, "/factors/enrol")
	p.submit("/factors/enrol", "password", "wrong").is(http.StatusUnauthorized, "/factors/enrol")
	p = p.submit("/factors/enrol", "password", alicePassword).is(http.StatusOK, "/factors/confirm")
	// And not again soon.
	p.submit("/factors/confirm", "code", "000000").is(http.StatusBadRequest, "/factors/confirm")
	s.clock.advance(14 * time.Minute)
	p.b.section("/factors").submit("/factors/confirm", "code", "000000").is(http.StatusBadRequest, "/factors/confirm")
}

// A factor that looks at the device, as the interface lets it.
type deviceFactor struct{ known map[string]bool }

func (f deviceFactor) Begin(_ context.Context, a oauth.FactorAttempt) (*oauth.Challenge, error) {
	if f.known[a.Device] {
		return nil, nil
	}
	return &oauth.Challenge{Account: a.Account.DID, Kind: "email", Hint: "a…@mail", State: []byte(a.Device)}, nil
}

func (f deviceFactor) Verify(_ context.Context, c *oauth.Challenge, answer string) error {
	if answer != "good" {
		return oauth.ErrCodeInvalid
	}
	f.known[string(c.State)] = true
	return nil
}

func TestSecondFactorOncePerDevice(t *testing.T) {
	s := newSite(t)
	s.cfg.SecondFactor = deviceFactor{map[string]bool{}}
	s.restart()
	a, b := s.newApp("app.example.org"), s.newBrowser(t)
	p := b.start(a).signIn().is(http.StatusOK, "a…@mail")
	p.submit("/factor", "code", "good").is(http.StatusOK, "/consent")
	b.start(a).signIn().is(http.StatusOK, "/consent")
	s.newBrowser(t).start(a).signIn().is(http.StatusOK, "/factor")
}

func newBase64(s string) io.Reader {
	return base64.NewDecoder(base64.StdEncoding, strings.NewReader(s))
}
