package totp_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	otp "github.com/pquerna/otp/totp"

	"github.com/pdskit/pdskit/oauth"
	"github.com/pdskit/pdskit/oauth/totp"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/sqlite"
)

var alice = oauth.Account{DID: "did:plc:aliceaaaaaaaaaaaaaaaaaaa", Handle: "alice.example.com"}

type fixture struct {
	*totp.Factor
	t     *testing.T
	store storage.DocStore
	cfg   totp.Config
	now   time.Time
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	store, err := sqlite.OpenMemory(sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	f := &fixture{t: t, store: storage.DocsOf(store), now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}
	f.cfg = totp.Config{
		Store: f.store, Secret: bytes.Repeat([]byte("x"), totp.MinSecret), Issuer: "Example", Clock: func() time.Time { return f.now },
	}
	f.reopen()
	return f
}

func (f *fixture) reopen() {
	f.t.Helper()
	var err error
	if f.Factor, err = totp.New(f.cfg); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) code(secret string, at time.Duration) string {
	f.t.Helper()
	code, err := otp.GenerateCode(secret, f.now.Add(at))
	if err != nil {
		f.t.Fatal(err)
	}
	return code
}

// enrolled adds an app and returns its secret.
func (f *fixture) enrolled(name string) (secret string, recovery []string) {
	f.t.Helper()
	ctx := f.t.Context()
	if err := f.Enrol(ctx, alice); err != nil {
		f.t.Fatal(err)
	}
	have, err := f.Factors(ctx, alice.DID)
	if err != nil {
		f.t.Fatal(err)
	}
	if recovery, err = f.Confirm(ctx, alice.DID, name, f.code(have.Pending.Secret, 0)); err != nil {
		f.t.Fatal(err)
	}
	f.now = f.now.Add(time.Minute)
	return have.Pending.Secret, recovery
}

func (f *fixture) challenge(factor string) *oauth.Challenge {
	f.t.Helper()
	c, err := f.Begin(f.t.Context(), oauth.FactorAttempt{Account: alice, Factor: factor})
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

func (f *fixture) verify(factor, answer string, want error) {
	f.t.Helper()
	if err := f.Verify(f.t.Context(), f.challenge(factor), answer); !errors.Is(err, want) || want == nil && err != nil {
		f.t.Errorf("%s %q: %v, want %v", factor, answer, err, want)
	}
}

// Nothing is asked for before an enrolment is confirmed, and after it is
// removed.
func TestEnrolment(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	if f.challenge("") != nil {
		t.Error("a challenge without enrolment")
	}
	if err := f.Enrol(ctx, alice); err != nil {
		t.Fatal(err)
	}
	if f.challenge("") != nil {
		t.Error("a challenge before the enrolment is confirmed")
	}
	f.reopen()
	have, err := f.Factors(ctx, alice.DID)
	if err != nil || have.Pending == nil || len(have.Enrolled) != 0 {
		t.Fatalf("%+v, %v", have, err)
	}
	p := have.Pending
	if !strings.HasPrefix(p.URL, "otpauth://totp/Example:alice.example.com?") || !strings.Contains(p.URL, p.Secret) || !bytes.HasPrefix(p.QR, []byte("\x89PNG")) {
		t.Errorf("the enrolment is %q %q", p.URL, p.Secret)
	}
	if _, err := f.Confirm(ctx, alice.DID, "x", "000000"); !errors.Is(err, oauth.ErrCodeInvalid) {
		t.Errorf("a wrong code: %v", err)
	}
	if _, err := f.Confirm(ctx, "did:plc:somebodyelse", "x", f.code(p.Secret, 0)); !errors.Is(err, oauth.ErrCodeInvalid) {
		t.Errorf("somebody else's code: %v", err)
	}
	codes, err := f.Confirm(ctx, alice.DID, "Phone", f.code(p.Secret, 0))
	if err != nil || len(codes) != totp.RecoveryCodes {
		t.Fatalf("%v, %v", codes, err)
	}
	if _, err := f.Confirm(ctx, alice.DID, "again", f.code(p.Secret, 30*time.Second)); !errors.Is(err, oauth.ErrCodeInvalid) {
		t.Errorf("confirmed twice: %v", err)
	}
	have, err = f.Factors(ctx, alice.DID)
	if err != nil || len(have.Enrolled) != 1 || have.Enrolled[0].Name != "Phone" || have.Pending != nil || have.RecoveryLeft != totp.RecoveryCodes {
		t.Fatalf("%+v, %v", have, err)
	}
	if err := f.Remove(ctx, alice.DID, "other"); err != nil || f.challenge("") == nil {
		t.Errorf("removing another one: %v", err)
	}
	if err := f.Remove(ctx, alice.DID, have.Enrolled[0].ID); err != nil || f.challenge("") != nil {
		t.Errorf("removing: %v", err)
	}
	if codes, err := f.NewRecovery(ctx, alice.DID); err != nil || codes != nil {
		t.Errorf("recovery codes without an app: %v, %v", codes, err)
	}
}

// An enrolment may take a quarter of an hour, and an account has five apps.
func TestLimits(t *testing.T) {
	f := newFixture(t)
	ctx := t.Context()
	if err := f.Enrol(ctx, alice); err != nil {
		t.Fatal(err)
	}
	f.now = f.now.Add(15*time.Minute - time.Second)
	if have, err := f.Factors(ctx, alice.DID); err != nil || have.Pending == nil {
		t.Errorf("%+v, %v", have, err)
	}
	f.now = f.now.Add(time.Second)
	if have, err := f.Factors(ctx, alice.DID); err != nil || have.Pending != nil {
		t.Errorf("%+v, %v", have, err)
	}
	for i := range totp.MaxApps {
		if _, codes := f.enrolled("app"); (len(codes) > 0) != (i == 0) {
			t.Errorf("app %d: recovery codes %v", i, codes)
		}
	}
	if err := f.Enrol(ctx, alice); !errors.Is(err, oauth.ErrFactorLimit) {
		t.Errorf("one more: %v", err)
	}
}

// The clock of an app may be half a minute off. No code is good twice, and none
// after a later one.
func TestCodes(t *testing.T) {
	f := newFixture(t)
	secret, _ := f.enrolled("Phone")
	second, _ := f.enrolled("Tablet")
	for _, at := range []time.Duration{-60 * time.Second, 60 * time.Second} {
		f.verify("", f.code(secret, at), oauth.ErrCodeInvalid)
	}
	for _, at := range []time.Duration{-30 * time.Second, 0, 30 * time.Second} {
		f.verify("", f.code(secret, at), nil)
		f.verify("", f.code(secret, at), oauth.ErrCodeInvalid)
	}
	f.verify("", f.code(secret, 0), oauth.ErrCodeInvalid)
	f.verify("", " "+f.code(second, 0)[:3]+" "+f.code(second, 0)[3:], nil)
	for _, bad := range []string{"", "1", "1234567", "abcdef", strings.Repeat("0", 10_000), "\x00"} {
		f.verify("", bad, oauth.ErrCodeInvalid)
	}
}

// Of many at the same time one gets in.
func TestCodesRace(t *testing.T) {
	f := newFixture(t)
	secret, recovery := f.enrolled("Phone")
	for factor, answer := range map[string]string{"": f.code(secret, 0), "recovery": recovery[0]} {
		c := f.challenge(factor)
		var wg sync.WaitGroup
		results := make(chan error, 20)
		for range cap(results) {
			wg.Go(func() { results <- f.Verify(t.Context(), c, answer) })
		}
		wg.Wait()
		close(results)
		good := 0
		for err := range results {
			if err == nil {
				good++
			} else if !errors.Is(err, oauth.ErrCodeInvalid) {
				t.Errorf("%q: %v", factor, err)
			}
		}
		if good != 1 {
			t.Errorf("%q: %d got in", factor, good)
		}
	}
}

// A recovery code is good once, however it is written; new ones end the old.
func TestRecovery(t *testing.T) {
	f := newFixture(t)
	_, codes := f.enrolled("Phone")
	f.reopen()
	f.verify("recovery", strings.ToUpper(strings.ReplaceAll(codes[0], "-", " ")), nil)
	f.verify("recovery", codes[0], oauth.ErrCodeInvalid)
	f.verify("recovery", "", oauth.ErrCodeInvalid)
	fresh, err := f.NewRecovery(t.Context(), alice.DID)
	if err != nil || len(fresh) != totp.RecoveryCodes {
		t.Fatalf("%v, %v", fresh, err)
	}
	f.verify("recovery", codes[1], oauth.ErrCodeInvalid)
	for _, code := range fresh {
		f.verify("recovery", code, nil)
	}
	if c := f.challenge(""); len(c.Others) != 0 {
		t.Errorf("used up, and still offered: %+v", c)
	}
}

// What is stored opens nothing: no secret, URL or recovery code in the clear, and
// nothing that another account or another secret could use.
func TestAtRest(t *testing.T) {
	f := newFixture(t)
	secret, codes := f.enrolled("Phone")
	var docs []storage.Doc
	err := f.store.View(t.Context(), func(d storage.Docs) (err error) {
		docs, err = d.ScanDocs("oauth-totp", storage.Scan{Limit: 10})
		return err
	})
	if err != nil || len(docs) != 1 {
		t.Fatalf("%d documents, %v", len(docs), err)
	}
	for _, clear := range append(codes, secret, strings.ReplaceAll(codes[0], "-", "")) {
		if bytes.Contains(docs[0].Value, []byte(clear)) {
			t.Errorf("%q is stored in the clear", clear)
		}
	}
	thief := syntax.DID("did:plc:thieffffffffffffffffffff")
	err = f.store.Update(t.Context(), func(d storage.Docs) error {
		_, err := d.PutDoc(storage.Doc{Kind: "oauth-totp", Key: string(thief), Value: docs[0].Value})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	c, err := f.Begin(t.Context(), oauth.FactorAttempt{Account: oauth.Account{DID: thief}})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Verify(t.Context(), c, f.code(secret, 0)); err == nil {
		t.Error("a secret works for another account")
	}
	f.cfg.Secret = bytes.Repeat([]byte("y"), totp.MinSecret)
	f.reopen()
	if err := f.Verify(t.Context(), f.challenge(""), f.code(secret, 0)); err == nil || errors.Is(err, oauth.ErrCodeInvalid) {
		t.Errorf("with another secret: %v", err)
	}
}

func TestConfig(t *testing.T) {
	good := newFixture(t).cfg
	for field, break_ := range map[string]func(*totp.Config){
		"Store":  func(c *totp.Config) { c.Store = nil },
		"Secret": func(c *totp.Config) { c.Secret = c.Secret[1:] },
		"Issuer": func(c *totp.Config) { c.Issuer = "a:b" },
	} {
		cfg := good
		break_(&cfg)
		if _, err := totp.New(cfg); err == nil || !strings.Contains(err.Error(), "Config."+field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	good.Clock = nil
	f, err := totp.New(good)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := f.Begin(context.Background(), oauth.FactorAttempt{Account: alice}); c != nil || err != nil {
		t.Errorf("%v, %v", c, err)
	}
}
