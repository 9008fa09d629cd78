package pds_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/repo"
	"github.com/pdskit/pdskit/storage"
)

// noteLexicon is a lexicon for records of {text, thing?}, text being short.
func noteLexicon(nsid string, more ...any) object {
	return object{"lexicon": 1, "id": nsid, "defs": object{"main": object{
		"type": "record", "key": "tid", "record": object{
			"type": "object", "required": []any{"text"}, "properties": with(object{"text": object{"type": "string", "maxLength": 5}}, more...),
		},
	}}}
}

// publishLexicon writes a lexicon to the repository of an account and names it
// in the DNS of the network.
func publishLexicon(a *pdstest.Account, domain string, lexicon object) {
	a.PDS.SetTXT("_lexicon."+domain, "did="+string(a.DID))
	a.Post("com.atproto.repo.putRecord", object{
		"repo": a.DID, "collection": "com.atproto.lexicon.schema", "rkey": lexicon["id"], "record": with(lexicon, "$type", "com.atproto.lexicon.schema"),
	}, nil)
}

// tryNote writes a record and returns the status of its validation.
func tryNote(a *pdstest.Account, collection, text string, more ...any) (string, error) {
	in := with(object{"repo": a.DID, "collection": collection, "record": object{"text": text}}, more...)
	out, err := callJSON(context.Background(), a, "com.atproto.repo.createRecord", in)
	status, _ := out["validationStatus"].(string)
	return status, err
}

// countingDirectory counts lookups of lexicons, and can be slow.
type countingDirectory struct {
	*identity.Resolver
	lookups atomic.Int32
	wait    chan struct{} // if not nil: closed when lookups may go on
}

