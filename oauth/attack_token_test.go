package oauth_test

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pdskit/pdskit/oauth"
	"github.com/pdskit/pdskit/oauth/scope"
)

func TestAttack34_RefreshReplay(t *testing.T) {
	for _, restart := range []bool{false, true} {
		e := newEnv(t)
		a := e.newConfidential("app.example.org")
		first := a.signedIn()
		second := tokensOf(a.refresh(first.refresh))
		third := tokensOf(a.refresh(second.refresh))
		e.clock.advance(24 * time.Hour)
		if restart {
			e.restart()
		}
		a.refresh(first.refresh).isInvalidGrant()
		a.mustBeDead(third.access)
		a.refresh(third.refresh).isInvalidGrant()
		a.refresh(second.refresh).isInvalidGrant()
	}
}

func TestAttack34_ConcurrentRefreshes(t *testing.T) {
	for storeName, store := range stores {
		t.Run(storeName, func(t *testing.T) {
			e := newEnv(t, store)
			a := e.newApp("app.example.org")
			got := a.signedIn()
			var o outcomes
			race(50, func(int) {
				mine := *a
				o.add(mine.refresh(got.refresh))
			})
			if o.counts[""] != 1 || o.counts["invalid_grant"] != 49 {
				t.Fatalf("outcomes: %v", o.counts)
			}
			a.mustBeDead(got.access)
			a.mustBeDead(o.won[0].text("access_token"))
			a.refresh(o.won[0].text("refresh_token")).isInvalidGrant()
		})
	}
}

// With Config.RefreshGrace all of them get the same answer, for ten seconds.
func TestAttack34_RefreshGrace(t *testing.T) {
	e := newEnv(t, func(c *oauth.Config) { c.RefreshGrace = true })
	a := e.newApp("app.example.org")
	got := a.signedIn()
	var o outcomes
	race(50, func(int) {
		mine := *a
		o.add(mine.refresh(got.refresh))
	})
	if o.counts[""] != 50 {
		t.Fatalf("outcomes: %v", o.counts)
	}
	next := tokensOf(o.won[0])
	for _, won := range o.won {
		if tokensOf(won) != next {
			t.Fatal("two answers differ")
		}
	}
	e.clock.advance(9 * time.Second)
	if again := a.refresh(got.refresh).isOK(); tokensOf(again) != next || again.Body["expires_in"] != 891.0 {
		t.Errorf("after 9 s: %v", again.Body)
	}
	a.mustUse(next.access)
	e.clock.advance(time.Second)
	a.refresh(got.refresh).isInvalidGrant() // a replay, as ever
	a.mustBeDead(next.access)

	t.Run("another key", func(t *testing.T) {
		e := newEnv(t, func(c *oauth.Config) { c.RefreshGrace = true })
		a := e.newApp("app.example.org")
		got := a.signedIn()
		next := tokensOf(a.refresh(got.refresh))
		a.another().refresh(got.refresh).isInvalidGrant()
		a.mustBeDead(next.access)
	})
	t.Run("the one before", func(t *testing.T) {
		e := newEnv(t, func(c *oauth.Config) { c.RefreshGrace = true })
		a := e.newApp("app.example.org")
		got := a.signedIn()
		next := tokensOf(a.refresh(tokensOf(a.refresh(got.refresh)).refresh))
		a.refresh(got.refresh).isInvalidGrant()
		a.mustBeDead(next.access)
	})
}

func TestAttack35_RefreshByOthers(t *testing.T) {
	for name, attack := range map[string]struct {
		do    func(a *app, token string) answer
		code  string
		alive bool // the session goes on
	}{
		"other client": {do: func(a *app, token string) answer {
			thief := a.newApp("thief.example.org")
			thief.key = a.key
			return thief.refresh(token)
		}},
		"other key": {do: func(a *app, token string) answer { return a.another().refresh(token) }},
		"no client authentication": {code: "invalid_client", alive: true, do: func(a *app, token string) answer {
			silent := *a
			silent.auth = nil
			return silent.refresh(token)
		}},
		"no proof": {code: "invalid_dpop_proof", alive: true, do: func(a *app, token string) answer {
			silent := *a
			silent.withoutProof = true
			return silent.refresh(token)
		}},
		"dropped grant": {do: func(a *app, token string) answer {
			a.publish(object{"grant_types": []string{"authorization_code"}})
			a.clock.advance(10 * time.Minute)
			return a.refresh(token)
		}},
		"password change": {do: func(a *app, token string) answer {
			if err := a.srv.EndSessions(a.t.Context(), alice); err != nil {
				a.t.Fatal(err)
			}
			return a.refresh(token)
		}},
		"takedown": {do: func(a *app, token string) answer {
			a.users.setStatus(alice, oauth.TakenDown)
			return a.refresh(token)
		}},
		"deletion": {do: func(a *app, token string) answer {
			delete(a.users.accounts, alice)
			return a.refresh(token)
		}},
		"document cannot be fetched": {code: "invalid_client", alive: true, do: func(a *app, token string) answer {
			a.web.set(a.id, nil)
			a.clock.advance(10 * time.Minute)
			got := a.refresh(token)
			a.web.set(a.id, a.metadata)
			a.clock.advance(time.Minute)
			return got
		}},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t)
			a := e.newConfidential("app.example.org")
			got := a.signedIn()
			code := cmp.Or(attack.code, "invalid_grant")
			attack.do(a, got.refresh).is(400, code)
			if attack.alive {
				a.mustUse(tokensOf(a.refresh(got.refresh)).access)
				return
			}
			a.mustBeDead(got.access)
			a.refresh(got.refresh).isInvalidGrant()
		})
	}
}

