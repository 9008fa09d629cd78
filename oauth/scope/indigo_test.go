package scope_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pdskit/pdskit/oauth/scope"
)

// indigoFile reads a file of indigo's test data on scopes.
func indigoFile(t *testing.T, name string) []byte {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/bluesky-social/indigo").Output()
	if err == nil {
		var data []byte
		data, err = os.ReadFile(filepath.Join(strings.TrimSpace(string(out)), "atproto", "auth", "testdata", name))
		if err == nil {
			return data
		}
	}
	if os.Getenv("PDSKIT_REQUIRE_INTEROP") == "1" {
		t.Fatal(err)
	}
	t.Skipf("no source of indigo: %v", err)
	return nil
}

func lines(data []byte) []string {
	var out []string
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSuffix(line, "\n"); line != "" && line[0] != '#' {
			out = append(out, line)
		}
	}
	return out
}

// What indigo takes for valid permissions is what this package takes for them,
// but for these.
var againstIndigo = map[string]string{
	"account:status":               "the reference implementation and the methods of a PDS know it",
	"account:status?action=manage": "the reference implementation and the methods of a PDS know it",
}

func TestIndigoPermissions(t *testing.T) {
	t.Parallel()
	differences := 0
	for name, want := range map[string]bool{"permission_scopes_valid.txt": true, "permission_scopes_invalid.txt": false} {
		values := lines(indigoFile(t, name))
		if len(values) < 50 {
			t.Errorf("%s has %d values only", name, len(values))
		}
		for _, value := range values {
			if _, differs := againstIndigo[value]; differs {
				differences++
				want := !want
				if _, err := scope.Parse(value); (err == nil) != want {
					t.Errorf("%s: no difference: %v", value, err)
				}
				continue
			}
			if _, err := scope.Parse(value); (err == nil) != want {
				t.Errorf("%s: %v, valid should be %v", value, err, want)
			}
		}
	}
	if differences != len(againstIndigo) {
		t.Errorf("%d differences were met, %d are known", differences, len(againstIndigo))
	}
}

// The syntax of values in general is seen by a grammar that has the kinds of
// the test data.
func TestIndigoSyntax(t *testing.T) {
	t.Parallel()
	var cases []struct {
		Scope   string
		Generic struct {
			Resource, Positional string
			Params               map[string][]string
		}
	}
	if err := json.Unmarshal(indigoFile(t, "generic_scopes_valid.json"), &cases); err != nil {
		t.Fatal(err)
	}
	// Values without contents, which are valid in general, are not of any kind.
	invalid := map[string]bool{
		"resource:": true, "resource:?": true, "my-res:": true, "resource:positional?thing&key=val": true,
		"rpc:foo.bar?aud=did:foo:bar?lxm=bar.baz": true, // the kind has its own rules
	}
	anything := func(string) bool { return true }
	for _, c := range cases {
		kind := scope.Kind{Name: c.Generic.Resource, Positional: "first", Params: []scope.Param{{Name: "first", Valid: anything}}}
		for name := range c.Generic.Params {
			kind.Params = append(kind.Params, scope.Param{Name: name, Multi: true, Valid: anything})
		}
		grammar, err := scope.NewGrammar(kind)
		if kind.Name == "rpc" {
			grammar, err = nil, nil
		}
		if err != nil {
			t.Errorf("%s: %v", c.Scope, err)
			continue
		}
		set, err := grammar.Parse(c.Scope)
		if invalid[c.Scope] {
			if err == nil {
				t.Errorf("%s is valid", c.Scope)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.Scope, err)
			continue
		}
		for s := range set.Scopes() {
			if got := s.Values().First("first"); s.Kind() != c.Generic.Resource || got != c.Generic.Positional {
				t.Errorf("%s: %s, %q", c.Scope, s.Kind(), got)
			}
			for name, want := range c.Generic.Params {
				if got := s.Values().Get(name); strings.Join(got, "|") != strings.Join(sorted(want), "|") {
					t.Errorf("%s: %s is %q", c.Scope, name, got)
				}
			}
		}
	}
	for _, value := range lines(indigoFile(t, "generic_scopes_invalid.txt")) {
		if _, err := scope.Parse(value); err == nil {
			t.Errorf("%s is valid", value)
		}
	}
}
