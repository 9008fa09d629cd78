package ui

import (
	"encoding/base64"
	"fmt"
	"html/template"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// language is a locale at work: the functions that templates call.
type language struct {
	tag     string
	texts   catalog
	locales []Locale
	assets  *assets
	brand   *Branding
}

func (r *Renderer) funcs(tag string, b *Branding) template.FuncMap {
	l := &language{tag: tag, texts: r.catalogs[tag], locales: r.locales, assets: r.assets, brand: b}
	return template.FuncMap{
		"t":        l.t,
		"strong":   l.strong,
		"breaks":   breaks,
		"args":     args,
		"dict":     dict,
		"lang":     func() string { return tag },
		"locales":  func() []Locale { return l.locales },
		"brand":    func() *Branding { return b },
		"footer":   l.footer,
		"asset":    func(name string) string { return l.assets.urls[name] },
		"date":     l.date,
		"iso":      func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"size":     l.size,
		"problem":  l.problem,
		"problems": l.problems,
		"field":    l.field,
		"custom":   l.custom,
		"reauth":   func(p Page, id string) reauth { return reauth{p, id} },
		"managed":  managed,
		"clean":    Clean,
		"name":     func(s string) string { return Clean(s, MaxName) },
		"heading":  func(s string) string { return Clean(s, MaxTitle) },
		"detail":   func(s string) string { return Clean(s, MaxDetail) },
		"id":       func(s string) string { return Clean(s, MaxID) },
		"raw":      func(s string) string { return Clean(s, MaxRaw) },
		"app":      l.app,
		"account":  accountName,
		"initial":  initial,
		"browser":  l.browser,
		"coded":    l.coded,
		"link":     safeLink,
		"png":      pngURL,
		"options":  options,
		"replace":  strings.ReplaceAll,
		"lines":    func(s []string) string { return strings.Join(s, "\n") },
	}
}

// t returns a text with values: those of an Args, or pairs of name and value.
func (l *language) t(key string, values ...any) (string, error) {
	a, err := argsOf(values)
	if err != nil {
		return "", fmt.Errorf("%s: %w", key, err)
	}
	text, ok := l.texts[key]
	if !ok {
		return "", fmt.Errorf("the catalogues have no text %q", key)
	}
	return format(text, a), nil
}

// strong is t with the values set off from the text.
func (l *language) strong(key string, values ...any) (template.HTML, error) {
	a, err := argsOf(values)
	if err != nil {
		return "", fmt.Errorf("%s: %w", key, err)
	}
	var b strings.Builder
	for _, p := range split(l.texts[key]) {
		if p.name == "" {
			b.WriteString(template.HTMLEscapeString(p.text))
		} else if v := a[p.name]; v != "" {
			b.WriteString("<strong><bdi>" + string(breaks(v)) + "</bdi></strong>")
		}
	}
	return template.HTML(b.String()), nil //nolint:gosec // escaped piece by piece
}

// breaks lets a name break after its dots, rather than anywhere.
func breaks(name string) template.HTML {
	return template.HTML(strings.ReplaceAll(template.HTMLEscapeString(name), ".", ".<wbr>")) //nolint:gosec // escaped; no entity has a dot
}

// coded is the text prefix.code.suffix or, if there is none, the other one.
func (l *language) coded(prefix, code, suffix, other string, values ...any) (string, error) {
	key := prefix + "." + code + suffix
	if code == "" || l.texts[key] == "" {
		return other, nil
	}
	return l.t(key, values...)
}

// dict makes the data of a partial template.
func dict(pairs ...any) (map[string]any, error) {
	if len(pairs)%2 != 0 {
		return nil, fmt.Errorf("dict: %d values make no pairs", len(pairs))
	}
	m := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		m[fmt.Sprint(pairs[i])] = pairs[i+1]
	}
	return m, nil
}

func args(pairs ...any) (Args, error) { return argsOf(pairs) }

func argsOf(values []any) (Args, error) {
	if len(values) == 1 {
		if a, ok := values[0].(Args); ok {
			return a, nil
		}
	}
	if len(values)%2 != 0 {
		return nil, fmt.Errorf("%d values make no pairs", len(values))
	}
	a := Args{}
	for i := 0; i < len(values); i += 2 {
		a[fmt.Sprint(values[i])] = fmt.Sprint(values[i+1])
	}
	return a, nil
}

func (l *language) footer() []FooterLink {
	var out []FooterLink
	for _, link := range l.brand.Links {
		if title := link.Titles[l.tag]; title != "" {
			link.Title = title
		} else if link.Title == "" {
			link.Title = l.texts["link."+link.Rel]
		}
		if link.Title == "" {
			link.Title = link.URL
		}
		out = append(out, link)
	}
	return out
}

func (l *language) date(t time.Time) string {
	return t.UTC().Format(l.texts["locale.date"])
}

func (l *language) size(n int64) string {
	const unit = 1000
	value, name := float64(n), "B"
	for _, next := range []string{"kB", "MB", "GB", "TB"} {
		if value < unit {
			break
		}
		value, name = value/unit, next
	}
	digits := 0
	if name != "B" && value < 10 {
		digits = 1
	}
	text := strconv.FormatFloat(value, 'f', digits, 64)
	return strings.Replace(text, ".", l.texts["locale.decimal"], 1) + "\u00a0" + name
}