func TestAttack35_Lifetimes(t *testing.T) {
	const day = 24 * time.Hour
	t.Run("public", func(t *testing.T) {
		e := newEnv(t)
		a := e.newApp("app.example.org")
		got := a.signedIn()
		for range 13 {
			e.clock.advance(day)
			got = tokensOf(a.refresh(got.refresh))
		}
		e.clock.advance(day - 5*time.Minute)
		got = tokensOf(a.refresh(got.refresh))
		if exp := a.mustUse(got.access).Expires.Sub(e.clock.Now()); exp != 5*time.Minute {
			t.Errorf("the access token outlives the session: %v", exp)
		}
		e.clock.advance(5 * time.Minute)
		a.refresh(got.refresh).isInvalidGrant()
		a.mustBeDead(got.access)
	})
	t.Run("confidential", func(t *testing.T) {
		e := newEnv(t)
		a := e.newConfidential("app.example.org")
		got := a.signedIn()
		for range 8 {
			e.clock.advance(90*day - time.Second)
			got = tokensOf(a.refresh(got.refresh))
		}
		e.clock.advance(90*day - time.Second) // 730 days have gone by
		a.refresh(got.refresh).isInvalidGrant()
	})
	t.Run("confidential, unused", func(t *testing.T) {
		e := newEnv(t)
		a := e.newConfidential("app.example.org")
		got := a.signedIn()
		e.clock.advance(90 * day)
		a.refresh(got.refresh).isInvalidGrant()
	})
	t.Run("first party", func(t *testing.T) {
		e := newEnv(t, func(c *oauth.Config) {
			c.ClientPolicy = func(context.Context, oauth.ClientInfo) oauth.Trust { return oauth.FirstParty }
		})
		a := e.newApp("app.example.org")
		got := a.signedIn()
		e.clock.advance(90*day - time.Second)
		a.refresh(got.refresh).isOK()
	})
	t.Run("without refresh tokens", func(t *testing.T) {
		e := newEnv(t)
		a := e.newApp("app.example.org")
		a.publish(object{"grant_types": []string{"authorization_code"}})
		got := a.signedIn()
		if got.refresh != "" {
			t.Error("there is a refresh token")
		}
		a.mustUse(got.access)
		e.clock.advance(15 * time.Minute)
		a.mustBeDead(got.access)
	})
	t.Run("access token", func(t *testing.T) {
		e := newEnv(t)
		a := e.newApp("app.example.org")
		got := a.signedIn()
		e.clock.advance(15*time.Minute - time.Second)
		a.mustUse(got.access)
		e.clock.advance(time.Second)
		a.mustBeDead(got.access)
	})
}

func TestAttack36_BrokenTokens(t *testing.T) {
	e := newEnv(t)
	a := e.newApp("app.example.org")
	got := a.signedIn()
	code := a.authorized()
	for name, change := range map[string]func(string) string{
		"truncated":     func(s string) string { return s[:len(s)-1] },
		"half":          func(s string) string { return s[:len(s)/2] },
		"longer":        func(s string) string { return s + "A" },
		"prefixed":      func(s string) string { return "x" + s },
		"a prefix":      func(s string) string { return s[:4] },
		"upper case":    strings.ToUpper,
		"last bits":     lastBits,
		"one character": func(s string) string { return s[:10] + string(s[10]^1) + s[11:] },
		"with NUL":      func(s string) string { return s + "\x00" },
		"with newline":  func(s string) string { return s + "\n" },
	} {
		t.Run(name, func(t *testing.T) {
			for _, bad := range []answer{a.refresh(change(got.refresh)), a.exchange(change(code))} {
				if bad.Status != 400 || bad.text("error") != "invalid_grant" && bad.text("error") != "invalid_request" {
					t.Errorf("got %d %v", bad.Status, bad.Body)
				}
			}
			if strings.ContainsAny(change(got.access), "\n\x00") {
				return // not in a header
			}
			_, err := a.use(change(got.access))
			requireError(t, err, 401, "invalid_token")
		})
	}
	a.exchange(code).isOK()
	a.mustUse(got.access)
	a.refresh(got.refresh).isOK()
}

