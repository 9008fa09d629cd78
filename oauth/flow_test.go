package oauth_test

import (
	"strings"
	"testing"
	"time"
)

// A whole life of a session: FAPI2SPFinalHappyFlow and RefreshToken.
func TestFlow(t *testing.T) {
	for name, newApp := range map[string]func(*env) *app{
		"public":       func(e *env) *app { return e.newApp("app.example.org") },
		"confidential": func(e *env) *app { return e.newConfidential("app.example.org") },
		"json": func(e *env) *app {
			a := e.newConfidential("app.example.org")
			a.json = true
			return a
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnv(t)
			a := newApp(e)
			pushed := a.push().isOK()
			if pushed.Status != 201 || pushed.Body["expires_in"] != 300.0 {
				t.Errorf("PAR answers %d %v", pushed.Status, pushed.Body)
			}
			location, params, err := e.srv.Authorize(t.Context(), a.id, pushed.text("request_uri"), alice, alice, []string{"atproto", "transition:generic"})
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(location, a.redirect+"?") || params.Get("iss") != issuer || params.Get("state") != "the state" {
				t.Errorf("the client gets %s", location)
			}
			got := a.exchange(params.Get("code")).isOK()
			if got.text("token_type") != "DPoP" || got.text("sub") != alice.String() || got.text("scope") != "atproto transition:generic" ||
				got.Body["expires_in"] != 900.0 || got.Body["id_token"] != nil || got.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("the tokens are %v", got.Body)
			}
			first := tokensOf(got)
			token := a.mustUse(first.access)
			if token.Account != alice || token.Actor != alice || token.Client != a.id || !token.Scope.Has("transition:generic") {
				t.Errorf("the access token says %+v", token)
			}
			e.clock.advance(10 * time.Minute)
			second := tokensOf(a.refresh(first.refresh))
			if second.refresh == first.refresh || second.access == first.access {
				t.Error("a token was given twice")
			}
			a.mustUse(second.access)
			a.mustBeDead(first.access)
			a.post("/oauth/revoke", map[string]string{"token": second.access}).isOK()
			a.mustBeDead(second.access)
			a.refresh(second.refresh).isInvalidGrant()
		})
	}
}
