package pds_test

import (
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/oauth"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/xrpc"
)

// follow follows the link of a page whose path ends in one.
func (p *person) follow(pg *page, path string) *page {
	p.t.Helper()
	link := regexp.MustCompile(`href="([^"]*` + path + `(\?[^"]*)?)"`).FindStringSubmatch(pg.text)
	if link == nil {
		p.t.Fatalf("no link to %s on the page %d %s", path, pg.status, pg.text)
	}
	target, err := pg.base.Parse(html.UnescapeString(link[1]))
	ok(p.t, err)
	return p.do(http.NewRequestWithContext(p.t.Context(), http.MethodGet, target.String(), nil))
}

// TestOAuthPasswordReset sets a forgotten password in the middle of a sign-in,
// which ends what was signed in before.
func TestOAuthPasswordReset(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	a := srv.CreateAccount("alice")
	old := newPerson(t, srv, "atproto")
	old.signIn(a)
	ok(t, old.session())

	p := newPerson(t, srv, "atproto")
	pg := p.follow(p.signInPage(), "/reset")
	for _, email := range []string{"nobody@example.com", a.Email} {
		answer := p.submit(pg, "/reset", url.Values{"email": {email}})
		if answer.status != http.StatusOK || !strings.HasSuffix(answer.base.Path, "/reset-password") {
			t.Fatalf("%s: %d %s", email, answer.status, answer.base)
		}
		if email == a.Email {
			pg = answer
		}
	}
	if len(srv.Mail.To("nobody@example.com")) != 0 {
		t.Error("mail to nobody")
	}
	wrong := p.submit(pg, "/reset-password", url.Values{"code": {"AAAAA-AAAAA"}, "new_password": {"a new password"}})
	if wrong.status == http.StatusOK && !strings.HasSuffix(wrong.base.Path, "/reset-password") {
		t.Errorf("a wrong code: %d %s", wrong.status, wrong.base)
	}
	ok(t, old.session())
	pg = p.submit(pg, "/reset-password", url.Values{"code": {srv.Mail.Code(a.Email)}, "new_password": {"a new password"}})
	if old.session() == nil {
		t.Error("a session of before lives on")
	}
	pg = p.submit(pg, "/sign-in", url.Values{"identifier": {string(a.Handle)}, "password": {"a new password"}})
	p.finish(p.submit(pg, "/consent", nil))
	ok(t, p.session())
}

// TestOAuthSignInAlerts: the pages know devices, too.
func TestOAuthSignInAlerts(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t, func(cfg *pds.Config) { cfg.SignInAlerts = true })
	a := srv.CreateAccount("alice")
	p := newPerson(t, srv, "atproto")
	p.signIn(a) // by the program that signed up
	if n := len(srv.Mail.To(a.Email)); n != 0 {
		t.Fatalf("%d alerts for a known device", n)
	}
	q := newPerson(t, srv, "atproto")
	q.browser.Transport = withUserAgent("Evil")
	q.signIn(a)
	if mails := srv.Mail.To(a.Email); len(mails) != 1 || !strings.Contains(mails[0].Text, "Evil at 127.0.0.1") {
		t.Fatalf("alerts: %+v", mails)
	}
}

type withUserAgent string

func (u withUserAgent) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("User-Agent", string(u))
	return http.DefaultTransport.RoundTrip(r)
}

