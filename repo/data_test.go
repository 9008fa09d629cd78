package repo_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/bluesky-social/indigo/atproto/atdata"
	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multihash"
	"pgregory.net/rapid"

	"github.com/pdskit/pdskit/repo"
)

const someLink = "bafkreiccldh766hwcnuxnf2wh6jgzepf2nlu2lvcllt63eww5p6chi4ity"

// nested returns JSON with n arrays around an inner value.
func nested(n int, inner string) string {
	return strings.Repeat("[", n) + inner + strings.Repeat("]", n)
}

func TestDecodeJSON(t *testing.T) {
	link := atdata.CIDLink(mustCID(t, someLink))
	cases := []struct {
		in   string
		want any
	}{
		{`null`, nil},
		{` true `, true},
		{`false`, false},
		{`""`, ""},
		{`"a\"\\\/\b\f\n\r\t\u00e9\ud83e\udd8b\u0000"`, "a\"\\/\b\f\n\r\té🦋\x00"},
		{`[]`, []any{}},
		{"[1,\t[2]\n, {}]", []any{int64(1), []any{int64(2)}, map[string]any{}}},
		{`0`, int64(0)},
		{`-0`, int64(0)},
		{`-0.0e5`, int64(0)},
		{`1.0`, int64(1)},
		{`1e3`, int64(1000)},
		{`1E+3`, int64(1000)},
		{`12.5e1`, int64(125)},
		{`1000e-3`, int64(1)},
		{`-120.00`, int64(-120)},
		{`0e999999999999`, int64(0)},
		{`9007199254740991`, int64(repo.MaxInteger)},
		{`-9007199254740991`, int64(-repo.MaxInteger)},
		{`9007199254740991.000`, int64(repo.MaxInteger)},
		{`0.9007199254740991e16`, int64(repo.MaxInteger)},
		{`{"$link":"` + someLink + `"}`, link},
		{`{"$bytes":""}`, atdata.Bytes{}},
		{`{"$bytes":"AQI"}`, atdata.Bytes{1, 2}},
		{`{"$bytes":"AQI="}`, atdata.Bytes{1, 2}},
		{`{"$type":"blob","size":0,"mimeType":"a/b","ref":{"$link":"` + someLink + `"}}`, atdata.Blob{Ref: link, MimeType: "a/b"}},
		{`{"cid":"` + someLink + `","mimeType":"a/b"}`, atdata.Blob{Ref: link, MimeType: "a/b", Size: -1}},
		{`{"cid":"no cid","mimeType":"a/b"}`, map[string]any{"cid": "no cid", "mimeType": "a/b"}},
		{`{"cid":"` + someLink + `","mimeType":"a/b","x":1}`, map[string]any{"cid": someLink, "mimeType": "a/b", "x": int64(1)}},
		{nested(repo.MaxDepth-1, `{"a":1}`), nil},
		{nested(repo.MaxDepth, `{"$link":"`+someLink+`"}`), nil},
		{nested(repo.MaxDepth, `{"$bytes":"AA"}`), nil},
	}
	for _, c := range cases {
		got, err := repo.DecodeJSON([]byte(c.in))
		if err != nil {
			t.Errorf("%.80s: %v", c.in, err)
			continue
		}
		if (c.want != nil || c.in == "null") && !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %#v, want %#v", c.in, got, c.want)
		}
		data, err := repo.AppendCBOR(nil, got)
		if err != nil {
			t.Errorf("%.80s: encode: %v", c.in, err)
			continue
		}
		checkRoundTrip(t, data)
	}
}

