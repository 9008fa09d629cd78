package pds_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/pds/pdstest"
)

const (
	postCollection = "app.bsky.feed.post"

	createRecord = "com.atproto.repo.createRecord"
	putRecord    = "com.atproto.repo.putRecord"
	deleteRecord = "com.atproto.repo.deleteRecord"
	applyWrites  = "com.atproto.repo.applyWrites"
)

// written is the answer of a method that writes records.
type written struct {
	URI, CID         string
	ValidationStatus string
	Commit           *struct{ CID, Rev string }
	Results          []struct {
		Type                       string `json:"$type"`
		URI, CID, ValidationStatus string
	}
}

func (w *written) rkey() string { return w.URI[strings.LastIndexByte(w.URI, '/')+1:] }

// write calls a method that writes to the account's own repository.
func write(t *testing.T, a *pdstest.Account, nsid string, in map[string]any) (*written, error) {
	t.Helper()
	if in["repo"] == nil {
		in["repo"] = a.DID
	}
	out := new(written)
	return out, post(t, a.PDS, nsid, "Bearer "+a.Access, in, out)
}

func mustWrite(t *testing.T, a *pdstest.Account, nsid string, in map[string]any) *written {
	t.Helper()
	out, err := write(t, a, nsid, in)
	if err != nil {
		t.Fatalf("%s: %v", nsid, err)
	}
	return out
}

// note writes a record of a type without a lexicon.
func note(t *testing.T, a *pdstest.Account, rkey, text string) *written {
	t.Helper()
	return mustWrite(t, a, putRecord, map[string]any{
		"collection": noteCollection, "rkey": rkey, "record": map[string]any{"text": text},
	})
}

func postText(text string) map[string]any {
	return map[string]any{"$type": postCollection, "text": text, "createdAt": "2026-01-02T03:04:05.678Z"}
}

// read returns the value of a record, or the error of getRecord.
func read(t *testing.T, a *pdstest.Account, path string) (map[string]any, error) {
	t.Helper()
	collection, rkey, _ := strings.Cut(path, "/")
	var out struct {
		URI, CID string
		Value    map[string]any
	}
	err := get(t, a.PDS, "com.atproto.repo.getRecord", "", url.Values{
		"repo": {string(a.DID)}, "collection": {collection}, "rkey": {rkey},
	}, &out)
	return out.Value, err
}

func wantMessage(t *testing.T, err error, part string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), part) {
		t.Errorf("got %v, want a message with %q", err, part)
	}
}

