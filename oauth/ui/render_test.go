package ui_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/net/html"

	"github.com/pdskit/pdskit/oauth/ui"
	"github.com/pdskit/pdskit/oauth/ui/internal/gallery"
)

func renderer(t *testing.T, o ui.Options) *ui.Renderer {
	t.Helper()
	r, err := ui.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func render(t *testing.T, r *ui.Renderer, p ui.Page) string {
	t.Helper()
	w := httptest.NewRecorder()
	if err := r.Render(w, httptest.NewRequest(http.MethodGet, "https://pds.example.com/", nil), http.StatusOK, p); err != nil {
		t.Fatal(err)
	}
	return w.Body.String()
}

func samples() []gallery.Sample {
	return slices.Concat(gallery.Flow(), gallery.Manager())
}

func TestEveryPageInEveryLocale(t *testing.T) {
	r := renderer(t, ui.Options{Branding: ui.Branding{Name: "Example PDS", Links: footerLinks}})
	seen := map[string]bool{}
	for _, l := range r.Locales() {
		for _, s := range samples() {
			t.Run(l.Tag+"/"+s.ID, func(t *testing.T) {
				s.Page.Common().Locale = l.Tag
				body := render(t, r, s.Page)
				checkHTML(t, body)
				checkNames(t, body)
				if !strings.Contains(body, `<html lang="`+l.Tag+`"`) {
					t.Error("the page does not say its language")
				}
				if m := regexp.MustCompile(`\{[a-z]+\}|ZgotmplZ|%!|&lt;(nil|no value)&gt;`).FindString(body); m != "" {
					t.Errorf("found %q", m)
				}
			})
			seen[reflect.TypeOf(s.Page).Elem().Name()] = true
		}
	}
	for _, p := range pageTypes(t) {
		if !seen[p] {
			t.Errorf("the gallery has no sample of %s", p)
		}
	}
}

// hostile is markup, script and template syntax in one text, with what breaks
// out of attributes, URLs, comments, styles and lines.
const hostile = "\u202e\u0000\"'><script>alert(1)</script><img src=x onerror=alert(1)>" +
	"</title></textarea></style><!-- javascript:alert(1) {{.}} {app} \r\nSet-Cookie: a=b"

// poison returns the sample with every text in it replaced by v.
func poison(v reflect.Value, text string) {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			poison(v.Elem(), text)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && f.Name != "Locale" && f.Type != reflect.TypeFor[[]byte]() {
				poison(v.Field(i), text)
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			poison(v.Index(i), text)
		}
	case reflect.Map:
		for _, k := range v.MapKeys() {
			v.SetMapIndex(k, reflect.ValueOf(text).Convert(v.Type().Elem()))
		}
	case reflect.String:
		v.SetString(text)
	}
}

func TestAttack46HostileTextInEveryField(t *testing.T) {
	r := renderer(t, ui.Options{})
	for _, text := range []string{
		hostile, "javascript:alert(1)", "JaVaScRiPt:alert(1)", "data:text/html,<script>alert(1)</script>", "vbscript:x", "blob:x",
		"java\tscript:alert(1)", " javascript:alert(1)", "\x01javascript:alert(1)",
	} {
		for i := range samples() {
			s := samples()[i] // a fresh one: poison works in place
			t.Run(fmt.Sprintf("%.8q/%s", text, s.ID), func(t *testing.T) {
				poison(reflect.ValueOf(s.Page), text)
				checkHTML(t, render(t, r, s.Page))
			})
		}
	}
}

