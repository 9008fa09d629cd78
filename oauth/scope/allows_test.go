package scope_test

import (
	"slices"
	"testing"

	"github.com/pdskit/pdskit/oauth/scope"
)

func sorted(list []string) []string { return slices.Sorted(slices.Values(list)) }

type (
	repo     = scope.Repo
	rpc      = scope.RPC
	blob     = scope.Blob
	account  = scope.Account
	identity = scope.Identity
)

const service = "did:web:api.example.com#svc"

func TestAllows(t *testing.T) {
	t.Parallel()
	type list = []scope.Permission
	const note, other = "com.example.note", "com.example.other"
	for _, c := range []struct {
		text    string
		yes, no list
	}{
		{"", nil, list{repo{note, scope.Create}, rpc{note, service}, blob{"a/b"}, account{"email", scope.Read}, identity{"handle"}}},
		{"atproto", nil, list{repo{note, scope.Create}, rpc{note, service}, blob{"a/b"}, account{"email", scope.Read}, identity{"handle"}, nil}},

		{"repo:com.example.note", list{repo{note, scope.Create}, repo{note, scope.Update}, repo{note, scope.Delete}},
			list{repo{other, scope.Create}, repo{"*", scope.Create}, repo{"", scope.Create}, repo{note, scope.Read}, repo{note, ""},
				repo{"com.example.Note", scope.Create}, repo{"com.example.note.x", scope.Create}, repo{"com.example.not", scope.Create}}},
		{"repo:com.example.note?action=create&action=delete", list{repo{note, scope.Create}, repo{note, scope.Delete}}, list{repo{note, scope.Update}}},
		{"repo:com.example.note?action=create repo:com.example.note?action=update", list{repo{note, scope.Create}, repo{note, scope.Update}},
			list{repo{note, scope.Delete}}},
		{"repo:*?action=create repo:com.example.note?action=delete", list{repo{note, scope.Create}, repo{note, scope.Delete}, repo{other, scope.Create}, repo{"*", scope.Create}},
			list{repo{other, scope.Delete}, repo{note, scope.Update}, repo{"*", scope.Delete}}},
		{"repo?collection=com.example.other&collection=com.example.note", list{repo{note, scope.Create}, repo{other, scope.Delete}}, list{repo{"com.example.third", scope.Create}}},
		{"repo:*", list{repo{note, scope.Delete}, repo{"*", scope.Update}}, list{repo{"", scope.Create}, repo{note, "x"}, &repo{note, scope.Create}, blob{"a/b"}}},

		{"rpc:com.example.note?aud=*", list{rpc{note, service}, rpc{note, "did:web:api.example.com"}, rpc{note, "*"}}, list{rpc{other, service}, rpc{"*", service}, rpc{note, ""}}},
		{"rpc:*?aud=did:web:api.example.com#svc", list{rpc{note, service}, rpc{"*", service}, rpc{"chat.bsky.convo.getLog", service}},
			list{rpc{note, "did:web:api.example.com"}, rpc{note, "did:web:api.example.com#other"}, rpc{note, "*"}, rpc{"", service}}},
		{"rpc?lxm=com.example.other&lxm=com.example.note&aud=did:web:api.example.com#svc", list{rpc{note, service}, rpc{other, service}},
			list{rpc{"*", service}, rpc{note, "did:web:b.com#svc"}, rpc{"com.example.NOTE", service}}},
		{"rpc:com.example.note?aud=did:web:b.com#x rpc:com.example.other?aud=* rpc:com.example.a?aud=did:web:b.com#x",
			list{rpc{note, "did:web:b.com#x"}, rpc{other, "did:web:b.com#x"}, rpc{"com.example.a", "did:web:b.com#x"}, rpc{other, service}}, list{rpc{note, service}}},

		{"blob:image/png", list{blob{"image/png"}, blob{"Image/PNG"}, blob{" image/png ; q=1"}}, list{blob{"image/jpeg"}, blob{"image/*"}, blob{"image/pngx"}, blob{""}}},
		{"blob:image/*", list{blob{"image/png"}, blob{"image/svg+xml"}}, list{blob{"text/html"}, blob{"imagex/png"}, blob{"image/"}, blob{"image/*"}, blob{"image/a/b"}, blob{"image"}}},
		{"blob:*/*", list{blob{"a/b"}, blob{"application/octet-stream"}}, list{blob{"*/*"}, blob{"a"}, blob{"a/b c"}, blob{""}}},
		{"blob?accept=image/*&accept=text/html", list{blob{"text/html"}, blob{"image/png"}}, list{blob{"text/plain"}}},

		{"account:email", list{account{"email", scope.Read}}, list{account{"email", scope.Manage}, account{"repo", scope.Read}, account{"email", ""}, account{"email", scope.Create}}},
		{"account:email?action=manage", list{account{"email", scope.Read}, account{"email", scope.Manage}}, list{account{"status", scope.Read}, account{"*", scope.Read}, account{"", scope.Read}}},
		{"account:status?action=manage account:status account:repo", list{account{"status", scope.Manage}, account{"repo", scope.Read}}, list{account{"repo", scope.Manage}}},

		{"identity:handle", list{identity{"handle"}}, list{identity{"*"}, identity{""}}},
		{"identity:*", list{identity{"handle"}, identity{"*"}}, list{identity{""}}},
		{"identity:* identity:handle", list{identity{"handle"}, identity{"*"}}, nil},
		{"identity:handle identity:*", list{identity{"handle"}, identity{"*"}}, nil},

		{"include:com.example.set?aud=did:web:api.example.com#svc", nil, list{rpc{note, service}, repo{note, scope.Create}}},

		{scope.TransitionGeneric,
			list{repo{note, scope.Delete}, repo{"*", scope.Create}, blob{"a/b"}, blob{"*/*"}, rpc{note, service}, rpc{note, "did:web:api.example.com"}, rpc{note, "*"}, rpc{"chat.bskyx.y", service}, rpc{"chat.bsky", service}},
			list{rpc{"chat.bsky.convo.getLog", service}, rpc{"Chat.bsky.convo.getLog", service}, rpc{"CHAT.BSKY.convo.getLog", service}, rpc{"*", service}, rpc{"", service}, rpc{note, ""},
				account{"email", scope.Read}, account{"repo", scope.Manage}, identity{"handle"}, repo{note, "x"}, repo{"", scope.Create}}},
		{"transition:generic transition:chat.bsky", list{rpc{"chat.bsky.convo.getLog", service}, rpc{"*", service}, rpc{note, service}}, list{account{"email", scope.Read}}},
		{scope.TransitionChat, nil, list{rpc{"chat.bsky.convo.getLog", service}, rpc{"*", service}, repo{note, scope.Create}, blob{"a/b"}}},
		{"transition:chat.bsky repo:* blob:*/*", nil, list{rpc{"chat.bsky.convo.getLog", service}}},
		{"transition:generic rpc:chat.bsky.convo.getLog?aud=*", list{rpc{"chat.bsky.convo.getLog", service}}, list{rpc{"chat.bsky.convo.sendMessage", service}, rpc{"*", service}}},
		{scope.TransitionEmail, list{account{"email", scope.Read}}, list{account{"email", scope.Manage}, account{"repo", scope.Read}, repo{note, scope.Create}}},
	} {
		set := parse(t, c.text)
		for _, p := range c.yes {
			if !set.Allows(p) || set.Missing(p) != "" {
				t.Errorf("%q does not allow %#v", c.text, p)
			}
		}
		for _, p := range c.no {
			if set.Allows(p) || set.Missing(p) == "" {
				t.Errorf("%q allows %#v", c.text, p)
			}
		}
		if set.Missing(c.yes...) != "" {
			t.Errorf("%q: something is missing of what it allows", c.text)
		}
	}
}

