package ui_test

import (
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/pdskit/pdskit/oauth/ui"
)

func asset(t *testing.T, r *ui.Renderer, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	r.Assets().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w
}

// variables returns the custom properties of the light and of the dark scheme.
func variables(t *testing.T, r *ui.Renderer) [2]map[string]string {
	t.Helper()
	return parseVariables(asset(t, r, ui.AssetsPath+"style.css").Body.String())
}

func parseVariables(css string) [2]map[string]string {
	light, dark, _ := strings.Cut(css, "@media (prefers-color-scheme:dark)")
	dark, _, _ = strings.Cut(dark, "}")
	var out [2]map[string]string
	for i, text := range []string{light, dark} {
		out[i] = map[string]string{}
		for _, m := range regexp.MustCompile(`--([a-z-]+):([^;]+);`).FindAllStringSubmatch(text, -1) {
			out[i][m[1]] = m[2]
		}
	}
	return out
}

// ratio is the contrast ratio of WCAG 2.2, worked out from its definition.
func ratio(a, b string) float64 {
	luminance := func(hex string) float64 {
		sum := 0.0
		for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
			n, err := strconv.ParseUint(hex[1+2*i:3+2*i], 16, 8)
			if err != nil {
				panic(err)
			}
			c := float64(n) / 255
			if c <= 0.04045 {
				c /= 12.92
			} else {
				c = math.Pow((c+0.055)/1.055, 2.4)
			}
			sum += weight * c
		}
		return sum
	}
	la, lb := luminance(a), luminance(b)
	return (math.Max(la, lb) + 0.05) / (math.Min(la, lb) + 0.05)
}

// checkContrast says which pairs of colors are too close to each other.
func checkContrast(vars [2]map[string]string) error {
	type pair struct {
		front, ground string
		least         float64
	}
	pairs := []pair{{"control", "surface", 3}, {"control", "raised", 2.9}}
	for _, ground := range []string{"bg", "surface", "raised", "primary-soft", "warning-soft", "success-soft", "error-soft"} {
		pairs = append(pairs, pair{"text", ground, 4.5})
	}
	for _, ground := range []string{"bg", "surface", "raised"} {
		pairs = append(pairs, pair{"muted", ground, 4.5})
	}
	for _, c := range []string{"primary", "error", "warning", "info", "success"} {
		pairs = append(pairs, pair{"on-" + c, c, 4.5}, pair{"on-" + c, c + "-hover", 4.5},
			pair{c + "-edge", "surface", 3}, pair{c + "-edge", "bg", 3})
		for _, ground := range []string{"bg", "surface", "raised", c + "-soft"} {
			pairs = append(pairs, pair{c + "-text", ground, 4.5})
		}
	}
	for i, scheme := range []string{"light", "dark"} {
		for _, p := range pairs {
			f, g := vars[i][p.front], vars[i][p.ground]
			if len(f) != 7 || len(g) != 7 {
				return fmt.Errorf("%s: --%s is %q, --%s is %q", scheme, p.front, f, p.ground, g)
			}
			if got := ratio(f, g); got < p.least {
				return fmt.Errorf("%s: %s %s on %s %s has a ratio of %.2f, want %.1f", scheme, p.front, f, p.ground, g, got, p.least)
			}
		}
	}
	return nil
}

func TestContrast(t *testing.T) {
	for _, c := range []string{"", "#000", "#ffffff", "#777777", "#ffee00", "#00ff00", "#f0f", "#800000", "#2f5bd7", "#123456"} {
		r := renderer(t, ui.Options{Branding: ui.Branding{Colors: ui.Colors{Primary: c, Error: c, Warning: c, Info: c, Success: c}}})
		if err := checkContrast(variables(t, r)); err != nil {
			t.Errorf("%s: %v", c, err)
		}
	}
}

func TestContrastOfAnyColor(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := fmt.Sprintf("#%06x", rapid.Uint32Range(0, 0xffffff).Draw(rt, "color"))
		if err := checkContrast(parseVariables(ui.Variables(c))); err != nil {
			rt.Fatal(err)
		}
	})
}