func (d *countingDirectory) LexiconAuthority(ctx context.Context, nsid syntax.NSID) (syntax.DID, error) {
	d.lookups.Add(1)
	if d.wait != nil {
		select {
		case <-d.wait:
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
	return d.Resolver.LexiconAuthority(ctx, nsid)
}

func counting(d *countingDirectory) func(*pds.Config) {
	return func(c *pds.Config) {
		d.Resolver = c.Directory.(*identity.Resolver)
		c.Directory = d
	}
}

// Records of types that the catalog does not know are checked by the lexicons
// that their authorities publish, here or elsewhere.
func TestLexiconsFromTheNetwork(t *testing.T) {
	t.Parallel()
	var dir countingDirectory
	srv := pdstest.New(t, counting(&dir))
	alice := srv.CreateAccount("alice")
	authority := srv.Another().CreateAccount("authority")
	for name, publisher := range map[string]*pdstest.Account{"elsewhere": authority, "here": srv.CreateAccount("neighbour")} {
		domain := name + ".example.com"
		nsid := "com.example." + name + ".note"
		publishLexicon(publisher, domain, noteLexicon(nsid, "thing", object{"type": "ref", "ref": "com.example." + name + ".defs#thing"},
			"post", object{"type": "ref", "ref": "com.atproto.repo.strongRef"}, "any", object{"type": "union", "refs": []any{"com.example." + name + ".other"}}))
		publishLexicon(publisher, domain, object{"lexicon": 1, "id": "com.example." + name + ".defs", "defs": object{
			"thing": object{"type": "object", "required": []any{"n"}, "properties": object{"n": object{"type": "integer", "maximum": 3}}},
		}})
		publishLexicon(publisher, domain, object{"lexicon": 1, "id": "com.example." + name + ".other", "defs": object{
			"main": object{"type": "object", "properties": object{"self": object{"type": "ref", "ref": "com.example." + name + ".other"}}},
		}})
		status, err := tryNote(alice, nsid, "good")
		if ok(t, err); status != "valid" {
			t.Errorf("%s: status %q", name, status)
		}
		_, err = tryNote(alice, nsid, "too long")
		wantError(t, err, 400, "InvalidRequest")
		_, err = tryNote(alice, nsid, "good", "rkey", "no-tid")
		wantError(t, err, 400, "InvalidRequest")
		for text, fits := range map[string]bool{
			`{"text":"a","thing":{"n":3}}`: true, `{"text":"a","thing":{"n":4}}`: false, `{"text":"a","post":{}}`: false,
			fmt.Sprintf(`{"text":"a","any":{"$type":"com.example.%s.other","self":{"self":{}}}}`, name): true,
			fmt.Sprintf(`{"text":"a","any":{"$type":"com.example.%s.other","self":7}}`, name):           false,
		} {
			_, err := tryNote(alice, nsid, "", "record", json.RawMessage(text))
			if (err == nil) != fits {
				t.Errorf("%s: %s: %v", name, text, err)
			}
		}
		status, err = tryNote(alice, nsid, "good", "validate", true)
		if ok(t, err); status != "valid" {
			t.Errorf("%s: status %q", name, status)
		}
		status, err = tryNote(alice, nsid, "much too long", "validate", false)
		if ok(t, err); status != "" {
			t.Errorf("%s: status %q", name, status)
		}
	}
	if n := dir.lookups.Load(); n != 6 {
		t.Errorf("%d lookups, want one for each lexicon", n)
	}
	// One that nobody publishes, or that is no record, is unknown.
	publishLexicon(authority, "query.example.com", object{"lexicon": 1, "id": "com.example.query.get", "defs": object{"main": object{"type": "query"}}})
	for _, nsid := range []string{"com.example.nobody.note", "com.example.query.get"} {
		status, err := tryNote(alice, nsid, "whatever it is")
		if ok(t, err); status != "unknown" {
			t.Errorf("%s: %q", nsid, status)
		}
		_, err = tryNote(alice, nsid, "x", "validate", true)
		if wantError(t, err, 400, "InvalidRequest"); !strings.Contains(err.Error(), "Unknown lexicon type: "+nsid) {
			t.Error(err)
		}
	}
	// Failures are remembered.
	before := dir.lookups.Load()
	_, err := tryNote(alice, "com.example.nobody.note", "x")
	if ok(t, err); dir.lookups.Load() != before {
		t.Error("looked up again")
	}
}

// What a lexicon says is used while it is stale, until the new one is here, and
// survives the server.
func TestLexiconsAreRemembered(t *testing.T) {
	t.Parallel()
	var first, second countingDirectory
	var store storage.Store
	srv := pdstest.New(t, counting(&first), func(c *pds.Config) { store = c.Store })
	alice := srv.CreateAccount("alice")
	other := srv.Another()
	authority := other.CreateAccount("authority")
	const nsid = "com.example.note"
	publishLexicon(authority, "example.com", noteLexicon(nsid))
	if status, err := tryNote(alice, nsid, "a"); err != nil || status != "valid" {
		t.Fatal(status, err)
	}
	// Nobody can be reached any more.
	srv.SetTXT("_lexicon.example.com")
	_, err := tryNote(alice, nsid, "too long")
	wantError(t, err, 400, "")

	// A second server on the same store knows it, too.
	again := srv.Another(counting(&second), func(c *pds.Config) { c.Store = store })
	out, err := again.Apply(t.Context(), pds.Batch{Account: alice.DID, Actor: alice.DID, Ops: []pds.Op{{
		Action: pds.Create, Collection: nsid, Record: recordOf(t, nsid, object{"text": "b"}),
	}}})
	if ok(t, err); out.Ops[0].Validation != "valid" || second.lookups.Load() != 0 {
		t.Errorf("%+v, %d lookups", out, second.lookups.Load())
	}

	// Stale: used, and renewed behind the scenes; that it is gone ends it.
	srv.Clock.Advance(2 * time.Hour)
	alice.Login()
	if status, err := tryNote(alice, nsid, "c"); err != nil || status != "valid" {
		t.Fatal(status, err)
	}
	waitFor(t, func() bool {
		status, err := tryNote(alice, nsid, "d")
		return err == nil && status == "unknown"
	})
	// It comes back when the failure is forgotten.
	authority.Login()
	publishLexicon(authority, "example.com", noteLexicon(nsid))
	srv.Clock.Advance(10 * time.Minute)
	if status, err := tryNote(alice, nsid, "e"); err != nil || status != "valid" {
		t.Fatal(status, err)
	}
}

// waitFor waits until something that happens in the background has happened.
func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); {
		if time.Now().After(deadline) {
			t.Fatal("it does not happen")
		}
		<-waitABit(t)
	}
}

func recordOf(t *testing.T, collection syntax.NSID, value object) *repo.Record {
	t.Helper()
	rec, err := repo.RecordFromValue(value, collection)
	ok(t, err)
	return rec
}

