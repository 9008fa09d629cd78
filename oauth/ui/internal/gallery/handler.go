package gallery

import (
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/pdskit/pdskit/oauth/ui"
)

// Policy is a Content-Security-Policy as strict as the one that the pages are
// made for.
const Policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"base-uri 'none'; frame-ancestors 'none'; form-action 'self'"

// Handler serves the samples at /NAME, in the language of the query's locale,
// and a list of their names, one a line, at /.
func Handler(u ui.UI) http.Handler {
	mux := http.NewServeMux()
	mux.Handle(ui.AssetsPath, u.Assets())
	mux.HandleFunc("GET /handle-check", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"available":%t}`, r.FormValue("handle") != "taken.example.com")
	})
	mux.HandleFunc("POST /sent", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "sent")
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		for _, s := range slices.Concat(Flow(), Manager()) {
			fmt.Fprintln(w, s.ID)
		}
	})
	mux.HandleFunc("GET /{id}", func(w http.ResponseWriter, r *http.Request) {
		for _, s := range slices.Concat(Flow(), Manager()) {
			if s.ID != r.PathValue("id") {
				continue
			}
			w.Header().Set("Content-Security-Policy", Policy)
			s.Page.Common().Locale = r.FormValue("locale")
			if err := u.Render(w, r, s.Status, s.Page); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
			return
		}
		http.NotFound(w, r)
	})
	return mux
}
