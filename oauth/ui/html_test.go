package ui_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

var (
	voids  = []string{"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
	blocks = []string{"div", "ul", "ol", "dl", "p", "form", "table", "section", "details", "h1", "h2", "h3", "nav", "main", "header", "footer"}
	// clickable elements must not hold each other.
	clickable = []string{"a", "button", "label", "summary"}
	// urls are the attributes that hold an address.
	urls = []string{"href", "src", "action", "formaction", "srcset"}
)

// checkHTML fails if a document is not well-formed, or if it has what the
// content policy forbids.
func checkHTML(t *testing.T, body string) {
	t.Helper()
	checkNesting(t, body)
	walk(parse(t, body), func(n *html.Node) {
		for _, a := range n.Attr {
			switch {
			case a.Key == "style", strings.HasPrefix(a.Key, "on"):
				t.Errorf("<%s %s=%q>", n.Data, a.Key, a.Val)
			case slices.Contains(urls, a.Key):
				v := strings.ToLower(strings.Map(func(r rune) rune {
					if r <= ' ' {
						return -1 // as browsers do
					}
					return r
				}, a.Val))
				for _, scheme := range []string{"javascript:", "vbscript:", "blob:", "data:text"} {
					if strings.HasPrefix(v, scheme) {
						t.Errorf("<%s %s=%q>", n.Data, a.Key, a.Val)
					}
				}
			}
		}
		switch n.Data {
		case "style":
			t.Error("an inline style sheet")
		case "script":
			if attr(n, "src") == "" || n.FirstChild != nil {
				t.Errorf("an inline script: %q", text(n))
			}
		case "form":
			if attr(n, "method") != "post" {
				t.Errorf("a form with method %q", attr(n, "method"))
			}
		}
	})
}

// checkNames fails if something in a document has no name for who does not see
// it, or if names are not unique or refer to nothing.
func checkNames(t *testing.T, body string) {
	t.Helper()
	ids, refs := map[string]int{}, []string{}
	labels := map[string]bool{}
	h1, title := 0, ""
	doc := parse(t, body)
	walk(doc, func(n *html.Node) {
		for _, a := range n.Attr {
			switch a.Key {
			case "id":
				ids[a.Val]++
			case "aria-describedby", "aria-labelledby", "form", "for", "data-for", "data-reveal", "data-meter":
				refs = append(refs, strings.Fields(a.Val)...)
			}
		}
		switch n.Data {
		case "h1":
			h1++
		case "title":
			title = text(n)
		case "label":
			labels[attr(n, "for")] = true
		case "img":
			if _, ok := find(n, "alt"); !ok {
				t.Error("an image without alt")
			}
		case "button", "a", "summary":
			if strings.TrimSpace(text(n)) == "" && attr(n, "aria-label") == "" {
				t.Errorf("<%s> without a name, in <%s class=%q>", n.Data, n.Parent.Data, attr(n.Parent, "class"))
			}
			if h, ok := strings.CutPrefix(attr(n, "href"), "#"); ok && n.Parent.Data == "li" && h != "" {
				refs = append(refs, h)
			}
		}
	})
	walk(doc, func(n *html.Node) {
		_, hidden := find(n, "hidden")
		if (n.Data != "input" && n.Data != "select") || attr(n, "type") == "hidden" || hidden {
			return
		}
		if !labels[attr(n, "id")] && n.Parent.Data != "label" {
			t.Errorf("<%s name=%q> has no label", n.Data, attr(n, "name"))
		}
		if _, ok := find(n, "autocomplete"); !ok && attr(n, "type") != "checkbox" {
			t.Errorf("<%s name=%q> has no autocomplete", n.Data, attr(n, "name"))
		}
	})
	for id, n := range ids {
		if n > 1 {
			t.Errorf("id %q occurs %d times", id, n)
		}
	}
	for _, ref := range refs {
		if ids[ref] == 0 {
			t.Errorf("nothing has the id %q", ref)
		}
	}
	if h1 != 1 || strings.TrimSpace(title) == "" || strings.HasPrefix(title, " ·") {
		t.Errorf("%d h1, title %q", h1, title)
	}
}

// checkNesting fails if an end tag is missing or misplaced, or an element is
// where the parser would move it.
func checkNesting(t *testing.T, body string) {
	t.Helper()
	if !strings.HasPrefix(body, "<!DOCTYPE html>") {
		t.Error("no doctype")
	}
	var open []string
	z := html.NewTokenizer(strings.NewReader(body))
	for {
		kind := z.Next()
		tok := z.Token()
		in := func(names ...string) bool {
			return slices.ContainsFunc(open, func(o string) bool { return slices.Contains(names, o) })
		}
		switch kind {
		case html.ErrorToken:
			if len(open) > 0 {
				t.Errorf("left open: %v", open)
			}
			return
		case html.CommentToken:
			t.Errorf("a comment: %q", tok.Data)
		case html.StartTagToken:
			keys := map[string]bool{}
			for _, a := range tok.Attr {
				if keys[a.Key] {
					t.Errorf("<%s> has %s twice", tok.Data, a.Key)
				}
				keys[a.Key] = true
			}
			switch {
			case slices.Contains(blocks, tok.Data) && in("p", "span", "h1", "h2", "h3", "button"):
				t.Errorf("<%s> in %v", tok.Data, open)
			case tok.Data == "form" && in("form"):
				t.Error("a form in a form")
			case slices.Contains(clickable, tok.Data) && in(clickable...):
				t.Errorf("<%s> in %v", tok.Data, open)
			case tok.Data == "li" && !slices.Contains([]string{"ul", "ol"}, open[len(open)-1]):
				t.Errorf("<li> in <%s>", open[len(open)-1])
			case slices.Contains([]string{"ul", "ol"}, last(open)) && tok.Data != "li":
				t.Errorf("<%s> in <%s>", tok.Data, last(open))
			}
			if !slices.Contains(voids, tok.Data) {
				open = append(open, tok.Data)
			}
		case html.EndTagToken:
			if last(open) != tok.Data {
				t.Errorf("</%s> in %v", tok.Data, open)
				return
			}
			open = open[:len(open)-1]
		case html.TextToken:
			if slices.Contains([]string{"ul", "ol", "dl", "table", "tr"}, last(open)) && strings.TrimSpace(tok.Data) != "" {
				t.Errorf("text in <%s>: %q", last(open), tok.Data)
			}
		}
	}
}

func last(open []string) string {
	if len(open) == 0 {
		return ""
	}
	return open[len(open)-1]
}

func parse(t *testing.T, body string) *html.Node {
	t.Helper()
	doc, err := html.Parse(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func walk(n *html.Node, f func(*html.Node)) {
	for d := range n.Descendants() {
		if d.Type == html.ElementNode {
			f(d)
		}
	}
}

func find(n *html.Node, key string) (string, bool) {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val, true
		}
	}
	return "", false
}

func attr(n *html.Node, key string) string {
	v, _ := find(n, key)
	return v
}

func text(n *html.Node) string {
	var b strings.Builder
	for d := range n.Descendants() {
		if d.Type == html.TextNode {
			b.WriteString(d.Data)
		}
	}
	return b.String()
}

// declarations calls f with each declaration of this package.
func declarations(t *testing.T, f func(ast.Decl)) {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			f(d)
		}
	}
}

