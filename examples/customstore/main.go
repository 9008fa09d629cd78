// Command customstore is a PDS on a database of one's own: the storage.Store of
// package mapstore below, which is written outside the SDK, in less than 800
// lines, and passes the SDK's own suites.
//
//	go run ./examples/customstore
//
// serves http://localhost:2583, with a PLC directory of its own and handles
// under .test.
package main

import (
	"context"
	"log"
	"os/signal"
	"syscall"

	"github.com/bluesky-social/indigo/atproto/atcrypto"

	"github.com/pdskit/pdskit/examples/customstore/mapstore"
	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/blobs"
)

func main() {
	clock := storage.SystemClock()
	store := mapstore.New(clock)
	defer store.Close()
	plc := must(identity.NewMemoryPLC(identity.MemoryPLCConfig{}))
	rotation := must(atcrypto.GeneratePrivateKeyK256())
	srv := must(pds.New(pds.Config{
		PublicURL: "http://localhost:2583",
		DevMode:   true, // plain http and local addresses
		Store:     store,
		Blobs:     blobs.NewMemory(clock),
		Registry:  identity.NewPLCRegistry(plc.Client(), rotation, ""),
		Directory: must(identity.NewResolver(identity.ResolverConfig{PLC: plc.Client(), AllowPrivate: true})),
		Keys:      must(pds.SealedKeys(pds.NewMasterKey())),
		Secret:    pds.NewMasterKey(),
	}))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	log.Print("serving http://localhost:2583; accounts get handles under .test")
	if err := srv.ListenAndServe(ctx, "localhost:2583"); err != nil {
		log.Fatal(err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}
