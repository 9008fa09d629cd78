package ui_test

import (
	"flag"
	"net/http"
	"testing"
	"time"

	"github.com/pdskit/pdskit/oauth/ui"
	"github.com/pdskit/pdskit/oauth/ui/internal/gallery"
)

var galleryAddress = flag.String("gallery", "", "serve the samples of all pages at this address, such as 127.0.0.1:8091")

// TestServeGallery shows every page in a browser:
//
//	go test ./oauth/ui -run TestServeGallery -gallery 127.0.0.1:8091 -timeout 0
func TestServeGallery(t *testing.T) {
	if *galleryAddress == "" {
		t.Skip("without -gallery")
	}
	r, err := ui.New(ui.Options{Branding: ui.Branding{Name: "Example PDS", Links: footerLinks}})
	if err != nil {
		t.Fatal(err)
	}
	srv := http.Server{Addr: *galleryAddress, Handler: gallery.Handler(r), ReadHeaderTimeout: 10 * time.Second}
	t.Fatal(srv.ListenAndServe())
}

var footerLinks = []ui.FooterLink{
	{Rel: "terms-of-service", URL: "https://example.com/terms"},
	{Rel: "privacy-policy", URL: "https://example.com/privacy"},
	{Rel: "help", URL: "mailto:help@example.com", Title: "Contact", Titles: map[string]string{"de": "Kontakt"}},
}
