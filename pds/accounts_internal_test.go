package pds

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"pgregory.net/rapid"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/sqlite"
	"github.com/pdskit/pdskit/xrpc"
)

// The parts of the life of accounts that cannot be reached from outside.

func TestSortedLinesContain(t *testing.T) {
	for name, text := range map[string]string{"handles": reservedHandles, "domains": disposableDomains} {
		var lines []string
		for sc := bufio.NewScanner(strings.NewReader(text)); sc.Scan(); {
			lines = append(lines, sc.Text())
		}
		if !slices.IsSorted(lines) || !strings.HasSuffix(text, "\n") || len(lines) < 900 {
			t.Fatalf("%s: %d lines, sorted: %t", name, len(lines), slices.IsSorted(lines))
		}
		for _, l := range lines {
			if !sortedLinesContain(text, l) {
				t.Errorf("%s: %q is not found", name, l)
			}
			for _, no := range []string{l + "0x", l[1:] + "\x00", l + "\n"} {
				if sortedLinesContain(text, no) {
					t.Errorf("%s: %q is found", name, no)
				}
			}
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		lines := rapid.SliceOfDistinct(rapid.StringMatching(`[a-c]{1,3}`), func(s string) string { return s }).Draw(t, "lines")
		slices.Sort(lines)
		text := ""
		for _, l := range lines {
			text += l + "\n"
		}
		word := rapid.StringMatching(`[a-c]{0,4}`).Draw(t, "word")
		if got, want := sortedLinesContain(text, word), slices.Contains(lines, word); got != want {
			t.Fatalf("%q in %q: %t", word, lines, got)
		}
	})
}

func TestReservedHandlesFit(t *testing.T) {
	for l := range strings.Lines(reservedHandles) {
		front := strings.TrimSuffix(l, "\n")
		if err := checkHandleFront(front, false); err == nil {
			t.Errorf("%s is allowed", front)
		}
		if err := checkHandleFront(front, true); err != nil {
			t.Errorf("%s: an administrator is refused: %v", front, err)
		}
	}
}

func TestHandleFrontBounds(t *testing.T) {
	for n, want := range map[int]bool{2: false, 3: true, 18: true, 19: false} {
		if got := checkHandleFront(strings.Repeat("q", n), false) == nil; got != want {
			t.Errorf("%d characters: %t", n, got)
		}
	}
}

func TestHasExplicitSlur(t *testing.T) {
	for text, want := range map[string]bool{
		"alice.test": false, "chinkara.test": false, "raccoon.test": false, "tranny.test": true,
		"n1gg3r": true, "xxn1gg3rxx": true, "N-i-G_g.E-r": true, "niggle": false, "nightingale": false,
		"3l4ezd7ivkt2k": false, "self": false, "coon.test": true, "fagot.test": true, "kike": true, "spike": false,
		"trainee": false, "": false,
	} {
		if got := hasExplicitSlur(text); got != want {
			t.Errorf("%q: %t", text, got)
		}
	}
}

func BenchmarkHasExplicitSlur(b *testing.B) {
	for b.Loop() {
		if hasExplicitSlur("3l4ezd7ivkt2k") {
			b.Fatal("a TID is a slur")
		}
	}
}

func TestCheckEmail(t *testing.T) {
	long := strings.Repeat("l", 64)
	domain := strings.Repeat(strings.Repeat("d", 61)+".", 3) + "io" // 188 characters
	for email, want := range map[string]string{
		"Alice@Example.COM":         "alice@example.com",
		"a.b+c@mail.example.org":    "a.b+c@mail.example.org",
		"jürgen@example.de":         "jürgen@example.de",
		long + "@example.com":       long + "@example.com",
		long + "l@example.com":      "",
		long + "@" + domain:         long + "@" + domain,
		long + "@d" + domain:        long + "@d" + domain,
		long + "@dd" + domain:       "",
		"alice@example":             "",
		"alice@":                    "",
		"@example.com":              "",
		"a..b@example.com":          "",
		".a@example.com":            "",
		"a@-example.com":            "",
		"a@example-.com":            "",
		"a@example..com":            "",
		"a@example.c":               "",
		"a@192.168.1.10":            "",
		"a b@example.com":           "",
		"a@b@example.com":           "",
		"a@example.com\r\nBcc: b@c": "",
		"a\xff@example.com":         "",
		"alice@mailinator.com":      "",
		"alice@MAILINATOR.com":      "",
	} {
		got, err := checkEmail(email)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", email, got, err)
		}
	}
}

func FuzzCheckEmail(f *testing.F) {
	f.Add("alice@example.com")
	f.Add("jürgen@bücher.example")
	f.Fuzz(func(t *testing.T, text string) {
		email, err := checkEmail(text)
		if err != nil {
			return
		}
		if strings.ContainsAny(email, "\r\n\t <>,;\"\x00") || len(email) > maxEmailBytes || strings.Count(email, "@") != 1 {
			t.Errorf("%q is accepted as %q", text, email)
		}
		if again, err := checkEmail(email); err != nil || again != email {
			t.Errorf("%q does not stay the same: %q, %v", email, again, err)
		}
	})
}

