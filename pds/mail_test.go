package pds_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/sqlite"
)

const (
	confirmationNSID = "com.atproto.server.requestEmailConfirmation"
	confirmNSID      = "com.atproto.server.confirmEmail"
	resetNSID        = "com.atproto.server.requestPasswordReset"
)

var codePattern = regexp.MustCompile(`\b[A-Z2-7]{5}-[A-Z2-7]{5}\b`)

func codeIn(text string) string { return codePattern.FindString(text) }

// confirmed is an edit of an account.
func confirmed(a *storage.Account) { a.EmailConfirmedAt = time.Unix(1_700_000_000, 0) }

// brokenMailer fails as long as it is told to. Its methods may be called
// concurrently.
type brokenMailer struct {
	pdstest.Mailbox

	mu       sync.Mutex // guards following 2 fields
	failure  error
	attempts int
}

func (m *brokenMailer) set(failure error) (attempts int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failure = failure
	return m.attempts
}

func (m *brokenMailer) Send(ctx context.Context, mail pds.Mail) error {
	m.mu.Lock()
	m.attempts++
	err := m.failure
	m.mu.Unlock()
	if err != nil {
		return err
	}
	return m.Mailbox.Send(ctx, mail)
}

// jobsOf returns the jobs of a kind.
func jobsOf(t *testing.T, srv *pdstest.PDS, kind string) []pds.JobInfo {
	t.Helper()
	list, err := srv.Jobs(t.Context(), pds.JobQuery{})
	ok(t, err)
	return slices.DeleteFunc(list, func(j pds.JobInfo) bool { return j.Kind != kind })
}

// TestMailServerDown: who asks for a code does not notice; the mail comes when
// the server is back, once, with a code that works.
func TestMailServerDown(t *testing.T) {
	t.Parallel()
	mailer := &brokenMailer{failure: errors.New("connection refused")}
	srv := pdstest.New(t, func(cfg *pds.Config) { cfg.Mailer = mailer })
	a := srv.CreateAccount("alice")
	for range 3 {
		a.Post(confirmationNSID, nil, nil)
	}
	srv.RunJobs()
	if list := jobsOf(t, srv, "mail"); len(list) != 1 || !strings.Contains(list[0].Error, "connection refused") {
		t.Fatalf("queued: %+v", list)
	}
	for range 3 {
		srv.Clock.Advance(time.Minute)
		srv.RunJobs()
	}
	if n := mailer.set(nil); n < 4 {
		t.Errorf("%d attempts", n)
	}
	srv.Clock.Advance(3 * time.Minute)
	srv.RunJobs()
	mails := mailer.To(a.Email)
	if len(mails) != 1 || len(jobsOf(t, srv, "mail")) != 0 {
		t.Fatalf("%d mails came, queued: %+v", len(mails), jobsOf(t, srv, "mail"))
	}
	// The code is as old as its mail, not as the request.
	srv.Clock.Advance(14 * time.Minute)
	a.Post(confirmNSID, map[string]any{"email": a.Email, "token": codeIn(mails[0].Text)}, nil)
}

// TestOldMailIsDropped: nobody gets a code that was asked for long ago.
func TestOldMailIsDropped(t *testing.T) {
	t.Parallel()
	mailer := &brokenMailer{failure: errors.New("down")}
	srv := pdstest.New(t, func(cfg *pds.Config) { cfg.Mailer = mailer })
	a := srv.CreateAccount("alice")
	a.Post(confirmationNSID, nil, nil)
	srv.Post(resetNSID, "", map[string]any{"email": a.Email}, nil)
	srv.RunJobs()
	mailer.set(nil)
	srv.Clock.Advance(15*time.Minute + time.Second)
	srv.RunJobs()
	if mails := mailer.To(a.Email); len(mails) != 0 || len(jobsOf(t, srv, "mail")) != 0 {
		t.Errorf("mails: %+v, queued: %+v", mails, jobsOf(t, srv, "mail"))
	}
}

// TestUndeliverableMail is not tried again, and shown to the operator.
func TestUndeliverableMail(t *testing.T) {
	t.Parallel()
	mailer := &brokenMailer{failure: fmt.Errorf("no such user: %w", pds.ErrUndeliverable)}
	srv := pdstest.New(t, func(cfg *pds.Config) { cfg.Mailer = mailer })
	a := srv.CreateAccount("alice")
	a.Post(confirmationNSID, nil, nil)
	srv.RunJobs()
	srv.Clock.Advance(5 * time.Minute)
	srv.RunJobs()
	dead, err := srv.Jobs(t.Context(), pds.JobQuery{Dead: true})
	ok(t, err)
	if n := mailer.set(nil); n != 1 || len(dead) != 1 || !strings.Contains(dead[0].Error, "no such user") || len(dead[0].Data) != 0 {
		t.Fatalf("%d attempts, dead: %+v", n, dead)
	}
	ok(t, srv.RetryJob(t.Context(), dead[0].Kind, dead[0].Name))
	if code := func() string { srv.RunJobs(); return mailer.Code(a.Email) }(); code == "" {
		t.Error("the retry sent nothing")
	}
}

