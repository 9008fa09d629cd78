package oauth_test

import (
	"crypto/rand"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pdskit/pdskit/oauth"
)

func TestAttack01_CodeOfAnotherClient(t *testing.T) {
	e := newEnv(t)
	victim, thief := e.newApp("app.example.org"), e.newApp("thief.example.org")
	code := victim.authorized()
	thief.exchange(code).isInvalidGrant()
	thief.exchange(code, "redirect_uri", victim.redirect).isInvalidGrant()
	// Nor with the victim's DPoP key, which a thief does not have.
	withKey := *thief
	withKey.key = victim.key
	withKey.exchange(code, "redirect_uri", victim.redirect).isInvalidGrant()
	victim.exchange(code).isOK()
}

func TestAttack02_ExpiredCode(t *testing.T) {
	e := newEnv(t)
	a := e.newApp("app.example.org")
	code := a.authorized()
	e.clock.advance(60*time.Second - time.Nanosecond)
	a.exchange(code).isOK()

	code = a.authorized("code_challenge", challengeOf(verifier+"2"))
	e.clock.advance(60 * time.Second)
	a.exchange(code, "code_verifier", verifier+"2").isInvalidGrant()
	// It is gone for good, whatever the clock says.
	e.clock.advance(-30 * time.Second)
	a.exchange(code, "code_verifier", verifier+"2").isInvalidGrant()
}

func TestAttack03_CodeReplayEndsTheSession(t *testing.T) {
	for name, replay := range map[string]func(a *app, code string) answer{
		"same client": func(a *app, code string) answer { return a.exchange(code) },
		"other client": func(a *app, code string) answer {
			return a.newApp("thief.example.org").exchange(code)
		},
		"wrong verifier": func(a *app, code string) answer { return a.exchange(code, "code_verifier", strings.Repeat("x", 43)) },
		"after the code's time": func(a *app, code string) answer {
			a.clock.advance(time.Hour)
			return a.exchange(code)
		},
		"after a refresh and a restart": func(a *app, code string) answer {
			a.restart()
			return a.exchange(code)
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t)
			a := e.newApp("app.example.org")
			code := a.authorized()
			first := tokensOf(a.exchange(code))
			second := tokensOf(a.refresh(first.refresh))
			replay(a, code).isInvalidGrant()
			a.mustBeDead(second.access)
			a.refresh(second.refresh).isInvalidGrant()
			if left, err := e.srv.Sessions(t.Context(), alice); err != nil || len(left) > 0 {
				t.Errorf("sessions left: %v, %v", left, err)
			}
		})
	}
}

// race runs fn so often at the same time.
func race(n int, fn func(i int)) {
	var start, done sync.WaitGroup
	start.Add(1)
	for i := range n {
		done.Go(func() {
			start.Wait()
			fn(i)
		})
	}
	start.Done()
	done.Wait()
}

// outcomes counts the answers of a race by error, "" for success.
type outcomes struct {
	mu     sync.Mutex // guards following
	counts map[string]int
	won    []answer
}

func (o *outcomes) add(a answer) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.counts == nil {
		o.counts = map[string]int{}
	}
	o.counts[a.text("error")]++
	if a.Status == http.StatusOK {
		o.won = append(o.won, a)
	}
}

func TestAttack04_ConcurrentExchanges(t *testing.T) {
	for storeName, store := range stores {
		for _, n := range []int{2, 50} {
			t.Run(storeName, func(t *testing.T) {
				e := newEnv(t, store)
				a := e.newApp("app.example.org")
				code := a.authorized()
				a.refresh("none") // for a nonce
				var o outcomes
				race(n, func(int) {
					mine := *a
					o.add(mine.exchange(code))
				})
				if o.counts[""] != 1 || o.counts["invalid_grant"] != n-1 {
					t.Fatalf("outcomes: %v", o.counts)
				}
				a.mustBeDead(o.won[0].text("access_token"))
				a.refresh(o.won[0].text("refresh_token")).isInvalidGrant()
			})
		}
	}
}

