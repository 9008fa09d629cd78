package lexicons_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/bluesky-social/indigo/atproto/atdata"
	"github.com/bluesky-social/indigo/atproto/lexicon"

	"github.com/pdskit/pdskit/xrpc/lexicons"
)

// TestBuiltin parses every built-in schema in both forms.
func TestBuiltin(t *testing.T) {
	cat := lexicons.New()
	files, methods := 0, 0
	for nsid := range cat.NSIDs() {
		files++
		if _, err := cat.Method(nsid); err == nil {
			methods++
		} else if !errors.Is(err, lexicons.ErrUnknown) {
			t.Errorf("%s: %v", nsid, err)
		}
		source, ok := cat.Source(nsid)
		if !ok || strings.Contains(string(source), `"description":"`) {
			t.Errorf("%s: source %.80s", nsid, source)
		}
		if _, err := cat.Resolve(nsid); err != nil && !strings.HasSuffix(nsid, "defs") && !strings.Contains(err.Error(), "#main") {
			t.Errorf("%s: %v", nsid, err)
		}
	}
	if files < 377 || methods < 200 {
		t.Errorf("%d files, %d methods", files, methods)
	}
	t.Logf("built in: %d files, %d methods", files, methods)
}

func TestAdd(t *testing.T) {
	cat := lexicons.New()
	schema := `{"lexicon":1,"id":"com.example.thing","defs":{"main":{"type":"record","key":"tid","record":{"type":"object","properties":{}}}}}`
	if err := cat.Add([]byte(schema)); err != nil {
		t.Fatal(err)
	}
	if err := cat.Add([]byte(schema)); !errors.Is(err, lexicons.ErrExists) {
		t.Errorf("twice: %v", err)
	}
	if err := cat.Add([]byte(strings.Replace(schema, "com.example.thing", "app.bsky.feed.post", 1))); !errors.Is(err, lexicons.ErrExists) {
		t.Errorf("built-in: %v", err)
	}
	if !cat.Has("com.example.thing") || lexicons.New().Has("com.example.thing") {
		t.Error("Has")
	}
	for _, bad := range []string{``, `{}`, `[]`, strings.Replace(schema, `"record":{"type":"object","properties":{}}`, ``, 1) + " ",
		`{"lexicon":1,"id":"com.example.a","defs":{"main":{"type":"object","required":["x"],"properties":{}}}}`,
		`{"lexicon":1,"id":"com.example.a","defs":{"main":{"type":"query","parameters":{"type":"params","properties":{"o":{"type":"object"}}}}}}`,
		`{"lexicon":1,"id":"com.example.a","defs":{"a":{"type":"array","items":{"type":"magic"}}}}`,
		strings.Repeat(" ", lexicons.MaxSchemaBytes) + schema,
	} {
		if err := lexicons.Empty().Add([]byte(bad)); err == nil {
			t.Errorf("%.200s: accepted", strings.TrimSpace(bad))
		}
	}
}

