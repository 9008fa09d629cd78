package pds

import (
	"strings"
	"testing"
)

func TestPlainText(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ html, want string }{
		{"", "\n"},
		{"just text", "just text\n"},
		{"<p>Hello <b>Alice</b> &amp; all,</p><p>your post<br/>was   removed.</p>\n", "Hello Alice & all,\n\nyour post\nwas removed.\n"},
		{"<!-- no --><STYLE>p{}</STYLE><Title>x</Title><h1 class=\"a\">T</h1>", "T\n"},
		{"1 < 2", "1 < 2\n"},
		{"<a href='https://example.com'>link</a>", "link\n"},
		{"<style>never closed", "\n"},
		{"&lt;b&gt;", "<b>\n"},
		{"<><//>x", "x\n"},
	} {
		if got := plainText(c.html); got != c.want {
			t.Errorf("%q becomes %q, want %q", c.html, got, c.want)
		}
	}
}

func FuzzPlainText(f *testing.F) {
	for _, s := range []string{"<p>a</p>", "<style>", "<!--", "<", "a<b", "&#x41;"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, source string) {
		got := plainText(source)
		if !strings.HasSuffix(got, "\n") || len(got) > 2*len(source)+1 {
			t.Errorf("%q becomes %q", source, got)
		}
	})
}