// The text that an error names is that of a scope with which there is none.
func TestMissing(t *testing.T) {
	t.Parallel()
	none := parse(t, "atproto")
	for _, c := range []struct {
		p    scope.Permission
		want string
	}{
		{repo{"com.example.note", scope.Create}, "repo:com.example.note?action=create"},
		{repo{"*", scope.Delete}, "repo:*?action=delete"},
		{rpc{"com.example.note", service}, "rpc:com.example.note?aud=did:web:api.example.com%23svc"},
		{rpc{"*", service}, "rpc:*?aud=did:web:api.example.com%23svc"},
		{rpc{"com.example.note", "*"}, "rpc:com.example.note?aud=*"},
		{blob{"Image/PNG; x=y"}, "blob:image/png"},
		{blob{"image/svg+xml"}, "blob:image/svg+xml"},
		{account{"email", scope.Read}, "account:email"},
		{account{"repo", scope.Manage}, "account:repo?action=manage"},
		{identity{"handle"}, "identity:handle"},
		{identity{"*"}, "identity:*"},
	} {
		if got := none.Missing(c.p); got != c.want || c.p.String() != c.want {
			t.Errorf("%#v: %s and %s, want %s", c.p, got, c.p, c.want)
			continue
		}
		set := parse(t, c.want)
		if !set.Allows(c.p) || set.String() != c.want {
			t.Errorf("%#v: not allowed by %s", c.p, set)
		}
	}
	set := parse(t, "repo:com.example.note?action=create")
	if got := set.Missing(repo{"com.example.note", scope.Create}, repo{"com.example.note", scope.Update}); got != "repo:com.example.note?action=update" {
		t.Errorf("the second of two: %s", got)
	}
	// What is no scope can still be named in an error, on one line.
	if got := none.Missing(repo{"a b\"\n", "x"}); got != "repo:a%20b%22%0A?action=x" {
		t.Errorf("odd names: %s", got)
	}
}
