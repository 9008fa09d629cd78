package pdskit_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const (
	module = "github.com/pdskit/pdskit"
	indigo = "github.com/bluesky-social/indigo"
)

// layers says what each part of the module may import of the others. A part is
// a package with those below it, up to the next part. Everything may import
// internal, whose own imports count as those of whoever imports it.
var layers = map[string][]string{
	".":        {},
	"repo":     {},
	"identity": {},
	"xrpc":     {},
	"storage":  {"repo"},
	"oauth":    {"storage", "identity"},
	"live":     {"storage"},
	"pds":      {"repo", "identity", "xrpc", "storage", "oauth", "live"},
	"actor":    {"repo", "identity", "xrpc", "storage", "oauth", "live", "pds"},

	// The implementations of the contract. Whoever makes a program chooses
	// one; the packages above do not.
	"storage/sqlite":      {"storage", "repo"},
	"storage/blobs":       {"storage"},
	"storage/storagetest": {"storage", "repo"},
	"storage/backup":      {"storage", "storage/blobs"},

	"live/livetest":   {"live", "storage", "storage/storagetest"},
	"actor/actortest": {"repo", "identity", "xrpc", "storage", "storage/storagetest", "oauth", "live", "pds", "pds/pdstest", "actor"},

	"pds/metrics": {"pds", "xrpc"},
	"pds/tracing": {"pds"},
	"pds/adopt":   {"repo", "storage", "pds"},
	"pds/adminui": {"oauth", "pds", "storage", "xrpc"},
	"pds/pdstest": {"repo", "identity", "xrpc", "storage", "oauth", "live", "pds", "storage/sqlite", "storage/blobs"},
	"examples":    {anything},
	"e2e":         {anything},
}

const anything = "*"

// folders are the top-level folders that hold no package of their own name.
var folders = []string{"internal", "docs"}

// testOnly are packages that only tests may use. The first three must not come
// in by way of others either: they change the whole process when they are
// imported, or bring in what has no place in a server.
var testOnly = []string{
	indigo + "/atproto/auth", // re-registers ES256 for everybody in the process
	indigo + "/atproto/auth/oauth",
	indigo + "/atproto/repo", // go-car, zap and some seventy modules; mst below it is fine
	"net/http/httptest",
	"testing",
}

type listed struct {
	ImportPath string
	Doc        string
	GoFiles    []string // without tests
	Imports    []string
	CgoFiles   []string
	Standard   bool

	TestImports  []string // of tests inside the package
	XTestImports []string // of tests outside
}

// list asks the go command for packages.
func list(t *testing.T, args ...string) []listed {
	t.Helper()
	args = append([]string{"list", "-json=ImportPath,Doc,GoFiles,Imports,CgoFiles,Standard,TestImports,XTestImports"}, args...)
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=1") // so that cgo files are not left out
	cmd.Stderr = t.Output()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	var packages []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages
		}
		if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

// local is the path of a package below the module, if it is part of it.
func local(importPath string) (string, bool) {
	if importPath == module {
		return ".", true
	}
	return strings.CutPrefix(importPath, module+"/")
}

// partOf returns the part that a package belongs to, or "".
func partOf(pkg string) string {
	for ; pkg != "."; pkg = path.Dir(pkg) {
		if _, ok := layers[pkg]; ok {
			return pkg
		}
		if pkg == "internal" {
			return pkg
		}
	}
	return ""
}

func TestImportsPointOneWay(t *testing.T) {
	packages := map[string]listed{}
	for _, p := range list(t, "./...") {
		packages[p.ImportPath] = p
	}
	// reach calls fn for each package of the module that p imports, directly
	// or by internal packages.
	var reach func(p listed, via string, fn func(pkg, via string))
	reach = func(p listed, via string, fn func(pkg, via string)) {
		for _, imported := range p.Imports {
			pkg, ok := local(imported)
			switch {
			case !ok:
			case partOf(pkg) == "internal":
				reach(packages[imported], via+" -> "+pkg, fn)
			default:
				fn(pkg, via+" -> "+pkg)
			}
		}
	}
	for _, p := range packages {
		pkg, _ := local(p.ImportPath)
		part := partOf(pkg)
		if pkg == "." {
			part = "."
		}
		if part == "internal" {
			continue
		}
		allowed, ok := layers[part]
		if !ok {
			t.Errorf("%s belongs to no part of the module: name it in layers, with what it may import", pkg)
		}
		reach(p, pkg, func(imported, via string) {
			to := partOf(imported)
			if to != part && !slices.Contains(allowed, to) && !slices.Contains(allowed, anything) {
				t.Errorf("%s: %s may not import %s", via, part, to)
			}
			if to == "examples" && part != "examples" {
				t.Errorf("%s: nothing imports an example", via)
			}
		})
	}
}

func TestTopLevelFolders(t *testing.T) {
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		name := e.Name()
		_, isPart := layers[name]
		ignored := strings.HasPrefix(name, ".") || name == "pds-data" || name == "node_modules"
		if e.IsDir() && !isPart && !ignored && !slices.Contains(folders, name) {
			t.Errorf("folder %s is not in the plan of the module", name)
		}
	}
}

func TestPackageComments(t *testing.T) {
	for _, p := range list(t, "./...") {
		if p.Doc == "" && len(p.GoFiles) > 0 {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
	}
}

// isForTests reports whether a package exists to be used by tests.
func isForTests(pkg string) bool { return strings.HasSuffix(path.Base(pkg), "test") }

func TestOnlyTestsImportTestPackages(t *testing.T) {
	var roots []string
	for _, p := range list(t, "./...") {
		if pkg, _ := local(p.ImportPath); !isForTests(pkg) {
			roots = append(roots, p.ImportPath)
		}
	}
	for _, p := range list(t, append([]string{"-deps"}, roots...)...) {
		_, ours := local(p.ImportPath)
		for _, imported := range p.Imports {
			pkg, isLocal := local(imported)
			bad := slices.Contains(testOnly, imported) || isLocal && isForTests(pkg)
			if bad && (ours || strings.HasPrefix(imported, indigo)) {
				t.Errorf("%s imports %s, which is for tests only", p.ImportPath, imported)
			}
		}
	}
}

// TestTokenLibrary keeps the JOSE library where it is asked for a second opinion:
// in the tests of one package.
func TestTokenLibrary(t *testing.T) {
	const library = "github.com/lestrrat-go/"
	home := module + "/oauth/internal/jose"
	isLibrary := func(imported string) bool { return strings.HasPrefix(imported, library) }
	for _, p := range list(t, "./...") {
		if slices.ContainsFunc(p.Imports, isLibrary) {
			t.Errorf("%s imports %s", p.ImportPath, library)
		}
		inTests := slices.ContainsFunc(slices.Concat(p.TestImports, p.XTestImports), isLibrary)
		if inTests != (p.ImportPath == home) {
			t.Errorf("%s: tests that import %s: %v", p.ImportPath, library, inTests)
		}
	}
}

func TestNothingNeedsCgo(t *testing.T) {
	for _, p := range list(t, "-deps", "./...") {
		if !p.Standard && len(p.CgoFiles) > 0 {
			t.Errorf("%s needs cgo for %q", p.ImportPath, p.CgoFiles)
		}
	}
}
