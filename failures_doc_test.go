package pdskit_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The tests that docs/operating.md names for failures are there.
func TestFailuresAreTested(t *testing.T) {
	page, err := os.ReadFile("docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(page), "## When things fail")
	table, _, _ = strings.Cut(table, "\n## ")
	missing := map[string]bool{}
	for _, name := range regexp.MustCompile("`(Test[A-Za-z]+)`").FindAllStringSubmatch(table, -1) {
		missing[name[1]] = true
	}
	if len(missing) < 20 {
		t.Fatalf("%d tests are named, expected more: is the table cut off?", len(missing))
	}
	err = filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			if d != nil && d.Name() == "node_modules" {
				return fs.SkipDir
			}
			return err
		}
		source, err := os.ReadFile(path)
		for name := range missing {
			if bytes.Contains(source, []byte("func "+name+"(")) {
				delete(missing, name)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name := range missing {
		t.Errorf("there is no %s", name)
	}
}