// resolved is a problem in words.
type resolved struct {
	Field, Text string
}

func (l *language) resolve(p Problem) resolved {
	text := l.texts["problem."+p.Code]
	switch {
	case text != "":
		text = format(text, p.Args)
	case p.Text != "":
		text = Clean(p.Text, MaxDetail)
	default:
		text = l.texts["problem."+ProblemNotPossible]
	}
	return resolved{p.Field, text}
}

func (l *language) problems(p Page) []resolved {
	var out []resolved
	for _, problem := range p.Common().Problems {
		out = append(out, l.resolve(problem))
	}
	return out
}

// problem returns what is wrong with a field, "" if nothing is.
func (l *language) problem(p Page, field string) string {
	for _, problem := range p.Common().Problems {
		if problem.Field == field {
			return l.resolve(problem).Text
		}
	}
	return ""
}

// input is the data of the template "field".
type input struct {
	ID, Name, Type, Label, Hint, Value, Placeholder, Suffix         string
	Autocomplete, InputMode, EnterKey, Capitalize, Problem, Pattern string
	Options                                                         []Option
	MaxLength, MinLength                                            int
	Required, ReadOnly, Checked, Autofocus, Meter, Code, Optional   bool
	CheckURL, CheckDomain                                           string
}

// DescribedBy is the value of aria-describedby.
func (in input) DescribedBy() string {
	var ids []string
	if in.Hint != "" {
		ids = append(ids, in.ID+"-hint")
	}
	if in.Problem != "" {
		ids = append(ids, in.ID+"-problem")
	}
	if in.CheckURL != "" || in.Meter {
		ids = append(ids, in.ID+"-status")
	}
	return strings.Join(ids, " ")
}

// field makes an input from pairs of a name of its fields and a value.
func (l *language) field(p Page, name string, pairs ...any) (input, error) {
	in := input{ID: name, Name: name, Type: "text"}
	v := reflect.ValueOf(&in).Elem()
	for i := 0; i+1 < len(pairs); i += 2 {
		f := v.FieldByName(fmt.Sprint(pairs[i]))
		value := reflect.ValueOf(pairs[i+1])
		if !f.IsValid() || !value.IsValid() || !value.Type().AssignableTo(f.Type()) {
			return in, fmt.Errorf("field %s: %v cannot be %v", name, pairs[i], pairs[i+1])
		}
		f.Set(value)
	}
	in.Problem = l.problem(p, name)
	if len(p.Common().Problems) > 0 {
		in.Autofocus = false // the focus is on the summary
	}
	if in.Type == KindPassword {
		in.Value = ""
	}
	return in, nil
}

// custom makes an input of a Field.
func (l *language) custom(p Page, f Field) (input, error) {
	in, err := l.field(p, f.Name, "Hint", f.Hint, "Value", f.Value, "Options", f.Options,
		"Autocomplete", f.Autocomplete, "Required", f.Required)
	in.Label = f.Label
	switch f.Kind {
	case KindCode:
		in.Code = true
	case "":
	default:
		in.Type = f.Kind
	}
	if in.Type == KindPassword {
		in.Value = ""
	}
	in.Checked = in.Type == KindCheckbox && f.Value != ""
	return in, err
}

// options makes the choices of a select of values that speak for themselves.
func options(values []string) []Option {
	var out []Option
	for _, v := range values {
		out = append(out, Option{Value: v, Label: v})
	}
	return out
}

// reauth is the data of the template "reauth".
type reauth struct {
	Page Page
	ID   string
}

// managed returns the account manager's part of a page, nil if it has none.
func managed(p Page) *Manager {
	if m, ok := p.(interface{ Managed() *Manager }); ok {
		return m.Managed()
	}
	return nil
}

// app returns how an app is called: by its name only if it is trusted, else by
// its host.
func (l *language) app(c Client) string {
	switch {
	case c.Trusted && c.Name != "":
		return Clean(c.Name, MaxName)
	case c.Loopback:
		return l.texts["app.loopback"]
	case c.Host != "":
		return Clean(c.Host, MaxID)
	}
	return Clean(c.ID, MaxID)
}

// accountName returns the handle with an @, or the DID.
func accountName(a Account) string {
	if a.Handle != "" {
		return "@" + Clean(a.Handle, MaxID)
	}
	return Clean(a.DID, MaxID)
}

// initial returns the letter that stands for an account.
func initial(a Account) string {
	for _, r := range Clean(a.DisplayName, MaxName) + a.Handle {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return string(unicode.ToUpper(r))
		}
	}
	return "•"
}

// safeLink lets the schemes of apps pass ("com.example.app:/callback"), which
// the templates would not, and none that a browser runs or reads from the disk.
func safeLink(address string) template.URL {
	u, err := url.Parse(address)
	if err != nil {
		return "#"
	}
	switch strings.ToLower(u.Scheme) {
	case "javascript", "vbscript", "data", "blob", "file", "filesystem", "about", "view-source":
		return "#"
	}
	return template.URL(u.String()) //nolint:gosec // the dangerous schemes are gone
}

func pngURL(data []byte) template.URL {
	return template.URL("data:image/png;base64," + base64.StdEncoding.EncodeToString(data)) //nolint:gosec // base64
}
