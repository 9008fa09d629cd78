package ui

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// builtinDefault is the locale whose texts stand in for those that another
// lacks.
const builtinDefault = "en"

// Locale is a language that the pages come in.
type Locale struct {
	Tag  string // "de", "pt-BR"
	Name string // in the language itself
}

// catalog is the texts of a locale by key. Texts have values between braces:
// "Signed in as {handle}".
type catalog map[string]string

var localeTag = regexp.MustCompile(`^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$`)

// loadCatalogs reads the texts of this package, and over them those that the
// program gave. Each returned catalogue is complete: it has the texts of its
// base language ("pt" for "pt-BR") and of the default where it has none.
func loadCatalogs(extra map[string]map[string]string, fallback string) (map[string]catalog, error) {
	raw := map[string]catalog{}
	files, err := embedded.ReadDir("locales")
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		data, err := embedded.ReadFile("locales/" + f.Name())
		if err != nil {
			return nil, err
		}
		var c catalog
		if err := json.Unmarshal(data, &c); err != nil {
			return nil, fmt.Errorf("%s: %w", f.Name(), err)
		}
		raw[strings.TrimSuffix(f.Name(), path.Ext(f.Name()))] = c
	}
	for tag, texts := range extra {
		if !localeTag.MatchString(tag) {
			return nil, fmt.Errorf("Options.Catalogs: %q is no language tag like de or pt-BR", tag)
		}
		if raw[tag] == nil {
			raw[tag] = catalog{}
		}
		maps.Copy(raw[tag], texts)
	}
	for tag := range extra {
		base, _, _ := strings.Cut(tag, "-")
		if raw[tag]["locale.name"] == "" && raw[base]["locale.name"] == "" {
			return nil, fmt.Errorf("Options.Catalogs: %s has no text locale.name", tag)
		}
	}
	if raw[fallback] == nil {
		return nil, fmt.Errorf("Options.DefaultLocale: there is no catalogue for %q", fallback)
	}
	full := map[string]catalog{}
	for tag, texts := range raw {
		c := maps.Clone(raw[builtinDefault])
		maps.Copy(c, raw[fallback])
		base, _, _ := strings.Cut(tag, "-")
		maps.Copy(c, raw[base])
		maps.Copy(c, texts)
		full[tag] = c
	}
	return full, nil
}

// format puts the values into a text.
func format(text string, args Args) string {
	var b strings.Builder
	for _, p := range split(text) {
		if p.name == "" {
			b.WriteString(p.text)
		} else {
			b.WriteString(args[p.name])
		}
	}
	return b.String()
}

// piece is a part of a text: words, or the name of a value.
type piece struct{ text, name string }

// split cuts a text at the values' names. A brace without its partner is words.
func split(text string) []piece {
	var out []piece
	for {
		before, rest, ok := strings.Cut(text, "{")
		name, after, closed := strings.Cut(rest, "}")
		if !ok || !closed {
			return append(out, piece{text: text})
		}
		out = append(out, piece{text: before}, piece{name: name})
		text = after
	}
}

// match returns the first of the wanted language tags that there is, by itself
// or by its base language, and "" if there is none.
func match(have map[string]catalog, wanted []string) string {
	for _, tag := range wanted {
		for t := tag; t != ""; {
			for own := range have {
				if strings.EqualFold(own, t) {
					return own
				}
			}
			cut := strings.LastIndexByte(t, '-')
			t = t[:max(cut, 0)]
		}
	}
	return ""
}

// maxAccepted is how many entries of Accept-Language are looked at.
const maxAccepted = 16

// accepted returns the language tags of Accept-Language, the most wanted first
// (RFC 9110 section 12.5.4).
func accepted(r *http.Request) []string {
	type entry struct {
		tag string
		q   float64
	}
	var entries []entry
	for field := range strings.SplitSeq(r.Header.Get("Accept-Language"), ",") {
		if len(entries) == maxAccepted {
			break
		}
		tag, params, _ := strings.Cut(field, ";")
		e := entry{tag: strings.TrimSpace(tag), q: 1}
		if value, ok := strings.CutPrefix(strings.TrimSpace(params), "q="); ok {
			q, err := strconv.ParseFloat(value, 64)
			if err != nil || !(q > 0) {
				continue
			}
			e.q = q
		}
		if localeTag.MatchString(strings.ToLower(e.tag)) {
			entries = append(entries, e)
		}
	}
	slices.SortStableFunc(entries, func(a, b entry) int {
		switch {
		case a.q > b.q:
			return -1
		case a.q < b.q:
			return 1
		}
		return 0
	})
	tags := make([]string, 0, len(entries))
	for _, e := range entries {
		tags = append(tags, e.tag)
	}
	return tags
}
