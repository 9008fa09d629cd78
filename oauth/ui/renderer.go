package ui

import (
	"bytes"
	"cmp"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"
)

//go:embed templates/*.html assets locales/*.json
var embedded embed.FS

// Options are what a [Renderer] is made of. The zero value is a good one.
type Options struct {
	Branding Branding

	// Overlay holds files that replace those of this package, or add to them:
	//
	//	layout.html     the document around every page
	//	partials.html   fields, buttons, alerts and lists that pages share
	//	icons.html      the icons
	//	custom.html     templates besides those three, or in place of single ones
	//	NAME.html       a page, by [Page.Name]; it defines "title" and "content"
	//	style.css       the style sheet, without the properties of Branding
	//	custom.css      appended to the style sheet
	//	script.js       the script
	//
	// The data of a template is the page: {{.Form.Action}}. The functions that
	// templates may call are listed in the package comment.
	Overlay fs.FS

	// Catalogs are texts by locale and key. They replace those of this package,
	// or add a language, which has at least the text "locale.name".
	Catalogs map[string]map[string]string

	// AssetsPath is where Assets is mounted, with a slash at both ends; "" =
	// the constant [AssetsPath]. A program that shows pages beside those of an
	// OAuth server gives theirs a path of their own.
	AssetsPath string

	// DefaultLocale is for who asks for no language that there is; "" = "en".
	DefaultLocale string
}

// Renderer is the [UI] of this module. It does not change once made.
type Renderer struct {
	catalogs      map[string]catalog
	locales       []Locale
	defaultLocale string
	assets        *assets
	templates     map[string]map[string]parsed // by locale and page
}

// parsed gives a template, which it parses when it is asked for the first time:
// most servers show few of the pages, in few of the languages.
type parsed func() (*template.Template, error)

var _ UI = (*Renderer)(nil)