func testStore(t *testing.T) storage.Store {
	t.Helper()
	s, err := sqlite.OpenMemory(sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestMailTokens(t *testing.T) {
	t.Parallel()
	store := testStore(t)
	now := time.Now()
	update := func(fn func(tx storage.Tx) error) {
		t.Helper()
		if err := store.Update(t.Context(), fn); err != nil {
			t.Fatal(err)
		}
	}
	const alice, bob = "did:web:alice.test", "did:web:bob.test"
	update(func(tx storage.Tx) error {
		for _, did := range []syntax.DID{alice, bob} {
			if _, err := tx.PutAccount(storage.Account{DID: did, CreatedAt: now}); err != nil {
				return err
			}
			for _, p := range mailPurposes() {
				if err := putMailToken(tx, p, did, tokenFor(p, did), now); err != nil {
					return err
				}
			}
		}
		return nil
	})
	take := func(p mailPurpose, did syntax.DID, token string, at time.Time) (name string) {
		t.Helper()
		update(func(tx storage.Tx) error {
			refused, err := takeMailToken(tx, p, did, token, at)
			name = ""
			if refused != nil {
				name = refused.Name
			}
			return err
		})
		return name
	}
	find := func(p mailPurpose, token string) (did syntax.DID) {
		t.Helper()
		err := store.View(t.Context(), func(tx storage.Tx) (err error) {
			did, err = findMailToken(tx, p, token)
			return err
		})
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			t.Fatal(err)
		}
		return did
	}
	reset := tokenFor(mailResetPassword, alice)
	if got := find(mailResetPassword, strings.ToLower(reset)); got != alice {
		t.Errorf("found %q", got)
	}
	if got := find(mailConfirmEmail, reset); got != "" {
		t.Errorf("found %q for another purpose", got)
	}
	for _, c := range []struct {
		what  string
		did   syntax.DID
		p     mailPurpose
		after time.Duration
		want  string
	}{
		{"of another account", bob, mailResetPassword, 0, "InvalidToken"},
		{"of another purpose", alice, mailConfirmEmail, 0, "InvalidToken"},
		{"late", alice, mailResetPassword, mailTokenTTL + time.Millisecond, "ExpiredToken"},
		{"in time", alice, mailResetPassword, mailTokenTTL, ""},
		{"again", alice, mailResetPassword, mailTokenTTL, "InvalidToken"},
	} {
		if got := take(c.p, c.did, reset, now.Add(c.after)); got != c.want {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
	if got := find(mailResetPassword, reset); got != "" {
		t.Error("a used code is still found")
	}

	// Nine wrong tries are forgiven, the tenth ends the code.
	for _, tries := range []int{mailTokenTries - 1, mailTokenTries} {
		update(func(tx storage.Tx) error {
			return putMailToken(tx, mailUpdateEmail, alice, tokenFor(mailUpdateEmail, alice), now)
		})
		for range tries {
			take(mailUpdateEmail, alice, "AAAAA-AAAAA", now)
		}
		if got := take(mailUpdateEmail, alice, tokenFor(mailUpdateEmail, alice), now); (got == "") != (tries < mailTokenTries) {
			t.Errorf("after %d wrong tries: %q", tries, got)
		}
	}

	update(func(tx storage.Tx) error { return dropMailTokens(tx, alice) })
	if err := store.View(t.Context(), func(tx storage.Tx) error {
		docs, err := tx.ScanOwner(alice, docMailToken)
		if len(docs) > 0 {
			t.Errorf("%d documents are left", len(docs))
		}
		kept, err2 := tx.ScanOwner(bob, docMailToken)
		if len(kept) != 2*len(mailPurposes()) {
			t.Errorf("bob has %d documents", len(kept))
		}
		return errors.Join(err, err2)
	}); err != nil {
		t.Fatal(err)
	}
}

func tokenFor(p mailPurpose, did syntax.DID) string {
	return strings.ToUpper(string(p)[:5] + "-" + string(did)[8:13])
}

func TestRandomCodes(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		c := randomPair()
		if len(c) != 11 || c[5] != '-' || strings.Trim(c, "abcdefghijklmnopqrstuvwxyz234567-") != "" || seen[c] {
			t.Fatalf("code %q", c)
		}
		seen[c] = true
	}
}

func TestPLCFailures(t *testing.T) {
	dial := &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("refused")}
	read := &net.OpError{Op: "read", Net: "tcp", Err: errors.New("reset")}
	for _, c := range []struct {
		err     error
		outcome outcome
		status  int // of the answer; 0: not an xrpc.Error
		name    string
	}{
		{&identity.PLCError{Status: 400, Message: "no"}, notRegistered, 400, "InvalidRequest"},
		{&identity.PLCError{Status: 409, Message: "no"}, notRegistered, 400, "InvalidRequest"},
		{&identity.PLCError{Status: 500, Message: "oops"}, unknownOutcome, 502, "UpstreamFailure"},
		{fmt.Errorf("%w: %w", identity.ErrPLCUnavailable, dial), notRegistered, 502, "UpstreamFailure"},
		{fmt.Errorf("%w: %w", identity.ErrPLCUnavailable, read), unknownOutcome, 502, "UpstreamFailure"},
		{fmt.Errorf("%w: %w", identity.ErrPLCUnavailable, context.DeadlineExceeded), unknownOutcome, 504, "UpstreamTimeout"},
		{identity.ErrTombstoned, unknownOutcome, 400, "InvalidRequest"},
		{identity.ErrNotRotationKey, unknownOutcome, 400, "InvalidRequest"},
		{errors.New("something else"), unknownOutcome, 0, ""},
	} {
		if got := submitOutcome(c.err); got != c.outcome {
			t.Errorf("%v: outcome %d", c.err, got)
		}
		got := plcFailure(c.err)
		var e *xrpc.Error
		if !errors.As(got, &e) {
			e = &xrpc.Error{}
		}
		if e.Status != c.status || c.status != 0 && wireName(e) != c.name || !errors.Is(got, c.err) {
			t.Errorf("%v: %d %q", c.err, e.Status, e.Name)
		}
	}
}

func wireName(e *xrpc.Error) string {
	if e.Name == "" && e.Status == http.StatusBadRequest {
		return "InvalidRequest"
	}
	return e.Name
}
