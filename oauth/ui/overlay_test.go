package ui_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/pdskit/pdskit/oauth/ui"
)

func file(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }

func TestOverlayReplacesOnePage(t *testing.T) {
	r := renderer(t, ui.Options{Overlay: fstest.MapFS{
		"welcome.html": file(`{{define "title"}}Hi{{end}}{{define "content"}}<h1>Come in, {{.Host}}</h1>{{with .Client}}<p>{{app .}}</p>{{end}}{{end}}`),
	}})
	body := render(t, r, &ui.WelcomePage{Frame: ui.Frame{Client: &ui.Client{Host: "<b>.example"}}})
	for _, want := range []string{"<title>Hi ·", "<h1>Come in, pds.example.com</h1>", "<p>&lt;b&gt;.example</p>"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	if body := render(t, r, &ui.SignInPage{}); !strings.Contains(body, "<h1>Sign in</h1>") {
		t.Error("another page changed too")
	}
}

// guestbookPage is a page of a program.
type guestbookPage struct {
	ui.Frame
	ui.Manager
	Entries []string
}

func (*guestbookPage) Name() string { return "guestbook" }

func TestOverlayAddsAPage(t *testing.T) {
	r := renderer(t, ui.Options{Overlay: fstest.MapFS{
		"guestbook.html": file(`{{define "title"}}Guests{{end}}{{define "content"}}{{range .Entries}}<p>{{.}}</p>{{end}}{{end}}`),
	}})
	p := &guestbookPage{Entries: []string{"<i>"}}
	p.Sections = []ui.Section{{Code: "guestbook", Title: "Guest book", URL: "/guests", Here: true}}
	body := render(t, r, p)
	checkHTML(t, body)
	checkNames(t, body)
	for _, want := range []string{"<h1>Guests</h1>", "<p>&lt;i&gt;</p>", `aria-current="page"`, "Guest book"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
}

func TestOverlayAddsTemplates(t *testing.T) {
	r := renderer(t, ui.Options{AssetsPath: "/ours/", Overlay: fstest.MapFS{
		"custom.html":  file(`{{define "greeting"}}<p>Good day</p>{{end}}{{define "brand"}}<p>Brand</p>{{end}}`),
		"welcome.html": file(`{{define "title"}}Hi{{end}}{{define "content"}}{{template "greeting"}}{{end}}`),
	}})
	body := render(t, r, &ui.WelcomePage{})
	for _, want := range []string{"<p>Good day</p>", "<p>Brand</p>", `href="/ours/style.`} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	if css := asset(t, r, "/ours/style.css"); css.Code != 200 || asset(t, r, ui.AssetsPath+"style.css").Code != 404 {
		t.Errorf("the assets are not at their path: %d", css.Code)
	}
	for _, path := range []string{"ours/", "/ours"} {
		if _, err := ui.New(ui.Options{AssetsPath: path}); err == nil || !strings.Contains(err.Error(), "AssetsPath") {
			t.Errorf("%q: %v", path, err)
		}
	}
}

func TestOverlayReplacesSharedFiles(t *testing.T) {
	r := renderer(t, ui.Options{Overlay: fstest.MapFS{
		"layout.html": file(`<!DOCTYPE html><title>{{template "title" .}}</title>{{template "content" .}}`),
		"style.css":   file(`h1{color:var(--primary)}`),
		"custom.css":  file(`h2{color:red}`),
		"script.js":   file(`"use strict";`),
	}})
	if body := render(t, r, &ui.CookiesPage{}); !strings.HasPrefix(body, "<!DOCTYPE html><title>Cookies are needed</title>") {
		t.Errorf("got %.200s", body)
	}
	css := asset(t, r, ui.AssetsPath+"style.css").Body.String()
	if !strings.HasPrefix(css, ":root{--bg:") || !strings.HasSuffix(css, "h1{color:var(--primary)}h2{color:red}") {
		t.Errorf("got %s", css)
	}
	if js := asset(t, r, ui.AssetsPath+"script.js").Body.String(); js != `"use strict";` {
		t.Errorf("got %s", js)
	}
}

// brokenFS cannot read its files.
type brokenFS struct{}

var errBroken = errors.New("broken")

func (brokenFS) Open(string) (fs.File, error) { return nil, errBroken }

func TestBadOverlay(t *testing.T) {
	for name, over := range map[string]fs.FS{
		"syntax":   fstest.MapFS{"welcome.html": file(`{{define "title"}}`)},
		"function": fstest.MapFS{"welcome.html": file(`{{define "title"}}{{nothing}}{{end}}`)},
		"field":    fstest.MapFS{"welcome.html": file(`{{define "title"}}{{end}}{{define "content"}}{{.Nothing}}{{end}}`)},
		"text":     fstest.MapFS{"welcome.html": file(`{{define "title"}}{{t "no.such.text"}}{{end}}{{define "content"}}{{end}}`)},
		"context":  fstest.MapFS{"welcome.html": file(`{{define "title"}}{{end}}{{define "content"}}<a href="{{if .Host}}"{{end}}>{{end}}`)},
		"added":    fstest.MapFS{"guestbook.html": file(`{{define "title"}}{{.`)},
		"shared":   fstest.MapFS{"icons.html": file(`{{define "icon"}}`)},
		"content":  fstest.MapFS{"welcome.html": file(`{{define "title"}}{{end}}`)},
		"broken":   brokenFS{},
	} {
		if _, err := ui.New(ui.Options{Overlay: over}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := ui.New(ui.Options{Overlay: brokenFS{}}); !errors.Is(err, errBroken) {
		t.Errorf("got %v, want the overlay's own error", err)
	}
}
