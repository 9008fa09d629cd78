package xrpc_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/xrpc"
)

type searchParams struct {
	Q     string      `json:"q"`
	Limit int         `json:"limit"`
	Deep  bool        `json:"deep"`
	Order *string     `json:"order"`
	Who   *syntax.DID `json:"who,omitempty"`
	Tags  []string    `json:"tags"`
	Sizes []int8      `json:"sizes"`
}

// search returns a query that keeps its parameters.
func search(got *searchParams) xrpc.Method {
	return xrpc.Query("com.example.search", xrpc.Public(), func(_ context.Context, p *searchParams) (*okOutput, error) {
		*got = *p
		return &okOutput{true}, nil
	})
}

func TestParams(t *testing.T) {
	asc, did := "asc", alice
	tags := strings.Repeat("&tags=a", 30)
	for _, tt := range []struct {
		query string
		want  searchParams
	}{
		{"q=a", searchParams{Q: "a", Limit: 50, Deep: true, Order: &asc}},
		{"q=", searchParams{Limit: 50, Deep: true, Order: &asc}},
		{"q=a&limit=1&deep=false&order=", searchParams{Q: "a", Limit: 1, Order: new(string)}},
		{"q=a&limit=100&other=%zz&&", searchParams{Q: "a", Limit: 100, Deep: true, Order: &asc}},
		{"q=a+b%26%3d%C3%A4", searchParams{Q: "a b&=ä", Limit: 50, Deep: true, Order: &asc}},
		{"%71=a;b", searchParams{Q: "a;b", Limit: 50, Deep: true, Order: &asc}},
		{"q=0123456789", searchParams{Q: "0123456789", Limit: 50, Deep: true, Order: &asc}},
		{"q=a&who=" + url.QueryEscape(did.String()), searchParams{Q: "a", Limit: 50, Deep: true, Order: &asc, Who: &did}},
		{"q=a&tags=x&sizes=-128&tags=y&sizes=127", searchParams{Q: "a", Limit: 50, Deep: true, Order: &asc, Tags: []string{"x", "y"}, Sizes: []int8{-128, 127}}},
		{"q=a" + tags, searchParams{Q: "a", Limit: 50, Deep: true, Order: &asc, Tags: strings.Split(strings.Repeat("a", 30), "")}},
	} {
		var got searchParams
		srv := newServer(t, xrpc.Config{}, search(&got))
		expect(t, request{target: "/xrpc/com.example.search?" + tt.query}.send(t, srv), 200, `{"ok":true}`)
		if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: got %+v, want %+v", tt.query, got, tt.want)
		}
	}
}

func TestBadParams(t *testing.T) {
	var got searchParams
	srv := newServer(t, xrpc.Config{}, search(&got))
	for query, message := range map[string]string{
		"":                                    `required property \"q\" is missing`,
		"q=a&q=b":                             "q: must be given once",
		"q=01234567891":                       "q: has 11 bytes, want at most 10",
		"q=a&limit=0":                         "limit: must not be less than 1",
		"q=a&limit=101":                       "limit: must not be greater than 100",
		"q=a&limit=":                          "limit: must be an integer",
		"q=a&limit=1.0":                       "limit: must be an integer",
		"q=a&limit=%2B1":                      "limit: must be an integer",
		"q=a&limit=99999999999999999999":      "limit: must be an integer",
		"q=a&deep=yes":                        "deep: must be true or false",
		"q=a&who=alice":                       "who: must be a valid did",
		"q=a&sizes=128":                       "sizes: out of range",
		"q=a&unused=x":                        "unused: must be an integer",
		"q=%zz":                               "malformed query string",
		"q=%ff":                               "malformed query string",
		"%zz=a":                               "malformed query string",
		"q=a" + strings.Repeat("&tags=a", 31): "tags: is given 31 times, want at most 30",
	} {
		res := request{target: "/xrpc/com.example.search?" + query}.send(t, srv)
		expect(t, res, 400, `{"error":"InvalidRequest","message":"invalid parameters: `+message+`"}`)
	}
}

// TestParamsWithoutSchema: types check themselves.
func TestParamsWithoutSchema(t *testing.T) {
	type params struct {
		DID  syntax.DID   `json:"did"`
		DIDs []syntax.DID `json:"dids"`
		N    *int64       `json:"n"`
		Skip string       `json:"-"`
	}
	var got params
	srv := newServer(t, xrpc.Config{}, xrpc.Query("com.unknown.get", xrpc.Public(), func(_ context.Context, p *params) (*okOutput, error) {
		got = *p
		return &okOutput{true}, nil
	}))
	target := "/xrpc/com.unknown.get?did=" + alice.String() + "&dids=" + alice.String() + "&n=5&Skip=x"
	expect(t, request{target: target}.send(t, srv), 200, `{"ok":true}`)
	n := int64(5)
	if want := (params{DID: alice, DIDs: []syntax.DID{alice}, N: &n}); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v", got)
	}
	expect(t, request{target: "/xrpc/com.unknown.get"}.send(t, srv), 200, `{"ok":true}`)
	expect(t, request{target: "/xrpc/com.unknown.get?did=x"}.send(t, srv), 400, `{"error":"InvalidRequest","message":"invalid parameters: did: malformed"}`)
}

