package ui

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"
)

// assets serves files under two names: the plain one, "style.css", which is
// asked for again every time, and one with a hash, "style.Xk3b9QzV0aBc.css",
// which may be kept for ever.
type assets struct {
	base  string            // path below which they are
	files map[string]*asset // by either name
	urls  map[string]string // plain name to the path with the hash
}

type asset struct {
	kind string // media type
	etag string
	data []byte
	kept bool // under this name it never changes
}

const (
	cacheForever = "public, max-age=31536000, immutable"
	cacheAsk     = "no-cache"

	// imagePolicy keeps an SVG that is opened by itself from running scripts.
	imagePolicy = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
)

// stylesheet and script are the plain names of the two files that all pages
// refer to.
const (
	stylesheet = "style.css"
	script     = "script.js"
)

func newAssets(over fs.FS, b *Branding, base string) (*assets, error) {
	a := &assets{base: base, files: map[string]*asset{}, urls: map[string]string{}}
	for name, img := range b.images() {
		a.add(strings.ToLower(name)+imageTypes[img.Type], img.Type, img.Data)
		a.urls[name] = a.urls[strings.ToLower(name)+imageTypes[img.Type]]
	}
	if b.Icon == nil {
		icon, err := fs.ReadFile(embedded, "assets/icon.svg")
		if err != nil {
			return nil, err
		}
		primary, err := parseColor(cmp.Or(b.Colors.Primary, defaultPrimary))
		if err != nil {
			return nil, fmt.Errorf("Branding.Colors: primary: %w", err)
		}
		colored := strings.NewReplacer(defaultPrimary, primary.String(), white.String(), primary.on().String())
		a.add("icon.svg", "image/svg+xml", []byte(colored.Replace(string(icon))))
		a.urls["Icon"] = a.urls["icon.svg"]
	}
	style, err := b.variables(func(image string) string { return a.urls[image] })
	if err != nil {
		return nil, err
	}
	rules, err := readFile(over, "assets", stylesheet)
	if err != nil {
		return nil, err
	}
	style += string(rules)
	if over != nil {
		custom, err := fs.ReadFile(over, "custom.css")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		style += string(custom)
	}
	a.add(stylesheet, "text/css; charset=utf-8", []byte(style))
	code, err := readFile(over, "assets", script)
	if err != nil {
		return nil, err
	}
	a.add(script, "text/javascript; charset=utf-8", code)
	return a, nil
}

func (a *assets) add(name, kind string, data []byte) {
	sum := sha256.Sum256(data)
	hash := base64.RawURLEncoding.EncodeToString(sum[:9])
	ext := path.Ext(name)
	hashed := strings.TrimSuffix(name, ext) + "." + hash + ext
	a.files[name] = &asset{kind: kind, etag: `"` + hash + `"`, data: data}
	a.files[hashed] = &asset{kind: kind, etag: `"` + hash + `"`, data: data, kept: true}
	a.urls[name] = a.base + hashed
}

// ServeHTTP implements http.Handler.
func (a *assets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
		return
	}
	name, ok := strings.CutPrefix(r.URL.Path, a.base)
	f := a.files[name]
	if !ok || f == nil {
		http.Error(w, "Not Found", http.StatusNotFound)
		return
	}
	h.Set("Content-Type", f.kind)
	h.Set("ETag", f.etag)
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", cacheAsk)
	if f.kept {
		h.Set("Cache-Control", cacheForever)
	}
	if strings.HasPrefix(f.kind, "image/") {
		h.Set("Content-Security-Policy", imagePolicy)
	}
	for tag := range strings.SplitSeq(r.Header.Get("If-None-Match"), ",") {
		if strings.TrimPrefix(strings.TrimSpace(tag), "W/") == f.etag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	if r.Method == http.MethodGet {
		w.Write(f.data)
	}
}