func TestAddFS(t *testing.T) {
	thing := func(nsid string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte(`{"lexicon":1,"id":"` + nsid + `","defs":{"main":{"type":"record","key":"tid","record":{"type":"object","properties":{}}}}}`)}
	}
	files := fstest.MapFS{"a.json": thing("com.example.a"), "lexicons/b.json": thing("com.example.b"), "README.md": {Data: []byte("# Things")}}
	cat := lexicons.Empty()
	if err := cat.AddFS(files); err != nil {
		t.Fatal(err)
	}
	if !cat.Has("com.example.a") || !cat.Has("com.example.b") {
		t.Error("a file was left out")
	}
	files["c.json"] = thing("com.example.a")
	if err := lexicons.Empty().AddFS(files); !errors.Is(err, lexicons.ErrExists) || !strings.Contains(err.Error(), "c.json") {
		t.Errorf("twice: %v", err)
	}
	files["c.json"] = &fstest.MapFile{Data: []byte("{")}
	if err := lexicons.Empty().AddFS(files); err == nil || !strings.Contains(err.Error(), "c.json") {
		t.Errorf("malformed: %v", err)
	}
	if err := cat.AddFS(os.DirFS(t.TempDir() + "/none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
}

func TestResolve(t *testing.T) {
	cat := lexicons.New()
	for _, ref := range []string{"app.bsky.feed.post", "app.bsky.feed.post#main"} {
		s, err := cat.Resolve(ref)
		if err != nil || s.ID != "app.bsky.feed.post#main" {
			t.Fatalf("%s: %v, %v", ref, s, err)
		}
		if _, ok := s.Def.(lexicon.SchemaRecord); !ok {
			t.Errorf("%s: %T", ref, s.Def)
		}
	}
	for _, ref := range []string{"", "#", "app.bsky.feed.post#nope", "com.example.nope"} {
		if s, err := cat.Resolve(ref); err == nil {
			t.Errorf("%q: %v", ref, s)
		}
	}
}

func TestRecordKeys(t *testing.T) {
	cat := lexicons.New()
	for _, tt := range []struct {
		nsid, key string
		known, ok bool
	}{
		{"app.bsky.actor.profile", "self", true, true},
		{"app.bsky.actor.profile", "other", true, false},
		{"app.bsky.feed.post", "3jui7kd54zh2y", true, true},
		{"app.bsky.feed.post", "self", true, false},
		{"app.bsky.feed.generator", "anything", true, true},
		{"com.atproto.lexicon.schema", "com.example.foo", true, true},
		{"com.atproto.lexicon.schema", "self", true, false},
		{"com.example.unknown", "self", false, true},
		{"com.atproto.repo.getRecord", "self", false, true},
	} {
		known, err := cat.CheckRecordKey(tt.nsid, tt.key)
		if known != tt.known || (err == nil) != tt.ok {
			t.Errorf("%+v: %t, %v", tt, known, err)
		}
	}
}

// TestRecords changes one thing at a time in a valid post.
func TestRecords(t *testing.T) {
	cat := lexicons.New()
	valid := strings.ReplaceAll(benchPost, "\n", "")
	for name, tt := range map[string]struct {
		old, new string
		problem  string
	}{
		"nothing":         {"", "", ""},
		"type":            {`"$type":"app.bsky.feed.post"`, `"$type":"app.bsky.feed.like"`, `$type must be "app.bsky.feed.post"`},
		"text":            {`"text":"`, `"text":"` + strings.Repeat("x", 300), "text: has 500 characters, want at most 300"},
		"bytes":           {`"text":"`, `"text":"` + strings.Repeat("x", 3000), "text: has 3220 bytes, want at most 3000"},
		"missing":         {`"createdAt"`, `"created"`, `required property "createdAt" is missing`},
		"datetime":        {"2024-02-28T12:00:00.123Z", "2024-02-28 12:00:00", "createdAt: must be a valid datetime"},
		"datetime zone":   {"2024-02-28T12:00:00.123Z", "2024-02-28T12:00:00", "createdAt: must be a valid datetime"},
		"language":        {`"de"`, `"d"`, "langs/1: must be a valid language"},
		"languages":       {`"de"`, `"de","fr","it"`, "langs: has 4 elements, want at most 3"},
		"uri":             {"at://did:plc:abcdefghijklmnopqrstuvwx/app.bsky.feed.post/3jui7kd54zh2y", "https://x", "reply/"},
		"link":            {`#link","uri":"https://example.com/some/path?query=1"`, `#link","uri":"nope"`, "facets/0/features/0/uri: must be a valid uri"},
		"unknown feature": {`facet#link"`, `facet#glow"`, ""},
		"foreign embed":   {`app.bsky.embed.images"`, `com.example.embed"`, ""},
		"embed with main": {`app.bsky.embed.images"`, `app.bsky.embed.images#main"`, ""},
		"integer":         {`"width":4`, `"width":0`, "embed/images/0/aspectRatio/width: must not be less than 1"},
		"blob type":       {`image/jpeg`, `video/mp4`, "embed/images/0/image: has media type"},
		"blob size":       {`"size":12345`, `"size":9000000`, "embed/images/0/image: has 9000000 bytes"},
		"null":            {`"alt":"a tree"`, `"alt":null`, "embed/images/0/alt: must be a string, not null"},
	} {
		text := valid
		if tt.old != "" {
			text = strings.Replace(valid, tt.old, tt.new, 1)
			if text == valid {
				t.Fatalf("%s changes nothing", name)
			}
		}
		record, err := atdata.UnmarshalJSON([]byte(text))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		known, err := cat.ValidateRecord(record, "app.bsky.feed.post", 0)
		if !known || (err == nil) != (tt.problem == "") || err != nil && !strings.HasPrefix(err.Error(), tt.problem) {
			t.Errorf("%s: %v, want %q", name, err, tt.problem)
		}
		if other := lexicon.ValidateRecord(cat, record, "app.bsky.feed.post", 0); (other == nil) != (err == nil) {
			t.Errorf("%s: indigo says %v, we say %v", name, other, err)
		}
	}
}

func TestFlags(t *testing.T) {
	cat := lexicons.New()
	like := func(change func(map[string]any)) map[string]any {
		m := map[string]any{"$type": "app.bsky.feed.post", "text": "", "createdAt": "2024-02-28T12:00:00Z"}
		change(m)
		return m
	}
	for name, tt := range map[string]struct {
		record map[string]any
		flag   lexicons.Flags
	}{
		"datetime": {like(func(m map[string]any) { m["createdAt"] = "2024-02-28T12:00:00" }), lexicon.AllowLenientDatetime},
	} {
		if _, err := cat.ValidateRecord(tt.record, "app.bsky.feed.post", 0); err == nil {
			t.Errorf("%s: accepted without the flag", name)
		}
		if _, err := cat.ValidateRecord(tt.record, "app.bsky.feed.post", tt.flag); err != nil {
			t.Errorf("%s: refused with the flag: %v", name, err)
		}
	}
	foreign := like(func(m map[string]any) { m["embed"] = map[string]any{"$type": "com.example.embed"} })
	if _, err := cat.ValidateRecord(foreign, "app.bsky.feed.post", lexicon.StrictRecursiveValidation); err == nil {
		t.Error("an unknown type passes the strict flag")
	}
	profile := map[string]any{"$type": "app.bsky.actor.profile", "avatar": atdata.Blob{MimeType: "image/png", Size: -1}}
	if _, err := cat.ValidateRecord(profile, "app.bsky.actor.profile", 0); err == nil {
		t.Error("a blob of the old form passes")
	}
	if _, err := cat.ValidateRecord(profile, "app.bsky.actor.profile", lexicon.AllowLegacyBlob); err != nil {
		t.Errorf("a blob of the old form is refused: %v", err)
	}
}

func TestValidateByName(t *testing.T) {
	cat := lexicons.New()
	if err := cat.ValidateParams("com.atproto.repo.listRecords", url.Values{"repo": {"alice.test"}, "collection": {"com.example.foo"}, "limit": {"100"}, "reverse": {"true"}}); err != nil {
		t.Error(err)
	}
	for _, q := range []url.Values{{}, {"repo": {"alice.test"}, "collection": {"x"}}, {"repo": {"a.test"}, "collection": {"com.example.foo"}, "limit": {"101"}}, {"repo": {"a.test", "b.test"}, "collection": {"com.example.foo"}}} {
		if err := cat.ValidateParams("com.atproto.repo.listRecords", q); err == nil {
			t.Errorf("%v passed", q)
		}
	}
	if err := cat.ValidateOutput("com.atproto.sync.getLatestCommit", []byte(`{"cid":"bafyreiclp443lavogvhj3d2ob2cxbfuscni2k5jk7bebjzg7khl3esabwq","rev":"3jui7kd54zh2y"}`)); err != nil {
		t.Error(err)
	}
	if err := cat.ValidateOutput("com.atproto.sync.getLatestCommit", []byte(`{"cid":"x"}`)); err == nil {
		t.Error("a bad output passed")
	}
	if _, err := cat.ValidateInput("com.example.nope", nil); !errors.Is(err, lexicons.ErrUnknown) {
		t.Error(err)
	}
	if _, err := cat.ValidateInput("com.atproto.server.deleteSession", []byte(`{}`)); err == nil {
		t.Error("deleteSession has no input")
	}
}

// TestConcurrentUse is for the race detector.
func TestConcurrentUse(t *testing.T) {
	cat := lexicons.New()
	record, err := atdata.UnmarshalJSON([]byte(benchPost))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if err := cat.Add(fmt.Appendf(nil, `{"lexicon":1,"id":"com.example.n%d","defs":{}}`, i)); err != nil {
				t.Error(err)
			}
			if _, err := cat.ValidateRecord(record, "app.bsky.feed.post", 0); err != nil {
				t.Error(err)
			}
			if err := lexicon.ValidateRecord(cat, record, "app.bsky.feed.post", 0); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}
