package pds_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/pdskit/pdskit/oauth/scope"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/xrpc"
)

// parsedScopes is the Detail of a caller whose scopes are parsed already.
type parsedScopes struct{ set *scope.Set }

func (p parsedScopes) GrantedScopes() *scope.Set { return p.set }

// Each write needs its action, and putRecord two.
func TestOAuthScopesOfWrites(t *testing.T) {
	t.Parallel()
	var caller xrpc.Caller
	srv := pdstest.New(t, func(c *pds.Config) {
		c.Authenticators = []xrpc.Authenticator{xrpc.AuthenticatorFunc(func(*http.Request) (*xrpc.Caller, error) {
			if caller.Account == "" {
				return nil, nil
			}
			c := caller
			return &c, nil
		})}
	})
	alice := srv.CreateAccount("alice")
	const note, other = "com.example.note", "com.example.other"
	put := func() error {
		return post(t, srv, "com.atproto.repo.putRecord", "DPoP x", map[string]any{
			"repo": alice.DID, "collection": note, "rkey": "a", "record": map[string]any{"n": 1}}, nil)
	}
	write := func(kind, collection, rkey string) map[string]any {
		w := map[string]any{"$type": "com.atproto.repo.applyWrites#" + kind, "collection": collection, "rkey": rkey}
		if kind != "delete" {
			w["value"] = map[string]any{"n": 1}
		}
		return w
	}
	apply := func(writes ...map[string]any) func() error {
		return func() error {
			return post(t, srv, "com.atproto.repo.applyWrites", "DPoP x", map[string]any{"repo": alice.DID, "writes": writes}, nil)
		}
	}
	both := apply(write("create", note, "b"), write("create", other, "b"))
	change := apply(write("update", note, "b"), write("delete", other, "b"))
	many := strings.Repeat("repo:com.example.x ", scope.MaxScopes)
	for _, c := range []struct {
		name    string
		scopes  []string
		detail  any
		call    func() error
		missing string
	}{
		{"put, create only", []string{"repo:com.example.note?action=create"}, nil, put, "repo:com.example.note?action=update"},
		{"put, update only", []string{"repo:com.example.note?action=update"}, nil, put, "repo:com.example.note?action=create"},
		{"put", []string{"repo:*?action=update", "repo:com.example.note?action=create"}, nil, put, ""},
		{"writes, one collection", []string{"repo:com.example.note"}, nil, both, "repo:com.example.other?action=create"},
		{"writes", []string{"atproto repo:com.example.note repo:com.example.other"}, nil, both, ""},
		{"writes, one action", []string{"repo:*?action=update"}, nil, change, "repo:com.example.other?action=delete"},
		{"writes, both actions", []string{"repo:com.example.other?action=delete", "repo:com.example.note"}, nil, change, ""},
		{"unknown scopes beside", []string{"future:x", "repo:com.example.*", "repo:*"}, nil, put, ""},
		{"an include that is not expanded", []string{"include:com.example.set"}, nil, put, "repo:com.example.note?action=create"},
		{"scopes in the detail", nil, parsedScopes{setOf(t, "repo:*")}, put, ""},
		{"no scopes in the detail", []string{"repo:*"}, parsedScopes{}, put, "repo:com.example.note?action=create"},
		{"too many scopes", []string{many + "repo:*"}, nil, put, "repo:com.example.note?action=create"},
	} {
		caller = xrpc.Caller{Account: alice.DID, Actor: alice.DID, Kind: xrpc.KindOAuth, Scopes: c.scopes, Detail: c.detail}
		err := c.call()
		if c.missing == "" {
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		wantError(t, err, 403, "ScopeMissingError")
		if err == nil || !strings.Contains(err.Error(), c.missing) {
			t.Errorf("%s: %v does not name %s", c.name, err, c.missing)
		}
	}
}

func setOf(t *testing.T, text string) *scope.Set {
	t.Helper()
	set, err := scope.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return set
}
