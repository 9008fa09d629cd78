package adminui_test

import (
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/bluesky-social/indigo/atproto/atcrypto"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/adminui"
	"github.com/pdskit/pdskit/storage/blobs"
	"github.com/pdskit/pdskit/storage/sqlite"
)

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}

// The pages stand beside the server, on its host. A program that calls
// ListenAndServe mounts them in pds.Config.Middleware.
func Example() {
	store := must(sqlite.OpenMemory(sqlite.Options{}))
	defer store.Close()
	plc := must(identity.NewMemoryPLC(identity.MemoryPLCConfig{}))
	srv := must(pds.New(pds.Config{
		PublicURL:     "http://localhost:2583",
		DevMode:       true,
		Store:         store,
		Blobs:         blobs.NewMemory(nil),
		Registry:      identity.NewPLCRegistry(plc.Client(), must(atcrypto.GeneratePrivateKeyK256()), ""),
		Directory:     must(identity.NewResolver(identity.ResolverConfig{PLC: plc.Client(), AllowPrivate: true})),
		Keys:          must(pds.SealedKeys(pds.NewMasterKey())),
		Secret:        pds.NewMasterKey(),
		AdminPassword: "a long password",
		KeepReports:   true, // for the page of reports
	}))
	admin := must(adminui.New(srv, adminui.Options{}))
	mux := http.NewServeMux()
	mux.Handle(adminui.DefaultPath, admin)
	mux.Handle("/", srv)

	for _, path := range []string{adminui.DefaultPath, "/xrpc/_health"} {
		answer := httptest.NewRecorder()
		mux.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "http://localhost:2583"+path, nil))
		fmt.Println(path, answer.Code, answer.Header().Get("Location"))
	}
	// Output:
	// /admin/ui/ 303 /admin/ui/sign-in
	// /xrpc/_health 200
}
