package pds_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

const (
	getPreferences = "app.bsky.actor.getPreferences"
	putPreferences = "app.bsky.actor.putPreferences"
)

func preferences(t *testing.T, srv *pdstest.PDS, auth string, params url.Values) string {
	t.Helper()
	var out struct{ Preferences json.RawMessage }
	ok(t, get(t, srv, getPreferences, auth, params, &out))
	return string(out.Preferences)
}

func setPreferences(t *testing.T, srv *pdstest.PDS, auth, list string) error {
	t.Helper()
	return post(t, srv, putPreferences, auth, map[string]any{"preferences": json.RawMessage(list)}, nil)
}

func pref(name, rest string) string {
	return `{"$type":"app.bsky.actor.defs#` + name + `"` + rest + `}`
}

func TestPreferences(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice, bob := srv.CreateAccount("alice"), srv.CreateAccount("bob")
	full := "Bearer " + alice.Access
	if got := preferences(t, srv, full, nil); got != "[]" {
		t.Errorf("at first: %s", got)
	}
	adult := pref("adultContentPref", `,"enabled":true`)
	label := pref("contentLabelPref", `,"label":"gore","visibility":"hide"`)
	label2 := pref("contentLabelPref", `,"label":"nudity","visibility":"warn"`)
	unknown := `{"$type":"app.bsky.example#somethingNew","nested":{"a":[1,2,null]}}`
	// Order, repeated types and unknown types are kept; put replaces all.
	for _, list := range []string{
		"[" + adult + "," + label + "," + label2 + "," + unknown + "]", "[" + label2 + "]", "[]",
	} {
		ok(t, setPreferences(t, srv, full, list))
		if got := preferences(t, srv, full, nil); got != list {
			t.Errorf("got  %s\nwant %s", got, list)
		}
	}
	ok(t, setPreferences(t, srv, full, "["+adult+"]"))
	for name, list := range map[string]string{
		"other namespace":     `[{"$type":"com.example.pref"}]`,
		"look-alike":          `[{"$type":"app.bskyx.pref"}]`,
		"the namespace alone": `[{"$type":"app.bsky"}]`,
		"no $type":            `[{"enabled":true}]`,
		"empty $type":         `[{"$type":""}]`,
		"no object":           `["app.bsky.actor.defs#adultContentPref"]`,
		"invalid":             "[" + pref("adultContentPref", `,"enabled":"yes"`) + "]",
		"one good, one bad":   "[" + label + `,{"$type":"com.example.pref"}]`,
		"no list":             `{}`,
	} {
		if err := setPreferences(t, srv, full, list); err == nil {
			t.Errorf("%s: accepted", name)
		} else {
			wantError(t, err, 400, "InvalidRequest")
		}
	}
	if got := preferences(t, srv, full, nil); got != "["+adult+"]" {
		t.Errorf("a refused put left %s", got)
	}
	if got := preferences(t, srv, "Bearer "+bob.Access, nil); got != "[]" {
		t.Errorf("another account has %s", got)
	}
}

// What is outside of the namespace belongs to others and stays.
func TestPreferencesKeepOtherNamespaces(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	other := `{"$type":"com.example.pref"}`
	ok(t, srv.Config.Store.Update(t.Context(), func(tx storage.Tx) error {
		_, err := tx.PutDoc(storage.Doc{Kind: "preferences", Key: string(alice.DID), Owner: alice.DID, Value: []byte("[" + other + "]")})
		return err
	}))
	full := "Bearer " + alice.Access
	adult := pref("adultContentPref", `,"enabled":true`)
	ok(t, setPreferences(t, srv, full, "["+adult+"]"))
	if got := preferences(t, srv, full, nil); got != "["+adult+"]" {
		t.Errorf("got %s", got)
	}
	ok(t, srv.Config.Store.View(t.Context(), func(tx storage.Tx) error {
		d, err := tx.GetDoc("preferences", string(alice.DID))
		if err == nil && string(d.Value) != "["+other+","+adult+"]" {
			t.Errorf("stored %s", d.Value)
		}
		return err
	}))
}