// Records: create, get, list, put, delete, applyWrites; handle as repo.
func TestRecordsCreateGetListPutDelete(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	for _, name := range []string{string(alice.DID), string(alice.Handle), strings.ToUpper(string(alice.Handle))} {
		out := mustWrite(t, alice, createRecord, map[string]any{
			"repo": name, "collection": postCollection, "record": postText("by " + name),
		})
		uri, err := syntax.ParseATURI(out.URI)
		ok(t, err)
		if uri.Authority().String() != string(alice.DID) || uri.Collection() != postCollection || out.ValidationStatus != "valid" {
			t.Errorf("%+v", out)
		}
		if out.Commit == nil || out.Commit.CID != alice.Export().Root.String() || out.Commit.Rev != string(alice.Export().Commit.Rev) {
			t.Errorf("commit %+v, head %s", out.Commit, alice.Export().Root)
		}
		var got struct {
			URI, CID string
			Value    map[string]any
		}
		srv.Get("com.atproto.repo.getRecord", "", url.Values{
			"repo": {name}, "collection": {postCollection}, "rkey": {out.rkey()},
		}, &got)
		if got.URI != out.URI || got.CID != out.CID || got.Value["text"] != "by "+name {
			t.Errorf("getRecord by %s: %+v", name, got)
		}
		version := url.Values{
			"repo": {name}, "collection": {postCollection}, "rkey": {out.rkey()}, "cid": {out.CID},
		}
		srv.Get("com.atproto.repo.getRecord", "", version, &got)
		version.Set("cid", alice.Export().Root.String())
		wantError(t, get(t, srv, "com.atproto.repo.getRecord", "", version, nil), 400, "RecordNotFound")

		put := mustWrite(t, alice, putRecord, map[string]any{
			"repo": name, "collection": postCollection, "rkey": out.rkey(), "record": postText("again"),
		})
		if put.URI != out.URI || put.CID == out.CID || put.ValidationStatus != "valid" || put.Commit == nil {
			t.Errorf("putRecord: %+v", put)
		}
		del := mustWrite(t, alice, deleteRecord, map[string]any{
			"repo": name, "collection": postCollection, "rkey": out.rkey(),
		})
		if del.Commit == nil || del.Commit.CID != alice.Export().Root.String() {
			t.Errorf("deleteRecord: %+v", del)
		}
		_, err = read(t, alice, postCollection+"/"+out.rkey())
		wantError(t, err, 400, "RecordNotFound")
	}
	out := mustWrite(t, alice, applyWrites, map[string]any{"writes": []any{
		map[string]any{"$type": applyWrites + "#create", "collection": postCollection, "rkey": "3jui7kd54zh2y", "value": postText("a")},
		map[string]any{"$type": applyWrites + "#create", "collection": noteCollection, "value": map[string]any{"n": 1}},
		map[string]any{"$type": applyWrites + "#update", "collection": postCollection, "rkey": "3jui7kd54zh2y", "value": postText("b")},
	}})
	if len(out.Results) != 3 || out.Commit == nil {
		t.Fatalf("%+v", out)
	}
	for i, want := range []string{"create valid", "create unknown", "update valid"} {
		r := out.Results[i]
		if got := strings.TrimSuffix(strings.TrimPrefix(r.Type, applyWrites+"#"), "Result") + " " + r.ValidationStatus; got != want {
			t.Errorf("result %d is %s, want %s", i, got, want)
		}
	}
	if v, err := read(t, alice, postCollection+"/3jui7kd54zh2y"); err != nil || v["text"] != "b" {
		t.Errorf("%v %v", v, err)
	}
	if n := len(alice.Export().Records); n != 2 {
		t.Errorf("%d records", n)
	}
}

// Records: list order, reverse, paging, bounds.
func TestRecordsListOrderAndBounds(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	var writes []any
	var keys []string
	for i := range 120 {
		rkey := fmt.Sprintf("k%03d", i)
		keys = append(keys, rkey)
		writes = append(writes, map[string]any{
			"$type": applyWrites + "#create", "collection": noteCollection, "rkey": rkey, "value": map[string]any{"i": i},
		})
	}
	mustWrite(t, alice, applyWrites, map[string]any{"writes": writes})
	note(t, alice, "k050", "in another collection, below") // same collection, another version
	mustWrite(t, alice, putRecord, map[string]any{"collection": noteCollection + "s", "rkey": "k050", "record": map[string]any{}})

	list := func(params ...string) (out []string, cursor string, err error) {
		q := url.Values{"repo": {string(alice.DID)}, "collection": {noteCollection}}
		for i := 0; i < len(params); i += 2 {
			q.Set(params[i], params[i+1])
		}
		var page struct {
			Cursor  string
			Records []struct {
				URI, CID string
				Value    map[string]any
			}
		}
		err = get(t, srv, "com.atproto.repo.listRecords", "", q, &page)
		for _, r := range page.Records {
			if r.CID == "" || r.Value == nil {
				t.Errorf("incomplete: %+v", r)
			}
			out = append(out, r.URI[strings.LastIndexByte(r.URI, '/')+1:])
		}
		return out, page.Cursor, err
	}
	if got, _, err := list("reverse", "true", "limit", "100"); err != nil || !slices.Equal(got, keys[:100]) {
		t.Errorf("ascending: %v %v", got, err)
	}
	slices.Reverse(keys)
	if got, cursor, err := list(); err != nil || !slices.Equal(got, keys[:50]) || cursor != keys[49] {
		t.Errorf("default: %v, cursor %s, %v", got, cursor, err)
	}
	var all []string
	for cursor := ""; ; {
		page, next, err := list("limit", "7", "cursor", cursor)
		ok(t, err)
		all = append(all, page...)
		if cursor = next; cursor == "" {
			break
		}
	}
	if !slices.Equal(all, keys) {
		t.Errorf("pages: %v", all)
	}
	if got, cursor, err := list("limit", "1"); err != nil || len(got) != 1 || cursor != got[0] {
		t.Errorf("limit 1: %v %s %v", got, cursor, err)
	}
	for _, bad := range []string{"0", "-1", "101", "x", ""} {
		_, _, err := list("limit", bad)
		wantError(t, err, 400, "InvalidRequest")
	}
	_, _, err := list("repo", "nobody.test")
	wantError(t, err, 400, "InvalidRequest")
	_, _, err = list("collection", "notansid")
	wantError(t, err, 400, "InvalidRequest")
	if got, cursor, err := list("collection", "com.example.none"); err != nil || len(got) != 0 || cursor != "" {
		t.Errorf("empty collection: %v %s %v", got, cursor, err)
	}
}

