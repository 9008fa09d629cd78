// Command service is a service of ours with methods of its own, for tests in
// other languages: whoever has an account somewhere calls them by way of its own
// server. It prints its address and serves until its standard input ends.
//
//	service -plc http://localhost:2582
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/storage/blobs"
	"github.com/pdskit/pdskit/storage/sqlite"
	"github.com/pdskit/pdskit/xrpc"
)

func main() {
	plc := flag.String("plc", "", "address of the PLC directory")
	flag.Parse()
	if err := run(context.Background(), *plc, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "service:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, plc string, in io.Reader, out io.Writer) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", "localhost:0")
	if err != nil {
		return err
	}
	store, err := sqlite.OpenMemory(sqlite.Options{})
	if err != nil {
		return err
	}
	defer store.Close()
	address := fmt.Sprintf("http://localhost:%d", listener.Addr().(*net.TCPAddr).Port)
	cfg, err := newConfig(store, plc, address)
	if err != nil {
		return err
	}
	srv, err := pds.New(cfg)
	if err != nil {
		return err
	}
	srv.Handle(who(srv), say(srv), refuse(srv))
	hs := &http.Server{Handler: srv, ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { _ = hs.Close() })
	go func() {
		_, _ = io.Copy(io.Discard, in)
		stop()
	}()
	worked := make(chan error, 1)
	go func() { worked <- srv.Run(ctx) }()
	if _, err := fmt.Fprintln(out, address); err != nil {
		return err
	}
	err = hs.Serve(listener)
	stop()
	if errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return errors.Join(err, <-worked)
}

func newConfig(store *sqlite.Store, plcURL, address string) (cfg pds.Config, err error) {
	cfg = pds.Config{
		PublicURL: address, DevMode: true, InviteRequired: true, WithoutOAuth: true,
		Store: store, Blobs: blobs.NewMemory(nil), Secret: pds.NewMasterKey(),
		DocumentServices: map[string]identity.Service{"example": {Type: "ExampleService", Endpoint: address}},
		Logger:           slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	client, err := identity.NewPLCClient(plcURL, nil)
	if err != nil {
		return cfg, err
	}
	rotation, err := atcrypto.GeneratePrivateKeyK256()
	if err != nil {
		return cfg, err
	}
	cfg.Registry = identity.NewPLCRegistry(client, rotation, "")
	if cfg.Keys, err = pds.SealedKeys(pds.NewMasterKey()); err != nil {
		return cfg, err
	}
	cfg.Directory, err = identity.NewResolver(identity.ResolverConfig{PLC: client, AllowPrivate: true})
	return cfg, err
}

// callerInfo is who the service takes the caller for.
type callerInfo struct {
	DID  syntax.DID `json:"did"`
	Kind string     `json:"kind"`
	Text string     `json:"text,omitempty"`
}

func infoOf(ctx context.Context) *callerInfo {
	c := xrpc.CallerFrom(ctx)
	return &callerInfo{DID: c.Account, Kind: fmt.Sprint(c.Kind)}
}

func who(srv *pds.Server) xrpc.Method {
	return xrpc.Query("com.example.who", srv.OwnMethodRule(), func(ctx context.Context, _ *xrpc.None) (*callerInfo, error) {
		return infoOf(ctx), nil
	})
}

type message struct {
	Text string `json:"text"`
}

func say(srv *pds.Server) xrpc.Method {
	return xrpc.Procedure("com.example.say", srv.OwnMethodRule(), func(ctx context.Context, in *message) (*callerInfo, error) {
		info := infoOf(ctx)
		info.Text = in.Text
		return info, nil
	})
}

func refuse(srv *pds.Server) xrpc.Method {
	return xrpc.Query("com.example.refuse", srv.OwnMethodRule(), func(context.Context, *xrpc.None) (*xrpc.None, error) {
		return nil, xrpc.NewError(http.StatusConflict, "NotNow", "come back later").WithHeader("Retry-After", "7")
	})
}