// TestQueuedMailKeepsNoCode: what is stored while a mail waits holds no code,
// and no hash of a code that nobody knows.
func TestQueuedMailKeepsNoCode(t *testing.T) {
	t.Parallel()
	store, err := sqlite.OpenMemory(sqlite.Options{})
	ok(t, err)
	t.Cleanup(func() { _ = store.Close() })
	var codes []string
	mailer := &brokenMailer{}
	srv := pdstest.New(t, func(cfg *pds.Config) { cfg.Mailer, cfg.Store = mailer, store })
	a := srv.CreateAccount("alice")
	a.Post(confirmationNSID, nil, nil)
	srv.RunJobs()
	codes = append(codes, mailer.Code(a.Email))
	mailer.set(errors.New("down"))
	a.Post(confirmationNSID, nil, nil)
	srv.RunJobs()
	ok(t, store.View(t.Context(), func(tx storage.Tx) error {
		for _, kind := range []string{"job", "job-due", "mail-token"} {
			docs, err := tx.ScanDocs(kind, storage.Scan{Limit: 100})
			if err != nil {
				return err
			}
			for _, d := range docs {
				if codePattern.Match(d.Value) || codePattern.MatchString(d.Key) || strings.Contains(string(d.Value), codes[0]) {
					t.Errorf("%s %s: %s", d.Kind, d.Key, d.Value)
				}
			}
		}
		return nil
	}))
}

// TestQueuedMailSurvivesRestart stops the server while a mail waits.
func TestQueuedMailSurvivesRestart(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "pds.db")
	open := func(t *testing.T, first *pds.Config, mailer pds.Mailer) *pdstest.PDS {
		store, err := sqlite.Open(file, sqlite.Options{})
		ok(t, err)
		t.Cleanup(func() { ok(t, store.Close()) })
		return pdstest.New(t, func(cfg *pds.Config) {
			cfg.Store, cfg.Mailer = store, mailer
			if first != nil {
				cfg.ServiceDID, cfg.Registry, cfg.Directory = first.ServiceDID, first.Registry, first.Directory
			}
		})
	}
	var a pdstest.Account
	var cfg pds.Config
	t.Run("before", func(t *testing.T) {
		srv := open(t, nil, &brokenMailer{failure: errors.New("down")})
		a, cfg = *srv.CreateAccount("alice"), srv.Config
		srv.Post(resetNSID, "", map[string]any{"email": a.Email}, nil)
		srv.RunJobs()
	})
	t.Run("after", func(t *testing.T) {
		mailer := new(brokenMailer)
		srv := open(t, &cfg, mailer)
		for mailer.Code(a.Email) == "" { // the first retry is due after some seconds
			select {
			case <-t.Context().Done():
				t.Fatal("the mail does not come")
			case <-time.After(50 * time.Millisecond):
			}
		}
		ok(t, post(t, srv, "com.atproto.server.resetPassword", "", map[string]any{
			"token": mailer.Code(a.Email), "password": "a new password",
		}, nil))
	})
}

// TestMailAndTheClock: a clock that jumps delays no mail, whatever it says.
func TestMailAndTheClock(t *testing.T) {
	t.Parallel()
	for _, jump := range []time.Duration{aYear, -aYear, time.Hour, -time.Hour} {
		t.Run(jump.String(), func(t *testing.T) {
			t.Parallel()
			mailer := &brokenMailer{failure: errors.New("down")}
			srv := pdstest.New(t, func(cfg *pds.Config) { cfg.Mailer = mailer })
			a := srv.CreateAccount("alice")
			srv.Post(resetNSID, "", map[string]any{"email": a.Email}, nil)
			srv.RunJobs()
			mailer.set(nil)
			srv.Clock.Jump(jump)
			srv.Clock.Advance(time.Minute)
			srv.RunJobs()
			code := mailer.Code(a.Email)
			ok(t, post(t, srv, "com.atproto.server.resetPassword", "", map[string]any{"token": code, "password": "a new password"}, nil))
			srv.Post(resetNSID, "", map[string]any{"email": a.Email}, nil)
			srv.RunJobs()
			srv.Clock.Jump(-jump)
			ok(t, post(t, srv, "com.atproto.server.resetPassword", "", map[string]any{
				"token": mailer.Code(a.Email), "password": "another password",
			}, nil))
		})
	}
}

// TestSlowMailServer: requests do not wait for it.
func TestSlowMailServer(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	srv := pdstest.New(t, func(cfg *pds.Config) { cfg.Mailer = mailerFunc(func() { <-release }) })
	a := srv.CreateAccount("alice")
	for range 3 {
		a.Post(confirmationNSID, nil, nil)
	}
	close(release)
}

type mailerFunc func()

func (f mailerFunc) Send(context.Context, pds.Mail) error { f(); return nil }

