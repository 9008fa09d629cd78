package lexicons_test

import (
	"encoding/json"
	"fmt"
	"iter"
	"strings"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/xrpc/lexicons"
)

// formatParsers are the parsers that decide.
var formatParsers = map[string]func(string) error{
	"at-identifier": parse(syntax.ParseAtIdentifier),
	"at-uri":        parse(syntax.ParseATURI),
	"cid":           parse(syntax.ParseCID),
	"datetime":      parse(syntax.ParseDatetime),
	"did":           parse(syntax.ParseDID),
	"handle":        parse(syntax.ParseHandle),
	"language":      parse(syntax.ParseLanguage),
	"nsid":          parse(syntax.ParseNSID),
	"record-key":    parse(syntax.ParseRecordKey),
	"tid":           parse(syntax.ParseTID),
	"uri":           parse(syntax.ParseURI),
}

func parse[T any](f func(string) (T, error)) func(string) error {
	return func(s string) error {
		_, err := f(s)
		return err
	}
}

// formatParams has one parameter of each format.
var formatParams = func() map[string]*lexicons.Param {
	cat := lexicons.Empty()
	var props []string
	for name := range formatParsers {
		props = append(props, fmt.Sprintf(`%q:{"type":"string","format":%q}`, name, name))
	}
	schema := `{"lexicon":1,"id":"com.example.formats","defs":{"main":{"type":"query","parameters":{
		"type":"params","properties":{` + strings.Join(props, ",") + `}}}}}`
	if err := cat.Add([]byte(schema)); err != nil {
		panic(err)
	}
	m, err := cat.Method("com.example.formats")
	if err != nil {
		panic(err)
	}
	params := make(map[string]*lexicons.Param)
	for _, p := range m.Params {
		params[p.Name] = p
	}
	return params
}()

// checkFormats compares our verdict on s with that of the parsers.
func checkFormats(t *testing.T, s string) {
	t.Helper()
	for name, parse := range formatParsers {
		got, want := formatParams[name].CheckString(s), parse(s)
		if (got == nil) != (want == nil) {
			t.Errorf("%s %q: we say %v, the parser says %v", name, s, got, want)
		}
	}
}

func splitLines(text string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for line := range strings.Lines(text) {
			line = strings.TrimSuffix(line, "\n")
			if line != "" && !strings.HasPrefix(line, "#") && !yield(line) {
				return
			}
		}
	}
}

func TestFormats(t *testing.T) {
	for _, s := range []string{
		"", "a", ".", "..", "a.b", "com.example.fooBar", "com.example.3", "com.example", "COM.example.foo",
		"did:plc:abcdefghijklmnopqrstuvwx", "did:plc:abcdefghijklmnopqrstuvw1", "did:plc:short", "did:web:example.com",
		"alice.test", "alice.test.", "a-.test", "xn--a.test", "1.2.3.4", "alice.bsky.social", "a.b.3c",
		"at://alice.test", "at://alice.test/", "at://alice.test/com.example.foo", "at://alice.test/com.example.foo/",
		"at://did:plc:abcdefghijklmnopqrstuvwx/app.bsky.feed.post/3jui7kd54zh2y",
		"at://did:plc:abcdefghijklmnopqrstuvwx/app.bsky.feed.post/3jui7kd54zh2y#frag",
		"at://did:plc:abcdefghijklmnopqrstuvwx/app.bsky.feed.post/.",
		"at://did:plc:abcdefghijklmnopqrstuvwx/app.bsky.feed.post/a/b",
		"2024-02-29T12:00:00Z", "2024-02-28T12:00:00Z", "2024-02-28T12:00:00.123Z", "2024-02-28T12:00:00.Z",
		"2024-02-28T24:00:00Z", "2024-13-28T12:00:00Z", "2024-00-28T12:00:00Z", "2024-02-00T12:00:00Z",
		"2024-02-28T12:60:00Z", "2024-02-28T12:00:60Z", "2024-02-28T12:00:00", "2024-02-28T12:00:00+01:00",
		"2024-02-28T12:00:00-00:00", "2024-02-28t12:00:00Z", "0000-01-01T00:00:00Z", "2024-02-28T12:00:00.1234567890Z",
		"2024-02-28T12:00:00.123456789012345678901Z", "en", "en-US", "EN", "en-us", "e", "12", "zh-Hant",
		strings.Repeat("a", 512), strings.Repeat("a", 513), strings.Repeat("a.", 126) + "a", strings.Repeat("a.", 160) + "a",
		strings.Repeat("a", 63) + ".test", strings.Repeat("a", 64) + ".test",
		"com.example." + strings.Repeat("a", 63), "com.example." + strings.Repeat("a", 64),
	} {
		checkFormats(t, s)
	}
}

func FuzzFormats(f *testing.F) {
	for _, s := range []string{"at://alice.test/com.example.foo/self", "2024-02-28T12:00:00.123Z", "did:plc:abc", "en-US", "a.b-c.d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) { checkFormats(t, s) })
}

// FuzzBody checks that validation never panics, that what passes is valid
// JSON, and that the rewritten text passes again unchanged.
func FuzzBody(f *testing.F) {
	cat := lexicons.New()
	m, err := cat.Method("com.atproto.repo.applyWrites")
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{
		`{"repo":"alice.test","writes":[{"$type":"com.atproto.repo.applyWrites#create","collection":"com.example.foo","value":{"a":1.0,"b":[1e3,-0]}}]}`,
		`{"repo":"alice.test","writes":[{"value":{"x":{"$link":"bafyreiclp443lavogvhj3d2ob2cxbfuscni2k5jk7bebjzg7khl3esabwq"}},"$type":"com.atproto.repo.applyWrites#delete"}]}`,
		`{"repo":"\ud83d\ude00\ud83d","writes":[]}`, `[]`, `{"a":{"$bytes":"AAA"}}`, `{"a":9007199254740993}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		for _, check := range []func([]byte) ([]byte, error){m.Input.Validate, lexicons.CheckJSON} {
			out, err := check(text)
			if err != nil {
				continue
			}
			if !json.Valid(out) {
				t.Fatalf("%q passed as %q, which is no JSON", text, out)
			}
			again, err := check(out)
			if err != nil || string(again) != string(out) {
				t.Fatalf("%q became %q, then %q, %v", text, out, again, err)
			}
		}
	})
}