// New returns a Renderer. It fails if the options are wrong, or if with the
// overlay a template does not work with an empty page.
func New(o Options) (*Renderer, error) {
	if err := o.Branding.check(); err != nil {
		return nil, fmt.Errorf("ui: %w", err)
	}
	if p := o.AssetsPath; p != "" && (!strings.HasPrefix(p, "/") || !strings.HasSuffix(p, "/")) {
		return nil, fmt.Errorf("ui: AssetsPath: %q must have a slash at both ends", p)
	}
	r := &Renderer{defaultLocale: o.DefaultLocale}
	if r.defaultLocale == "" {
		r.defaultLocale = builtinDefault
	}
	var err error
	if r.catalogs, err = loadCatalogs(o.Catalogs, r.defaultLocale); err != nil {
		return nil, fmt.Errorf("ui: %w", err)
	}
	for tag, c := range r.catalogs {
		r.locales = append(r.locales, Locale{Tag: tag, Name: c["locale.name"]})
	}
	slices.SortFunc(r.locales, func(a, b Locale) int { return strings.Compare(a.Tag, b.Tag) })

	if r.assets, err = newAssets(o.Overlay, &o.Branding, cmp.Or(o.AssetsPath, AssetsPath)); err != nil {
		return nil, fmt.Errorf("ui: %w", err)
	}
	if r.templates, err = r.parse(o.Overlay, &o.Branding); err != nil {
		return nil, fmt.Errorf("ui: %w", err)
	}
	if o.Overlay != nil {
		if err := r.tryAll(); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// Locales returns the languages of the pages.
func (r *Renderer) Locales() []Locale {
	return slices.Clone(r.locales)
}

// Locale implements [UI].
func (r *Renderer) Locale(req *http.Request, preferred ...string) string {
	for _, wanted := range [][]string{preferred, accepted(req)} {
		if tag := match(r.catalogs, wanted); tag != "" {
			return tag
		}
	}
	return r.defaultLocale
}

// Render implements [UI]. It fills in Locale and Host of the page's Frame where
// they are empty, and writes nothing if it fails.
func (r *Renderer) Render(w http.ResponseWriter, req *http.Request, status int, p Page) error {
	f := p.Common()
	if r.catalogs[f.Locale] == nil {
		f.Locale = r.Locale(req, f.Locale)
	}
	if f.Host == "" {
		f.Host = req.Host
	}
	var b bytes.Buffer
	if err := r.execute(&b, p); err != nil {
		return fmt.Errorf("ui: template %s: %w", p.Name(), err)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Language", f.Locale)
	w.WriteHeader(status)
	if req.Method == http.MethodHead {
		return nil
	}
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("ui: %w", err)
	}
	return nil
}

// Assets implements [UI].
func (r *Renderer) Assets() http.Handler {
	return r.assets
}

func (r *Renderer) execute(b *bytes.Buffer, p Page) error {
	get := r.templates[p.Common().Locale][p.Name()]
	if get == nil {
		return errors.New("there is none")
	}
	t, err := get()
	if err != nil {
		return err
	}
	return t.ExecuteTemplate(b, "layout.html", p)
}

// tryAll parses every template and executes those of this package's pages.
func (r *Renderer) tryAll() error {
	for name, get := range r.templates[r.defaultLocale] {
		if _, err := get(); err != nil {
			return fmt.Errorf("ui: template %s: %w", name, err)
		}
	}
	for _, p := range emptyPages() {
		p.Common().Locale = r.defaultLocale
		if err := r.execute(&bytes.Buffer{}, p); err != nil {
			return fmt.Errorf("ui: template %s: %w", p.Name(), err)
		}
	}
	return nil
}

// emptyPages returns one of each page of this package.
func emptyPages() []Page {
	return []Page{
		&WelcomePage{}, &AccountPickerPage{}, &SignInPage{}, &SecondFactorPage{}, &SignInStepPage{}, &SignUpPage{},
		&ResetRequestPage{}, &ResetPasswordPage{}, &ReactivatePage{}, &ConsentPage{}, &RedirectPage{},
		&FormPostPage{}, &ErrorPage{}, &CookiesPage{},
		&ManagerAccountsPage{}, &ManagerHomePage{}, &ManagerEmailPage{}, &ManagerHandlePage{}, &ManagerPasswordPage{},
		&ManagerAppPasswordsPage{}, &ManagerAppsPage{}, &ManagerDevicesPage{}, &ManagerFactorsPage{},
		&ManagerDeactivatePage{}, &ManagerDeletePage{}, &ManagerExportPage{},
	}
}

// sharedTemplates are the files that every page's template has.
var sharedTemplates = []string{"layout.html", "partials.html", "icons.html"}

// customTemplates is a file of the overlay that they are followed by, if it is
// there.
const customTemplates = "custom.html"

// parse returns the templates of all pages, one set for each locale, whose
// functions know the language.
func (r *Renderer) parse(over fs.FS, b *Branding) (map[string]map[string]parsed, error) {
	names, err := templateNames(over)
	if err != nil {
		return nil, err
	}
	files := sharedTemplates
	if i := slices.Index(names, customTemplates); i >= 0 {
		files, names = append(slices.Clone(files), customTemplates), slices.Delete(names, i, i+1)
	}
	text := map[string]string{}
	for _, name := range slices.Concat(files, names) {
		data, err := readFile(over, "templates", name)
		if err != nil {
			return nil, err
		}
		text[name] = string(data)
	}
	out := map[string]map[string]parsed{}
	for _, l := range r.locales {
		shared := sync.OnceValues(func() (*template.Template, error) {
			t := template.New("").Funcs(r.funcs(l.Tag, b))
			for _, name := range files {
				if _, err := t.New(name).Parse(text[name]); err != nil {
					return nil, err
				}
			}
			return t, nil
		})
		out[l.Tag] = map[string]parsed{}
		for _, name := range names {
			out[l.Tag][strings.TrimSuffix(name, ".html")] = sync.OnceValues(func() (*template.Template, error) {
				base, err := shared()
				if err != nil {
					return nil, err
				}
				t, err := base.Clone()
				if err != nil {
					return nil, err
				}
				_, err = t.New(name).Parse(text[name])
				return t, err
			})
		}
	}
	return out, nil
}

// templateNames returns the names of the pages' files, those of the overlay
// included.
func templateNames(over fs.FS) ([]string, error) {
	names, err := fs.Glob(embedded, "templates/*.html")
	if err != nil {
		return nil, err
	}
	for i, name := range names {
		names[i] = path.Base(name)
	}
	if over != nil {
		more, err := fs.Glob(over, "*.html")
		if err != nil {
			return nil, err
		}
		names = append(names, more...)
	}
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(name string) bool {
		return slices.Contains(sharedTemplates, name)
	}), nil
}

// readFile reads a file of the overlay or, if it has none, that of this
// package's folder.
func readFile(over fs.FS, folder, name string) ([]byte, error) {
	if over != nil {
		data, err := fs.ReadFile(over, name)
		if !errors.Is(err, fs.ErrNotExist) {
			return data, err
		}
	}
	return fs.ReadFile(embedded, path.Join(folder, name))
}