// specs calls f with each constant, variable and type of this package.
func specs(t *testing.T, f func(ast.Spec)) {
	t.Helper()
	declarations(t, func(d ast.Decl) {
		if g, ok := d.(*ast.GenDecl); ok {
			for _, s := range g.Specs {
				f(s)
			}
		}
	})
}

// pageTypes returns the names of the structs that are pages.
func pageTypes(t *testing.T) []string {
	var names []string
	specs(t, func(spec ast.Spec) {
		if ts, ok := spec.(*ast.TypeSpec); ok && strings.HasSuffix(ts.Name.Name, "Page") && ts.Name.Name != "Page" {
			names = append(names, ts.Name.Name)
		}
	})
	if len(names) < 20 {
		t.Fatalf("found only the pages %v", names)
	}
	return names
}

// constants returns the values of the constants whose names begin with prefix.
func constants(t *testing.T, prefix string) []string {
	var values []string
	specs(t, func(spec ast.Spec) {
		vs, ok := spec.(*ast.ValueSpec)
		if !ok || len(vs.Values) != 1 || !strings.HasPrefix(vs.Names[0].Name, prefix) {
			return
		}
		if lit, ok := vs.Values[0].(*ast.BasicLit); ok && lit.Kind == token.STRING {
			values = append(values, strings.Trim(lit.Value, `"`))
		}
	})
	if len(values) == 0 {
		t.Fatalf("no constants begin with %s", prefix)
	}
	return values
}