// TestOAuthAccountManagerMail is what the account manager does with addresses
// and passwords, with the errors that it shows.
func TestOAuthAccountManagerMail(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	a, b := srv.CreateAccount("alice"), srv.CreateAccount("bob")
	accounts := srv.OAuthAccounts()
	emails, passwords := accounts.(oauth.EmailManager), accounts.(oauth.PasswordChanger)
	resets := accounts.(oauth.PasswordResets)
	ctx := t.Context()
	want := func(what string, err, want error) {
		t.Helper()
		if !errors.Is(err, want) || (want == nil) != (err == nil) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}

	want("confirm without a code", emails.ConfirmEmail(ctx, a.DID, "AAAAA-AAAAA"), oauth.ErrCodeInvalid)
	want("request", emails.RequestEmailConfirmation(ctx, a.DID), nil)
	want("confirm", emails.ConfirmEmail(ctx, a.DID, srv.Mail.Code(a.Email)), nil)
	sent, err := emails.RequestEmailChange(ctx, a.DID)
	if want("request a change", err, nil); !sent {
		t.Error("no code for a confirmed address")
	}
	code := srv.Mail.Code(a.Email)
	want("change without a code", emails.ChangeEmail(ctx, a.DID, "new@example.com", ""), oauth.ErrCodeInvalid)
	want("change with a wrong code", emails.ChangeEmail(ctx, a.DID, "new@example.com", "AAAAA-AAAAA"), oauth.ErrCodeInvalid)
	want("a taken address", emails.ChangeEmail(ctx, a.DID, b.Email, code), oauth.ErrEmailTaken)
	want("a bad address", emails.ChangeEmail(ctx, a.DID, "new@mailinator.com", code), oauth.ErrEmailInvalid)
	want("change", emails.ChangeEmail(ctx, a.DID, "new@example.com", code), nil)
	if email, yes := isConfirmed(a); email != "new@example.com" || yes {
		t.Errorf("address %s, confirmed %t", email, yes)
	}
	sent, err = emails.RequestEmailChange(ctx, a.DID)
	if want("request another change", err, nil); sent {
		t.Error("a code for an address that is not confirmed")
	}

	old := login(t, srv, string(a.DID), a.Password)
	want("a long password", passwords.ChangePassword(ctx, a.DID, strings.Repeat("x", 257)), oauth.ErrPasswordWeak)
	want("change the password", passwords.ChangePassword(ctx, a.DID, "a new password"), nil)
	wantEnded(t, srv, old)
	want("no address", resets.RequestPasswordReset(ctx, "nonsense"), nil)
	want("reset", resets.RequestPasswordReset(ctx, "NEW@example.com"), nil)
	code = srv.Mail.Code("new@example.com")
	want("reset with a wrong code", resets.ResetPassword(ctx, "AAAAA-AAAAA", "another password"), oauth.ErrCodeInvalid)
	want("reset to nothing", resets.ResetPassword(ctx, code, ""), oauth.ErrPasswordWeak)
	want("set the password", resets.ResetPassword(ctx, code, "another password"), nil)
	login(t, srv, string(a.DID), "another password")
}

// TestOAuthAccountLimits: the pages send no more mail and change no more handles
// than the methods do, and both together no more than either.
func TestOAuthAccountLimits(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t, func(cfg *pds.Config) { cfg.Limiter = xrpc.NewMemoryLimiter(nil, 0) })
	a := srv.CreateAccount("alice")
	accounts, ctx := srv.OAuthAccounts(), t.Context()
	emails := accounts.(oauth.EmailManager)
	for _, test := range []struct {
		nsid    string
		request func() error
	}{
		{"com.atproto.server.requestEmailConfirmation", func() error { return emails.RequestEmailConfirmation(ctx, a.DID) }},
		{"com.atproto.server.requestEmailUpdate", func() error { _, err := emails.RequestEmailChange(ctx, a.DID); return err }},
		{"com.atproto.server.requestAccountDelete", func() error { return accounts.(oauth.Deleter).RequestDeletion(ctx, a.DID) }},
	} {
		ok(t, post(t, srv, test.nsid, "Bearer "+a.Access, nil, nil))
		for range 4 {
			ok(t, test.request())
		}
		if err := test.request(); !errors.Is(err, oauth.ErrBusy) {
			t.Errorf("%s, the sixth time: %v", test.nsid, err)
		}
	}
	handles := accounts.(oauth.HandleManager)
	for i := range 11 {
		err := handles.ChangeHandle(ctx, a.DID, syntax.Handle(fmt.Sprintf("alice%d%s", i, handles.ChangeableDomains()[0])))
		if errors.Is(err, oauth.ErrBusy) != (i == 10) {
			t.Errorf("handle %d: %v", i+1, err)
		}
	}
	before := len(srv.Mail.To(a.Email))
	for i := range 6 { // of which the last looks the same
		ok(t, accounts.(oauth.PasswordResets).RequestPasswordReset(ctx, []string{"", " "}[i%2]+a.Email))
		srv.RunJobs()
	}
	if n := len(srv.Mail.To(a.Email)) - before; n != 5 {
		t.Errorf("%d resets were mailed", n)
	}
}
