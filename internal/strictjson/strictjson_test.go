package strictjson_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/pdskit/pdskit/internal/strictjson"
)

func TestCheck(t *testing.T) {
	for in, want := range map[string]string{
		`{}`: `{}`, ` [ ] `: ` [ ] `, `"a"`: `"a"`, `0`: `0`, `-1`: `-1`, `true`: `true`, `null`: `null`,
		`1.0`: `1`, `1e3`: `1000`, `-0`: `0`, `-0.0`: `0`, `10e-1`: `1`, `1E+2`: `100`, `0e5`: `0`,
		`9007199254740991`: `9007199254740991`, `-9007199254740991`: `-9007199254740991`, `9.007199254740991e15`: `9007199254740991`,
		`[1.0,{"a":2e0},3]`: `[1,{"a":2},3]`, `"\u00e4\ud83d\ude00\ud83d"`: `"\u00e4\ud83d\ude00\ud83d"`,
		`{"$link":"bafyreiclp443lavogvhj3d2ob2cxbfuscni2k5jk7bebjzg7khl3esabwq"}`: `{"$link":"bafyreiclp443lavogvhj3d2ob2cxbfuscni2k5jk7bebjzg7khl3esabwq"}`,
		`{"$bytes":"AAE"}`: `{"$bytes":"AAE"}`, `{"$bytes":"AAE="}`: `{"$bytes":"AAE="}`,
		strings.Repeat("[", 128) + strings.Repeat("]", 128): strings.Repeat("[", 128) + strings.Repeat("]", 128),
	} {
		got, err := strictjson.Check([]byte(in))
		if err != nil || string(got) != want {
			t.Errorf("%.40s: %s, %v", in, got, err)
		}
	}
	for _, in := range []string{
		``, ` `, `{`, `[`, `{"a"}`, `{"a":}`, `{"a":1,}`, `[1,]`, `[1 2]`, `{a:1}`, `{1:1}`, `'a'`, `nul`, `nullx`, `tru`, `+1`, `-`, `01`, `1.`, `.5`, `1e`, `0x1`,
		`1.5`, `1e-1`, `9007199254740992`, `-9007199254740992`, `99999999999999999999`, `1e999`, `NaN`, `Infinity`,
		`"`, `"\x"`, `"\u12"`, `"\u12g4"`, "\"\n\"", "\"\xff\"", `"a" "b"`, `{} {}`,
		`{"a":1,"a":1}`, `{"a":1,"\u0061":1}`, `{"$link":"x"}`, `{"$link":1}`, `{"$link":"bafyreiclp443lavogvhj3d2ob2cxbfuscni2k5jk7bebjzg7khl3esabwq","a":1}`,
		`{"$bytes":"***"}`, `{"$bytes":1}`, `{"$bytes":"AA\nAA"}`,
		strings.Repeat("[", 129) + strings.Repeat("]", 129), strings.Repeat("[", 1_000_000),
	} {
		if got, err := strictjson.Check([]byte(in)); err == nil {
			t.Errorf("%.40q passed as %.40q", in, got)
		}
	}
}

func TestPlain(t *testing.T) {
	for _, in := range []string{
		`1.5`, ` -0.0e-10`, `1e999`, `99999999999999999999`, `{"$link":1,"$bytes":{}}`, `{"$link":"x","a":[]}`, `[[0]]`,
	} {
		s := strictjson.NewPlain([]byte(in), 2)
		if err := s.Skip(); err != nil {
			t.Errorf("%s: %v", in, err)
		} else if err := s.End(); err != nil {
			t.Errorf("%s: %v", in, err)
		}
	}
	for _, in := range []string{``, `01`, `1.`, `.5`, `1e`, `+1`, `NaN`, `{"a":1,"\u0061":1}`, "\"\xff\"", `[[[]]]`, `[{"a":{}}]`, `[1 2]`} {
		if err := strictjson.NewPlain([]byte(in), 2).Skip(); err == nil {
			t.Errorf("%s passed", in)
		}
	}
}

// TestManyKeys passes the border between the two ways to find duplicates.
func TestManyKeys(t *testing.T) {
	for _, n := range []int{1, 23, 24, 25, 26, 5000} {
		var b bytes.Buffer
		b.WriteByte('{')
		for i := range n {
			b.WriteString(`"k` + strings.Repeat("x", i%7) + string(rune('a'+i%26)) + strings.Repeat("y", i/26) + `":1,`)
		}
		text := b.String()
		if _, err := strictjson.Check([]byte(text + `"z":1}`)); err != nil {
			t.Errorf("%d: %v", n, err)
		}
		if _, err := strictjson.Check([]byte(text + `"ka":1}`)); err == nil {
			t.Errorf("%d: the duplicate of the first key passed", n)
		}
		if _, err := strictjson.Check([]byte(text + `"z":1,"z":1}`)); err == nil {
			t.Errorf("%d: the duplicate of the last key passed", n)
		}
	}
}

func TestRewind(t *testing.T) {
	s := strictjson.New([]byte(`[1.0, 2.0]`))
	start := s.Pos()
	if err := s.Skip(); err != nil {
		t.Fatal(err)
	}
	s.Rewind(start)
	if err := s.Skip(); err != nil {
		t.Fatal(err)
	}
	if got := string(s.Canonical()); got != `[1, 2]` {
		t.Errorf("got %s", got)
	}
}

func TestLengths(t *testing.T) {
	for text, want := range map[string]int{`{"$bytes":""}`: 0, `{"$bytes": "AA" }`: 1, `{"$bytes":"AAA="}`: 2, `{"$bytes":"AAAA"}`: 3} {
		if n, err := strictjson.New([]byte(text)).Bytes(); err != nil || n != want {
			t.Errorf("%s: %d, %v", text, n, err)
		}
	}
	for _, text := range []string{`{}`, `[]`, `{"a":1}`, `{"$bytes":"AA","a":1}`, `5`} {
		if _, err := strictjson.New([]byte(text)).Bytes(); err == nil {
			t.Errorf("%s passed", text)
		}
		if err := strictjson.New([]byte(text)).Link(); err == nil {
			t.Errorf("%s passed as a link", text)
		}
	}
}

// FuzzCheck: what passes is JSON for encoding/json too, means the same
// before and after, and strings are decoded in the same way.
func FuzzCheck(f *testing.F) {
	for _, s := range []string{`{"a":[1,2.0,"x\u00e4"],"b":{"$bytes":"AA"}}`, `"\ud83d\ude00\ud83d\u0041\ude00"`, `[1e3,-0]`, `"\"\\\/\b\f\n\r\t"`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		out, err := strictjson.Check(text)
		if err != nil {
			return
		}
		var before, after any
		if err := json.Unmarshal(text, &before); err != nil {
			t.Fatalf("%q passed: %v", text, err)
		}
		if err := json.Unmarshal(out, &after); err != nil {
			t.Fatalf("%q became %q: %v", text, out, err)
		}
		a, _ := json.Marshal(before)
		b, _ := json.Marshal(after)
		if strings.ReplaceAll(string(a), "-0", "0") != strings.ReplaceAll(string(b), "-0", "0") {
			t.Fatalf("%q became %q", text, out)
		}
		if s := strictjson.New(text); s.Peek() == strictjson.String {
			if got, err := s.Text(); err != nil || got != before.(string) {
				t.Fatalf("%q: %q, encoding/json has %q", text, got, before)
			}
		}
	})
}