func TestAttack05_CodeWithAnotherKey(t *testing.T) {
	e := newEnv(t)
	for _, a := range []*app{e.newApp("app.example.org"), e.newConfidential("backend.example.org")} {
		own := verifier + rand.Text()
		code := a.authorized("code_challenge", challengeOf(own))
		a.another().exchange(code, "code_verifier", own).isInvalidGrant()
		noProof := *a
		noProof.withoutProof = true
		noProof.exchange(code, "code_verifier", own).is(400, "invalid_dpop_proof")
		a.exchange(code, "code_verifier", own).isOK()
	}

	t.Run("dpop_jkt without proof", func(t *testing.T) {
		a := e.newApp("other.example.org")
		a.withoutProof = true
		code := a.authorized("dpop_jkt", a.key.Public().Thumbprint(), "code_challenge", challengeOf(verifier+"x"))
		a.withoutProof = false
		a.another().exchange(code, "code_verifier", verifier+"x").isInvalidGrant()
		a.exchange(code, "code_verifier", verifier+"x").isOK()
	})
	t.Run("dpop_jkt of another key", func(t *testing.T) {
		a := e.newApp("other.example.org")
		a.push("dpop_jkt", newKey(t).Public().Thumbprint()).is(400, "invalid_dpop_proof")
		a.push("dpop_jkt", "short").is(400, "invalid_request")
	})
	t.Run("neither", func(t *testing.T) {
		a := e.newApp("other.example.org")
		a.withoutProof = true
		a.push().is(400, "invalid_dpop_proof")
	})
}

// With Config.DPoPAtToken the first key that comes with a code is bound.
func TestAttack05_KeyAtTokenWithSwitch(t *testing.T) {
	e := newEnv(t, func(c *oauth.Config) { c.DPoPAtToken = true })
	a := e.newApp("app.example.org")
	a.withoutProof = true
	code := a.authorized()
	a.exchange(code).is(400, "invalid_dpop_proof")
	a.withoutProof = false
	got := tokensOf(a.exchange(code))
	a.mustUse(got.access)
	_, err := a.another().use(got.access)
	requireError(t, err, 401, "invalid_token")
	a.another().refresh(got.refresh).isInvalidGrant()
}

func TestAttack06_WrongVerifier(t *testing.T) {
	e := newEnv(t)
	a := e.newApp("app.example.org")
	long := strings.Repeat("v", 128)
	for name, wrong := range map[string]string{
		"missing":           "",
		"wrong":             strings.Repeat("x", 43),
		"the challenge":     challengeOf(verifier),
		"42 characters":     strings.Repeat("v", 42),
		"129 characters":    long + "v",
		"not unreserved":    verifier + "!",
		"with a space":      verifier + " ",
		"in another case":   strings.ToUpper(verifier),
		"the start of it":   verifier[:44],
		"with more letters": verifier + "a",
	} {
		t.Run(name, func(t *testing.T) {
			code := a.authorized()
			a.exchange(code, "code_verifier", wrong).isInvalidGrant()
			// The code is gone: nobody may guess again.
			a.exchange(code).isInvalidGrant()
		})
	}
	for _, own := range []string{strings.Repeat("v", 43), long, "-._~" + strings.Repeat("0", 39)} {
		code := a.authorized("code_challenge", challengeOf(own))
		a.exchange(code, "code_verifier", own).isOK()
	}
}

func TestAttack07_PlainOrNoChallenge(t *testing.T) {
	a := newEnv(t).newApp("app.example.org")
	for name, change := range map[string][]string{
		"plain":            {"code_challenge", strings.Repeat("v", 43), "code_challenge_method", "plain"},
		"no method":        {"code_challenge_method", ""},
		"s256":             {"code_challenge_method", "s256"},
		"no challenge":     {"code_challenge", ""},
		"neither":          {"code_challenge", "", "code_challenge_method", ""},
		"short":            {"code_challenge", challengeOf(verifier)[:42]},
		"padded":           {"code_challenge", challengeOf(verifier) + "="},
		"no base64url":     {"code_challenge", "+" + challengeOf(verifier)[1:]},
		"not of 256 bits":  {"code_challenge", strings.Repeat("B", 43)},
		"twice the length": {"code_challenge", challengeOf(verifier) + challengeOf(verifier)},
	} {
		t.Run(name, func(t *testing.T) { a.push(change...).is(400, "invalid_request") })
	}
}

func TestAttack08_ChallengeReuse(t *testing.T) {
	e := newEnv(t)
	a, other := e.newApp("app.example.org"), e.newApp("other.example.org")
	// Two requests may have the same challenge as long as none is completed.
	first, second := a.authorized(), a.authorized()
	open := a.pushed()
	a.exchange(first).isOK()
	a.exchange(second).isInvalidGrant()
	a.push().is(400, "invalid_request")
	other.push().is(400, "invalid_request")
	_, params, err := e.srv.Authorize(t.Context(), a.id, open, alice, alice, []string{"atproto"})
	if err != nil {
		t.Fatal(err)
	}
	a.exchange(params.Get("code")).isInvalidGrant()

	e.clock.advance(24*time.Hour - time.Second)
	a.push().is(400, "invalid_request")
	e.clock.advance(time.Second)
	a.push().isOK()
}

