package oauth

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// pageTargets is what a page needs of others. The zero value is for a page
// without forms.
type pageTargets struct {
	forms   bool     // there is a form
	schemes []string // where forms lead, or redirects after them, beside this server
	images  []string // origins of images
}

// pageHeaders sets the headers that every page has.
func (s *Server) pageHeaders(h http.Header, targets pageTargets) {
	formAction := append([]string{"'self'"}, targets.schemes...)
	images := append([]string{"'self'", "data:"}, targets.images...)
	h.Set("Content-Security-Policy", strings.Join([]string{
		"default-src 'none'",
		"script-src 'self'",
		"style-src 'self'",
		"img-src " + strings.Join(images, " "),
		"connect-src 'self'",
		"base-uri 'none'",
		"frame-ancestors 'none'",
		"form-action " + strings.Join(formAction, " "),
	}, "; "))
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Embedder-Policy", "credentialless")
	h.Set("Permissions-Policy", "camera=(), microphone=(), geolocation=(), payment=(), usb=(), publickey-credentials-get=(self)")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Robots-Tag", "noindex")
	// With no-referrer, browsers send forms with the Origin "null".
	if targets.forms {
		h.Set("Referrer-Policy", "same-origin")
	} else {
		h.Set("Referrer-Policy", "no-referrer")
	}
	if s.secure() {
		h.Set("Strict-Transport-Security", "max-age=63072000") // two years
	}
}

// schemeOf returns the scheme of a checked redirect URI as a source of a
// Content-Security-Policy. A host would not do: such sources cannot name [::1],
// and the app may redirect further.
func schemeOf(redirectURI string) []string {
	u, err := url.Parse(redirectURI)
	if err != nil || u.Scheme == "" {
		return nil
	}
	return []string{u.Scheme + ":"}
}

// originsOf returns the origins of https URLs, each once.
func originsOf(urls ...string) []string {
	var list []string
	for _, raw := range urls {
		u, err := url.Parse(raw)
		if err != nil || u.Scheme != "https" || u.Host == "" || strings.ContainsAny(u.Host, " ;,'\"") {
			continue
		}
		if origin := "https://" + u.Host; !slices.Contains(list, origin) {
			list = append(list, origin)
		}
	}
	return list
}
