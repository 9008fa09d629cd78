//go:build unix

package adopt_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/adopt"
)

// A pipe in the place of a file holds up nobody.
func TestAdoptionOfPipes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		file func(m *member) string
		kind pds.AdoptionFaultKind
	}{
		{"key", func(m *member) string { return filepath.Join(m.folder(), "key") }, pds.FaultKey},
		{"store", func(m *member) string { return filepath.Join(m.folder(), "store.sqlite") }, pds.FaultAccount},
		{"blob", func(m *member) string { return filepath.Join(m.r.dir, "blobs", string(m.did), m.blobs[0].String()) }, pds.FaultBlobDamaged},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newReference(t)
			alice, bob := r.typical("alice"), r.typical("bob")
			r.close()
			ok(t, os.Remove(c.file(bob)))
			ok(t, syscall.Mkfifo(c.file(bob), 0o600))
			h := newHeir(t)
			report, err := adopt.Run(t.Context(), h.options(r))
			ok(t, err)
			if len(report.Findings) != 1 || report.Findings[0].Kind != c.kind || !strings.Contains(report.Findings[0].Detail, "is no regular file") {
				t.Errorf("findings: %+v", report.Findings)
			}
			h.check(t, alice)
		})
	}
}