// lastBits changes the bits of the last character that base64url does not use.
func lastBits(s string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	i := strings.IndexByte(alphabet, s[len(s)-1])
	return s[:len(s)-1] + string(alphabet[i^1])
}

func TestAttack37_TokensOfOtherKinds(t *testing.T) {
	e := newEnv(t)
	a := e.newApp("app.example.org")
	got := a.signedIn()
	code := a.authorized()
	thief := newKey(t)
	claims := func() object {
		var claims object
		data, err := base64.RawURLEncoding.DecodeString(strings.Split(got.access, ".")[1])
		if err != nil || json.Unmarshal(data, &claims) != nil {
			t.Fatal(err)
		}
		return claims
	}()
	for name, token := range map[string]string{
		"a code":                      code,
		"a refresh token":             got.refresh,
		"a legacy token":              sign(t, hmacKey{thief, []byte("secret")}, object{"typ": "at+jwt", "alg": "HS256"}, object{"scope": "com.atproto.access", "sub": alice, "aud": audience, "exp": e.clock.Now().Unix() + 600}),
		"a service token":             sign(t, thief, object{"typ": "JWT", "alg": "ES256"}, object{"iss": alice, "aud": audience, "lxm": "com.example.get", "exp": e.clock.Now().Unix() + 60}),
		"the same, signed by another": sign(t, thief, object{"typ": "at+jwt", "alg": "ES256"}, claims),
		"the same without signature":  strings.Join(strings.Split(got.access, ".")[:2], ".") + ".",
		"a session's name":            sign(t, thief, object{"typ": "at+jwt", "alg": "ES256"}, object{"sid": claims["sid"]}),
		"a proof":                     a.tokenProof(),
		"nothing like it":             "x.y.z",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := a.use(token)
			requireError(t, err, 401, "invalid_token")
			if token != got.refresh {
				a.refresh(token).isInvalidGrant()
			}
			if token != code {
				a.exchange(token).isInvalidGrant()
			}
		})
	}
	a.exchange(code).isOK()
	// What the token says of itself.
	if claims["sub"] != alice.String() || claims["aud"] != audience || claims["iss"] != issuer || claims["client_id"] != a.id ||
		claims["scope"] != nil || claims["act"] != nil || claims["cnf"].(object)["jkt"] != a.key.Public().Thumbprint() {
		t.Errorf("claims %v", claims)
	}
}

func TestAttack38_Revocation(t *testing.T) {
	e := newEnv(t)
	a, other := e.newConfidential("app.example.org"), e.newConfidential("other.example.org")
	revoke := func(by *app, token string) answer {
		t.Helper()
		got := by.post("/oauth/revoke", map[string]string{"token": token})
		if got.Status == http.StatusOK && len(got.Body) > 0 {
			t.Errorf("body %v", got.Body)
		}
		return got
	}
	got := a.signedIn()

	// No effect, and no word about it.
	revoke(other, got.access).isOK()
	revoke(other, got.refresh).isOK()
	revoke(a.another(), got.refresh).isOK()
	revoke(a.another(), got.access).isOK()
	for _, token := range []string{"x", got.refresh[:20], got.access + "x", "x" + got.access, "cod-" + strings.Repeat("0", 64)} {
		revoke(a, token).isOK()
	}
	silent := *a.another()
	silent.auth = nil
	revoke(&silent, got.access).isOK() // not the session's key
	bad := *a
	bad.assertionClaims = object{"aud": "https://thief.example.org"}
	revoke(&bad, got.access).is(400, "invalid_client")
	noProof := *a
	noProof.withoutProof = true
	revoke(&noProof, got.access).is(400, "invalid_dpop_proof")
	a.post("/oauth/revoke", nil).is(400, "invalid_request")
	a.mustUse(got.access)

	// At once, by either token, again and again, whatever the hint.
	revoke(a, got.refresh).isOK()
	a.mustBeDead(got.access)
	revoke(a, got.refresh).isOK()
	revoke(a, got.access).isOK()
	a.refresh(got.refresh).isInvalidGrant()

	got = a.signedIn()
	a.post("/oauth/revoke", map[string]string{"token": got.access, "token_type_hint": "refresh_token"}).isOK()
	a.mustBeDead(got.access)
	a.refresh(got.refresh).isInvalidGrant()

	// An expired access token, and one of an earlier turn, name their session.
	got = a.signedIn()
	e.clock.advance(time.Hour)
	revoke(a, got.access).isOK()
	a.refresh(got.refresh).isInvalidGrant()
	got = a.signedIn()
	next := tokensOf(a.refresh(got.refresh))
	revoke(a, got.access).isOK()
	a.mustBeDead(next.access)

	// The session's DPoP key is enough where a backend keeps the client's key.
	got = a.signedIn()
	silent = *a
	silent.auth = nil
	revoke(&silent, got.access).isOK()
	a.mustBeDead(got.access)
}