func TestAttack09_RedirectMismatchAtToken(t *testing.T) {
	e := newEnv(t)
	a := e.newApp("app.example.org")
	a.publish(object{"redirect_uris": []string{a.redirect, a.redirect + "/2"}})
	for _, wrong := range []string{"", a.redirect + "/2", a.redirect + "/", a.redirect + "?", strings.ToUpper(a.redirect), "https://thief.example.org/"} {
		code := a.authorized()
		a.exchange(code, "redirect_uri", wrong).isInvalidGrant()
		a.exchange(code).isInvalidGrant()
	}
}

func TestAttack10_RequestURI(t *testing.T) {
	e := newEnv(t)
	a, other := e.newApp("app.example.org"), e.newApp("other.example.org")
	ctx := t.Context()
	isGone := func(t *testing.T, err error) {
		t.Helper()
		if !errors.Is(err, oauth.ErrRequestGone) {
			t.Fatalf("got %v, want ErrRequestGone", err)
		}
	}
	t.Run("another client", func(t *testing.T) {
		uri := a.pushed()
		isGone(t, e.srv.Open(ctx, other.id, uri, "dev-1"))
		isGone(t, e.srv.Open(ctx, a.id, uri, "dev-1")) // its address has leaked
	})
	t.Run("another device", func(t *testing.T) {
		uri := a.pushed()
		for range 3 { // FAPI2SPFinalPAREnsureServerAcceptsReusedRequestUriBeforeAuthenticationCompletion
			if err := e.srv.Open(ctx, a.id, uri, "dev-1"); err != nil {
				t.Fatal(err)
			}
		}
		isGone(t, e.srv.Open(ctx, a.id, uri, "dev-2"))
		isGone(t, e.srv.Open(ctx, a.id, uri, "dev-1"))
	})
	t.Run("after authorization", func(t *testing.T) {
		uri := a.pushed()
		if _, _, err := e.srv.Authorize(ctx, a.id, uri, alice, alice, []string{"atproto"}); err != nil {
			t.Fatal(err)
		}
		isGone(t, e.srv.Open(ctx, a.id, uri, oauth.TestDevice))
	})
	t.Run("after denial", func(t *testing.T) {
		uri := a.pushed()
		if _, err := e.srv.Deny(ctx, a.id, uri, "access_denied", ""); err != nil {
			t.Fatal(err)
		}
		isGone(t, e.srv.Open(ctx, a.id, uri, oauth.TestDevice))
	})
	t.Run("expired", func(t *testing.T) {
		uri := a.pushed()
		e.clock.advance(5 * time.Minute)
		isGone(t, e.srv.Open(ctx, a.id, uri, "dev-1"))
	})
	t.Run("expired while open", func(t *testing.T) {
		uri := a.pushed()
		grant, err := e.srv.Authorizer(ctx, a.id, uri, alice, []string{"atproto"})
		if err != nil {
			t.Fatal(err)
		}
		e.clock.advance(5 * time.Minute)
		_, err = grant()
		isGone(t, err)
	})
	t.Run("kept open", func(t *testing.T) {
		uri := a.pushed()
		for range 7 {
			e.clock.advance(4 * time.Minute)
			if err := e.srv.Open(ctx, a.id, uri, "dev-1"); err != nil {
				t.Fatal(err)
			}
		}
		e.clock.advance(2 * time.Minute) // half an hour in all
		isGone(t, e.srv.Open(ctx, a.id, uri, "dev-1"))
	})
	t.Run("authorized twice", func(t *testing.T) {
		grant, err := e.srv.Authorizer(ctx, a.id, a.pushed(), alice, []string{"atproto"})
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		codes := 0
		race(20, func(int) {
			if _, err := grant(); err == nil {
				mu.Lock()
				defer mu.Unlock()
				codes++
			} else if !errors.Is(err, oauth.ErrRequestGone) {
				t.Error(err)
			}
		})
		if codes != 1 {
			t.Errorf("%d codes for one request", codes)
		}
	})
	fetched := len(e.web.fetched)
	defer func() {
		if n := len(e.web.fetched); n != fetched {
			t.Errorf("made-up requests have fetched %v", e.web.fetched[fetched:])
		}
	}()
	other.id = "https://unknown.example.org/client.json"
	for name, uri := range map[string]string{
		"made up":   "urn:ietf:params:oauth:request_uri:req-" + strings.Repeat("0", 32),
		"empty":     "",
		"https":     "https://thief.example.org/request",
		"bare":      "req-" + strings.Repeat("0", 32),
		"upper":     "urn:ietf:params:oauth:request_uri:req-" + strings.Repeat("A", 32),
		"too long":  "urn:ietf:params:oauth:request_uri:req-" + strings.Repeat("0", 33),
		"traversal": "urn:ietf:params:oauth:request_uri:../../" + strings.Repeat("0", 32),
	} {
		t.Run(name, func(t *testing.T) {
			isGone(t, e.srv.Open(ctx, a.id, uri, "dev-1"))
			isGone(t, e.srv.Open(ctx, other.id, uri, "dev-1"))
		})
	}
}