func TestAttack46UnseenCharacters(t *testing.T) {
	r := renderer(t, ui.Options{})
	p := &ui.ConsentPage{
		Frame: ui.Frame{Client: &ui.Client{ID: "https://evil.example/\u202ecm", Host: "evil\u200b.example", Name: "A\u202eB\nC", Trusted: true}},
		Permissions: []ui.Permission{{
			Code: ui.PermissionPermissionSet, Title: strings.Repeat("t", 5000), Detail: "\u2066x\u0007" + strings.Repeat("d", 5000),
		}},
		RawScope: "atproto\u202e" + strings.Repeat(" x", 20_000),
	}
	body := render(t, r, p)
	if i := strings.IndexFunc(body, func(r rune) bool {
		return r == '\u202e' || r == '\u200b' || r == '\u2066' || r == '\a'
	}); i >= 0 {
		t.Errorf("found %q", body[i:i+10])
	}
	for text, limit := range map[string]int{"t": ui.MaxTitle, "d": ui.MaxDetail} {
		if strings.Contains(body, strings.Repeat(text, limit+1)) || !strings.Contains(body, strings.Repeat(text, limit-2)) {
			t.Errorf("a text of %q is not cut to %d characters", text, limit)
		}
	}
	if len(body) > 40_000 {
		t.Errorf("the page has %d bytes", len(body))
	}
}

func TestAttack49UntrustedNamesAreHidden(t *testing.T) {
	r := renderer(t, ui.Options{})
	for _, trusted := range []bool{false, true} {
		for _, s := range samples() {
			f := s.Page.Common()
			if f.Client == nil {
				continue
			}
			f.Client = &ui.Client{
				ID: "https://evil.example/client.json", Host: "evil.example", Name: "Bank of Trust", LogoURL: "https://evil.example/logo.png", Trusted: trusted,
			}
			body := render(t, r, s.Page)
			for _, own := range []string{"Bank of Trust", "logo.png"} {
				if !trusted && strings.Contains(body, own) {
					t.Errorf("%s shows %q of an app that nobody trusts", s.ID, own)
				}
			}
			if s.ID == "consent" {
				for _, want := range map[bool][]string{
					false: {"<bdi>evil.<wbr>example</bdi>", "https://evil.example/client.json"}, true: {"Bank of Trust", "logo.png", "evil.example"},
				}[trusted] {
					if !strings.Contains(body, want) {
						t.Errorf("trusted %t: %s does not show %q", trusted, s.ID, want)
					}
				}
			}
		}
	}
	apps := &ui.ManagerAppsPage{Apps: []ui.App{{Client: ui.Client{ID: "https://evil.example/c", Host: "evil.example", Name: "Bank of Trust"}}}}
	if body := render(t, r, apps); strings.Contains(body, "Bank of Trust") || !strings.Contains(body, "evil.<wbr>example") {
		t.Error("the list of apps shows the name of one that nobody trusts")
	}
}

func TestAttack18FormPostFieldsAreEscaped(t *testing.T) {
	r := renderer(t, ui.Options{})
	const state = "a\"><script>alert(1)</script>\r\n&amp;"
	body := render(t, r, &ui.FormPostPage{Action: "https://app.example/cb?x=1", Fields: []ui.HiddenField{{Name: "state", Value: state}}})
	var got, action string
	walk(parse(t, body), func(n *html.Node) {
		if n.Data == "input" && attr(n, "name") == "state" {
			got = attr(n, "value")
		}
		if n.Data == "form" {
			action = attr(n, "action")
			if _, ok := find(n, "data-submit"); !ok {
				t.Error("the form does not go on by itself")
			}
		}
	})
	// A reader of HTML makes one line feed of both characters, as of every other
	// line ending.
	if want := strings.ReplaceAll(state, "\r\n", "\n"); got != want {
		t.Errorf("state arrives as %q, want %q", got, want)
	}
	if action != "https://app.example/cb?x=1" {
		t.Errorf("action = %q", action)
	}
}

func TestRedirectSchemes(t *testing.T) {
	r := renderer(t, ui.Options{})
	for address, want := range map[string]string{
		"com.example.app:/callback?code=a&state=b": "com.example.app:/callback?code=a&state=b",
		"http://[::1]:8080/cb?code=a":              "http://[::1]:8080/cb?code=a",
		"https://app.example/cb#code=a&state=b":    "https://app.example/cb#code=a&state=b",
		"javascript:alert(1)":                      "#",
		"DATA:text/html,x":                         "#",
		"file:///etc/passwd":                       "#",
		"://":                                      "#",
	} {
		var got string
		walk(parse(t, render(t, r, &ui.RedirectPage{URL: address})), func(n *html.Node) {
			if n.Data == "a" {
				got = attr(n, "href")
			}
		})
		if got != want {
			t.Errorf("%q leads to %q, want %q", address, got, want)
		}
	}
}