func TestPersonalDetailsAndDeclaredAge(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	full := "Bearer " + alice.Access
	app := login(t, srv, string(alice.DID), newAppPassword(t, alice, "phone", true)).access()
	adult := pref("adultContentPref", `,"enabled":true`)
	now := srv.Clock.Now().UTC()
	details := func(years, days int) string {
		return pref("personalDetailsPref", fmt.Sprintf(`,"birthDate":"%s"`, now.AddDate(-years, 0, -days).Format("2006-01-02T15:04:05.000Z")))
	}
	age := func(over13, over16, over18 bool) string {
		return pref("declaredAgePref", fmt.Sprintf(`,"isOverAge13":%v,"isOverAge16":%v,"isOverAge18":%v`, over13, over16, over18))
	}
	for _, c := range []struct{ details, age string }{
		{details(18, 0), age(true, true, true)},
		{details(18, -1), age(true, true, false)}, // eighteen tomorrow
		{details(16, 0), age(true, true, false)},
		{details(13, 0), age(true, false, false)},
		{details(12, 200), age(false, false, false)},
		{pref("personalDetailsPref", ""), ""},
		{pref("personalDetailsPref", `,"birthDate":"1990-05-05T00:00:00.000Z"`), age(true, true, true)},
	} {
		// A declared age that is put is ignored.
		if err := setPreferences(t, srv, full, "["+adult+","+c.details+","+age(false, true, false)+"]"); err != nil {
			t.Errorf("%s: %v", c.details, err)
			continue
		}
		if c.age != "" {
			c.age = "," + c.age
		}
		if got, want := preferences(t, srv, full, nil), "["+adult+","+c.details+c.age+"]"; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		// App passwords see the age, not the date.
		if got, want := preferences(t, srv, app, nil), "["+adult+c.age+"]"; got != want {
			t.Errorf("by app password: got %s\nwant %s", got, want)
		}
	}
	// App passwords neither write nor erase them.
	wantError(t, setPreferences(t, srv, app, "["+details(30, 0)+"]"), 400, "InvalidRequest")
	ok(t, setPreferences(t, srv, app, "[]"))
	if got := preferences(t, srv, full, nil); !strings.Contains(got, "1990-05-05") || strings.Contains(got, "adultContentPref") {
		t.Errorf("after a put by app password: %s", got)
	}
	ok(t, setPreferences(t, srv, full, "[]"))
	if got := preferences(t, srv, full, nil); got != "[]" {
		t.Errorf("after clearing: %s", got)
	}
}

func TestPreferencesOfOthersForModeration(t *testing.T) {
	t.Parallel()
	base := pdstest.New(t)
	mod := newOutsider(t, base, "mod.example.com")
	srv := base.Another(func(c *pds.Config) { c.ModService.DID = mod.DID })
	alice := srv.CreateAccount("alice")
	details := pref("personalDetailsPref", `,"birthDate":"1990-05-05T00:00:00.000Z"`)
	ok(t, setPreferences(t, srv, "Bearer "+alice.Access, "["+details+"]"))
	setTakedown(t, srv, alice.DID, true)
	for _, auth := range []string{adminAuth, mod.token(t, srv, getPreferences)} {
		if got := preferences(t, srv, auth, url.Values{"did": {string(alice.DID)}}); !strings.Contains(got, "1990-05-05") {
			t.Errorf("got %s", got)
		}
		wantError(t, get(t, srv, getPreferences, auth, nil, nil), 400, "InvalidRequest")
		wantError(t, get(t, srv, getPreferences, auth, url.Values{"did": {"did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"}}, nil), 400, "InvalidRequest")
	}
	stranger := newOutsider(t, srv, "stranger.example.com")
	wantError(t, get(t, srv, getPreferences, stranger.token(t, srv, getPreferences), url.Values{"did": {string(alice.DID)}}, nil),
		401, "UntrustedIss")
	// Whose did an ordinary caller names makes no difference.
	bob := srv.CreateAccount("bob")
	if got := preferences(t, srv, "Bearer "+bob.Access, url.Values{"did": {string(alice.DID)}}); got != "[]" {
		t.Errorf("another account's preferences: %s", got)
	}
}

