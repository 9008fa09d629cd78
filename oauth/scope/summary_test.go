package scope_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pdskit/pdskit/oauth/scope"
)

func TestSummary(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		text string
		want scope.Summary
	}{
		{"atproto", scope.Summary{}},
		{"transition:chat.bsky", scope.Summary{}},
		{"transition:generic repo:com.example.a blob:image/* rpc:com.example.a?aud=* rpc:chat.bsky.a?aud=* rpc:*?aud=did:web:a.com%23x",
			scope.Summary{Generic: true, RPCs: []scope.RPCSummary{
				{Audience: "*", Methods: []string{"chat.bsky.a"}}, {Audience: "did:web:a.com#x", Methods: []string{"*"}}}}},
		{"transition:generic transition:chat.bsky rpc:*?aud=did:web:a.com%23x", scope.Summary{Generic: true, Chat: true}},
		{"transition:email", scope.Summary{Accounts: []scope.AccountSummary{{Attr: "email"}}}},
		{"account:status?action=manage account:email transition:email identity:handle", scope.Summary{
			Accounts: []scope.AccountSummary{{Attr: "email"}, {Attr: "status", Manage: true}}, Identity: "handle"}},
		{"repo:com.example.b?action=create repo:com.example.a repo:com.example.b?action=delete", scope.Summary{Repos: []scope.RepoSummary{
			{Collection: "com.example.a", Create: true, Update: true, Delete: true}, {Collection: "com.example.b", Create: true, Delete: true}}}},
		{"repo:*?action=create repo:com.example.a?action=create repo:com.example.b?action=update", scope.Summary{Repos: []scope.RepoSummary{
			{Collection: "*", Create: true}, {Collection: "com.example.b", Create: true, Update: true}}}},
		{"blob:image/png blob:image/* blob:text/html", scope.Summary{Blobs: []string{"image/*", "text/html"}}},
		{"rpc:com.example.b?aud=did:web:a.com%23x rpc:com.example.a?aud=did:web:a.com%23x rpc:com.example.c?aud=*", scope.Summary{RPCs: []scope.RPCSummary{
			{Audience: "*", Methods: []string{"com.example.c"}}, {Audience: "did:web:a.com#x", Methods: []string{"com.example.a", "com.example.b"}}}}},
		{"include:com.example.b?aud=did:web:a.com%23x include:com.example.a", scope.Summary{Includes: []scope.IncludeSummary{
			{Set: "com.example.a"}, {Set: "com.example.b", Audience: "did:web:a.com#x"}}}},
	} {
		set := parse(t, c.text)
		if diff := cmp.Diff(c.want, set.Summary(), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: %s", c.text, diff)
		}
		// A set that is computed says the same.
		if diff := cmp.Diff(c.want, set.Intersect(set).Summary(), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s, with itself: %s", c.text, diff)
		}
	}
}