// Records: validate true, false, absent on known and unknown types; $type
// default, mismatch.
func TestRecordsValidation(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	good := map[string]any{"text": "hi", "createdAt": "2026-01-02T03:04:05.678Z"}
	bad := map[string]any{"text": 5, "createdAt": "2026-01-02T03:04:05.678Z"}
	free := map[string]any{"anything": []any{1, "two", nil, true}}
	for _, tt := range []struct {
		name       string
		collection string
		validate   any
		record     map[string]any
		status     string // validationStatus
		refused    string // message
	}{
		{"known good, absent", postCollection, nil, good, "valid", ""},
		{"known good, true", postCollection, true, good, "valid", ""},
		{"known good, false", postCollection, false, good, "", ""},
		{"known bad, absent", postCollection, nil, bad, "", "Invalid app.bsky.feed.post record"},
		{"known bad, true", postCollection, true, bad, "", "Invalid app.bsky.feed.post record"},
		{"known bad, false", postCollection, false, bad, "", ""},
		{"unknown, absent", noteCollection, nil, free, "unknown", ""},
		{"unknown, true", noteCollection, true, free, "", "Unknown lexicon type: com.example.note"},
		{"unknown, false", noteCollection, false, free, "", ""},
		{"missing field", postCollection, nil, map[string]any{"text": "x"}, "", "createdAt"},
		{"not a record", "app.bsky.feed.defs", true, free, "", "app.bsky.feed.defs"},
	} {
		for _, nsid := range []string{createRecord, putRecord, applyWrites} {
			t.Run(tt.name+" "+nsid, func(t *testing.T) {
				in := map[string]any{"collection": tt.collection, "record": tt.record}
				switch nsid {
				case putRecord:
					in["rkey"] = string(syntax.NewTIDNow(1))
				case applyWrites:
					in = map[string]any{"writes": []any{map[string]any{
						"$type": applyWrites + "#create", "collection": tt.collection, "value": tt.record,
					}}}
				}
				if tt.validate != nil {
					in["validate"] = tt.validate
				}
				out, err := write(t, alice, nsid, in)
				if tt.refused != "" {
					wantError(t, err, 400, "InvalidRequest")
					wantMessage(t, err, tt.refused)
					return
				}
				ok(t, err)
				status := out.ValidationStatus
				if nsid == applyWrites {
					status = out.Results[0].ValidationStatus
				}
				if status != tt.status {
					t.Errorf("validationStatus %q, want %q", status, tt.status)
				}
			})
		}
	}
}

func TestRecordsTypeDefaultAndMismatch(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	note(t, alice, "a", "x")
	if v, err := read(t, alice, noteCollection+"/a"); err != nil || v["$type"] != noteCollection {
		t.Errorf("%v %v", v, err)
	}
	for _, validate := range []any{true, false, nil} {
		for _, typ := range []any{"com.example.other", "", 5, nil, "com.example.note#main"} {
			in := map[string]any{"collection": noteCollection, "record": map[string]any{"$type": typ}}
			if validate != nil {
				in["validate"] = validate
			}
			_, err := write(t, alice, createRecord, in)
			if err == nil {
				t.Errorf("$type %v, validate %v: accepted", typ, validate)
				continue
			}
			wantError(t, err, 400, "InvalidRequest")
		}
	}
	if n := len(alice.Export().Records); n != 1 {
		t.Errorf("%d records", n)
	}
}

