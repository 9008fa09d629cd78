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
	"embed"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"log"
	"log/slog"
	"net/http"
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
	master, rotation, secret := pds.NewMasterKey(), pds.NewMasterKey(), pds.NewMasterKey()
	if *data == "" {
		cfg.Store, cfg.Blobs, pictures = must(sqlite.OpenMemory(sqlite.Options{})), blobs.NewMemory(nil), blobs.NewMemory(nil)
		plc = must(identity.NewMemoryPLC(identity.MemoryPLCConfig{})).Client()
	} else {
		must(0, os.MkdirAll(*data, 0o700))
		master, rotation, secret = keyFile(*data, "master.key"), keyFile(*data, "rotation.key"), keyFile(*data, "secret.key")
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
	cfg.Keys, cfg.Secret = must(pds.SealedKeys(master)), secret
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

//go:embed web
var webFiles embed.FS

// webClient serves the client at an address of its own, beside the PDS at another.
// The client is an app like any other: it knows nothing but what is in the document
// /app.json, and what it asks for.
func webClient(address, pdsAddress string, service syntax.DID) func(http.Handler) http.Handler {
	web, files := must(url.Parse(address)), must(fs.Sub(webFiles, "web"))
	// What a session of the client may do: call the methods of this service.
	scopes := "atproto rpc:*?aud=" + url.QueryEscape(string(service)+"#"+serviceName)
	redirect := address + "/"
	clientID := address + "/client-metadata.json"
	if web.Scheme == "http" { // for development, see the OAuth specification of atproto
		clientID = "http://localhost?" + url.Values{"redirect_uri": {redirect}, "scope": {scopes}}.Encode()
	}
	documents := map[string]any{
		"/app.json": map[string]any{
			"pds": pdsAddress, "service": service, "proxy": string(service) + "#" + serviceName,
			"namespace": namespace, "clientId": clientID, "redirectUri": redirect, "scope": scopes,
		},
		"/client-metadata.json": map[string]any{
			"client_id": clientID, "client_name": "Communities", "client_uri": address, "redirect_uris": []string{redirect},
			"scope": scopes, "grant_types": []string{"authorization_code", "refresh_token"}, "response_types": []string{"code"},
			"application_type": "web", "token_endpoint_auth_method": "none", "dpop_bound_access_tokens": true,
		},
	}
	// The servers of members may be anywhere, and so may the pictures.
	policy := "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: %[1]s; " +
		"connect-src 'self' https: %[1]s %[2]s; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	mux := http.NewServeMux()
	mux.Handle(web.Hostname()+"/", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", fmt.Sprintf(policy, pdsAddress, "ws"+pdsAddress[len("http"):]))
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-cache")
		if doc, ok := documents[r.URL.Path]; ok {
			h.Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(doc) // the client is gone
			return
		}
		http.FileServerFS(files).ServeHTTP(w, r)
	}))
	return func(next http.Handler) http.Handler {
		mux.Handle("/", next)
		return mux
	}
}
