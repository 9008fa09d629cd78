package ui_test

import (
	"encoding/json"
	"go/ast"
	"go/token"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pdskit/pdskit/oauth/ui"
)

func catalogs(t *testing.T) map[string]map[string]string {
	t.Helper()
	files, err := filepath.Glob("locales/*.json")
	if err != nil || len(files) < 3 {
		t.Fatal(files, err)
	}
	all := map[string]map[string]string{}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		texts := map[string]string{}
		if err := json.Unmarshal(data, &texts); err != nil {
			t.Fatal(f, err)
		}
		all[strings.TrimSuffix(filepath.Base(f), ".json")] = texts
	}
	return all
}

var placeholder = regexp.MustCompile(`\{[^}]*\}`)

func TestCataloguesHaveTheSameKeysAndValues(t *testing.T) {
	all := catalogs(t)
	en := all["en"]
	for tag, texts := range all {
		for key := range en {
			if strings.TrimSpace(texts[key]) == "" {
				t.Errorf("%s has no text %s", tag, key)
			}
		}
		for key, text := range texts {
			if _, ok := en[key]; !ok {
				t.Errorf("%s has the text %s, which en has not", tag, key)
			}
			if got, want := placeholder.FindAllString(text, -1), placeholder.FindAllString(en[key], -1); !slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))) {
				t.Errorf("%s: %s has the values %v, want %v", tag, key, got, want)
			}
			if strings.ContainsAny(text, "<>&") {
				t.Errorf("%s: %s has markup", tag, key)
			}
		}
	}
}

// coded are the texts that belong to a code: prefix and suffixes of their
// keys, and the prefix of the constants.
var coded = []struct {
	constants, prefix string
	suffixes          []string
	optional          []string // codes that have none, for the first suffix
}{
	{"Problem", "problem", []string{""}, nil},
	{"Notice", "notice", []string{""}, nil},
	{"Error", "error", []string{".title", ".text"}, nil},
	{"Section", "section", []string{"", ".text"}, nil},
	{"Factor", "factor", []string{".name", ".hint"}, nil},
	{"Permission", "permission", []string{".title", ".detail"}, []string{ui.PermissionPermissionSet}},
}

func TestEveryTextIsUsedAndEveryUseHasAText(t *testing.T) {
	used := map[string]bool{}
	files, err := filepath.Glob("templates/*.html")
	if err != nil {
		t.Fatal(err)
	}
	use := regexp.MustCompile(`\b(?:t|strong) "([a-z0-9_.-]+)"`)
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range use.FindAllStringSubmatch(string(data), -1) {
			used[m[1]] = true
		}
	}
	key := regexp.MustCompile(`^"[a-z]+\.[a-z_.]+"$`)
	declarations(t, func(d ast.Decl) {
		if _, ok := d.(*ast.FuncDecl); !ok {
			return
		}
		ast.Inspect(d, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING && key.MatchString(lit.Value) {
				used[strings.Trim(lit.Value, `"`)] = true
			}
			return true
		})
	})
	for _, c := range coded {
		for _, code := range constants(t, c.constants) {
			for _, suffix := range c.suffixes {
				if !slices.Contains(c.optional, code) {
					used[c.prefix+"."+code+suffix] = true
				}
			}
		}
	}
	for _, code := range []string{"archive", "repo", "blobs"} {
		used["download."+code], used["download."+code+".text"] = true, true
	}
	for _, rel := range []string{"terms-of-service", "privacy-policy", "help", "canonical"} {
		used["link."+rel] = true
	}
	en := catalogs(t)["en"]
	// Codes that a page fills in by its values have a title alone; the
	// overview has no text of its own.
	for _, k := range []string{"permission.account.detail", "section.home.text"} {
		if en[k] != "" {
			t.Errorf("%s is never shown", k)
		}
		delete(used, k)
	}
	for k := range en {
		if !used[k] {
			t.Errorf("the text %s is used nowhere", k)
		}
	}
	for k := range used {
		if en[k] == "" && !isFile(k) {
			t.Errorf("there is no text %s", k)
		}
	}
}

