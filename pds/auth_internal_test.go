package pds

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/pdskit/pdskit/xrpc"
)

func TestParseAuthorization(t *testing.T) {
	for _, c := range []struct {
		values        []string
		scheme, value string
		ok            bool
	}{
		{nil, "", "", false},
		{[]string{""}, "", "", false},
		{[]string{"Bearer"}, "", "", false},
		{[]string{"Bearer "}, "", "", false},
		{[]string{" Bearer x"}, "", "", false},
		{[]string{"Bearer x y"}, "", "", false},
		{[]string{"Bearer x\ty"}, "", "", false},
		{[]string{"Bearer x", "Bearer y"}, "", "", false},
		{[]string{"Bearer x"}, "bearer", "x", true},
		{[]string{"bEARER   x "}, "bearer", "x", true},
		{[]string{"Basic eDp5"}, "basic", "eDp5", true},
		{[]string{"Digest x=1"}, "digest", "x=1", true},
	} {
		scheme, value, ok := parseAuthorization(c.values)
		if scheme != c.scheme || value != c.value || ok != c.ok {
			t.Errorf("%q: %q %q %v", c.values, scheme, value, ok)
		}
	}
}

func FuzzParseAuthorization(f *testing.F) {
	for _, s := range []string{"", "Bearer a.b.c", "Basic YWRtaW46eA==", "  ", "x\x00 y"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		scheme, value, ok := parseAuthorization([]string{header})
		if ok != (scheme != "" && value != "") || strings.ContainsAny(scheme+value, " ") {
			t.Errorf("%q: %q %q %v", header, scheme, value, ok)
		}
	})
}

func testJWT(header, payload, sig string) string {
	enc := base64.RawURLEncoding
	return enc.EncodeToString([]byte(header)) + "." + enc.EncodeToString([]byte(payload)) + "." + enc.EncodeToString([]byte(sig))
}

