package oauth_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// lastAttack is the number of the last attack of docs/oauth-security.md.
const lastAttack = 66

// testsOf returns the names of all tests and fuzz targets of the module.
func testsOf(t *testing.T, root string) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == "node_modules" || d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && path != root):
			return filepath.SkipDir
		case !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range file.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil {
				names[fn.Name.Name] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// Every test that the page of attacks names exists, and every attack has one.
func TestSecurityPage(t *testing.T) {
	page, err := os.ReadFile("../docs/oauth-security.md")
	if err != nil {
		t.Fatal(err)
	}
	exists := testsOf(t, "..")
	name := regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9_]+)`")
	row := regexp.MustCompile(`(?m)^\| (\d+) \|.*$`)
	for _, found := range name.FindAllSubmatch(page, -1) {
		if !exists[string(found[1])] {
			t.Errorf("there is no test %s", found[1])
		}
	}
	next := 1
	for _, found := range row.FindAllSubmatch(page, -1) {
		if n, _ := strconv.Atoi(string(found[1])); n != next {
			t.Fatalf("row %d where %d is expected", n, next)
		}
		if !name.Match(found[0]) {
			t.Errorf("attack %d has no test", next)
		}
		next++
	}
	if next != lastAttack+1 {
		t.Errorf("there are %d attacks, want %d", next-1, lastAttack)
	}
}
