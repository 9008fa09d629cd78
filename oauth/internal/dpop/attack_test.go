package dpop_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pdskit/pdskit/oauth/internal/dpop"
	"github.com/pdskit/pdskit/oauth/internal/josetest"
)

func segment(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// TestAttack19Replay uses proofs twice.
func TestAttack19Replay(t *testing.T) {
	cache := dpop.NewReplayCache(0)
	if err := cache.Once("key", "id", now); err != nil {
		t.Fatal(err)
	}
	for _, d := range []time.Duration{0, time.Second, dpop.ReplayWindow - 1, -time.Hour} {
		if err := cache.Once("key", "id", now.Add(d)); !errors.Is(err, dpop.ErrReplayed) {
			t.Errorf("after %v: %v", d, err)
		}
	}
	for _, other := range [][2]string{{"key", "id2"}, {"key2", "id"}, {"keyi", "d"}, {"ke", "yid"}} {
		if err := cache.Once(other[0], other[1], now); err != nil {
			t.Errorf("%v: %v", other, err)
		}
	}
	if err := cache.Once("key", "id", now.Add(dpop.ReplayWindow)); err != nil {
		t.Errorf("after the window: %v", err)
	}
	if dpop.ReplayWindow <= dpop.MaxAge+dpop.MaxAhead {
		t.Error("a proof is acceptable for longer than it is remembered")
	}
}

// TestAttack19Concurrent uses one proof fifty times at once.
func TestAttack19Concurrent(t *testing.T) {
	cache := dpop.NewReplayCache(0)
	var wg sync.WaitGroup
	var winners atomic.Int32
	for range 50 {
		wg.Go(func() {
			if cache.Once("key", "id", now) == nil {
				winners.Add(1)
			}
		})
	}
	wg.Wait()
	if winners.Load() != 1 {
		t.Errorf("%d winners", winners.Load())
	}
}

// TestAttack19Restart sends a proof to a process that has forgotten it: the nonce
// is of another secret.
func TestAttack19Restart(t *testing.T) {
	b := newBench(t)
	proof := b.proof().Sign(t, b.signer)
	if _, err := b.check(proof); err != nil {
		t.Fatal(err)
	}
	b.checker.Nonces, _ = dpop.NewNonces([32]byte{2}, 0)
	if _, err := b.check(proof); codeOf(t, err) != dpop.CodeUseNonce {
		t.Errorf("after a restart: %v", err)
	}
}

// refused sends proofs, which all are bad.
func refused(t *testing.T, b *bench, proofs map[string]string) {
	t.Helper()
	for name, proof := range proofs {
		if p, err := b.check(proof); p != nil || codeOf(t, err) != dpop.CodeInvalidProof {
			t.Errorf("%s: %v, %v", name, p, err)
		}
	}
}

// goodClaims are the claims of a good proof.
func goodClaims(t *testing.T, b *bench) string {
	t.Helper()
	text, err := json.Marshal(object{
		"jti": "id", "htm": "POST", "htu": htu, "iat": now.Unix(), "nonce": b.nonce, "ath": dpop.TokenHash(token),
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// goodHeader is the header of a good proof.
func goodHeader(t *testing.T, b *bench) string {
	t.Helper()
	text, err := json.Marshal(object{"typ": "dpop+jwt", "alg": "ES256", "jwk": bareKey(t, b.signer)})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestAttack20Algorithms(t *testing.T) {
	b := newBench(t)
	key, err := json.Marshal(bareKey(t, b.signer))
	if err != nil {
		t.Fatal(err)
	}
	secret := []byte("secret")
	mac := func(header string, secret []byte) string {
		input := segment(header) + "." + segment(goodClaims(t, b))
		h := hmac.New(sha256.New, secret)
		h.Write([]byte(input))
		return input + "." + base64.RawURLEncoding.EncodeToString(h.Sum(nil))
	}
	none := goodHeader(t, b)
	none = strings.Replace(none, `"ES256"`, `"none"`, 1)
	refused(t, b, map[string]string{
		"none":                 segment(none) + "." + segment(goodClaims(t, b)) + ".",
		"none, signed":         josetest.Text(t, b.signer, none, goodClaims(t, b)),
		"HS256 by public key":  mac(`{"typ":"dpop+jwt","alg":"HS256","jwk":`+string(key)+`}`, key),
		"HS256 by its own key": mac(`{"typ":"dpop+jwt","alg":"HS256","jwk":{"kty":"oct","k":"`+segment("secret")+`"}}`, secret),
		"ES256 with oct":       mac(`{"typ":"dpop+jwt","alg":"ES256","jwk":{"kty":"oct","k":"`+segment("secret")+`"}}`, secret),
	})
	// Not even where it is allowed by mistake.
	b.checker.Algs = []string{"HS256", "none", "ES256"}
	refused(t, b, map[string]string{
		"none":  segment(none) + "." + segment(goodClaims(t, b)) + ".",
		"HS256": mac(`{"typ":"dpop+jwt","alg":"HS256","jwk":{"kty":"oct","k":"`+segment("secret")+`"}}`, secret),
	})
}

func TestAttack21Keys(t *testing.T) {
	b := newBench(t)
	key := bareKey(t, b.signer)
	sign := func(change object) string {
		changed := maps.Clone(key)
		maps.Copy(changed, change)
		p := b.proof()
		p.Header = object{"jwk": changed}
		return p.Sign(t, b.signer)
	}
	if _, err := b.check(sign(nil)); err != nil {
		t.Fatal(err)
	}
	refused(t, b, map[string]string{
		"private":         sign(object{"d": "AQAB"}),
		"P-384":           sign(object{"crv": "P-384"}),
		"secp256k1":       sign(object{"crv": "secp256k1"}),
		"off curve":       sign(object{"y": key["x"]}),
		"RSA-1024":        sign(object{"kty": "RSA", "crv": nil, "n": segment(strings.Repeat("\xff", 128)), "e": "AQAB"}),
		"other algorithm": sign(object{"alg": "ES384"}),
		"for encryption":  sign(object{"use": "enc"}),
		"for signing":     sign(object{"key_ops": []string{"sign"}}),
		"text":            sign(object{"kty": 1}),
	})
}

func TestAttack22Headers(t *testing.T) {
	b := newBench(t)
	good := b.proof().Sign(t, b.signer)
	if p, err := b.check(); p != nil || err != nil {
		t.Errorf("no proof: %v, %v", p, err)
	}
	for name, proofs := range map[string][]string{
		"doubled": {good, good}, "second bad": {good, "x"}, "second empty": {good, ""}, "joined": {good + "," + good}, "joined with space": {good + ", " + good}, "empty": {""}, "scheme": {"DPoP " + good},
	} {
		if p, err := b.check(proofs...); p != nil || codeOf(t, err) != dpop.CodeInvalidProof {
			t.Errorf("%s: %v, %v", name, p, err)
		}
	}
	header := func(change object) string {
		p := b.proof()
		p.Header = change
		return p.Sign(t, b.signer)
	}
	parts := strings.Split(good, ".")
	refused(t, b, map[string]string{
		"crit":        header(object{"crit": []string{"exp"}}),
		"crit b64":    header(object{"crit": []string{"b64"}, "b64": false}),
		"crit empty":  header(object{"crit": []string{}}),
		"b64 false":   header(object{"b64": false}),
		"b64 true":    header(object{"b64": true}),
		"flattened":   `{"protected":"` + parts[0] + `","payload":"` + parts[1] + `","signature":"` + parts[2] + `"}`,
		"too long":    header(object{"x": strings.Repeat("x", dpop.MaxProofBytes)}),
		"jku, no jwk": header(object{"jwk": nil, "jku": "http://127.0.0.1/jwks"}),
		"kid, no jwk": header(object{"jwk": nil, "kid": b.signer.KeyID()}),
	})
	for _, name := range []string{"jku", "x5u"} {
		if _, err := b.check(header(object{name: "http://127.0.0.1/", "x5c": []string{"AAAA"}})); err != nil {
			t.Errorf("%s is not ignored: %v", name, err)
		}
	}
}

func TestAttack23Address(t *testing.T) {
	b := newBench(t)
	with := func(change func(*josetest.Proof)) string {
		p := b.proof()
		change(&p)
		return p.Sign(t, b.signer)
	}
	bad := map[string]string{}
	for _, method := range []string{"", "GET", "post", "Post", "POST "} {
		bad["htm "+method] = with(func(p *josetest.Proof) { p.Method = method })
	}
	bad["htm missing"] = with(func(p *josetest.Proof) { p.Claims = object{"htm": nil} })
	bad["htu missing"] = with(func(p *josetest.Proof) { p.Claims = object{"htu": nil} })
	bad["htu list"] = with(func(p *josetest.Proof) { p.Claims = object{"htu": []string{htu}} })
	refused(t, b, bad)

	// The address is the configured one, whatever the request says.
	r := httptest.NewRequest("POST", "https://evil.example/xrpc/com.atproto.repo.createRecord", http.NoBody)
	r.Header.Set("X-Forwarded-Host", "evil.example")
	r.Header.Set("Forwarded", "host=evil.example")
	r.Header.Set("DPoP", with(func(p *josetest.Proof) { p.URL = "https://evil.example/xrpc/com.atproto.repo.createRecord" }))
	if _, err := b.checker.Check(r, htu, dpop.TokenHash(token)); codeOf(t, err) != dpop.CodeInvalidProof {
		t.Errorf("address of the Host header: %v", err)
	}
	r.Header.Set("DPoP", b.proof().Sign(t, b.signer))
	if _, err := b.checker.Check(r, htu, dpop.TokenHash(token)); err != nil {
		t.Errorf("configured address: %v", err)
	}
}

func TestAttack24Nonces(t *testing.T) {
	b := newBench(t)
	foreign, err := dpop.NewNonces([32]byte{2}, 0)
	if err != nil {
		t.Fatal(err)
	}
	at := func(d time.Duration) string { return b.checker.Nonces.Next(now.Add(d)) }
	for name, c := range map[string]struct {
		nonce string
		good  bool
	}{
		"missing": {"", false}, "made up": {"nonce", false}, "foreign": {foreign.Next(now), false}, "padded": {b.nonce + "=", false}, "cut": {b.nonce[:42], false},
		"next": {at(0), true}, "current": {at(-time.Minute), true}, "previous": {at(-2 * time.Minute), true},
		"stale": {at(-3 * time.Minute), false}, "future": {at(time.Minute), false}, "far future": {at(24 * time.Hour), false},
	} {
		p := b.proof()
		p.Nonce = c.nonce
		_, err := b.check(p.Sign(t, b.signer))
		if c.good && err != nil || !c.good && codeOf(t, err) != dpop.CodeUseNonce {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, nonce := range []any{1, []string{b.nonce}, object{}} {
		p := b.proof()
		p.Claims = object{"nonce": nonce}
		if _, err := b.check(p.Sign(t, b.signer)); codeOf(t, err) != dpop.CodeInvalidProof {
			t.Errorf("nonce %v: %v", nonce, err)
		}
	}
	// A bad proof is told as such, without a hint to try again.
	p := b.proof()
	p.Nonce, p.Method = "", "GET"
	if _, err := b.check(p.Sign(t, b.signer)); codeOf(t, err) != dpop.CodeInvalidProof {
		t.Errorf("no nonce and another method: %v", err)
	}
}

func TestAttack25Time(t *testing.T) {
	b := newBench(t)
	for d, good := range map[time.Duration]bool{
		0: true, -10 * time.Second: true, 10 * time.Second: true, -dpop.MaxAge: true, dpop.MaxAhead: true,
		-dpop.MaxAge - time.Second: false, dpop.MaxAhead + time.Second: false, -time.Hour: false, time.Hour: false,
	} {
		p := b.proof()
		p.Issued = now.Add(d)
		_, err := b.check(p.Sign(t, b.signer))
		if good && err != nil || !good && codeOf(t, err) != dpop.CodeInvalidProof {
			t.Errorf("%v: %v", d, err)
		}
	}
	for _, iat := range []any{0, -1, 1e300, "x", true, object{}} {
		p := b.proof()
		p.Claims = object{"iat": iat}
		if _, err := b.check(p.Sign(t, b.signer)); codeOf(t, err) != dpop.CodeInvalidProof {
			t.Errorf("iat %v: %v", iat, err)
		}
	}
}

func TestAttack26TokenHash(t *testing.T) {
	b := newBench(t)
	bad := map[string]string{}
	for name, ath := range map[string]any{
		"missing": nil, "empty": "", "of another token": dpop.TokenHash("x"), "padded": dpop.TokenHash(token) + "=", "the token": token, "list": []string{dpop.TokenHash(token)},
	} {
		p := b.proof()
		p.Claims = object{"ath": ath}
		bad[name] = p.Sign(t, b.signer)
	}
	refused(t, b, bad)
	// At the authorization server.
	for _, ath := range []any{"", dpop.TokenHash(token), dpop.TokenHash("")} {
		p := b.proof()
		p.Claims = object{"ath": ath}
		r := httptest.NewRequest("POST", "/", http.NoBody)
		r.Header.Set("DPoP", p.Sign(t, b.signer))
		if _, err := b.checker.Check(r, htu, ""); codeOf(t, err) != dpop.CodeInvalidProof {
			t.Errorf("ath %q at the authorization server: %v", ath, err)
		}
	}
}

// TestAttack27Key checks that a proof is by the key that it names, which the
// caller compares with the one of the token.
func TestAttack27Key(t *testing.T) {
	b := newBench(t)
	thief := josetest.NewSigner(t)
	p, err := b.check(b.proof().Sign(t, thief))
	if err != nil {
		t.Fatal(err)
	}
	if p.JKT != thief.Public().Thumbprint() || p.JKT == b.signer.Public().Thumbprint() {
		t.Errorf("thumbprint %s", p.JKT)
	}
	stolen := b.proof()
	stolen.Header = object{"jwk": bareKey(t, b.signer)}
	refused(t, b, map[string]string{"key of another": stolen.Sign(t, thief)})
}

// TestAttack28Flooding fills the memory of used proofs.
func TestAttack28Flooding(t *testing.T) {
	const capacity = 1000
	cache := dpop.NewReplayCache(capacity)
	id := func(i int) string { return fmt.Sprint("id", i) }
	at := func(i int) time.Time { return now.Add(time.Duration(i) * time.Millisecond) }
	for i := range capacity {
		if err := cache.Once("key", id(i), at(i)); err != nil {
			t.Fatal(i, err)
		}
	}
	for i := range capacity {
		if err := cache.Once("key", id(i), at(capacity)); !errors.Is(err, dpop.ErrReplayed) {
			t.Fatalf("forgot proof %d: %v", i, err)
		}
		if err := cache.Once("key", id(capacity+i), at(capacity)); !errors.Is(err, dpop.ErrFull) {
			t.Fatalf("more than %d: %v", capacity, err)
		}
	}
	// Room comes back one by one as the oldest leave, for many rounds.
	for i := range 5 * capacity {
		later := at(i % capacity).Add(time.Duration(i/capacity+1) * dpop.ReplayWindow)
		if err := cache.Once("key", id(capacity+i), later); err != nil {
			t.Fatalf("%d: %v", i, err)
		}
		if err := cache.Once("key", "one more", later); !errors.Is(err, dpop.ErrFull) {
			t.Fatalf("%d: one more: %v", i, err)
		}
		if err := cache.Once("key", id(capacity+i), later); !errors.Is(err, dpop.ErrReplayed) {
			t.Fatalf("%d: again: %v", i, err)
		}
	}
}
