package xrpc_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/pdskit/pdskit/xrpc"
	"github.com/pdskit/pdskit/xrpc/lexicons"
)

func Example() {
	type params struct {
		Name string `json:"name"`
	}
	type output struct {
		Greeting string `json:"greeting"`
	}
	srv, err := xrpc.NewServer(xrpc.Config{})
	if err != nil {
		panic(err)
	}
	srv.Handle(xrpc.Query("com.example.greet", xrpc.Public(),
		func(ctx context.Context, p *params) (*output, error) {
			if p.Name == "" {
				return nil, xrpc.InvalidRequest("who are you?")
			}
			return &output{"Hello, " + p.Name}, nil
		}))

	for _, target := range []string{"/xrpc/com.example.greet?name=Alice", "/xrpc/com.example.greet"} {
		w := httptest.NewRecorder()
		srv.ServeHTTP(w, httptest.NewRequest("GET", target, nil))
		fmt.Println(w.Code, w.Body)
	}
	// Output:
	// 200 {"greeting":"Hello, Alice"}
	// 400 {"error":"InvalidRequest","message":"who are you?"}
}

func ExampleRequired() {
	tokens := xrpc.AuthenticatorFunc(func(r *http.Request) (*xrpc.Caller, error) {
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok {
			return nil, nil // another authenticator may know it
		}
		if token != "open sesame" {
			return nil, xrpc.InvalidToken("unknown token")
		}
		return &xrpc.Caller{Account: "did:web:alice.example", Kind: xrpc.KindSession}, nil
	})
	srv, err := xrpc.NewServer(xrpc.Config{Authenticators: []xrpc.Authenticator{tokens}})
	if err != nil {
		panic(err)
	}
	type output struct {
		DID string `json:"did"`
	}
	srv.Handle(xrpc.Query("com.example.whoami", xrpc.Required(nil),
		func(ctx context.Context, _ *xrpc.None) (*output, error) {
			return &output{xrpc.CallerFrom(ctx).Account.String()}, nil
		}).WithLimits(xrpc.Limit{Points: 100, Window: time.Minute, Key: xrpc.ByAccount}))

	for _, auth := range []string{"", "Bearer open sesame", "Bearer please"} {
		r := httptest.NewRequest("GET", "/xrpc/com.example.whoami", nil)
		r.Header.Set("Authorization", auth)
		w := httptest.NewRecorder()
		srv.ServeHTTP(w, r)
		fmt.Println(w.Code, w.Body)
	}
	// Output:
	// 401 {"error":"AuthMissing","message":"Authentication Required"}
	// 200 {"did":"did:web:alice.example"}
	// 400 {"error":"InvalidToken","message":"unknown token"}
}

func ExampleSubscription() {
	type event struct {
		Seq int `json:"seq"`
	}
	count := xrpc.Subscription("com.example.count", xrpc.Public(),
		func(ctx context.Context, _ *xrpc.None, s *xrpc.Stream) error {
			for seq := range 3 {
				if err := s.Send(ctx, "#tick", event{seq}); err != nil {
					return err
				}
			}
			return nil // closes the stream normally
		})
	fmt.Println(count.NSID(), count.Type())
	// Output: com.example.count subscription
}

func ExampleProcedureBody() {
	type output struct {
		Size int64 `json:"size"`
	}
	upload := xrpc.ProcedureBody("com.example.upload", xrpc.Public(),
		func(ctx context.Context, u *xrpc.Upload) (*output, error) {
			n, err := io.Copy(io.Discard, u.Reader)
			if err != nil {
				return nil, err // such as the 413 of an upload that is too large
			}
			return &output{n}, nil
		}).WithMaxBody(10)
	srv, err := xrpc.NewServer(xrpc.Config{})
	if err != nil {
		panic(err)
	}
	srv.Handle(upload)
	for _, body := range []string{"0123456789", "0123456789a"} {
		r := httptest.NewRequest("POST", "/xrpc/com.example.upload", strings.NewReader(body))
		r.Header.Set("Content-Type", "image/png")
		w := httptest.NewRecorder()
		srv.ServeHTTP(w, r)
		fmt.Println(w.Code, w.Body)
	}
	// Output:
	// 200 {"size":10}
	// 413 {"error":"PayloadTooLarge","message":"request entity too large"}
}

func ExampleConfig_catalog() {
	cat := lexicons.New()
	err := cat.Add([]byte(`{"lexicon":1, "id":"com.example.add", "defs":{"main":{"type":"query",
		"parameters":{"type":"params", "required":["n"], "properties":{"n":{"type":"integer","maximum":9}}},
		"output":{"encoding":"application/json", "schema":{"type":"object","properties":{}}}}}}`))
	if err != nil {
		panic(err)
	}
	srv, err := xrpc.NewServer(xrpc.Config{Catalog: cat})
	if err != nil {
		panic(err)
	}
	type params struct {
		N int `json:"n"`
	}
	type output struct {
		Sum int `json:"sum"`
	}
	srv.Handle(xrpc.Query("com.example.add", xrpc.Public(), func(_ context.Context, p *params) (*output, error) {
		return &output{p.N + 1}, nil
	}))
	for _, query := range []string{"n=3", "n=10", ""} {
		w := httptest.NewRecorder()
		srv.ServeHTTP(w, httptest.NewRequest("GET", "/xrpc/com.example.add?"+query, nil))
		fmt.Println(w.Code, w.Body)
	}
	// Output:
	// 200 {"sum":4}
	// 400 {"error":"InvalidRequest","message":"invalid parameters: n: must not be greater than 9"}
	// 400 {"error":"InvalidRequest","message":"invalid parameters: required property \"n\" is missing"}
}
