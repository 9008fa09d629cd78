// Command service is a web service that is its own PDS: one account, the
// did:web of its own domain, which nobody signs up for or in to. The code of the
// service writes its records, here the lexicon schemas that it publishes, and
// relays and crawlers read them like those of any other account.
package main

import (
	"context"
	"embed"
	"flag"
	"log"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/repo"
	"github.com/pdskit/pdskit/storage/blobs"
	"github.com/pdskit/pdskit/storage/sqlite"
)

//go:embed lexicons/*.json
var lexicons embed.FS

const schemaCollection = "com.atproto.lexicon.schema"

func main() {
	address := flag.String("url", "http://localhost:2583", "where the service is reached")
	listen := flag.String("listen", "localhost:2583", "where it listens")
	data := flag.String("data", "service-data", "folder of its database and its master key")
	flag.Parse()
	must(0, os.MkdirAll(*data, 0o700))
	store := must(sqlite.Open(*data+"/service.db", sqlite.Options{}))
	defer store.Close()
	key := must(masterKey(*data + "/master.key"))
	rotation := must(atcrypto.GeneratePrivateKeyK256()) // nothing is registered with a PLC directory
	plc := must(identity.NewPLCClient(identity.DefaultPLCURL, nil))
	srv := must(pds.New(pds.Config{
		PublicURL: *address, DevMode: strings.HasPrefix(*address, "http:"),
		Store: store, Blobs: blobs.NewMemory(nil), Keys: must(pds.SealedKeys(key)), Secret: key,
		Registry:       identity.NewPLCRegistry(plc, rotation, ""),
		Directory:      must(identity.NewResolver(identity.ResolverConfig{PLC: plc})),
		InviteRequired: true, WithoutOAuth: true, // nobody has an invite, so nobody signs up
		Crawlers: flag.Args(), // such as https://bsky.network
	}))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	host := must(url.Parse(*address)).Host
	did := syntax.DID("did:web:" + strings.ReplaceAll(host, ":", "%3A"))
	must(0, publish(ctx, srv, did, host))
	log.Printf("serving %s as %s", *address, did)
	must(0, srv.ListenAndServe(ctx, *listen))
}

// publish makes the account, the first time, and brings its schemas up to date.
func publish(ctx context.Context, srv *pds.Server, did syntax.DID, host string) error {
	if _, err := srv.Account(ctx, did.String()); err != nil {
		handle, _, _ := strings.Cut(host, ":")
		if handle == "localhost" {
			handle = "service.test"
		}
		if _, err := srv.CreateAccount(ctx, pds.NewAccount{DID: did, Handle: handle, AllowReserved: true}); err != nil {
			return err
		}
	}
	batch := pds.Batch{Account: did, Actor: did}
	for _, file := range must(lexicons.ReadDir("lexicons")) {
		record := must(repo.RecordFromJSON(must(lexicons.ReadFile("lexicons/"+file.Name())), schemaCollection))
		batch.Ops = append(batch.Ops, pds.Op{
			Action: pds.Put, Collection: schemaCollection, Record: record,
			RKey: syntax.RecordKey(strings.TrimSuffix(file.Name(), ".json")),
		})
	}
	_, err := srv.Apply(ctx, batch) // what has not changed makes no commit
	return err
}

func masterKey(path string) ([]byte, error) {
	key, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		key = pds.NewMasterKey()
		err = os.WriteFile(path, key, 0o600)
	}
	return key, err
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}