// Records: rkey syntax, schema key type, rising TIDs.
func TestRecordsKeys(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	long := strings.Repeat("a", 512)
	profile := map[string]any{"displayName": "Alice"}
	gate := map[string]any{"post": "at://" + string(alice.DID) + "/app.bsky.feed.post/3jui7kd54zh2y", "createdAt": "2026-01-02T03:04:05Z"}
	for _, tt := range []struct {
		collection, rkey string
		record           map[string]any
		good             bool
	}{
		{noteCollection, "a", nil, true},
		{noteCollection, "A-z_0.9:~", nil, true},
		{noteCollection, "...", nil, true},
		{noteCollection, "self", nil, true},
		{noteCollection, long, nil, true},
		{noteCollection, long + "a", nil, false},
		{noteCollection, ".", nil, false},
		{noteCollection, "..", nil, false},
		{noteCollection, "a/b", nil, false},
		{noteCollection, "a b", nil, false},
		{noteCollection, "a#b", nil, false},
		{noteCollection, "ä", nil, false},
		{noteCollection, "a\x00", nil, false},
		{"notansid", "a", nil, false},
		{"com.example..note", "a", nil, false},
		{"com.example.note/x", "a", nil, false},
		{"com.example." + strings.Repeat("n", 63), "a", nil, true},
		{"com.example." + strings.Repeat("n", 64), "a", nil, false},
		{postCollection, "3jui7kd54zh2y", postText("tid"), true},
		{postCollection, "3jui7kd54zh2", postText("short"), false},
		{postCollection, "self", postText("self"), false},
		{postCollection, "zzzzzzzzzzzzz", postText("top bit"), false},
		{"app.bsky.actor.profile", "self", profile, true},
		{"app.bsky.actor.profile", "3jui7kd54zh2y", profile, false},
		{"app.bsky.feed.threadgate", "3jui7kd54zh2y", gate, true},
		{"app.bsky.feed.threadgate", "self", gate, false},
	} {
		if tt.record == nil {
			tt.record = map[string]any{"text": "x"}
		}
		for _, validate := range []bool{true, false} {
			in := map[string]any{"collection": tt.collection, "rkey": tt.rkey, "record": tt.record}
			if !validate {
				in["validate"] = false // keys are checked all the same
			}
			_, err := write(t, alice, putRecord, in)
			if tt.good {
				if err != nil {
					t.Errorf("%s/%.20s: %v", tt.collection, tt.rkey, err)
				}
				continue
			}
			if err == nil {
				t.Errorf("%s/%.20s: accepted", tt.collection, tt.rkey)
				continue
			}
			wantError(t, err, 400, "InvalidRequest")
		}
	}
	for _, rkey := range []string{"", "."} {
		_, err := write(t, alice, deleteRecord, map[string]any{"collection": noteCollection, "rkey": rkey})
		wantError(t, err, 400, "InvalidRequest")
	}
	// An absent key is a new TID, each above the last one.
	last := ""
	for range 50 {
		out := mustWrite(t, alice, createRecord, map[string]any{"collection": postCollection, "record": postText("rising")})
		if _, err := syntax.ParseTID(out.rkey()); err != nil || out.rkey() <= last {
			t.Fatalf("%s after %s: %v", out.rkey(), last, err)
		}
		last = out.rkey()
	}
	srv.Clock.Jump(-2e9)
	out := mustWrite(t, alice, createRecord, map[string]any{"collection": postCollection, "record": postText("clock stepped back")})
	if out.rkey() <= last {
		t.Errorf("%s after %s", out.rkey(), last)
	}
}