func TestSecretsAreNotEchoed(t *testing.T) {
	r := renderer(t, ui.Options{})
	body := render(t, r, &ui.SignInStepPage{Fields: []ui.Field{{Name: "pin", Kind: ui.KindPassword, Label: "PIN", Value: "hunter2"}}})
	if strings.Contains(body, "hunter2") {
		t.Error("a password comes back")
	}
}

func TestProblems(t *testing.T) {
	r := renderer(t, ui.Options{})
	body := render(t, r, &ui.SignUpPage{
		Domains: []string{".example.com"}, Handle: "alice",
		Frame: ui.Frame{Problems: []ui.Problem{
			{Field: ui.FieldHandle, Code: ui.ProblemHandleTaken},
			{Field: ui.FieldPassword, Code: ui.ProblemPasswordShort, Args: ui.Args{"min": "12"}},
			{Code: "of_a_hook", Text: "Not on Sundays"},
			{Code: "of_a_hook"},
		}},
	})
	for _, want := range []string{
		`<a href="#handle">This handle is taken</a>`, `id="handle-problem"`, "at least 12 characters", "Not on Sundays",
		"That is not possible right now", `role="alert" tabindex="-1" autofocus`, "<title>Problem: ", `value="alice"`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	described := false
	walk(parse(t, body), func(n *html.Node) {
		if attr(n, "id") == ui.FieldHandle {
			described = strings.Contains(attr(n, "aria-describedby"), "handle-problem") && attr(n, "aria-invalid") == "true"
		}
		if n.Data == "input" {
			if _, ok := find(n, "autofocus"); ok {
				t.Error("an input takes the focus from the summary")
			}
		}
	})
	if !described {
		t.Error("the input does not refer to its problem")
	}
}

func TestHead(t *testing.T) {
	r := renderer(t, ui.Options{})
	w := httptest.NewRecorder()
	if err := r.Render(w, httptest.NewRequest(http.MethodHead, "/", nil), http.StatusForbidden, &ui.ErrorPage{}); err != nil {
		t.Fatal(err)
	}
	if w.Code != http.StatusForbidden || w.Body.Len() != 0 || w.Header().Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("answered %d, %d bytes, %v", w.Code, w.Body.Len(), w.Header())
	}
}

// unknownPage has no template.
type unknownPage struct{ ui.Frame }

func (*unknownPage) Name() string { return "unknown" }

func TestUnknownPageWritesNothing(t *testing.T) {
	r := renderer(t, ui.Options{})
	w := httptest.NewRecorder()
	if err := r.Render(w, httptest.NewRequest(http.MethodGet, "/", nil), http.StatusOK, &unknownPage{}); err == nil {
		t.Error("no error")
	}
	if w.Body.Len() != 0 || len(w.Header()) != 0 {
		t.Error("something was written")
	}
}

func TestHostOfTheRequest(t *testing.T) {
	r := renderer(t, ui.Options{})
	if body := render(t, r, &ui.SignInPage{}); !strings.Contains(body, "<bdi>pds.<wbr>example.<wbr>com</bdi>") {
		t.Error("the sign-in page does not say which address it has")
	}
}

func TestOwnDomainIsShownWhereItIsProven(t *testing.T) {
	r := renderer(t, ui.Options{})
	p := &ui.ManagerHandlePage{CustomForm: &ui.Form{}, WellKnownURL: "https://HOST/.well-known/atproto-did"}
	if body := render(t, r, p); !strings.Contains(body, "https://name.example/.well-known/atproto-did") {
		t.Error("the instructions show no example")
	}
	p.Custom = "alice.test"
	if body := render(t, r, p); !strings.Contains(body, "https://alice.test/.well-known/atproto-did") || !strings.Contains(body, "_atproto.alice.test") {
		t.Error("the instructions do not show the domain")
	}
}

func TestConcurrentRendering(t *testing.T) {
	r := renderer(t, ui.Options{})
	var wg sync.WaitGroup
	for range 4 {
		for _, s := range samples() {
			wg.Go(func() {
				if err := r.Render(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil), s.Status, s.Page); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
}
