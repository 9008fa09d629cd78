package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/metrics"
	"github.com/pdskit/pdskit/storage"
)

// metricsHandler shows the metrics of the server and of its process.
func metricsHandler(m *metrics.Metrics, srv *pds.Server) (http.Handler, error) {
	reg := prometheus.NewRegistry()
	err := errors.Join(
		m.Register(reg, srv),
		reg.Register(collectors.NewGoCollector()),
		reg.Register(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})),
	)
	return promhttp.HandlerFor(reg, promhttp.HandlerOpts{}), err
}

// serveMetrics serves /metrics without a password on an address of its own,
// until ctx ends.
func serveMetrics(ctx context.Context, address string, h http.Handler, log *slog.Logger) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("PDS_ADMIN_LISTEN: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", h)
	hs := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	context.AfterFunc(ctx, func() { _ = hs.Close() }) // nobody waits for an answer of it
	go func() {
		if err := hs.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			log.Error("serving metrics failed", "error", err)
		}
	}()
	return nil
}

// usage prints how much each account stores, and the totals.
func (a *admin) usage(ctx context.Context, _ []string) error {
	var out struct {
		Accounts []pds.AccountUsage `json:"accounts"`
		Totals   *storage.Totals    `json:"totals,omitempty"`
	}
	out.Accounts = []pds.AccountUsage{}
	rows := [][]string{{"DID", "HANDLE", "RECORDS", "REPO BYTES", "BLOBS", "BLOB BYTES"}}
	for params := (url.Values{}); ; {
		var page struct {
			Accounts            []pds.AccountUsage
			Totals              *storage.Totals
			AfterTime, AfterDID string
		}
		if err := a.call(ctx, http.MethodGet, "/admin/usage", params, nil, &page); err != nil {
			return err
		}
		if page.Totals != nil {
			out.Totals = page.Totals
		}
		for _, u := range page.Accounts {
			rows = append(rows, usageRow(string(u.DID), string(u.Handle), u.Records, u.RepoBytes, u.Blobs, u.BlobBytes))
		}
		if out.Accounts = append(out.Accounts, page.Accounts...); len(page.Accounts) == 0 {
			break
		}
		params = url.Values{"afterTime": {page.AfterTime}, "afterDid": {page.AfterDID}}
	}
	if t := out.Totals; t != nil {
		rows = append(rows, usageRow("all", "", t.Records, t.RepoBytes, t.Blobs, t.BlobBytes))
	}
	return a.print(out, rows...)
}

func usageRow(did, handle string, numbers ...int64) []string {
	row := []string{did, handle}
	for _, n := range numbers {
		row = append(row, strconv.FormatInt(n, 10))
	}
	return row
}