// Records: strict datetime.
func TestRecordsStrictDatetime(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	for at, good := range map[string]bool{
		"2026-01-02T03:04:05.678Z":      true,
		"2026-01-02T03:04:05Z":          true,
		"2026-01-02T03:04:05+01:00":     true,
		"1985-04-12T23:20:50.12345678Z": true,
		"2026-01-02T03:04:05":           false,
		"2026-01-02 03:04:05Z":          false,
		"2026-01-02T03:04:05z":          false,
		"2026-01-02t03:04:05Z":          false,
		"2026-01-02T03:04:05-00:00":     false,
		"2026-01-02":                    false,
		"2026-13-02T03:04:05Z":          false,
		"2026-01-02T25:04:05Z":          false,
		"26-01-02T03:04:05Z":            false,
		"":                              false,
		"now":                           false,
	} {
		_, err := write(t, alice, createRecord, map[string]any{
			"collection": postCollection, "record": map[string]any{"text": "x", "createdAt": at},
		})
		switch {
		case good && err != nil:
			t.Errorf("%q: %v", at, err)
		case !good && err == nil:
			t.Errorf("%q: accepted", at)
		case !good:
			wantError(t, err, 400, "InvalidRequest")
		}
	}
}

// Records: non-round-trip JSON. What the data model cannot hold is refused;
// what it can comes back as it was.
func TestRecordsJSONRoundTrip(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	send := func(record string) (*written, error) {
		body := fmt.Sprintf(`{"repo":%q,"collection":%q,"record":%s}`, alice.DID, noteCollection, record)
		h := http.Header{"Authorization": {"Bearer " + alice.Access}, "Content-Type": {"application/json"}}
		data, err := srv.Call(t.Context(), "POST", createRecord, nil, h, []byte(body))
		out := new(written)
		if err == nil {
			err = unmarshal(data, out)
		}
		return out, err
	}
	link := "bafkreibme22gw2h7y2h7tg2fhqotaqjucnbc24deqo72b6mkl2egezxhvy"
	deep := func(n int) string { return strings.Repeat(`{"a":`, n) + `1` + strings.Repeat(`}`, n) }
	for _, bad := range []string{
		`{"x":1.5}`, `{"x":1e-3}`, `{"x":9007199254740992}`, `{"x":-9007199254740992}`, `{"x":1e400}`,
		`{"x":1,"x":1}`, `{"x":1,"\u0078":2}`, `{"a":{"b":1,"b":2}}`,
		`{"x":{"$link":"nope"}}`, `{"x":{"$link":5}}`, `{"x":{"$link":"` + link + `","y":1}}`,
		`{"x":{"$bytes":"*"}}`, `{"x":{"$bytes":1}}`,
		`{"x":"\ud800"}`, "{\"x\":\"\xff\"}", `{"x":tru}`, `{"x":01}`, `{"x":1`, `[]`, `"text"`, `5`, `null`, `true`,
		deep(1000), deep(100_000),
	} {
		if _, err := send(bad); err == nil {
			t.Errorf("%.60s: accepted", bad)
		} else {
			wantError(t, err, 400, "InvalidRequest")
		}
	}
	for in, want := range map[string]string{
		`{"x":1.0}`:                         `1`,
		`{"x":1e3}`:                         `1000`,
		`{"x":-0}`:                          `0`,
		`{"x":9007199254740991}`:            `9007199254740991`,
		`{"x":-9007199254740991}`:           `-9007199254740991`,
		`{"x":{"$link":"` + link + `"}}`:    `{"$link":"` + link + `"}`,
		`{"x":{"$bytes":"AQI"}}`:            `{"$bytes":"AQI"}`,
		`{"x":[null,true,{}, [ ] ]}`:        `[null,true,{},[]]`,
		`{"x":"\u00e4\ud83d\ude00\n\"/"}`:   `"ä😀\n\"/"`,
		`{"x":{"bb":1,"a":2,"c":{"$x":1}}}`: `{"a":2,"c":{"$x":1},"bb":1}`,
	} {
		out, err := send(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		data, err := srv.Call(t.Context(), "GET", "com.atproto.repo.getRecord", url.Values{
			"repo": {string(alice.DID)}, "collection": {noteCollection}, "rkey": {out.rkey()},
		}, nil, nil)
		ok(t, err)
		if !strings.Contains(string(data), `"x":`+want+`,"$type"`) && !strings.Contains(string(data), `"x":`+want+`}`) {
			t.Errorf("%s came back as %s", in, data)
		}
	}
}