// OAuth callers come from an authenticator of the embedder.
func TestOAuthScopes(t *testing.T) {
	t.Parallel()
	var caller xrpc.Caller
	srv := pdstest.New(t, func(c *pds.Config) {
		c.AppView = pds.Service{URL: "https://api.example.com", DID: "did:web:api.example.com"}
		c.Authenticators = []xrpc.Authenticator{xrpc.AuthenticatorFunc(func(r *http.Request) (*xrpc.Caller, error) {
			if r.Header.Get("Authorization") != "DPoP token" {
				return nil, nil
			}
			c := caller
			return &c, nil
		})}
	})
	alice := srv.CreateAccount("alice")
	params := url.Values{"aud": {"did:web:api.example.com#x"}, "lxm": {"app.bsky.feed.getFeed"}}
	record := map[string]any{"repo": alice.DID, "collection": "com.example.note", "record": map[string]any{}}
	const aud = "?aud=did:web:api.example.com%23bsky_appview"
	const generic = "transition:generic"
	for _, c := range []struct {
		nsid  string
		call  func() error
		need  string // scope that the error names
		alike []string
	}{
		{getServiceAuth, func() error { return get(t, srv, getServiceAuth, "DPoP token", params, nil) },
			"rpc:app.bsky.feed.getFeed?aud=did:web:api.example.com%23x",
			[]string{"rpc:app.bsky.feed.getFeed?aud=*", "rpc:*?aud=did%3Aweb%3Aapi.example.com#x", generic,
				"rpc?lxm=app.bsky.feed.getPosts&lxm=app.bsky.feed.getFeed&aud=did:web:api.example.com%23x"}},
		{getPreferences, func() error { return get(t, srv, getPreferences, "DPoP token", nil, nil) },
			"rpc:" + getPreferences + aud, []string{"rpc:" + getPreferences + "?aud=*", generic}},
		{putPreferences, func() error { return setPreferences(t, srv, "DPoP token", "[]") },
			"rpc:" + putPreferences + aud, []string{"rpc:*" + aud, generic}},
		{"com.atproto.repo.createRecord", func() error { return post(t, srv, "com.atproto.repo.createRecord", "DPoP token", record, nil) },
			"repo:com.example.note?action=create", []string{"repo:com.example.note", "repo:*", "repo:*?action=create", generic,
				"repo?collection=com.example.a&collection=com.example.note&action=update&action=create"}},
		{uploadBlobNSID, func() error {
			h := http.Header{"Authorization": {"DPoP token"}, "Content-Type": {"image/png; x=y"}}
			_, err := srv.Call(t.Context(), http.MethodPost, uploadBlobNSID, nil, h, []byte("a blob"))
			return err
		}, "blob:image/png", []string{"blob:image/*", "blob:*/*", "blob?accept=text/html&accept=Image/PNG", generic}},
		{"com.atproto.server.deactivateAccount", func() error {
			return post(t, srv, "com.atproto.server.deactivateAccount", "DPoP token", map[string]any{}, nil)
		}, "account:status?action=manage", nil},
	} {
		for _, scopes := range [][]string{nil, {"atproto"}, {c.need + "x"}, {"repo:com.example.other"}, {"transition:chat.bsky transition:email"}} {
			caller = xrpc.Caller{Account: alice.DID, Actor: alice.DID, Kind: xrpc.KindOAuth, Scopes: scopes}
			err := c.call()
			wantError(t, err, 403, "ScopeMissingError")
			if !strings.Contains(err.Error(), c.need) {
				t.Errorf("%s: %v does not name %s", c.nsid, err, c.need)
			}
		}
		for _, scope := range append(c.alike, c.need) {
			caller.Scopes = []string{"atproto", scope}
			if err := c.call(); err != nil {
				t.Errorf("%s with %s: %v", c.nsid, scope, err)
			}
		}
	}
	// The e-mail address is part of a session for those who may see it.
	caller.Scopes = []string{"atproto"}
	var info sessionAnswer
	ok(t, get(t, srv, getSession, "DPoP token", nil, &info))
	if info.Email != "" || info.EmailConfirmed != nil || info.DID != alice.DID {
		t.Errorf("getSession without a scope: %+v", info)
	}
	caller.Scopes = []string{"atproto", "account:email"}
	ok(t, get(t, srv, getSession, "DPoP token", nil, &info))
	if info.Email != alice.Email || info.EmailConfirmed == nil {
		t.Errorf("getSession with account:email: %+v", info)
	}
}