// A write waits for a lexicon no longer than the limit, all records of a batch
// together, and not in the account's lane.
func TestLexiconsDoNotHoldWrites(t *testing.T) {
	t.Parallel()
	dir := countingDirectory{wait: make(chan struct{})}
	var once sync.Once
	release := func() { once.Do(func() { close(dir.wait) }) }
	t.Cleanup(release)
	const wait = 2 * time.Second // enough for a write meanwhile, on a busy machine
	srv := pdstest.New(t, counting(&dir), func(c *pds.Config) { c.Limits.LexiconWait = wait })
	alice := srv.CreateAccount("alice")
	publishLexicon(srv.Another().CreateAccount("authority"), "example.com", noteLexicon("com.example.note0"))

	began := time.Now()
	done := make(chan error, 1)
	go func() {
		var writes []any
		for i := range 20 {
			writes = append(writes, object{
				"$type": "com.atproto.repo.applyWrites#create", "collection": fmt.Sprintf("com.example.note%d", i), "value": object{"text": "too long for it"},
			})
		}
		_, err := callJSON(context.Background(), alice, "com.atproto.repo.applyWrites", object{"repo": alice.DID, "writes": writes})
		done <- err
	}()
	waitFor(t, func() bool { return dir.lookups.Load() > 0 })
	// Meanwhile the account writes.
	alice.CreateRecord(postType, newPost("meanwhile"))
	select {
	case err := <-done:
		t.Fatalf("the batch did not wait: %v", err)
	default:
	}
	ok(t, <-done)
	if took := time.Since(began); took < wait || took > 10*wait { // twenty waits, one after the other, would be more
		t.Errorf("the batch took %v", took)
	}
	if n := dir.lookups.Load(); n > 4 {
		t.Errorf("%d lookups at a time for one account", n)
	}
	// What was looked up goes on, and is known in the end.
	release()
	waitFor(t, func() bool {
		_, err := tryNote(alice, "com.example.note0", "too long for it")
		return err != nil
	})
}

// The policies of an embedder.
func TestLexiconPolicies(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	authority := srv.CreateAccount("authority")
	publishLexicon(authority, "example.com", noteLexicon("com.example.note"))
	for policy, want := range map[pds.LexiconPolicy][2]string{
		pds.LexiconsOptimistic: {"refused", "unknown"},
		pds.LexiconsIgnored:    {"unknown", "unknown"},
		pds.LexiconsRequired:   {"refused", "refused"},
	} {
		member := srv.Another(func(c *pds.Config) { c.Lexicons = policy })
		alice := member.CreateAccount("alice")
		for i, nsid := range []string{"com.example.note", "com.example.elsewhere.note"} {
			status, err := tryNote(alice, nsid, "too long")
			if err != nil {
				wantError(t, err, 400, "InvalidRequest")
				status = "refused"
			}
			if status != want[i] {
				t.Errorf("policy %d, %s: %s, want %s", policy, nsid, status, want[i])
			}
			_, err = tryNote(alice, nsid, "too long", "validate", false)
			ok(t, err)
		}
	}
	cfg := srv.Config
	cfg.Lexicons = 7
	if _, err := pds.New(cfg); err == nil || !strings.Contains(err.Error(), "Config.Lexicons") {
		t.Error(err)
	}
	cfg.Lexicons, cfg.Directory = pds.LexiconsRequired, struct{ pds.Directory }{cfg.Directory}
	if _, err := pds.New(cfg); err == nil || !strings.Contains(err.Error(), "LexiconDirectory") {
		t.Error(err)
	}
}

