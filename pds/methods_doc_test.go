package pds_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/pdskit/pdskit/pds/pdstest"
)

var updateDocs = flag.Bool("update-docs", false, "write docs/methods.md")

// docs/methods.md lists what is registered, so that it cannot drift.
func TestMethodsDocument(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t, withAppView(newService(t, answering(500, "", ""))))
	var b strings.Builder
	b.WriteString(`# Methods

The XRPC methods that a server of package pds serves, those of app.bsky but
preferences only if it has an app view. Methods of com.atproto.server, repo,
sync, identity and admin that are not listed answer 501 MethodNotImplemented;
others are passed on to the services that they are for. A test keeps this list in step with the code
(go test ./pds -run TestMethodsDocument -update-docs).

| method | kind |
|---|---|
`)
	methods := srv.Methods()
	rows := make([]string, 0, len(methods))
	for _, m := range methods {
		rows = append(rows, fmt.Sprintf("| %s | %s |\n", m.NSID(), m.Type()))
	}
	slices.Sort(rows)
	b.WriteString(strings.Join(rows, ""))
	const file = "../docs/methods.md"
	if *updateDocs {
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != b.String() {
		t.Errorf("%s is out of date: run go test ./pds -run TestMethodsDocument -update-docs", file)
	}
}