func TestAttack12_DuplicateParameters(t *testing.T) {
	e := newEnv(t)
	a := e.newApp("app.example.org")
	a.push() // for a nonce
	values := url.Values{"client_id": {a.id}}
	for name, value := range a.pushValues() {
		values.Set(name, value)
	}
	send := func(path, contentType, body string) answer {
		r := httptest.NewRequest(http.MethodPost, issuer+path, strings.NewReader(body))
		r.Header.Set("Content-Type", contentType)
		r.Header.Set("DPoP", a.proof(http.MethodPost, issuer+"/oauth/par", ""))
		return e.do(r)
	}
	const form, js = "application/x-www-form-urlencoded", "application/json"
	send("/oauth/par", form, values.Encode()).isOK()
	for name := range values {
		send("/oauth/par", form, values.Encode()+"&"+name+"="+url.QueryEscape(values.Get(name))).is(400, "invalid_request")
		send("/oauth/par", form, values.Encode()+"&"+name+"=").is(400, "invalid_request")
		send("/oauth/par?"+name+"="+url.QueryEscape(values.Get(name)), form, values.Encode()).is(400, "invalid_request")
	}
	send("/oauth/par", js, `{"client_id":"`+a.id+`","client_id":"`+a.id+`"}`).is(400, "invalid_request")

	for _, name := range []string{"request", "request_uri", "nonce", "claims", "id_token_hint", "authorization_details", "client_secret"} {
		t.Run(name, func(t *testing.T) { a.push(name, "value").is(400, "invalid_request") })
	}
	for _, wrong := range []string{"token", "code token", "code id_token", "none"} {
		a.push("response_type", wrong).is(400, "unsupported_response_type")
	}
	for _, required := range []string{"response_type", "redirect_uri", "state"} {
		a.push(required, "").is(400, "invalid_request")
	}
}

func TestAttack13_EveryAnswerNamesTheIssuer(t *testing.T) {
	e := newEnv(t)
	a := e.newApp("app.example.org")
	check := func(params url.Values, err error) {
		t.Helper()
		if err != nil || params.Get("iss") != issuer || params.Get("state") != "the state" {
			t.Errorf("answer %v, %v", params, err)
		}
	}
	_, params, err := e.srv.Authorize(t.Context(), a.id, a.pushed(), alice, alice, []string{"atproto"})
	check(params, err)
	for _, code := range []string{"access_denied", "login_required", "consent_required", "server_error"} {
		params, err := e.srv.Deny(t.Context(), a.id, a.pushed(), code, `a "description"`+"\r\n")
		check(params, err)
		if params.Get("error") != code || params.Get("error_description") != "a 'description'??" || params.Has("code") {
			t.Errorf("answer %v", params)
		}
	}
}

