package main

import (
	"context"
	"log/slog"
	"net/http"
	"slices"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/oauth/ui"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/adminui"
	"github.com/pdskit/pdskit/xrpc"
)

// handleAdminPages serves the pages for administrators, and leads there from
// /admin.
func handleAdminPages(routes *http.ServeMux, srv *pds.Server, set *settings, log *slog.Logger) error {
	opts := adminui.Options{
		Branding: ui.Branding{Name: set.name}, TrustedProxies: append(xrpc.PrivateProxies(), set.bypassIPs...), Logger: log,
	}
	if len(set.adminDIDs) > 0 {
		opts.IsAdmin = func(_ context.Context, did syntax.DID) (bool, error) { return slices.Contains(set.adminDIDs, did), nil }
	}
	pages, err := adminui.New(srv, opts)
	if err != nil {
		return err
	}
	routes.Handle(adminui.DefaultPath, pages)
	for _, path := range []string{"GET /admin", "GET /admin/{$}"} {
		routes.Handle(path, http.RedirectHandler(adminui.DefaultPath, http.StatusFound))
	}
	return nil
}
