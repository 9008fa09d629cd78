package ui_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/pdskit/pdskit/oauth/ui"
)

func TestClean(t *testing.T) {
	for _, tt := range []struct {
		in    string
		limit int
		want  string
	}{
		{"", 10, ""},
		{"plain", 10, "plain"},
		{"exactly", 7, "exactly"},
		{"exactly!", 7, "exactly…"},
		{"  a \r\n\t b  ", 10, "a b"},
		{"a b", 2, "a…"},
		{"a\u2028b\u00a0c", 10, "a b c"},
		{"a\x00\x07\x1b[31mb\u0085", 10, "a[31mb"},
		{"evil\u202egpj.exe", 20, "evilgpj.exe"},
		{"\u2066a\u2069\u200e\u200f\u061c", 10, "a"},
		{"a\u200bb\ufeffc\u2060d\u00ade", 10, "abcde"},
		{"\U000e0041\U000e0042x", 10, "x"},
		{"\ue000private\U000f0000", 10, "private"},
		{"bad\xff\xfeutf8", 10, "badutf8"},
		{"👩‍👩‍👧", 10, "👩‍👩‍👧"},
		{"می\u200cخواهم", 20, "می\u200cخواهم"},
		{"z" + strings.Repeat("\u0301", 50) + "a", 60, "z" + strings.Repeat("\u0301", 4) + "a"},
		{"<b>&amp;", 10, "<b>&amp;"},
		{"x", 0, "…"},
	} {
		if got := ui.Clean(tt.in, tt.limit); got != tt.want {
			t.Errorf("Clean(%q, %d) = %q, want %q", tt.in, tt.limit, got, tt.want)
		}
	}
}

func FuzzClean(f *testing.F) {
	f.Add("evil\u202egpj.exe\r\n", 8)
	f.Add("\xff\u0301\u0301\u0301\u0301\u0301\u0301", 3)
	f.Fuzz(func(t *testing.T, in string, limit int) {
		limit = min(max(limit, 0), 1000)
		got := ui.Clean(in, limit)
		if !utf8.ValidString(got) || utf8.RuneCountInString(got) > limit+1 {
			t.Errorf("Clean(%q, %d) = %q", in, limit, got)
		}
		for _, r := range got {
			if (unicode.Is(unicode.C, r) && r != '\u200c' && r != '\u200d') || (unicode.IsSpace(r) && r != ' ') {
				t.Errorf("Clean(%q, %d) has %U", in, limit, r)
			}
		}
		if cut := utf8.RuneCountInString(got) == limit+1; !cut && ui.Clean(got, limit) != got {
			t.Errorf("Clean is not stable on %q", got)
		}
	})
}

func TestBrowserNames(t *testing.T) {
	r := renderer(t, ui.Options{})
	for agent, want := range map[string]string{
		"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0":                                                                  "Firefox on Linux",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36":                             "Chrome on Windows",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36 Edg/140.0":                   "Edge on Windows",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1": "Safari on iPhone",
		"Mozilla/5.0 (iPad; CPU OS 17_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/120.0 Mobile/15E148 Safari/604.1":           "Chrome on iPad",
		"Mozilla/5.0 (Linux; Android 14; SM-S911B) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/25.0 Chrome/121.0 Mobile Safari/537.36":  "Samsung Internet on Android",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Safari/605.1.15":                   "Safari on macOS",
		"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36":                              "Chrome on ChromeOS",
		"curl/8.5.0": "curl/8.5.0",
		"Windows":    "Windows",
		"":           "Unknown device",
		"x\u202ey":   "xy",
	} {
		body := render(t, r, &ui.ManagerDevicesPage{Devices: []ui.Device{{UserAgent: agent}}})
		if !strings.Contains(body, `<span class="first">`+want+`</span>`) {
			t.Errorf("%q is not shown as %q", agent, want)
		}
	}
}