func TestAttack14_RequestIsBoundToItsBrowser(t *testing.T) {
	// What an attacker has opened cannot be opened by the victim, nor the other
	// way round; see TestAttack10_RequestURI for the details.
	e := newEnv(t)
	a := e.newApp("app.example.org")
	uri := a.pushed()
	if err := e.srv.Open(t.Context(), a.id, uri, "dev-of-the-attacker"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := e.srv.Authorize(t.Context(), a.id, uri, alice, alice, []string{"atproto"}); !errors.Is(err, oauth.ErrRequestGone) {
		t.Fatalf("the victim's browser gets %v", err)
	}
}

func TestAttack15_ScopeEscalation(t *testing.T) {
	e := newEnv(t)
	a := e.newApp("app.example.org")
	grant := func(requested string, granted ...string) (string, error) {
		own := verifier + rand.Text()
		_, params, err := e.srv.Authorize(t.Context(), a.id, a.pushed("scope", requested, "code_challenge", challengeOf(own)), alice, alice, granted)
		if err != nil {
			return "", err
		}
		got := a.exchange(params.Get("code"), "code_verifier", own).isOK()
		return got.text("scope"), nil
	}
	// Nobody can grant what was not asked for.
	if scope, err := grant("atproto transition:email", "atproto", "transition:generic", "transition:email", "repo:*"); err != nil || scope != "atproto transition:email" {
		t.Errorf("got %q, %v", scope, err)
	}
	// The user may leave out something.
	if scope, err := grant("atproto transition:generic transition:email", "transition:generic", "atproto"); err != nil || scope != "atproto transition:generic" {
		t.Errorf("got %q, %v", scope, err)
	}
	// But not atproto.
	var e2 *oauth.Error
	if _, err := grant("atproto transition:email", "transition:email"); !errors.As(err, &e2) || e2.Code != "access_denied" {
		t.Errorf("got %v", err)
	}
	// A client cannot ask for what it does not declare, nor for nothing.
	for _, scope := range []string{"", "transition:generic", "atproto repo:*", "atproto repo:com.example.note?action=create", "atproto openid", "atproto atproto:x", "ATPROTO"} {
		a.push("scope", scope).is(400, "invalid_scope")
	}
}

func TestAttack17_UnregisteredRedirect(t *testing.T) {
	e := newEnv(t)
	a := e.newApp("app.example.org")
	for _, uri := range []string{
		"https://thief.example.org/callback",
		"https://app.example.org@thief.example.org/callback",
		"https://thief.example.org@app.example.org/callback",
		a.redirect + "/", a.redirect + "?x", a.redirect + "#x", a.redirect + "/../callback", a.redirect[:len(a.redirect)-1],
		"https://app.example.org/%63allback", "https://app.example.org//callback", "https://app.example.org./callback",
		"https://APP.example.org/callback", "https://app.example.org:443/callback", "https://app.example.org:8443/callback",
		"http://app.example.org/callback", "HTTPS://app.example.org/callback",
		"javascript:alert(1)", "data:text/html,x", "org.example.app:/callback", "org.example.app://callback",
		"http://127.0.0.1/callback", "http://[::1]/", "//app.example.org/callback", "/callback", "callback",
	} {
		a.push("redirect_uri", uri).is(400, "invalid_request")
	}
	loopback := e.loopback("")
	for _, uri := range []string{"http://127.0.0.1:1234/", "http://127.0.0.1:80/", "http://[::1]:65535/"} {
		loopback.push("redirect_uri", uri, "scope", "atproto").isOK()
	}
	for _, uri := range []string{"http://localhost:1234/", "http://127.0.0.1:1234/x", "http://127.0.0.2/", "https://127.0.0.1/", "http://127.1/", "http://[::ffff:127.0.0.1]/"} {
		loopback.push("redirect_uri", uri, "scope", "atproto").is(400, "invalid_request")
	}
}

// loopback makes a client in development.
func (e *env) loopback(query string) *app {
	return &app{env: e, id: "http://localhost" + query, redirect: "http://127.0.0.1:4321/", key: newKey(e.t)}
}

func TestAttack18_ResponseModes(t *testing.T) {
	e := newEnv(t)
	a := e.newApp("app.example.org")
	a.publish(object{"application_type": "native", "redirect_uris": []string{a.redirect, "org.example.app:/callback", a.redirect + "?a=b"}})
	const nasty = "x\r\nLocation: https://thief.example.org/\"><script>&code=forged#f"
	for _, mode := range []string{"", "query", "fragment"} {
		for _, redirect := range []string{a.redirect, a.redirect + "?a=b", "org.example.app:/callback"} {
			uri := a.pushed("response_mode", mode, "redirect_uri", redirect, "state", nasty)
			location, _, err := e.srv.Authorize(t.Context(), a.id, uri, alice, alice, []string{"atproto"})
			if err != nil {
				t.Fatal(err)
			}
			got, err := url.Parse(location)
			if err != nil || strings.ContainsAny(location, "\r\n\"<>") {
				t.Fatalf("location %q, %v", location, err)
			}
			text := got.RawQuery
			if mode == "fragment" {
				text = got.EscapedFragment()
			}
			answer, err := url.ParseQuery(text)
			if err != nil || answer.Get("state") != nasty || len(answer["code"]) != 1 || !strings.HasPrefix(answer.Get("code"), "cod-") {
				t.Errorf("answer %v, %v", answer, err)
			}
			if mode != "fragment" && strings.Contains(redirect, "?") && answer.Get("a") != "b" {
				t.Errorf("the client's own query is lost: %s", location)
			}
		}
	}
	a.push("response_mode", "form_post", "redirect_uri", "org.example.app:/callback").is(400, "invalid_request")
	a.push("response_mode", "form_post").isOK()
	for _, mode := range []string{"jwt", "web_message", "Query", "query fragment"} {
		a.push("response_mode", mode).is(400, "invalid_request")
	}
}
