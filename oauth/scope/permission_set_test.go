package scope_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/google/go-cmp/cmp"

	"github.com/pdskit/pdskit/oauth/scope"
)

// lexicon returns the lexicon of a permission set.
func lexicon(nsid string, permissions ...string) string {
	return fmt.Sprintf(`{"lexicon":1,"id":%q,"defs":{"main":{"type":"permission-set","title":"T","title:lang":{"ja":"J","x":1},`+
		`"detail":"D","detail:lang":{},"permissions":[%s]}}}`, nsid, strings.Join(permissions, ","))
}

func decodeSet(t testing.TB, nsid syntax.NSID, permissions ...string) *scope.PermissionSet {
	t.Helper()
	set, err := scope.DecodePermissionSet(nsid, []byte(lexicon(string(nsid), permissions...)))
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func texts(scopes []scope.Scope) string {
	var out []string
	for _, s := range scopes {
		out = append(out, s.String())
	}
	return strings.Join(out, " ")
}

// What a permission of a set stands for, in an include with an audience and in
// one without.
func TestPermissionsOfSets(t *testing.T) {
	t.Parallel()
	const nsid, aud = "com.example.calendar.auth", "did:web:example.com#foo"
	for _, c := range []struct{ permission, with, without string }{
		{`"resource":"repo","collection":["com.example.calendar.event"]`, "repo:com.example.calendar.event", "="},
		{`"resource":"repo","collection":["com.example.calendar.event"],"description":"x"`, "repo:com.example.calendar.event", "="},
		{`"resource":"repo","collection":["com.example.calendar.event"],"action":["update","create","delete"]`, "repo:com.example.calendar.event", "="},
		{`"resource":"repo","collection":["com.example.calendar.b","com.example.calendar.a.x"],"action":["delete","create"]`,
			"repo?collection=com.example.calendar.a.x&collection=com.example.calendar.b&action=create&action=delete", "="},
		{`"resource":"rpc","aud":"*","lxm":["com.example.calendar.list"]`, "rpc:com.example.calendar.list?aud=*", "="},
		{`"resource":"rpc","aud":"*","inheritAud":false,"lxm":["com.example.calendar.list"]`, "rpc:com.example.calendar.list?aud=*", "="},
		{`"resource":"rpc","inheritAud":true,"lxm":["com.example.calendar.list","com.example.calendar.get"]`,
			"rpc?lxm=com.example.calendar.get&lxm=com.example.calendar.list&aud=did:web:example.com%23foo", ""},

		{permission: `"resource":"blob","accept":["image/*"]`},
		{permission: `"resource":"account","attr":"email"`},
		{permission: `"resource":"identity","attr":"*"`},
		{permission: `"resource":"include","nsid":"com.example.calendar.other"`},
		{permission: `"resource":"space","collection":["com.example.calendar.event"]`},
		{permission: `"collection":["com.example.calendar.event"]`},
		{permission: `"resource":["repo"],"collection":["com.example.calendar.event"]`},
		{permission: `"resource":"Repo","collection":["com.example.calendar.event"]`},

		{permission: `"resource":"repo"`},
		{permission: `"resource":"repo","collection":[]`},
		{permission: `"resource":"repo","collection":null`},
		{permission: `"resource":"repo","collection":"com.example.calendar.event"`},
		{permission: `"resource":"repo","collection":[1]`},
		{permission: `"resource":"repo","collection":["*"]`},
		{permission: `"resource":"repo","collection":["com.example.calendar.event","*"]`},
		{permission: `"resource":"repo","collection":["com.example.calendar.*"]`},
		{permission: `"resource":"repo","collection":["com.example.calendar.event",""]`},
		{permission: `"resource":"repo","collection":["com.example.calendar.event"],"action":[]`},
		{permission: `"resource":"repo","collection":["com.example.calendar.event"],"action":"create"`},
		{permission: `"resource":"repo","collection":["com.example.calendar.event"],"action":["create","read"]`},
		{permission: `"resource":"repo","collection":["com.example.calendar.event"],"actions":["create"]`},
		{permission: `"resource":"repo","collection":["com.example.calendar.event"],"acti%6Fn":["create"]`},
		{permission: `"resource":"repo","collection":["com.example.calendar.event"],"extra":true`},
		{permission: `"resource":"repo","collection":["com.example.calendar.event"],"inheritAud":true`},
		{permission: `"resource":"repo","collection":["com.example.calendar.event"],"description":1`},
		// Other groups, parents, siblings, look-alikes; one is enough.
		{permission: `"resource":"repo","collection":["com.example.event"]`},
		{permission: `"resource":"repo","collection":["com.example.calendars.event"]`},
		{permission: `"resource":"repo","collection":["com.example.other.event"]`},
		{permission: `"resource":"repo","collection":["com.example.Calendar.event"]`},
		{permission: `"resource":"repo","collection":["com.example.calendar.event","org.example.calendar.event"]`},

		{permission: `"resource":"rpc","aud":"did:web:example.com#foo","lxm":["com.example.calendar.list"]`},
		{permission: `"resource":"rpc","lxm":["com.example.calendar.list"]`},
		{permission: `"resource":"rpc","aud":"*"`},
		{permission: `"resource":"rpc","aud":"","lxm":["com.example.calendar.list"]`},
		{permission: `"resource":"rpc","aud":["*"],"lxm":["com.example.calendar.list"]`},
		{permission: `"resource":"rpc","inheritAud":true,"aud":"*","lxm":["com.example.calendar.list"]`},
		{permission: `"resource":"rpc","inheritAud":"true","lxm":["com.example.calendar.list"]`},
		{permission: `"resource":"rpc","inheritAud":false,"lxm":["com.example.calendar.list"]`},
		{permission: `"resource":"rpc","aud":"*","lxm":["*"]`},
		{permission: `"resource":"rpc","inheritAud":true,"lxm":["*"]`},
		{permission: `"resource":"rpc","inheritAud":true,"lxm":["com.example.calendar.list","*"]`},
		{permission: `"resource":"rpc","aud":"*","lxm":["com.atproto.moderation.createReport"]`},
		{permission: `"resource":"rpc","aud":"*","lxm":"com.example.calendar.list"`},
		{permission: `"resource":"rpc","aud":"*","lxm":["com.example.calendar.list"],"collection":["com.example.calendar.a"]`},
	} {
		if c.without == "=" {
			c.without = c.with
		}
		set := decodeSet(t, nsid, `{"type":"permission",`+c.permission+`}`)
		if got := texts(set.Scopes(aud)); got != c.with {
			t.Errorf("%s\nwith an audience: %q, want %q", c.permission, got, c.with)
		}
		for _, none := range []string{"", "*", "did:web:example.com"} {
			if got := texts(set.Scopes(none)); got != c.without {
				t.Errorf("%s\nwith the audience %q: %q, want %q", c.permission, none, got, c.without)
			}
		}
	}
	for _, entry := range []string{`1`, `null`, `"x"`, `{}`, `{"resource":"repo","collection":["com.example.calendar.event"]}`,
		`{"type":"x","resource":"repo","collection":["com.example.calendar.event"]}`} {
		if got := decodeSet(t, nsid, entry).Scopes(aud); got != nil {
			t.Errorf("%s: %v", entry, got)
		}
	}
}

func TestDecodePermissionSet(t *testing.T) {
	t.Parallel()
	set := decodeSet(t, "com.example.set")
	if set.Title != "T" || set.Detail != "D" || set.DetailLang != nil || set.NSID != "com.example.set" {
		t.Errorf("%+v", set)
	}
	if diff := cmp.Diff(map[string]string{"ja": "J"}, set.TitleLang); diff != "" {
		t.Error(diff)
	}
	good := lexicon("com.example.set")
	if _, err := scope.DecodePermissionSet("com.example.set", []byte(good)); err != nil {
		t.Fatal(err)
	}
	for _, data := range []string{
		"", "null", "[]", "{", good + "x",
		strings.Replace(good, "com.example.set", "com.example.other", 1),
		strings.Replace(good, `"lexicon":1`, `"lexicon":2`, 1), strings.Replace(good, `"lexicon":1`, `"lexicon":"1"`, 1), strings.Replace(good, `"lexicon":1,`, ``, 1),
		strings.Replace(good, "permission-set", "record", 1), strings.Replace(good, `"type":"permission-set"`, `"type":{}`, 1), strings.Replace(good, "main", "Main", 1),
		strings.Replace(good, "[]", "{}", 1), strings.Replace(good, `"defs":{`, `"defs":[{`, 1), strings.Replace(good, `"permissions"`, `"Permissions"`, 1),
	} {
		if _, err := scope.DecodePermissionSet("com.example.set", []byte(data)); !errors.Is(err, scope.ErrPermissionSet) {
			t.Errorf("%s: %v", data, err)
		}
	}
	if _, err := scope.DecodePermissionSet("set", []byte(lexicon("set"))); !errors.Is(err, scope.ErrPermissionSet) {
		t.Errorf("a name that is none: %v", err)
	}
	// Other decoders have other types of numbers.
	for _, version := range []any{1, int64(1), uint64(1), 1.0} {
		var schema map[string]any
		if err := json.Unmarshal([]byte(good), &schema); err != nil {
			t.Fatal(err)
		}
		schema["lexicon"] = version
		if _, err := scope.NewPermissionSet("com.example.set", schema); err != nil {
			t.Errorf("version %T: %v", version, err)
		}
	}
}

func TestLimitsOfPermissionSets(t *testing.T) {
	t.Parallel()
	const one = `{"type":"permission","resource":"repo","collection":["com.example.x"]}`
	decode := func(permissions ...string) (*scope.PermissionSet, error) {
		return scope.DecodePermissionSet("com.example.set", []byte(lexicon("com.example.set", permissions...)))
	}
	if _, err := decode(slices.Repeat([]string{one}, scope.MaxPermissions)...); err != nil {
		t.Errorf("as many permissions as there may be: %v", err)
	}
	if _, err := decode(slices.Repeat([]string{one}, scope.MaxPermissions+1)...); !errors.Is(err, scope.ErrPermissionSet) {
		t.Errorf("too many permissions: %v", err)
	}
	values := func(n int) string {
		return `{"type":"permission","resource":"repo","collection":["com.example.x"` + strings.Repeat(`,"com.example.x"`, n-1) + `]}`
	}
	if set, err := decode(values(scope.MaxPermissions)); err != nil || len(set.Scopes("")) != 1 {
		t.Errorf("as many values as there may be: %v", err)
	}
	if set, err := decode(values(scope.MaxPermissions + 1)); err != nil || len(set.Scopes("")) != 0 {
		t.Errorf("too many values: %v", err)
	}
	data := []byte(lexicon("com.example.set"))
	data = append(data, strings.Repeat(" ", scope.MaxPermissionSetSize-len(data))...)
	if _, err := scope.DecodePermissionSet("com.example.set", data); err != nil {
		t.Errorf("as large as there may be: %v", err)
	}
	if _, err := scope.DecodePermissionSet("com.example.set", append(data, ' ')); !errors.Is(err, scope.ErrPermissionSet) {
		t.Errorf("too large: %v", err)
	}
}

func TestExpand(t *testing.T) {
	t.Parallel()
	sets := map[syntax.NSID]*scope.PermissionSet{
		"com.example.a.auth": decodeSet(t, "com.example.a.auth",
			`{"type":"permission","resource":"repo","collection":["com.example.a.note"]}`,
			`{"type":"permission","resource":"rpc","inheritAud":true,"lxm":["com.example.a.list"]}`),
		"com.example.b.auth": decodeSet(t, "com.example.b.auth"),
	}
	calls := map[syntax.NSID]int{}
	resolve := func(nsid syntax.NSID) (*scope.PermissionSet, error) {
		calls[nsid]++
		if set := sets[nsid]; set != nil {
			return set, nil
		}
		return nil, errors.ErrUnsupported
	}
	set := parse(t, "atproto repo?collection=com.example.x include:com.example.a.auth?aud=did:web:a.com%23x include:com.example.a.auth "+
		"include:com.example.b.auth transition:email repo:com.example.a.note")
	expanded, err := set.Expand(resolve)
	if err != nil {
		t.Fatal(err)
	}
	// Other scopes stay as they were written.
	const want = "atproto repo?collection=com.example.x repo:com.example.a.note rpc:com.example.a.list?aud=did:web:a.com%23x transition:email"
	if got := expanded.Source(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if !expanded.Allows(repo{"com.example.a.note", scope.Create}) || !expanded.Allows(rpc{"com.example.a.list", "did:web:a.com#x"}) || len(expanded.Summary().Includes) != 0 {
		t.Error("what the expanded set allows")
	}
	if set.Allows(repo{"com.example.a.other", scope.Create}) || len(set.Summary().Includes) != 3 {
		t.Error("the set was changed")
	}
	if diff := cmp.Diff(map[syntax.NSID]int{"com.example.a.auth": 1, "com.example.b.auth": 1}, calls); diff != "" {
		t.Error(diff)
	}
	if again, err := expanded.Expand(nil); err != nil || again.Source() != want {
		t.Errorf("expanded again: %v, %v", again, err)
	}

	_, err = parse(t, "atproto include:com.example.missing").Expand(resolve)
	if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "com.example.missing") {
		t.Errorf("a set that cannot be resolved: %v", err)
	}
	sets["com.example.other"] = sets["com.example.a.auth"]
	if _, err = parse(t, "include:com.example.other").Expand(resolve); !errors.Is(err, scope.ErrPermissionSet) {
		t.Errorf("a set of another name: %v", err)
	}
	nothing := func(syntax.NSID) (*scope.PermissionSet, error) { return nil, nil }
	if _, err = parse(t, "include:com.example.other").Expand(nothing); !errors.Is(err, scope.ErrPermissionSet) {
		t.Errorf("no set: %v", err)
	}
}

func TestLimitsOfExpand(t *testing.T) {
	t.Parallel()
	set := func(count, size int) func(syntax.NSID) (*scope.PermissionSet, error) {
		var permissions []string
		for i := range count {
			permissions = append(permissions, fmt.Sprintf(`{"type":"permission","resource":"repo","collection":["com.example.n%d%s"]}`, i, strings.Repeat("x", size)))
		}
		out := decodeSet(t, "com.example.set", permissions...)
		return func(syntax.NSID) (*scope.PermissionSet, error) { return out, nil }
	}
	include := parse(t, "atproto include:com.example.set")
	if out, err := include.Expand(set(scope.MaxScopes-1, 0)); err != nil {
		t.Errorf("as many scopes as there may be: %v", err)
	} else if _, err := scope.ParseGranted(out.Source()); err != nil {
		t.Errorf("what comes out cannot be read: %v", err)
	}
	if _, err := include.Expand(set(scope.MaxScopes, 0)); !errors.Is(err, scope.ErrTooMany) {
		t.Errorf("too many scopes: %v", err)
	}
	// Sets of many methods, one more of which is too much.
	services := func(n int) string {
		text := "atproto"
		for i := range n {
			text += fmt.Sprintf(" include:com.example.set?aud=did:web:s%d.com%%23x", i)
		}
		return text
	}
	var methods []string
	for i := range 100 {
		methods = append(methods, fmt.Sprintf(`"com.example.method%d"`, i))
	}
	many := decodeSet(t, "com.example.set", `{"type":"permission","resource":"rpc","inheritAud":true,"lxm":[`+strings.Join(methods, ",")+`]}`)
	resolve := func(syntax.NSID) (*scope.PermissionSet, error) { return many, nil }
	longest := 0
	for n := 1; ; n++ {
		out, err := parse(t, services(n)).Expand(resolve)
		if err != nil {
			if !errors.Is(err, scope.ErrTooLong) || longest < scope.MaxGrantedLength-5000 {
				t.Errorf("%d services: %v after %d bytes", n, err, longest)
			}
			return
		}
		longest = len(out.Source())
		if _, err := scope.ParseGranted(out.Source()); err != nil {
			t.Fatalf("%d bytes cannot be read: %v", longest, err)
		}
	}
}

func TestFreshness(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		age  time.Duration
		want scope.Freshness
		old  bool // usable for a new session, unresolved
	}{
		{0, scope.Fresh, true},
		{scope.StaleAfter - 1, scope.Fresh, true},
		{scope.StaleAfter, scope.Stale, true},
		{-1, scope.Stale, true},
		{scope.ExpiredAfter - 1, scope.Stale, true},
		{scope.ExpiredAfter, scope.Expired, false},
	} {
		got := scope.FreshnessOf(c.age)
		if got != c.want || got.Usable(true) != c.old || !got.Usable(false) {
			t.Errorf("%v: %v, for new sessions %v, for others %v", c.age, got, got.Usable(true), got.Usable(false))
		}
	}
}

