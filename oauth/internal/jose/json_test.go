package jose_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pdskit/pdskit/oauth/internal/jose"
)

type inner struct {
	Name string `json:"name"`
}

type document struct {
	Text    string            `json:"text"`
	Number  float64           `json:"number,omitempty"`
	Flag    *bool             `json:"flag"`
	List    []string          `json:"list"`
	Inner   inner             `json:"inner"`
	Pointer *inner            `json:"pointer"`
	Inners  []inner           `json:"inners"`
	Map     map[string]inner  `json:"map"`
	Raw     json.RawMessage   `json:"raw"`
	Date    jose.NumericDate  `json:"date"`
	Maybe   *jose.NumericDate `json:"maybe"`
	Hidden  string            `json:"-"`
	NoTag   string
}

func TestDecodeJSON(t *testing.T) {
	for in, want := range map[string]document{
		`{}`:                        {},
		` {"text" : "a\u00e4" } `:   {Text: "aä"},
		`{"number":1.5,"other":[]}`: {Number: 1.5},
		`{"TEXT":"no","Text":"no","text":"yes","te\u0078T":"no"}`:                      {Text: "yes"},
		`{"NoTag":"no","-":"no","Hidden":"no","":1}`:                                   {},
		`{"flag":false,"list":["a","b"],"raw": {"a" : [ 1.0 ]} }`:                      {Flag: new(bool), List: []string{"a", "b"}, Raw: json.RawMessage(`{"a" : [ 1.0 ]}`)},
		`{"inner":{"NAME":"no","name":"a"},"pointer":{"Name":"b"}}`:                    {Inner: inner{"a"}, Pointer: &inner{}},
		`{"inners":[{"Name":"no"},{"name":"b"}],"list":[]}`:                            {Inners: []inner{{}, {"b"}}, List: []string{}},
		`{"map":{"a":{"NAME":"no"},"A":{"name":"b"}}}`:                                 {Map: map[string]inner{"a": {}, "A": {"b"}}},
		`{"text":null,"flag":null,"list":null,"inner":null,"pointer":null,"map":null}`: {},
		`{"date":1.9,"maybe":1}`:                                                       {Date: 1, Maybe: new(jose.NumericDate(1))},
		`{"x":[[[[[[[]]]]]]]}`:                                                         {}, // eight levels
	} {
		var got document
		if err := jose.DecodeJSON([]byte(in), &got); err != nil {
			t.Errorf("%s: %v", in, err)
		} else if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", in, diff)
		}
	}
	for _, in := range []string{
		``, `[]`, `"text"`, `{}{}`, `{} x`, `{"text":1}`, `{"list":[1]}`, `{"list":{}}`, `{"inner":[]}`, `{"inners":[[]]}`, `{"map":[]}`, `{"map":{"a":1}}`,
		`{"text":"a","text":"b"}`, `{"text":"a","t\u0065xt":"a"}`, `{"other":{"a":1,"a":1}}`, `{"raw":{"a":1,"a":1}}`, // duplicates anywhere
		"{\"text\":\"\xff\"}", `{"text":"a",}`, `{"date":null}`, `{"maybe":null}`, `{"date":"1"}`, `{"x":[[[[[[[[]]]]]]]]}`,
		strings.Repeat(`{"a":`, 100_000),
	} {
		var got document
		if err := jose.DecodeJSON([]byte(in), &got); err == nil {
			t.Errorf("%.60s passed as %+v", in, got)
		}
	}
}

func TestParseObject(t *testing.T) {
	got, err := jose.ParseObject([]byte(` {"a": 1.50 ,"A":[ ],"\u0062":null} `))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]json.RawMessage{"a": json.RawMessage(`1.50`), "A": json.RawMessage(`[ ]`), "b": json.RawMessage(`null`)}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, in := range []string{``, `null`, `[]`, `"a"`, `{"a":1,"a":2}`, `{"a":{"b":1,"b":1}}`, `{} {}`, `{"a":[[[[[[[[]]]]]]]]}`, `{"a"`} {
		if got, err := jose.ParseObject([]byte(in)); err == nil {
			t.Errorf("%s passed as %v", in, got)
		}
	}
}

// TestAttack58StringDate covers dates given as texts, which some parsers take.
func TestAttack58StringDate(t *testing.T) {
	for in, want := range map[string]jose.NumericDate{
		`0`: 0, `1`: 1, `1795348800`: 1795348800, `1795348800.999`: 1795348800, `17953488e2`: 1795348800, `253402300799`: 253402300799, `1e-400`: 0,
	} {
		var got jose.NumericDate
		if err := json.Unmarshal([]byte(in), &got); err != nil || got != want {
			t.Errorf("%s: %d, %v", in, got, err)
		}
		if got.Time().Unix() != int64(want) || jose.NewNumericDate(got.Time()) != want {
			t.Errorf("%s: time is %v", in, got.Time())
		}
	}
	for _, in := range []string{`"1795348800"`, `"2026-11-22T00:00:00Z"`, `null`, `true`, `[]`, `{}`, `-1`, `-0`, `253402300800`, `9223372036854775808`, `1e400`, `""`} {
		claims := struct {
			EXP *jose.NumericDate `json:"exp"`
			IAT jose.NumericDate  `json:"iat"`
		}{}
		if err := jose.DecodeJSON([]byte(`{"iat":`+in+`}`), &claims); err == nil {
			t.Errorf("iat %s passed as %d", in, claims.IAT)
		}
		if err := jose.DecodeJSON([]byte(`{"exp":`+in+`}`), &claims); err == nil {
			t.Errorf("exp %s passed as %d", in, claims.EXP)
		}
	}
}
