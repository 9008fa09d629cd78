// Command community is a PDS for communities: groups with rooms, public and
// private, in which members chat who may have their accounts anywhere. README.md
// beside it says what lives where. Start it, and open what it prints:
//
//	go run ./examples/community
//
// Without -data it keeps everything in memory and is its own PLC directory.
package main

import (
	"context"
	"flag"
	"log"
	"log/slog"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/blobs"
	"github.com/pdskit/pdskit/storage/sqlite"
	"github.com/pdskit/pdskit/xrpc"
)

func main() {
	address := flag.String("url", "http://localhost:2587", "where the PDS is reached")
	web := flag.String("web", "http://127.0.0.1:2587", "where the web client is reached: another host, so that the pages of sign-in are out of its reach")
	listen := flag.String("listen", "localhost:2587", "where both listen")
	domain := flag.String("domain", ".test", "domain of the handles, with a dot")
	data := flag.String("data", "", "folder of the data; empty: in memory")
	plcURL := flag.String("plc", "", "PLC directory, for -data")
	flag.Parse()

	var cfg pds.Config
	var plc *identity.PLCClient
	var pictures storage.BlobStore
	master, rotation := pds.NewMasterKey(), pds.NewMasterKey()
	if *data == "" {
		cfg.Store, cfg.Blobs, pictures = must(sqlite.OpenMemory(sqlite.Options{})), blobs.NewMemory(nil), blobs.NewMemory(nil)
		plc = must(identity.NewMemoryPLC(identity.MemoryPLCConfig{})).Client()
	} else {
		must(0, os.MkdirAll(*data, 0o700))
		master, rotation = keyFile(*data, "master.key"), keyFile(*data, "rotation.key")
		cfg.Store = must(sqlite.Open(filepath.Join(*data, "pds.db"), sqlite.Options{}))
		cfg.Blobs = must(blobs.NewDisk(filepath.Join(*data, "blobs"), blobs.DiskOptions{}))
		pictures = must(blobs.NewDisk(filepath.Join(*data, "pictures"), blobs.DiskOptions{}))
		plc = must(identity.NewPLCClient(*plcURL, nil))
	}
	defer cfg.Store.Close()
	public := must(url.Parse(*address))
	cfg.PublicURL, cfg.DevMode = *address, public.Scheme == "http"
	cfg.ServiceDID = syntax.DID("did:web:" + strings.ReplaceAll(public.Host, ":", "%3A"))
	cfg.HandleDomains = []string{*domain}
	cfg.Keys, cfg.Secret = must(pds.SealedKeys(master)), master
	cfg.Registry = identity.NewPLCRegistry(plc, must(atcrypto.ParsePrivateBytesK256(rotation)), "")
	cfg.Directory = must(identity.NewResolver(identity.ResolverConfig{PLC: plc, AllowPrivate: cfg.DevMode}))
	cfg.Logger = slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	cfg.Limiter = xrpc.NewMemoryLimiter(nil, 100_000)
	cfg.Middleware = webClient(*web, *address, cfg.ServiceDID)
	a := must(configure(&cfg, pictures))
	srv := must(pds.New(cfg))
	a.register(srv)

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	log.Printf("open %s to chat", *web)
	must(0, srv.ListenAndServe(ctx, *listen))
}

// keyFile reads a key from a file, or makes both.
func keyFile(folder, name string) []byte {
	key, _, err := pds.LoadMasterKey(filepath.Join(folder, name))
	return must(key, err)
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}