func TestBadBranding(t *testing.T) {
	png := &ui.Image{Type: "image/png", Data: []byte("x")}
	for name, b := range map[string]ui.Branding{
		"color word":  {Colors: ui.Colors{Primary: "red"}},
		"color digit": {Colors: ui.Colors{Error: "#12345g"}},
		"color css":   {Colors: ui.Colors{Info: "#fff;}body{"}},
		"color sign":  {Colors: ui.Colors{Info: "#+12345"}},
		"image type":  {Logo: &ui.Image{Type: "text/html", Data: []byte("x")}},
		"image data":  {Background: &ui.Image{Type: "image/png"}},
		"logo only":   {LogoOnly: true, Icon: png},
		"link scheme": {Links: []ui.FooterLink{{URL: "javascript:alert(1)"}}},
		"link empty":  {Links: []ui.FooterLink{{Rel: "help"}}},
	} {
		if _, err := ui.New(ui.Options{Branding: b}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestBranding(t *testing.T) {
	image := func(s string) *ui.Image { return &ui.Image{Type: "image/png", Data: []byte(s)} }
	r := renderer(t, ui.Options{Branding: ui.Branding{
		Name: "Wonderland", Logo: image("logo"), LogoDark: image("dark logo"), Icon: image("icon"),
		Background: image("background"), BackgroundDark: image("dark background"),
		Links: []ui.FooterLink{{Rel: "help", URL: "/help"}, {Rel: "x", URL: "https://example.com/x"}, {Rel: "help", URL: "/h", Title: "Ask", Titles: map[string]string{"de": "Frag"}}},
	}})
	body := render(t, r, &ui.SignInPage{Frame: ui.Frame{Locale: "de"}})
	checkHTML(t, body)
	checkNames(t, body)
	for _, want := range []string{"Wonderland", ">Hilfe<", ">https://example.com/x<", ">Frag<", `media="(prefers-color-scheme: dark)"`} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	vars := variables(t, r)
	if vars[0]["ground"] != "var(--surface)" || vars[1]["ground"] != "var(--surface)" {
		t.Error("the footer has no ground of its own on the image")
	}
	found := map[string]bool{}
	for _, m := range regexp.MustCompile(`/oauth/assets/[^"?)]+\.png`).FindAllString(body+vars[0]["background"]+vars[1]["background"], -1) {
		w := asset(t, r, m)
		if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "image/png" {
			t.Errorf("%s: %d %s", m, w.Code, w.Header().Get("Content-Type"))
		}
		found[w.Body.String()] = true
	}
	for _, want := range []string{"logo", "dark logo", "icon", "background", "dark background"} {
		if !found[want] {
			t.Errorf("nothing refers to the %s", want)
		}
	}
}

func TestLogoOnlyHasAName(t *testing.T) {
	r := renderer(t, ui.Options{Branding: ui.Branding{Name: "Wonder\"land", Logo: &ui.Image{Type: "image/svg+xml", Data: []byte("<svg/>")}, LogoOnly: true}})
	if body := render(t, r, &ui.ErrorPage{}); !strings.Contains(body, `alt="Wonder&#34;land"`) {
		t.Error("the logo has no text")
	}
}

func TestAssets(t *testing.T) {
	r := renderer(t, ui.Options{})
	body := render(t, r, &ui.ErrorPage{})
	refs := regexp.MustCompile(`/oauth/assets/[^"]+`).FindAllString(body, -1)
	if len(refs) < 3 {
		t.Fatalf("the page refers to %v", refs)
	}
	for _, ref := range refs {
		w := asset(t, r, ref)
		if w.Code != http.StatusOK || !strings.Contains(w.Header().Get("Cache-Control"), "immutable") || w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %d %v", ref, w.Code, w.Header())
		}
		if svg := strings.HasSuffix(ref, ".svg"); svg != strings.Contains(w.Header().Get("Content-Security-Policy"), "sandbox") {
			t.Errorf("%s: policy %q", ref, w.Header().Get("Content-Security-Policy"))
		}
	}
	plain := asset(t, r, ui.AssetsPath+"script.js")
	if plain.Code != http.StatusOK || plain.Header().Get("Cache-Control") != "no-cache" || plain.Header().Get("Content-Type") != "text/javascript; charset=utf-8" {
		t.Errorf("script.js: %d %v", plain.Code, plain.Header())
	}
	for _, tt := range []struct {
		method, path, tag string
		want              int
	}{
		{http.MethodGet, "script.js", plain.Header().Get("ETag"), http.StatusNotModified},
		{http.MethodGet, "script.js", `"x", W/` + plain.Header().Get("ETag"), http.StatusNotModified},
		{http.MethodGet, "script.js", `"x"`, http.StatusOK},
		{http.MethodHead, "style.css", "", http.StatusOK},
		{http.MethodPost, "style.css", "", http.StatusMethodNotAllowed},
		{http.MethodGet, "", "", http.StatusNotFound},
		{http.MethodGet, "../ui.go", "", http.StatusNotFound},
		{http.MethodGet, "style.000000000000.css", "", http.StatusNotFound},
	} {
		w := httptest.NewRecorder()
		req := httptest.NewRequest(tt.method, ui.AssetsPath+tt.path, nil)
		req.Header.Set("If-None-Match", tt.tag)
		r.Assets().ServeHTTP(w, req)
		if w.Code != tt.want || (tt.method == http.MethodHead && w.Body.Len() > 0) {
			t.Errorf("%s %s: %d, want %d", tt.method, tt.path, w.Code, tt.want)
		}
	}
}

func TestIconHasTheColorOfTheBrand(t *testing.T) {
	r := renderer(t, ui.Options{Branding: ui.Branding{Colors: ui.Colors{Primary: "#ffee00"}}})
	if svg := asset(t, r, ui.AssetsPath+"icon.svg").Body.String(); !strings.Contains(svg, "#ffee00") || !strings.Contains(svg, "#000000") || strings.Contains(svg, "#ffffff") {
		t.Error(svg)
	}
}