// isFile says whether what looks like a key is a file's name.
func isFile(k string) bool {
	return slices.Contains([]string{".html", ".css", ".js", ".svg", ".json"}, filepath.Ext(k))
}

func TestLocale(t *testing.T) {
	r := renderer(t, ui.Options{Catalogs: map[string]map[string]string{
		"pt-BR": {"locale.name": "Português (Brasil)"},
	}})
	for _, tt := range []struct {
		accept    string
		preferred []string
		want      string
	}{
		{"", nil, "en"},
		{"de", nil, "de"},
		{"de-AT,en;q=0.9", nil, "de"},
		{"fr, es;q=0.5, de;q=0.7", nil, "de"},
		{"fr, es;q=0, en;q=0.1", nil, "en"},
		{"DE-de", nil, "de"},
		{"pt-br", nil, "pt-BR"},
		{"pt", nil, "en"},
		{"*", nil, "en"},
		{"es", []string{"de-CH-1996"}, "de"},
		{"es", []string{"xx", ""}, "es"},
		{"es", []string{"<script>"}, "es"},
		{"es;q=NaN, de", nil, "de"},
		{strings.Repeat("xx,", 10_000) + "de", nil, "en"},
	} {
		req := httptest.NewRequest(http.MethodGet, "/", nil)
		req.Header.Set("Accept-Language", tt.accept)
		if got := r.Locale(req, tt.preferred...); got != tt.want {
			t.Errorf("Accept-Language %.40q, preferred %q: %s, want %s", tt.accept, tt.preferred, got, tt.want)
		}
	}
}

func TestUnknownLocaleOfAPage(t *testing.T) {
	r := renderer(t, ui.Options{DefaultLocale: "es"})
	p := &ui.ErrorPage{Frame: ui.Frame{Locale: "de-AT"}}
	if body := render(t, r, p); !strings.Contains(body, `<html lang="de"`) {
		t.Error("a regional variant does not fall back to its language")
	}
	if body := render(t, r, &ui.ErrorPage{}); !strings.Contains(body, `<html lang="es"`) {
		t.Error("the default locale is not used")
	}
}

func TestCataloguesOfTheProgram(t *testing.T) {
	r := renderer(t, ui.Options{Catalogs: map[string]map[string]string{
		"en":    {"welcome.title": "Hello at our place", "problem.sunday": "Not on {day}"},
		"de-AT": {"sign_in.title": "Servus"},
		"ar":    {"locale.name": "العربية", "locale.dir": "rtl", "sign_in.title": "تسجيل الدخول"},
	}})
	body := render(t, r, &ui.WelcomePage{Frame: ui.Frame{Problems: []ui.Problem{{Code: "sunday", Args: ui.Args{"day": "<Sunday>"}}}}})
	if !strings.Contains(body, "Hello at our place") || !strings.Contains(body, "Not on &lt;Sunday&gt;") {
		t.Error("texts of the program are not used")
	}
	if body := render(t, r, &ui.SignInPage{Frame: ui.Frame{Locale: "de-AT"}}); !strings.Contains(body, "Servus") || !strings.Contains(body, "Passwort") {
		t.Error("a regional catalogue does not stand over that of its language")
	}
	body = render(t, r, &ui.SignInPage{Frame: ui.Frame{Locale: "ar", LocaleForm: &ui.Form{Action: "/locale"}}})
	checkHTML(t, body)
	checkNames(t, body)
	for _, want := range []string{`lang="ar" dir="rtl"`, "تسجيل الدخول", ">Password<", `value="ar" lang="ar" aria-current="true">العربية<`} {
		if !strings.Contains(body, want) {
			t.Errorf("the Arabic page lacks %s", want)
		}
	}
}

func TestBadCatalogues(t *testing.T) {
	for name, o := range map[string]ui.Options{
		"tag":     {Catalogs: map[string]map[string]string{"Deutsch!": {"locale.name": "Deutsch"}}},
		"no name": {Catalogs: map[string]map[string]string{"fr": {"sign_in.title": "Connexion"}}},
		"default": {DefaultLocale: "fr"},
	} {
		if _, err := ui.New(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
