package pds_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/repo"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/blobs"
	"github.com/pdskit/pdskit/storage/sqlite"
	"github.com/pdskit/pdskit/xrpc"
)

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}

// memoryConfig is the configuration of a server that keeps everything in
// memory and is its own PLC directory.
func memoryConfig(store storage.Store) pds.Config {
	plc := must(identity.NewMemoryPLC(identity.MemoryPLCConfig{}))
	rotation := must(atcrypto.GeneratePrivateKeyK256())
	return pds.Config{
		PublicURL: "http://localhost:2583",
		DevMode:   true, // plain http and local addresses
		Store:     store,
		Blobs:     blobs.NewMemory(nil),
		Registry:  identity.NewPLCRegistry(plc.Client(), rotation, ""),
		Directory: must(identity.NewResolver(identity.ResolverConfig{PLC: plc.Client(), AllowPrivate: true})),
		Keys:      must(pds.SealedKeys(pds.NewMasterKey())),
		Secret:    pds.NewMasterKey(),
	}
}

// A server is an http.Handler that works as soon as New has returned. A
// program calls its ListenAndServe, which does the background work, too.
func ExampleNew() {
	store := must(sqlite.OpenMemory(sqlite.Options{}))
	defer store.Close()
	srv := must(pds.New(memoryConfig(store)))

	hs := httptest.NewServer(srv)
	defer hs.Close()
	resp := must(http.Get(hs.URL + "/xrpc/_health"))
	defer resp.Body.Close()
	fmt.Printf("%s %s\n", resp.Status, must(io.ReadAll(resp.Body)))
	// Output: 200 OK {"version":"pdskit"}
}

// A server behind middleware, in an http.Server of the program's own, which
// does what [pds.Server.Serve] does for a bare one.
func ExampleServer_Shutdown() {
	store := must(sqlite.OpenMemory(sqlite.Options{}))
	defer store.Close()
	srv := must(pds.New(memoryConfig(store)))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /about", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "about us") })
	mux.Handle("/", srv)
	named := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server", "ours")
		mux.ServeHTTP(w, r)
	})

	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx) }()
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	hs := &http.Server{Handler: named, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	go hs.Serve(listener)

	resp := must(http.Get("http://" + listener.Addr().String() + "/xrpc/_health"))
	resp.Body.Close()
	fmt.Println(resp.Status, resp.Header.Get("Server"))

	drain, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := errors.Join(srv.Shutdown(drain), hs.Shutdown(drain))
	stop()
	fmt.Println(err, <-done)
	// Output:
	// 200 OK ours
	// <nil> <nil>
}

// exampleAccount signs an account up and returns its DID.
func exampleAccount(srv *pds.Server, handle string) syntax.DID {
	rec := httptest.NewRecorder()
	body := fmt.Sprintf(`{"handle":%q,"email":"someone@example.com","password":"a good password"}`, handle)
	r := httptest.NewRequest(http.MethodPost, "/xrpc/com.atproto.server.createAccount", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	srv.ServeHTTP(rec, r)
	var out struct{ DID syntax.DID }
	if err := unmarshal(rec.Body.Bytes(), &out); err != nil || out.DID == "" {
		log.Fatalf("sign-up: %s", rec.Body)
	}
	return out.DID
}

// Code in the same process writes records without HTTP. The batch is one
// commit, done as a whole or not at all, and on the firehose when Apply
// returns.
func ExampleServer_Apply() {
	ctx := context.Background()
	store := must(sqlite.OpenMemory(sqlite.Options{}))
	defer store.Close()
	srv := must(pds.New(memoryConfig(store)))
	alice := exampleAccount(srv, "alice.test")

	record := must(repo.RecordFromValue(map[string]any{"text": "hello"}, "com.example.note"))
	res := must(srv.Apply(ctx, pds.Batch{
		Account: alice,
		Actor:   alice,
		Ops: []pds.Op{
			{Action: pds.Create, Collection: "com.example.note", RKey: "first", Record: record},
			{Action: pds.Put, Collection: "com.example.note", RKey: "second", Record: record},
		},
	}))
	for _, op := range res.Ops {
		fmt.Println(op.Action, op.URI.RecordKey(), op.Validation)
	}
	// Output:
	// create first unknown
	// create second unknown
}

// A method of your own is a function and a rule that says who may call it.
func ExampleServer_Handle() {
	type params struct {
		Name string `json:"name"`
	}
	type output struct {
		Greeting string `json:"greeting"`
	}
	store := must(sqlite.OpenMemory(sqlite.Options{}))
	defer store.Close()
	srv := must(pds.New(memoryConfig(store)))
	srv.Handle(xrpc.Query("com.example.greet", xrpc.Public(), func(_ context.Context, p *params) (*output, error) {
		if p.Name == "" {
			return nil, xrpc.InvalidRequest("Who is it?")
		}
		return &output{"Hello, " + p.Name}, nil
	}))

	hs := httptest.NewServer(srv)
	defer hs.Close()
	for _, query := range []string{"?name=Alice", ""} {
		resp := must(http.Get(hs.URL + "/xrpc/com.example.greet" + query))
		fmt.Printf("%d %s\n", resp.StatusCode, must(io.ReadAll(resp.Body)))
		resp.Body.Close()
	}
	// Output:
	// 200 {"greeting":"Hello, Alice"}
	// 400 {"error":"InvalidRequest","message":"Who is it?"}
}

// An administration method of your own runs under an entry of the audit log.
func ExampleServer_Audit() {
	ctx := context.Background()
	store := must(sqlite.OpenMemory(sqlite.Options{}))
	defer store.Close()
	srv := must(pds.New(memoryConfig(store)))

	// In a method, actor, client, address and action are those of the request.
	entry := pds.AuditEntry{Actor: "nightly job", Action: "close account", Subject: "alice.test"}
	err := srv.Audit(ctx, entry, func(context.Context) error {
		return xrpc.NewError(http.StatusBadRequest, "StillInUse", "")
	})
	fmt.Println(err != nil)
	for _, e := range must(srv.AuditLog(ctx, 0, 10)) {
		fmt.Println(e.Number, e.Actor, e.Action, e.Subject, e.Result)
	}
	// Output:
	// true
	// 1 nightly job close account alice.test StillInUse
}
