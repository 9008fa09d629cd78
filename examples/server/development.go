package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/pds"
)

// greet tells a newcomer what is there and what to try.
func greet(w io.Writer, set *settings, made []string) {
	data, err := filepath.Abs(set.dataDir)
	if err != nil {
		data = set.dataDir
	}
	fmt.Fprint(w, "pdskit, in development mode: for this machine only, with identities that nobody else knows.\n\n")
	for _, m := range made {
		fmt.Fprintf(w, "  made      %s\n", m)
	}
	fmt.Fprintf(w, `  address   %[1]s
  handles   NAME%[2]s, no invite code needed
  mail      is not sent, but shown in this log
  admin     the password is in %[3]s
  PLC       %[1]s is also the PLC directory of its accounts: name it to tools that resolve DIDs
  data      %[4]s (to start anew, stop the server and delete the folder)

Try, in another terminal:

  curl %[1]s/xrpc/com.atproto.server.describeServer

  curl %[1]s/xrpc/com.atproto.server.createAccount \
    -H 'Content-Type: application/json' \
    -d '{"handle":"alice%[2]s","email":"alice@example.com","password":"a long password"}'

  go run ./examples/server account list

Stop it with Ctrl-C. For a public server see "go run ./examples/server help".

`, set.publicURL(), set.handleDomains[0], filepath.Join(set.dataDir, secretsFile), data)
}

// withPLC answers the routes of a PLC directory (/did:plc:... and /export) and
// leaves all others to the server. Browsers may read them from anywhere, as
// they may read the real directory.
func withPLC(directory *identity.MemoryPLC, server http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/did:plc:") || r.URL.Path == "/export" {
			w.Header().Set("Access-Control-Allow-Origin", "*")
			directory.ServeHTTP(w, r)
			return
		}
		server.ServeHTTP(w, r)
	})
}

const (
	headerTimeout = 10 * time.Second
	idleTimeout   = 90 * time.Second
	drainTime     = 10 * time.Second
)

// serveBeside does what pds.Server.Serve does, with a handler around the
// server: it serves and does the background work until ctx ends, then drains
// requests and event streams.
func serveBeside(ctx context.Context, srv *pds.Server, handler http.Handler, log *slog.Logger, listeners []net.Listener) error {
	hs := &http.Server{Handler: handler, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	failed := make(chan error, len(listeners)+1)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := srv.Run(background); err != nil {
			failed <- err
		}
	})
	for _, l := range listeners {
		wg.Go(func() {
			if err := hs.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				failed <- err
			}
		})
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	drain, cancel := context.WithTimeout(background, drainTime)
	defer cancel()
	// The streams first: http.Server does not know of them.
	if e := errors.Join(srv.Shutdown(drain), hs.Shutdown(drain)); e != nil {
		hs.Close()
		log.Warn("shutdown did not finish in time", "error", e)
	}
	stop()
	wg.Wait()
	return err
}
