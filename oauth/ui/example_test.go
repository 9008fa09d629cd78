package ui_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing/fstest"

	"github.com/pdskit/pdskit/oauth/ui"
)

func ExampleNew() {
	pages, err := ui.New(ui.Options{
		Branding: ui.Branding{Name: "Wonderland", Colors: ui.Colors{Primary: "#7a3cc2"}},
		Catalogs: map[string]map[string]string{"en": {"cookies.title": "The dormouse ate the cookies"}},
		Overlay: fstest.MapFS{"redirect.html": {Data: []byte(
			`{{define "title"}}Down we go{{end}}{{define "content"}}<h1>{{template "title" .}}</h1>{{end}}`,
		)}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, p := range []ui.Page{&ui.CookiesPage{}, &ui.RedirectPage{}} {
		w := httptest.NewRecorder()
		if err := pages.Render(w, httptest.NewRequest(http.MethodGet, "/", nil), http.StatusOK, p); err != nil {
			fmt.Println(err)
			return
		}
		_, rest, _ := strings.Cut(w.Body.String(), "<title>")
		title, _, _ := strings.Cut(rest, "</title>")
		fmt.Println(title)
	}
	// Output:
	// The dormouse ate the cookies · Wonderland
	// Down we go · Wonderland
}
