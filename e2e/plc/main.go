// Command plc is a PLC directory in memory, for tests in other languages. It
// prints its address and serves until it is stopped by a signal or by the end
// of its standard input.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/pdskit/pdskit/identity"
)

func main() {
	listen := flag.String("listen", "localhost:0", "address to listen on")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *listen, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "plc:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, listen string, in io.Reader, out io.Writer) error {
	directory, err := identity.NewMemoryPLC(identity.MemoryPLCConfig{NoRateLimit: true})
	if err != nil {
		return err
	}
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", listen)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		_, _ = io.Copy(io.Discard, in)
		stop()
	}()
	server := &http.Server{Handler: directory, ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if _, err := fmt.Fprintf(out, "http://localhost:%d\n", listener.Addr().(*net.TCPAddr).Port); err != nil {
		return err
	}
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
