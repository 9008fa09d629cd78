// Command minimal is a PDS in fifty lines. It keeps everything in memory and
// is its own PLC directory; examples/server is one that keeps its data.
package main

import (
	"context"
	"log"
	"os/signal"
	"syscall"

	"github.com/bluesky-social/indigo/atproto/atcrypto"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/storage/blobs"
	"github.com/pdskit/pdskit/storage/sqlite"
)

func main() {
	store := must(sqlite.OpenMemory(sqlite.Options{}))
	defer store.Close()
	plc := must(identity.NewMemoryPLC(identity.MemoryPLCConfig{}))
	rotation := must(atcrypto.GeneratePrivateKeyK256())
	srv := must(pds.New(pds.Config{
		PublicURL: "http://localhost:2583",
		DevMode:   true, // plain http and local addresses
		Store:     store,
		Blobs:     blobs.NewMemory(nil),
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