// TestBracketParams: three methods of app.bsky take arrays in old forms.
func TestBracketParams(t *testing.T) {
	type params struct {
		Actors []string `json:"actors"`
	}
	var got params
	keep := func(_ context.Context, p *params) (*okOutput, error) {
		got = *p
		return &okOutput{true}, nil
	}
	srv := newServer(t, xrpc.Config{}, xrpc.Query("app.bsky.actor.getProfiles", xrpc.Public(), keep),
		xrpc.Query("com.unknown.getProfiles", xrpc.Public(), keep))
	for query, want := range map[string]string{
		"actors=a.test&actors=b.test":               "[a.test b.test]",
		"actors[]=a.test&actors[]=b.test":           "[a.test b.test]",
		"actors[0]=a.test&actors[1]=b.test":         "[a.test b.test]",
		"actors%5B%5D=a.test&actors%5B12%5D=b.test": "[a.test b.test]",
	} {
		expect(t, request{target: "/xrpc/app.bsky.actor.getProfiles?" + query}.send(t, srv), 200, `{"ok":true}`)
		if fmt.Sprint(got.Actors) != want {
			t.Errorf("%s: got %v", query, got.Actors)
		}
	}
	for _, query := range []string{"actors[x]=a.test", "actors]=a.test", "actors[0=a.test", "[]=a.test"} {
		if res := (request{target: "/xrpc/app.bsky.actor.getProfiles?" + query}).send(t, srv); res.StatusCode != 400 {
			t.Errorf("%s: status %d", query, res.StatusCode)
		}
	}
	expect(t, request{target: "/xrpc/com.unknown.getProfiles?actors[]=a"}.send(t, srv), 200, `{"ok":true}`)
	if len(got.Actors) != 0 {
		t.Errorf("brackets must not work elsewhere: %v", got.Actors)
	}
}

func FuzzParams(f *testing.F) {
	for _, q := range []string{"q=a&limit=5", "q=%C3%A4&tags=a&tags=b", "q=a&sizes=300", "=&&q", "q=a&deep=true&who=did:plc:x"} {
		f.Add(q)
	}
	var got searchParams
	srv, err := xrpc.NewServer(xrpc.Config{Catalog: testCatalog(f)})
	if err != nil {
		f.Fatal(err)
	}
	srv.Handle(search(&got))
	f.Fuzz(func(t *testing.T, query string) {
		r := httptest.NewRequest("GET", "/xrpc/com.example.search", nil)
		r.URL.RawQuery = query
		w := httptest.NewRecorder()
		got = searchParams{}
		srv.ServeHTTP(w, r)
		switch w.Code {
		case http.StatusBadRequest:
		case http.StatusOK:
			if len(got.Q) > 10 || got.Limit < 1 || got.Limit > 100 || len(got.Tags) > 30 {
				t.Errorf("%q gave %+v", query, got)
			}
			// What url.ParseQuery reads in the same way must agree.
			if v, err := url.ParseQuery(query); err == nil && v.Get("q") != got.Q {
				t.Errorf("%q: q is %q, url has %q", query, got.Q, v.Get("q"))
			}
		default:
			t.Errorf("%q: status %d", query, w.Code)
		}
	})
}

func FuzzPath(f *testing.F) {
	for _, p := range []string{"/xrpc/com.example.search", "/xrpc/com.example.search/", "/xrpc/a.b", "/xrpc/%2e", "/xrpc//", "/"} {
		f.Add(p)
	}
	srv, err := xrpc.NewServer(xrpc.Config{Fallback: func(w http.ResponseWriter, r *http.Request) error {
		if _, err := syntax.ParseNSID(xrpc.MethodFrom(r.Context())); err != nil {
			panic(err)
		}
		w.WriteHeader(http.StatusTeapot)
		return nil
	}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, path string) {
		u, err := url.ParseRequestURI(path)
		if err != nil {
			return
		}
		r := httptest.NewRequest("GET", "/", nil)
		r.URL = u
		w := httptest.NewRecorder()
		srv.ServeHTTP(w, r)
		name := strings.TrimSuffix(strings.TrimPrefix(u.EscapedPath(), "/xrpc/"), "/")
		_, err = syntax.ParseNSID(name)
		if isMethod := err == nil && strings.HasPrefix(u.EscapedPath(), "/xrpc/"); isMethod != (w.Code == http.StatusTeapot) {
			t.Errorf("%q: status %d", path, w.Code)
		}
	})
}