func FuzzDecodePermissionSet(f *testing.F) {
	f.Add([]byte(lexicon("com.example.set", `{"type":"permission","resource":"repo","collection":["com.example.x"],"action":["create"]}`)), "did:web:a.com#x")
	f.Add([]byte(lexicon("com.example.set", `{"type":"permission","resource":"rpc","inheritAud":true,"lxm":["com.example.x","com.example.y.z"]}`)), "did:web:a.com#x")
	f.Add([]byte(lexicon("com.example.set", `{"type":"permission","resource":"rpc","aud":"*","lxm":["com.example.x"]}`)), "")
	f.Fuzz(func(t *testing.T, data []byte, audience string) {
		set, err := scope.DecodePermissionSet("com.example.set", data)
		if err != nil {
			return
		}
		for _, s := range set.Scopes(audience) {
			again, err := scope.Parse(s.String())
			if err != nil || again.String() != s.String() {
				t.Fatalf("%s: %v, %v", s, again, err)
			}
			for _, name := range append(s.Values().Get("collection"), s.Values().Get("lxm")...) {
				if !strings.HasPrefix(name, "com.example.") {
					t.Fatalf("%s is outside of the namespace", s)
				}
			}
			if aud := s.Values().First("aud"); aud != "" && aud != "*" && aud != audience {
				t.Fatalf("%s has another audience than %s", s, audience)
			}
			if kind := s.Kind(); kind != scope.KindRepo && kind != scope.KindRPC {
				t.Fatalf("%s is of the kind %s", s, kind)
			}
		}
	})
}
