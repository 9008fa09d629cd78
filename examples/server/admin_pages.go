package main

import (
	"log/slog"
	"net/http"

	"github.com/pdskit/pdskit/oauth/ui"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/adminui"
	"github.com/pdskit/pdskit/xrpc"
)

// handleAdminPages serves the pages for the administrator, and leads there from
// /admin.
func handleAdminPages(routes *http.ServeMux, srv *pds.Server, set *settings, log *slog.Logger) error {
	pages, err := adminui.New(srv, adminui.Options{
		Branding: ui.Branding{Name: set.name}, TrustedProxies: append(xrpc.PrivateProxies(), set.bypassIPs...), Logger: log,
	})
	if err != nil {
		return err
	}
	routes.Handle(adminui.DefaultPath, pages)
	for _, path := range []string{"GET /admin", "GET /admin/{$}"} {
		routes.Handle(path, http.RedirectHandler(adminui.DefaultPath, http.StatusFound))
	}
	return nil
}