func TestDecodeJSONErrors(t *testing.T) {
	cases := []struct {
		in   string
		want error
	}{
		{``, repo.ErrSyntax},
		{` `, repo.ErrSyntax},
		{`nul`, repo.ErrSyntax},
		{`true1`, repo.ErrSyntax},
		{`1 2`, repo.ErrSyntax},
		{"\x00", repo.ErrSyntax},
		{`[1,]`, repo.ErrSyntax},
		{`[1`, repo.ErrSyntax},
		{`[1 2]`, repo.ErrSyntax},
		{`{`, repo.ErrSyntax},
		{`{"a"}`, repo.ErrSyntax},
		{`{"a":1,}`, repo.ErrSyntax},
		{`{"a":1 "b":2}`, repo.ErrSyntax},
		{`{a:1}`, repo.ErrSyntax},
		{`"abc`, repo.ErrSyntax},
		{`"a\`, repo.ErrSyntax},
		{`"\x"`, repo.ErrSyntax},
		{"\"a\nb\"", repo.ErrSyntax},
		{"\"\\n\nb\"", repo.ErrSyntax},
		{"\xef\xbb\xbf1", repo.ErrSyntax}, // byte order mark
		{"\"\xff\"", repo.ErrString},
		{"\"\\n\xff\"", repo.ErrString},
		{"\"\xed\xa0\x80\"", repo.ErrString}, // a surrogate in UTF-8
		{`"\ud800"`, repo.ErrString},
		{`"\udc00\ud800"`, repo.ErrString},
		{`"\ud800x"`, repo.ErrString},
		{`"\u12g4"`, repo.ErrString},
		{`01`, repo.ErrSyntax},
		{`-`, repo.ErrSyntax},
		{`+1`, repo.ErrSyntax},
		{`.5`, repo.ErrSyntax},
		{`1.`, repo.ErrSyntax},
		{`1e`, repo.ErrSyntax},
		{`1e+`, repo.ErrSyntax},
		{`NaN`, repo.ErrSyntax},
		{`1.5`, repo.ErrFloat},
		{`1e-1`, repo.ErrFloat},
		{`1e-999999999999999999999`, repo.ErrFloat},
		{`0.99999999999999999999`, repo.ErrFloat},
		{`9007199254740992`, repo.ErrInteger},
		{`-9007199254740992`, repo.ErrInteger},
		{`9007199254740993`, repo.ErrInteger},
		{`18446744073709551617`, repo.ErrInteger},
		{`1e16`, repo.ErrInteger},
		{`1e999999999999999999999`, repo.ErrInteger},
		{`{"a":1,"a":1}`, repo.ErrDuplicateKey},
		{`{"a":1,"b":2,"\u0061":3}`, repo.ErrDuplicateKey},
		{`{"$type":"a.b.c","$type":"a.b.c"}`, repo.ErrDuplicateKey},
		{`{"$type":""}`, repo.ErrType},
		{`{"$type":{}}`, repo.ErrType},
		{`{"$link":"` + someLink + `","a":1}`, repo.ErrLink},
		{`{"a":1,"$link":"` + someLink + `"}`, repo.ErrLink},
		{`{"$link":"` + someLink + `","$link":"` + someLink + `"}`, repo.ErrLink},
		{`{"$link":null}`, repo.ErrLink},
		{`{"$link":""}`, repo.ErrLink},
		{`{"$link":"` + someLink[:58] + `"}`, repo.ErrLink},
		{`{"$link":"` + someLink[:58] + `z"}`, repo.ErrLink}, // trailing bits
		{`{"$bytes":1}`, repo.ErrBytes},
		{`{"$bytes":"A"}`, repo.ErrBytes},
		{`{"$bytes":"AQI=="}`, repo.ErrBytes},
		{`{"$bytes":"AQJ"}`, repo.ErrBytes}, // trailing bits
		{`{"$bytes":"AQ\nI"}`, repo.ErrBytes},
		{`{"$bytes":"-_"}`, repo.ErrBytes},
		{`{"$type":"blob"}`, repo.ErrBlob},
		{`{"$type":"blob","size":-1,"mimeType":"a/b","ref":{"$link":"` + someLink + `"}}`, repo.ErrBlob},
		{`{"$type":"blob","size":1,"mimeType":1,"ref":{"$link":"` + someLink + `"}}`, repo.ErrBlob},
		{`{"$type":"blob","size":1,"mimeType":"a/b","ref":"` + someLink + `"}`, repo.ErrBlob},
		{`{"$type":"blob","size":1,"mimeType":"a/b","ref":{"$link":"` + someLink + `"},"x":1}`, repo.ErrBlob},
		{`{"cid":"` + strings.ToUpper(someLink[:1]) + strings.ToUpper(someLink[1:]) + `","mimeType":"a/b"}`, repo.ErrBlob},
		{nested(repo.MaxDepth, `{}`), repo.ErrTooDeep},
		{nested(repo.MaxDepth+1, ``), repo.ErrTooDeep},
		{nested(repo.MaxDepth, `{"a":1}`), repo.ErrTooDeep},
		{strings.Repeat("[", 100_000), repo.ErrTooDeep},
		{strings.Repeat(`{"$link":`, 100_000), repo.ErrLink},
		{nested(repo.MaxDepth, `{"$link":"`+someLink+`","$bytes":[`), repo.ErrBytes},
		{`"` + strings.Repeat("a", repo.MaxJSONBytes-1) + `"`, repo.ErrTooLarge},
	}
	for _, c := range cases {
		v, err := repo.DecodeJSON([]byte(c.in))
		var de *repo.DataError
		if !errors.Is(err, c.want) || !errors.As(err, &de) || de.Offset < 0 || de.Offset > len(c.in) {
			t.Errorf("%.80q: %v, %v, want %v", c.in, v, err, c.want)
		}
	}
	if _, err := repo.DecodeJSON([]byte(`"` + strings.Repeat("a", repo.MaxJSONBytes-2) + `"`)); err != nil {
		t.Errorf("at the limit: %v", err)
	}
}

func TestDecodeCBORErrors(t *testing.T) {
	cases := []struct {
		in   string // hexadecimal
		want error
	}{
		{"", repo.ErrSyntax},
		{"00 00", repo.ErrSyntax},
		{"18", repo.ErrSyntax},
		{"18 17", repo.ErrNotCanonical},
		{"19 00ff", repo.ErrNotCanonical},
		{"1a 0000ffff", repo.ErrNotCanonical},
		{"1b 00000000ffffffff", repo.ErrNotCanonical},
		{"1c", repo.ErrNotCanonical},
		{"1f", repo.ErrNotCanonical},
		{"5f 41 00 ff", repo.ErrNotCanonical},
		{"9f ff", repo.ErrNotCanonical},
		{"bf ff", repo.ErrNotCanonical},
		{"1b 0020000000000000", repo.ErrInteger},
		{"3b 001fffffffffffff", repo.ErrInteger},
		{"1b ffffffffffffffff", repo.ErrInteger},
		{"f9 3c00", repo.ErrFloat},
		{"fa 3f800000", repo.ErrFloat},
		{"fb 3ff0000000000000", repo.ErrFloat},
		{"f7", repo.ErrSyntax},
		{"e0", repo.ErrSyntax},
		{"f8 20", repo.ErrSyntax},
		{"ff", repo.ErrSyntax},
		{"c0 60", repo.ErrSyntax},
		{"d8 2b 41 00", repo.ErrSyntax},
		{"d8 2a 60", repo.ErrLink},
		{"d8 2a 40", repo.ErrLink},
		{"d8 2a 42 0001", repo.ErrLink},
		{"d8 2a 58 25 01 0171 1220 " + strings.Repeat("00", 32), repo.ErrLink},
		{"d8 2a 58 26 00 0171 1220 " + strings.Repeat("00", 33), repo.ErrLink},
		{"58 66 " + strings.Repeat("00", 101), repo.ErrSyntax},
		{"61 ff", repo.ErrString},
		{"62 61", repo.ErrSyntax},
		{"7b 7fffffffffffffff", repo.ErrSyntax},
		{"9b 7fffffffffffffff", repo.ErrSyntax},
		{"bb 7fffffffffffffff", repo.ErrSyntax},
		{"9a ffffffff 00", repo.ErrSyntax},
		{"a1 00 00", repo.ErrSyntax},
		{"a2 6161 00 6161 00", repo.ErrDuplicateKey},
		{"a2 6162 00 6161 00", repo.ErrKeyOrder},
		{"a2 626161 00 6162 00", repo.ErrKeyOrder},
		{"a1 65246c696e6b 60", repo.ErrLink},
		{"a1 66246279746573 60", repo.ErrBytes},
		{strings.Repeat("81", repo.MaxDepth) + "80", repo.ErrTooDeep},
		{strings.Repeat("81", 100_000), repo.ErrTooDeep},
	}
	for _, c := range cases {
		data, err := hex.DecodeString(strings.ReplaceAll(c.in, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		_, err1 := repo.DecodeCBOR(data)
		_, err2 := repo.CBORToJSON(nil, data)
		var de *repo.DataError
		if !errors.Is(err1, c.want) || !errors.As(err1, &de) || de.Offset < 0 || de.Offset > len(data) {
			t.Errorf("%.80s: %v, want %v", c.in, err1, c.want)
		}
		if !errors.Is(err2, c.want) {
			t.Errorf("%.80s: CBORToJSON: %v, want %v", c.in, err2, c.want)
		}
	}
	// Only the decoder looks at meaning.
	for in, want := range map[string]error{
		"a1 652474797065 60":         repo.ErrType,
		"a1 652474797065 00":         repo.ErrType,
		"a1 652474797065 64626c6f62": repo.ErrBlob,
	} {
		data, _ := hex.DecodeString(strings.ReplaceAll(in, " ", ""))
		if _, err := repo.DecodeCBOR(data); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", in, err, want)
		}
	}
	for _, in := range []string{"1b 001fffffffffffff", "3b 001ffffffffffffe", strings.Repeat("81", repo.MaxDepth-1) + "80"} {
		data, _ := hex.DecodeString(strings.ReplaceAll(in, " ", ""))
		checkRoundTrip(t, data)
	}
	big := append([]byte{0x7a, 0, 0, 0, 0}, make([]byte, repo.MaxCBORBytes-5)...)
	n := len(big) - 5
	big[1], big[2], big[3], big[4] = byte(n>>24), byte(n>>16), byte(n>>8), byte(n)
	if _, err := repo.DecodeCBOR(big); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	if _, err := repo.CBORToJSON(nil, big); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	if _, err := repo.DecodeCBOR(append(big, 0)); !errors.Is(err, repo.ErrTooLarge) {
		t.Errorf("above the limit: %v", err)
	}
	if _, err := repo.CBORToJSON(nil, append(big, 0)); !errors.Is(err, repo.ErrTooLarge) {
		t.Errorf("above the limit: %v", err)
	}
}

func TestAppendCBORTypes(t *testing.T) {
	c := mustCID(t, someLink)
	type number uint16
	v := map[string]any{
		"a": 1, "b": uint8(2), "c": number(3), "d": int32(-4), "e": []string{"x"}, "f": c, "g": []byte{1},
		"h": syntax.NSID("com.example.test"), "i": atdata.Blob{Ref: atdata.CIDLink(c), MimeType: "m", Size: 1},
		"$type": syntax.NSID("com.example.test"),
	}
	got, err := repo.AppendCBOR(nil, v)
	if err != nil {
		t.Fatal(err)
	}
	back, err := repo.DecodeCBOR(got)
	want := map[string]any{
		"a": int64(1), "b": int64(2), "c": int64(3), "d": int64(-4), "e": []any{"x"}, "f": atdata.CIDLink(c), "g": atdata.Bytes{1},
		"h": "com.example.test", "i": v["i"], "$type": "com.example.test",
	}
	if err != nil || !reflect.DeepEqual(back, want) {
		t.Errorf("%#v, want %#v (%v)", back, want, err)
	}
}

func TestAppendCBORErrors(t *testing.T) {
	deep := any(int64(1))
	for range repo.MaxDepth + 1 {
		deep = []any{deep}
	}
	cases := []struct {
		v    any
		path string
		want error
	}{
		{1.0, "", repo.ErrFloat},
		{map[string]any{"a": []any{0, float32(1)}}, "/a/1", repo.ErrFloat},
		{int64(repo.MaxInteger + 1), "", repo.ErrInteger},
		{int64(math.MinInt64), "", repo.ErrInteger},
		{uint64(math.MaxUint64), "", repo.ErrInteger},
		{"\xff", "", repo.ErrString},
		{map[string]any{"\xff": 1}, "/\xff", repo.ErrString},
		{[]string{"a", "\xff"}, "/1", repo.ErrString},
		{cid.Undef, "", repo.ErrLink},
		{map[string]any{"$link": someLink}, "/$link", repo.ErrLink},
		{map[string]any{"$bytes": "AA"}, "/$bytes", repo.ErrBytes},
		{map[string]any{"$type": 1}, "/$type", repo.ErrType},
		{map[string]any{"$type": syntax.NSID("")}, "/$type", repo.ErrType},
		{map[string]any{"$type": "blob"}, "", repo.ErrBlob},
		{atdata.Blob{}, "", repo.ErrBlob},
		{struct{}{}, "", repo.ErrUnsupported},
		{map[string]any{"a": make(chan int)}, "/a", repo.ErrUnsupported},
		{deep, strings.Repeat("/0", repo.MaxDepth), repo.ErrTooDeep},
	}
	for _, c := range cases {
		_, err := repo.AppendCBOR(nil, c.v)
		var de *repo.DataError
		if !errors.Is(err, c.want) || !errors.As(err, &de) || de.Path != c.path || de.Offset != -1 || de.Error() == "" {
			t.Errorf("%v: %v, want %v at %s", c.v, err, c.want, c.path)
		}
		if _, err := repo.AppendJSON(nil, c.v); !errors.Is(err, c.want) {
			t.Errorf("%v: AppendJSON: %v, want %v", c.v, err, c.want)
		}
	}
}

func TestRecord(t *testing.T) {
	rec := post(t)
	if rec.Type != "app.bsky.feed.post" || rec.CID != repo.CIDOf(rec.CBOR) || len(rec.Blobs) != 1 {
		t.Fatalf("%+v", rec)
	}
	want := repo.BlobRef{CID: mustCID(t, someLink), MimeType: "image/jpeg", Size: 123456}
	if rec.Blobs[0] != want {
		t.Errorf("blob %+v", rec.Blobs[0])
	}
	obj, err := atdata.UnmarshalJSON([]byte(postJSON))
	if err != nil {
		t.Fatal(err)
	}
	if theirs, err := atdata.MarshalCBOR(obj); err != nil || !bytes.Equal(theirs, rec.CBOR) {
		t.Errorf("indigo encodes %x (%v)", theirs, err)
	}
	if !reflect.DeepEqual(obj, rec.Value) {
		t.Errorf("indigo decodes %#v", obj)
	}
	again, err := repo.RecordFromCBOR(rec.CBOR)
	if err != nil || !reflect.DeepEqual(again, rec) {
		t.Errorf("from CBOR: %+v (%v)", again, err)
	}
	again, err = repo.RecordFromValue(rec.Value, "")
	if err != nil || !reflect.DeepEqual(again, rec) {
		t.Errorf("from value: %+v (%v)", again, err)
	}
}

func TestRecordType(t *testing.T) {
	a, err := repo.RecordFromJSON([]byte(`{"zz":1,"longer key":2}`), "com.example.test")
	if err != nil || a.Type != "com.example.test" || a.Value["$type"] != "com.example.test" {
		t.Fatalf("%+v, %v", a, err)
	}
	in := map[string]any{"zz": 1, "longer key": 2}
	b, err := repo.RecordFromValue(in, "com.example.test")
	if err != nil || !reflect.DeepEqual(a, b) || len(in) != 2 {
		t.Fatalf("%+v, %v", b, err)
	}
	c, err := repo.RecordFromJSON([]byte(`{"$type":"com.example.other"}`), "com.example.test")
	if err != nil || c.Type != "com.example.other" {
		t.Fatalf("%+v, %v", c, err)
	}
	// Only the outermost object gets a type.
	d, err := repo.RecordFromJSON([]byte(`{"a":{"b":[{}]}}`), "com.example.test")
	if err != nil || !reflect.DeepEqual(d.Value["a"], map[string]any{"b": []any{map[string]any{}}}) {
		t.Fatalf("%+v, %v", d, err)
	}
	for name, err := range map[string]error{
		"JSON without type":  second(repo.RecordFromJSON([]byte(`{}`), "")),
		"value without type": second(repo.RecordFromValue(map[string]any{}, "")),
	} {
		if !errors.Is(err, repo.ErrType) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if rec, err := repo.RecordFromCBOR([]byte{0xa0}); err != nil || rec.Type != "" {
		t.Errorf("CBOR without type: %+v, %v", rec, err)
	}
	for _, in := range []string{`1`, `"a"`, `null`, `[]`, `{"$bytes":"AA"}`, `{"cid":"` + someLink + `","mimeType":"a/b"}`} {
		if _, err := repo.RecordFromJSON([]byte(in), ""); !errors.Is(err, repo.ErrNotObject) {
			t.Errorf("%s: %v", in, err)
		}
	}
}

func second(_ *repo.Record, err error) error { return err }

func TestRecordSize(t *testing.T) {
	record := func(n int) string { return `{"$type":"a.b.c","t":"` + strings.Repeat("x", n) + `"}` }
	// a2, "t" and a head of 5 bytes, "$type" and "a.b.c"
	n := repo.MaxRecordBytes - 1 - 2 - 5 - 6 - 6
	rec, err := repo.RecordFromJSON([]byte(record(n)), "a.b.c")
	if err != nil || len(rec.CBOR) != repo.MaxRecordBytes {
		t.Fatal(err)
	}
	if _, err := repo.RecordFromCBOR(rec.CBOR); err != nil {
		t.Error(err)
	}
	if _, err := repo.RecordFromValue(rec.Value, ""); err != nil {
		t.Error(err)
	}
	if _, err := repo.RecordFromJSON([]byte(record(n+1)), "a.b.c"); !errors.Is(err, repo.ErrTooLarge) {
		t.Error(err)
	}
	rec.Value["t"] = strings.Repeat("x", n+1)
	if _, err := repo.RecordFromValue(rec.Value, ""); !errors.Is(err, repo.ErrTooLarge) {
		t.Error(err)
	}
}

func TestLegacyBlobs(t *testing.T) {
	in := `{"$type":"a.b.c","x":[{"deep":{"cid":"` + someLink + `","mimeType":"image/png"}}],` +
		`"y":{"$type":"blob","ref":{"$link":"` + someLink + `"},"mimeType":"image/png","size":5}}`
	rec, err := repo.RecordFromJSON([]byte(in), "")
	if err != nil {
		t.Fatal(err)
	}
	c := mustCID(t, someLink)
	want := []repo.BlobRef{{CID: c, MimeType: "image/png", Size: -1, Legacy: true}, {CID: c, MimeType: "image/png", Size: 5}}
	if !reflect.DeepEqual(rec.Blobs, want) {
		t.Errorf("%+v", rec.Blobs)
	}
	again, err := repo.RecordFromCBOR(rec.CBOR)
	if err != nil || !reflect.DeepEqual(again, rec) {
		t.Errorf("%+v, %v", again, err)
	}
	checkRoundTrip(t, rec.CBOR)
}

// TestRandomValues takes random values through all codecs, and through indigo's.
func TestRandomValues(t *testing.T) {
	str := rapid.OneOf(rapid.String(), rapid.StringMatching(`[a-z]{0,4}`))
	atom := rapid.OneOf(
		rapid.Just[any](nil),
		rapid.Map(rapid.Bool(), func(b bool) any { return b }),
		rapid.Map(rapid.Int64Range(-repo.MaxInteger, repo.MaxInteger), func(i int64) any { return i }),
		rapid.Map(rapid.Int64Range(-300, 300), func(i int64) any { return i }),
		rapid.Map(str, func(s string) any { return s }),
		rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 40), func(b []byte) any { return atdata.Bytes(append([]byte{}, b...)) }),
		rapid.Map(rapid.Int(), func(i int) any { return atdata.CIDLink(leaf(i)) }),
		rapid.Map(rapid.IntRange(0, 1000), func(i int) any {
			return atdata.Blob{Ref: atdata.CIDLink(rawLeaf(i)), MimeType: "a/b", Size: int64(i)}
		}),
	)
	var value func(depth int) *rapid.Generator[any]
	value = func(depth int) *rapid.Generator[any] {
		if depth == 0 {
			return atom
		}
		inner := value(depth - 1)
		return rapid.OneOf(atom,
			rapid.Map(rapid.SliceOfN(inner, 0, 5), func(l []any) any { return append([]any{}, l...) }),
			rapid.Map(rapid.MapOfN(str, inner, 0, 30), func(m map[string]any) any {
				delete(m, "$type")
				return m
			}))
	}
	gen := rapid.MapOfN(str, value(3), 3, 30)
	rapid.Check(t, func(rt *rapid.T) {
		v := gen.Draw(rt, "value")
		data, err := repo.AppendCBOR(nil, v)
		if err != nil {
			t.Fatal(err)
		}
		back, err := repo.DecodeCBOR(data)
		if err != nil || !reflect.DeepEqual(back, any(v)) {
			t.Fatalf("%#v, want %#v (%v)", back, v, err)
		}
		checkRoundTrip(t, data)
		theirs, err := atdata.MarshalCBOR(v)
		if err != nil || !bytes.Equal(theirs, data) {
			t.Fatalf("indigo encodes %x, we %x (%v)", theirs, data, err)
		}
	})
}

func TestCIDSize(t *testing.T) {
	// CIDs whose hash is the data itself can have any length.
	long := func(n int) []byte { return append([]byte{1, 0x55, 0, byte(n - 4)}, make([]byte, n-4)...) }
	for n, want := range map[int]error{repo.MaxCIDBytes: nil, repo.MaxCIDBytes + 1: repo.ErrLink} {
		c, err := cid.Cast(long(n))
		if err != nil {
			t.Fatal(err)
		}
		data := append([]byte{0xd8, 0x2a, 0x58, byte(n + 1), 0}, long(n)...)
		text := []byte(`{"$link":"` + c.String() + `"}`)
		_, err1 := repo.DecodeJSON(text)
		_, err2 := repo.DecodeCBOR(data)
		_, err3 := repo.CBORToJSON(nil, data)
		_, err4 := repo.AppendCBOR(nil, c)
		for i, err := range []error{err1, err2, err3, err4} {
			if !errors.Is(err, want) {
				t.Errorf("%d bytes: %d: %v, want %v", n, i, err, want)
			}
		}
		if want == nil {
			checkRoundTrip(t, data)
		}
	}
}

// TestCIDs compares the CIDs that are made here with those of go-cid.
func TestCIDs(t *testing.T) {
	data := []byte("some data")
	for codec, got := range map[uint64]cid.Cid{cid.DagCBOR: repo.CIDOf(data), cid.Raw: repo.RawCID(sha256.Sum256(data))} {
		want, err := cid.V1Builder{Codec: codec, MhType: multihash.SHA2_256}.Sum(data)
		if err != nil || got != want {
			t.Errorf("%s, want %s (%v)", got, want, err)
		}
		v, err := repo.DecodeJSON([]byte(`{"$link":"` + want.String() + `"}`))
		if err != nil || v != atdata.CIDLink(want) {
			t.Errorf("%v, %v", v, err)
		}
	}
}