// A resolver believes nothing that is not proven.
func TestLexiconResolver(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	host := srv.Another()
	authority := host.CreateAccount("authority")
	const nsid = "com.example.note"
	publishLexicon(authority, "example.com", noteLexicon(nsid))
	var spoil func(*http.Response) // changes answers
	transport := roundTrip(func(r *http.Request) (*http.Response, error) {
		resp, err := srv.Config.Transport.RoundTrip(r)
		if err == nil && spoil != nil {
			spoil(resp)
		}
		return resp, err
	})
	newResolver := func(store storage.Store) *pds.LexiconResolver {
		r, err := pds.NewLexiconResolver(pds.LexiconResolverConfig{
			Directory: srv.Config.Directory.(*identity.Resolver), Transport: transport, Store: store, DevMode: true,
		})
		ok(t, err)
		return r
	}
	r := newResolver(srv.Config.Store)
	text, err := r.PermissionSet(t.Context(), nsid)
	ok(t, err)
	var lexicon object
	ok(t, json.Unmarshal(text, &lexicon))
	if lexicon["id"] != nsid {
		t.Errorf("%s", text)
	}
	body := func(change func([]byte) []byte) func(*http.Response) {
		return func(resp *http.Response) { resp.Body = changed(t, resp.Body, change); resp.ContentLength = -1 }
	}
	for name, tt := range map[string]struct {
		spoil    func(*http.Response)
		notFound bool
	}{
		"nothing":    {body(func([]byte) []byte { return nil }), false},
		"garbage":    {body(func([]byte) []byte { return []byte("<html>") }), false},
		"cut":        {body(func(b []byte) []byte { return b[:len(b)-1] }), false},
		"one bit":    {body(func(b []byte) []byte { b[len(b)-3] ^= 1; return b }), false},
		"signature":  {body(func(b []byte) []byte { b[150] ^= 1; return b }), false},
		"too large":  {body(func([]byte) []byte { return make([]byte, repo.MaxProofBytes+1) }), false},
		"an error":   {func(resp *http.Response) { resp.StatusCode = 500 }, false},
		"a redirect": {func(resp *http.Response) { resp.StatusCode = 302 }, false},
		"not found": {func(resp *http.Response) {
			resp.StatusCode = 400
			body(func([]byte) []byte { return []byte(`{"error":"RecordNotFound"}`) })(resp)
		}, true},
	} {
		spoil = tt.spoil
		if text, err := r.Resolve(t.Context(), nsid); err == nil || errors.Is(err, pds.ErrLexiconNotFound) != tt.notFound {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
	spoil = nil
	// Records that are something else.
	for name, record := range map[string]object{
		"another id":      noteLexicon("com.example.other"),
		"another version": with(noteLexicon(nsid), "lexicon", 2),
		"no id":           {"lexicon": 1},
		"too large":       with(noteLexicon(nsid), "padding", strings.Repeat("x", pds.MaxLexiconBytes)),
	} {
		authority.Post("com.atproto.repo.putRecord", object{
			"repo": authority.DID, "collection": "com.atproto.lexicon.schema", "rkey": nsid, "validate": false,
			"record": with(record, "$type", "com.atproto.lexicon.schema"),
		}, nil)
		if text, err := r.Resolve(t.Context(), nsid); err == nil || errors.Is(err, pds.ErrLexiconNotFound) {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
	authority.Post("com.atproto.repo.deleteRecord", object{"repo": authority.DID, "collection": "com.atproto.lexicon.schema", "rkey": nsid}, nil)
	for name, dns := range map[string][]string{
		"no record": nil, "no did": {"v=spf1"}, "absent": {"did=" + string(authority.DID)},
	} {
		srv.SetTXT("_lexicon.example.com", dns...)
		if text, err := r.Resolve(t.Context(), nsid); !errors.Is(err, pds.ErrLexiconNotFound) {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
	for name, dns := range map[string][]string{
		"two":           {"did=" + string(authority.DID), "did=did:web:example.com"},
		"no DID":        {"did=x"},
		"unknown":       {"did=" + otherDID},
		"without a PDS": {"did=did:web:api.example.com"},
	} {
		srv.SetTXT("_lexicon.example.com", dns...)
		if text, err := r.Resolve(t.Context(), nsid); err == nil || errors.Is(err, pds.ErrLexiconNotFound) {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
	if _, err := pds.NewLexiconResolver(pds.LexiconResolverConfig{}); err == nil {
		t.Error("a resolver without a directory")
	}
	// What is hosted here is not fetched.
	local := srv.CreateAccount("neighbour")
	publishLexicon(local, "example.com", noteLexicon(nsid))
	spoil = func(*http.Response) { t.Error("fetched") }
	_, err = r.Resolve(t.Context(), nsid)
	ok(t, err)
	takeDown(t, srv, string(local.DID), true)
	if _, err = r.Resolve(t.Context(), nsid); !errors.Is(err, pds.ErrLexiconNotFound) {
		t.Error(err)
	}
}