func TestParseJWTRefuses(t *testing.T) {
	good := testJWT(`{"alg":"HS256","typ":"JWT"}`, `{}`, "sig")
	if _, err := parseJWT(good); err != nil {
		t.Fatal(err)
	}
	for name, token := range map[string]string{
		"empty":               "",
		"two parts":           "e30.e30",
		"four parts":          good + ".e30",
		"empty header":        ".e30.c2ln",
		"empty payload":       "e30..c2ln",
		"empty signature":     "e30.e30.",
		"padding":             "e30=.e30.c2ln",
		"stray bits":          "e30.e30.c2lo" + "Z",
		"line break":          "e3\n0.e30.c2ln",
		"header no JSON":      testJWT(`{`, `{}`, "sig"),
		"header an array":     testJWT(`[]`, `{}`, "sig"),
		"alg a number":        testJWT(`{"alg":1}`, `{}`, "sig"),
		"critical extensions": testJWT(`{"alg":"HS256","crit":["exp"]}`, `{}`, "sig"),
		"too long":            testJWT(`{}`, strings.Repeat(" ", maxJWTBytes), "sig"),
	} {
		if _, err := parseJWT(token); !errors.Is(err, errJWTFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestJWTLengthEdge(t *testing.T) {
	token := "e30.e30." + strings.Repeat("AAAA", maxJWTBytes/4-2)
	if len(token) != maxJWTBytes {
		t.Fatalf("%d bytes", len(token))
	}
	if _, err := parseJWT(token); err != nil {
		t.Error(err)
	}
	if _, err := parseJWT(token + "AAAA"); !errors.Is(err, errJWTFormat) {
		t.Errorf("one step longer: %v", err)
	}
}

// Whatever parses must have one form only: encoded again it is the same text.
func FuzzParseJWT(f *testing.F) {
	f.Add(testJWT(`{"alg":"HS256","typ":"at+jwt"}`, `{"sub":"did:plc:x","exp":1e9}`, "signature"))
	f.Add(testJWT(`{"alg":"none"}`, `{}`, "x"))
	f.Add("a.b.c")
	f.Add("...")
	f.Fuzz(func(t *testing.T, token string) {
		j, err := parseJWT(token)
		if err != nil {
			if !errors.Is(err, errJWTFormat) {
				t.Errorf("error %v", err)
			}
			return
		}
		enc := base64.RawURLEncoding
		head, _, _ := strings.Cut(j.input, ".")
		if got := head + "." + enc.EncodeToString(j.payload) + "." + enc.EncodeToString(j.signature); got != token {
			t.Errorf("%q is also %q", token, got)
		}
		if j.verifyHS256([]byte("a secret that nobody guesses")) == nil {
			t.Errorf("%q verifies", token)
		}
		var session sessionClaims
		var service serviceClaims
		_ = j.claims(&session)
		_ = j.claims(&service)
		_ = hasIssuer(token)
	})
}

func TestProtectedAndPrivilegedMethods(t *testing.T) {
	for nsid, want := range map[string][2]bool{ // protected, privileged
		"com.atproto.server.getSession":                     {true, false},
		"COM.atproto.server.getsession":                     {true, false},
		"com.atproto.identity.signPlcOperation":             {true, false},
		"com.atproto.admin.sendEmail":                       {true, false},
		"com.atproto.admin.getAccountInfo":                  {false, false},
		"com.atproto.server.createAccount":                  {false, true},
		"com.atproto.repo.uploadBlob":                       {false, false},
		"chat.bsky.convo.getLog":                            {false, true},
		"Chat.Bsky.convo.getLog":                            {false, true},
		"chat.bskyx.convo.getLog":                           {false, false},
		"app.bsky.feed.getTimeline":                         {false, false},
		"":                                                  {false, false},
		"com.atproto.server.":                               {false, false},
		"com.example.com.atproto.server.getSession":         {false, false},
		"com.atproto.identity.requestPlcOperationSignature": {true, false},
		"com.atproto.server.requestEmailConfirmation":       {true, false},
		"com.atproto.server.requestPasswordReset":           {false, false},
		"com.atproto.server.updateEmail":                    {true, false},
	} {
		if got := [2]bool{isProtected(nsid), isPrivileged(nsid)}; got != want {
			t.Errorf("%s: protected, privileged = %v, want %v", nsid, got, want)
		}
	}
}

func TestServiceAudience(t *testing.T) {
	plc := "did:plc:" + strings.Repeat("a", 24)
	for aud, want := range map[string]bool{
		plc:                                  true,
		plc + "#bsky_appview":                true,
		"did:web:api.example.com":            true,
		"did:web:api.example.com#bsky_chat":  true,
		"did:web:localhost":                  true,
		"did:web:localhost%3A2583":           true,
		"did:web:localhost%3A2583#x":         true,
		"did:web:localhostx":                 false,
		"did:web:localhost%3A":               false,
		"did:web:localhost%3Ax":              false,
		"did:web:example.com%3A8080":         false,
		"did:web:example.com:path":           false,
		"did:web:singlelabel":                false,
		"did:plc:short":                      false,
		"did:plc:" + strings.Repeat("A", 24): false,
		"did:plc:" + strings.Repeat("a", 25): false,
		"did:key:z6Mk":                       false,
		plc + "#":                            false,
		plc + "#a#b":                         false,
		plc + "#a b":                         false,
		"#bsky_appview":                      false,
		"https://api.example.com":            false,
		"":                                   false,
	} {
		if got := isServiceAudience(aud); got != want {
			t.Errorf("%q: %v, want %v", aud, got, want)
		}
	}
}

func TestSessionIDs(t *testing.T) {
	for _, c := range []struct {
		id     string
		key    string
		number int64
	}{
		{"abc", "abc", 0}, {"abc.1", "abc", 1}, {"abc.12", "abc", 12},
		// Ids of other forms are first ones, so that no two name one token.
		{"abc.0", "abc.0", 0}, {"abc.01", "abc.01", 0}, {"abc.-1", "abc.-1", 0}, {"abc.+1", "abc.+1", 0},
		{"abc.x", "abc.x", 0}, {"abc.", "abc.", 0}, {"abc.1.2", "abc.1.2", 0},
	} {
		key, number := sessionID(c.id)
		if key != c.key || number != c.number || tokenID(key, number) != c.id {
			t.Errorf("%s: %q %d, back %q", c.id, key, number, tokenID(key, number))
		}
	}
}

func testHasher(parallel, queue int) *passwordHasher {
	return newPasswordHasher(Limits{PasswordKiB: 64, PasswordHashes: parallel, PasswordQueue: queue})
}

// A hash of the reference server: scrypt, the salt taken as text.
const (
	referencePassword = "correct horse"
	referenceHash     = "00112233445566778899aabbccddeeff:" +
		"3e19ebeabf15ad17c24de695284e79441c0d80c6d98b95a3c052c58a0d57b09f" +
		"83b0742a5805af28a0b5bbcf673af62819b91eb830a104fb0bb42def767f52aa"
)

func TestPasswordHashes(t *testing.T) {
	ctx := t.Context()
	h := testHasher(1, 0)
	encoded, err := h.hash(ctx, "päss wörd")
	if err != nil || !strings.HasPrefix(encoded, "$argon2id$v=19$m=64,t=2,p=1$") {
		t.Fatalf("hash %q, %v", encoded, err)
	}
	again, err := h.hash(ctx, "päss wörd")
	if err != nil || again == encoded {
		t.Errorf("two hashes with one salt: %q, %v", again, err)
	}
	stronger := newPasswordHasher(Limits{PasswordKiB: 128, PasswordHashes: 1})
	for _, c := range []struct {
		name     string
		h        *passwordHasher
		encoded  string
		password string
		ok       bool
		stale    bool
	}{
		{"right", h, encoded, "päss wörd", true, false},
		{"wrong", h, encoded, "pass word", false, false},
		{"empty", h, encoded, "", false, false},
		{"no hash", h, "", "", false, false},
		{"other cost", stronger, encoded, "päss wörd", true, true},
		{"reference", h, referenceHash, referencePassword, true, true},
		{"reference, wrong", h, referenceHash, "correct horsf", false, false},
	} {
		ok, stale, err := c.h.verify(ctx, c.encoded, c.password)
		if err != nil || ok != c.ok || stale != c.stale {
			t.Errorf("%s: %v %v %v", c.name, ok, stale, err)
		}
	}
}

func TestVerifyAny(t *testing.T) {
	ctx := t.Context()
	h := testHasher(1, 0)
	salt := appPasswordSalt("did:plc:x")
	var hashes []string
	for _, p := range []string{"one", "two", "three"} {
		e, err := h.hashWithSalt(ctx, p, salt)
		if err != nil {
			t.Fatal(err)
		}
		hashes = append(hashes, e)
	}
	hashes = append(hashes, "", referenceHash)
	for password, want := range map[string]int{"one": 0, "three": 2, referencePassword: 4, "four": -1, "": -1} {
		if got, err := h.verifyAny(ctx, hashes, password); err != nil || got != want {
			t.Errorf("%q: %d, %v, want %d", password, got, err, want)
		}
	}
}

func TestMalformedPasswordHashes(t *testing.T) {
	h := testHasher(1, 0)
	salt, key := strings.Repeat("A", 22), strings.Repeat("A", 43)
	prefix := "$argon2id$v=19$"
	for name, encoded := range map[string]string{
		"plain text":       "secret",
		"other kind":       "$2b$10$" + salt + key,
		"argon2i":          "$argon2i$v=19$m=64,t=2,p=1$" + salt + "$" + key,
		"old version":      "$argon2id$v=16$m=64,t=2,p=1$" + salt + "$" + key,
		"too much memory":  prefix + "m=262145,t=2,p=1$" + salt + "$" + key,
		"too much time":    prefix + "m=64,t=17,p=1$" + salt + "$" + key,
		"too many threads": prefix + "m=64,t=2,p=17$" + salt + "$" + key,
		"no memory":        prefix + "m=0,t=2,p=1$" + salt + "$" + key,
		"leading zero":     prefix + "m=064,t=2,p=1$" + salt + "$" + key,
		"order":            prefix + "t=2,m=64,p=1$" + salt + "$" + key,
		"no salt":          prefix + "m=64,t=2,p=1$$" + key,
		"short key":        prefix + "m=64,t=2,p=1$" + salt + "$AAAA",
		"bad base64":       prefix + "m=64,t=2,p=1$" + salt + "$" + strings.Repeat("!", 43),
		"too long":         prefix + "m=64,t=2,p=1$" + strings.Repeat("A", 500) + "$" + key,
		"scrypt, no salt":  ":" + strings.Repeat("0", 128),
		"scrypt, short":    "00:" + strings.Repeat("0", 126),
	} {
		if _, _, err := h.verify(t.Context(), encoded, "x"); !errors.Is(err, errPasswordHash) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParseArgon(f *testing.F) {
	f.Add("$argon2id$v=19$m=64,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	f.Add("$$$$$")
	f.Fuzz(func(t *testing.T, encoded string) {
		p, n, err := parseArgon(encoded)
		if err == nil && (!strings.HasPrefix(encoded, p.prefix()) || n < 16 || p.memory > maxArgonMemory) {
			t.Errorf("%q: %+v, %d", encoded, p, n)
		}
	})
}

func TestPasswordLength(t *testing.T) {
	for password, want := range map[string]int{"": 0, "abc": 3, "äöü": 3, "日本": 2, "😀": 2, "\xff": 1} {
		if got := passwordLength(password); got != want {
			t.Errorf("%q: %d, want %d", password, got, want)
		}
	}
}

func TestPasswordQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := testHasher(1, 2)
		release := make(chan struct{})
		var wg sync.WaitGroup
		done := 0     // one slot: never touched by two at a time
		for range 3 { // one runs, two wait
			wg.Go(func() {
				if err := h.run(t.Context(), func() { <-release; done++ }); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		var e *xrpc.Error
		err := h.run(t.Context(), func() { t.Error("ran beyond the queue") })
		if !errors.As(err, &e) || e.Status != 503 || e.Name != "NotEnoughResources" {
			t.Errorf("beyond the queue: %v", err)
		}
		close(release)
		wg.Wait()
		if done != 3 {
			t.Errorf("%d of 3 ran", done)
		}
		// Who gives up makes room.
		block := make(chan struct{})
		wg.Go(func() { _ = h.run(t.Context(), func() { <-block }) })
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		wg.Go(func() {
			if err := h.run(ctx, func() { t.Error("ran after giving up") }); !errors.Is(err, context.Canceled) {
				t.Errorf("gave up: %v", err)
			}
		})
		synctest.Wait()
		cancel()
		synctest.Wait()
		if n := h.waiting.Load(); n != 0 {
			t.Errorf("%d wait", n)
		}
		close(block)
		wg.Wait()
	})
}

func TestIsAppPassword(t *testing.T) {
	for range 100 {
		if p := newAppPassword(); !isAppPassword(p) {
			t.Errorf("made %q", p)
		}
	}
	for _, p := range []string{"", "aaaa-bbbb-cccc", "aaaa-bbbb-cccc-ddd1", "AAAA-bbbb-cccc-dddd", "aaaa_bbbb-cccc-dddd", "aaaa-bbbb-cccc-dddd-"} {
		if isAppPassword(p) {
			t.Errorf("%q", p)
		}
	}
}