// TestModerationMail covers admin.sendEmail.
func TestModerationMail(t *testing.T) {
	t.Parallel()
	moderation := new(pdstest.Mailbox)
	srv := pdstest.New(t, func(cfg *pds.Config) { cfg.ModerationMailer = moderation })
	a, silent := srv.CreateAccount("alice"), srv.CreateAccount("bob")
	editAccount(t, srv, silent.DID, func(a *storage.Account) { a.Email = "" })
	setTakedown(t, srv, a.DID, true)
	const nsid = "com.atproto.admin.sendEmail"
	mail := map[string]any{"recipientDid": a.DID, "senderDid": "did:plc:moderator", "content": "<p>Your post &amp; you</p>"}
	var out struct{ Sent bool }
	ok(t, post(t, srv, nsid, adminAuth, mail, &out))
	ok(t, post(t, srv, nsid, adminAuth, with(mail, "subject", "Two\r\nBcc: lines"), &out))
	srv.RunJobs()
	got := moderation.To(a.Email)
	if !out.Sent || len(got) != 2 {
		t.Fatalf("sent %t, mails %+v", out.Sent, got)
	}
	slices.SortFunc(got, func(x, y pds.Mail) int { return strings.Compare(x.Subject, y.Subject) })
	if got[0].Subject != "Message via your PDS" || got[1].Subject != "Two Bcc: lines" {
		t.Errorf("subjects %q, %q", got[0].Subject, got[1].Subject)
	}
	if got[0].HTML != "<p>Your post &amp; you</p>" || got[0].Text != "Your post & you\n" {
		t.Errorf("%+v", got[0])
	}
	if len(srv.Mail.To(a.Email)) != 0 {
		t.Error("it went by the other mailer")
	}
	const room = 64<<10 - len(`{"subject":"Message via your PDS","html":""}`+"\n")
	ok(t, post(t, srv, nsid, adminAuth, with(mail, "content", strings.Repeat("x", room)), nil))
	for name, in := range map[string]map[string]any{
		"nobody":      with(mail, "recipientDid", "did:plc:nobody"),
		"no address":  with(mail, "recipientDid", silent.DID),
		"too long":    with(mail, "content", strings.Repeat("x", room+1)),
		"long header": with(mail, "subject", strings.Repeat("x", 501)),
	} {
		err := post(t, srv, nsid, adminAuth, in, nil)
		if e := (*pdstest.Error)(nil); !errors.As(err, &e) || e.Status != http.StatusBadRequest {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSignInAlerts signs in from known and unknown devices.
func TestSignInAlerts(t *testing.T) {
	t.Parallel()
	for _, on := range []bool{false, true} {
		t.Run(fmt.Sprintf("on=%t", on), func(t *testing.T) {
			t.Parallel()
			srv := pdstest.New(t, func(cfg *pds.Config) { cfg.SignInAlerts = on })
			a := srv.CreateAccount("alice")
			app := newAppPassword(t, a, "app", false)
			signIn := func(password, userAgent, ip string, alerts int) {
				t.Helper()
				before := len(srv.Mail.To(a.Email))
				_, err := srv.Call(t.Context(), http.MethodPost, createSession, nil,
					http.Header{"User-Agent": {userAgent}, "X-Forwarded-For": {ip}},
					map[string]any{"identifier": a.Handle, "password": password})
				ok(t, err)
				if !on {
					alerts = 0
				}
				if got := len(srv.Mail.To(a.Email)) - before; got != alerts {
					t.Errorf("%q at %s: %d alerts, want %d", userAgent, ip, got, alerts)
				}
			}
			a.Login() // the device of the sign-up
			if n := len(srv.Mail.To(a.Email)); n != 0 {
				t.Errorf("%d alerts for the first device", n)
			}
			signIn(a.Password, "Phone", "203.0.113.7", 1)
			signIn(a.Password, "Phone", "203.0.113.7", 0)
			signIn(a.Password, "Phone", "203.0.99.1", 0) // another address of the same provider
			signIn(a.Password, "Phone", "198.51.100.7", 1)
			signIn(a.Password, "Laptop", "203.0.113.7", 1)
			signIn(a.Password, "Laptop", "2001:db8:1::1", 1)
			signIn(app, "Feed reader", "203.0.113.7", 0)
			srv.Clock.Advance(80 * aDay)
			signIn(a.Password, "Phone", "203.0.113.7", 0)
			srv.Clock.Advance(80 * aDay)
			signIn(a.Password, "Phone", "203.0.113.7", 0)  // remembered since the last time
			signIn(a.Password, "Laptop", "203.0.113.7", 1) // forgotten
			for i := range 100 {
				signIn(a.Password, fmt.Sprint("Robot ", i), "203.0.113.7", 1)
			}
			ok(t, srv.Config.Store.View(t.Context(), func(tx storage.Tx) error {
				docs, err := tx.ScanOwner(a.DID, "device")
				if want := map[bool]int{true: 100}[on]; len(docs) != want {
					t.Errorf("%d devices are remembered, want %d", len(docs), want)
				}
				return err
			}))
		})
	}
}
