package main

import (
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

//go:embed web
var webFiles embed.FS

// webClient serves the client at an address of its own, beside the PDS at another.
// The client is an app like any other: it knows nothing but what is in the document
// /app.json, and what it asks for.
func webClient(address, pdsAddress string, service syntax.DID) func(http.Handler) http.Handler {
	web, files := must(url.Parse(address)), must(fs.Sub(webFiles, "web"))
	// What a session of the client may do: call the methods of this service.
	scopes := "atproto rpc:*?aud=" + url.QueryEscape(string(service)+"#"+serviceName)
	redirect := address + "/"
	clientID := address + "/client-metadata.json"
	if web.Scheme == "http" { // for development, see the OAuth specification of atproto
		clientID = "http://localhost?" + url.Values{"redirect_uri": {redirect}, "scope": {scopes}}.Encode()
	}
	documents := map[string]any{
		"/app.json": map[string]any{
			"pds": pdsAddress, "service": service, "proxy": string(service) + "#" + serviceName,
			"namespace": namespace, "clientId": clientID, "redirectUri": redirect, "scope": scopes,
		},
		"/client-metadata.json": map[string]any{
			"client_id": clientID, "client_name": "Communities", "client_uri": address, "redirect_uris": []string{redirect},
			"scope": scopes, "grant_types": []string{"authorization_code", "refresh_token"}, "response_types": []string{"code"},
			"application_type": "web", "token_endpoint_auth_method": "none", "dpop_bound_access_tokens": true,
		},
	}
	// The servers of members may be anywhere, and so may the pictures.
	policy := "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data: %[1]s; " +
		"connect-src 'self' https: %[1]s %[2]s; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	mux := http.NewServeMux()
	mux.Handle(web.Hostname()+"/", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", fmt.Sprintf(policy, pdsAddress, "ws"+pdsAddress[len("http"):]))
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-cache")
		if doc, ok := documents[r.URL.Path]; ok {
			h.Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(doc) // the client is gone
			return
		}
		http.FileServerFS(files).ServeHTTP(w, r)
	}))
	return func(next http.Handler) http.Handler {
		mux.Handle("/", next)
		return mux
	}
}