// The scope of a token is what was granted, and a set that says no to the rest:
// the language of scopes itself is tested in package scope.
func TestAttack39_ScopeOfTokens(t *testing.T) {
	e := newEnv(t)
	a := e.newApp("app.example.org")
	got := a.signedIn("scope", "atproto repo:com.example.note")
	set := a.mustUse(got.access).Scope
	if !set.Allows(scope.Repo{Collection: "com.example.note", Action: scope.Create}) {
		t.Error("what was granted is refused")
	}
	for _, p := range []scope.Permission{
		scope.Repo{Collection: "com.example.notes", Action: scope.Create}, scope.Repo{Collection: "*", Action: scope.Create},
		scope.Blob{MimeType: "image/png"}, scope.RPC{Method: "*", Audience: "*"}, scope.Account{Attr: "email", Action: scope.Read},
	} {
		if set.Allows(p) {
			t.Errorf("%v is allowed", p)
		}
	}

	t.Run("refresh", func(t *testing.T) {
		got := a.signedIn("scope", "atproto repo:com.example.note transition:email")
		a.refresh(got.refresh, "scope", "atproto transition:generic").is(400, "invalid_scope")
		a.refresh(got.refresh, "scope", "transition:email").is(400, "invalid_scope")
		narrow := a.refresh(got.refresh, "scope", "transition:email atproto").isOK()
		if narrow.text("scope") != "transition:email atproto" {
			t.Errorf("scope %q", narrow.text("scope"))
		}
		if set := a.mustUse(narrow.text("access_token")).Scope; set.Allows(scope.Repo{Collection: "com.example.note", Action: scope.Create}) {
			t.Error("the narrow token allows what it leaves out")
		}
		wide := a.refresh(narrow.text("refresh_token")).isOK()
		if wide.text("scope") != "atproto repo:com.example.note transition:email" {
			t.Errorf("scope %q", wide.text("scope"))
		}
		same := a.refresh(wide.text("refresh_token"), "scope", "transition:email repo:com.example.note atproto").isOK()
		if same.text("scope") != "atproto repo:com.example.note transition:email" {
			t.Errorf("scope %q", same.text("scope"))
		}
	})
}

func TestAttack62_ChatInAnyCase(t *testing.T) {
	a := newEnv(t).newApp("app.example.org")
	set := a.mustUse(a.signedIn("scope", "atproto transition:generic").access).Scope
	const chat = "did:web:api.bsky.chat#bsky_chat"
	if !set.Allows(scope.RPC{Method: "app.bsky.feed.getFeed", Audience: chat}) {
		t.Fatal("transition:generic allows no calls")
	}
	for _, method := range []string{"chat.bsky.convo.getLog", "Chat.bsky.convo.getLog", "chat.Bsky.convo.getLog", "CHAT.BSKY.convo.getLog"} {
		if set.Allows(scope.RPC{Method: method, Audience: chat}) {
			t.Errorf("%s is allowed", method)
		}
	}
}

func TestAttack63_AnyMethodUnderGeneric(t *testing.T) {
	a := newEnv(t).newApp("app.example.org")
	a.publish(object{"scope": "atproto transition:generic transition:chat.bsky rpc:*?aud=did:web:api.example.com%23svc"})
	const audience = "did:web:api.example.com#svc"
	for text, want := range map[string]bool{
		"atproto transition:generic":                                         false,
		"atproto transition:chat.bsky":                                       false,
		"atproto transition:generic transition:chat.bsky":                    true,
		"atproto rpc:*?aud=did:web:api.example.com%23svc":                    true,
		"atproto transition:generic rpc:*?aud=did:web:api.example.com%23svc": true,
	} {
		set := a.mustUse(a.signedIn("scope", text).access).Scope
		if got := set.Allows(scope.RPC{Method: "*", Audience: audience}); got != want {
			t.Errorf("%s: a token for any method is allowed: %v, want %v", text, got, want)
		}
		if set.Allows(scope.RPC{Method: "*", Audience: "did:web:other.example.com#svc"}) != (want && strings.Contains(text, "chat")) {
			t.Errorf("%s: another service", text)
		}
	}
}
