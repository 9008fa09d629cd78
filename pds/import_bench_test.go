package pds_test

import (
	"bytes"
	"net/http"
	"os"
	"testing"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/storage/sqlite"
)

// BenchmarkImport10k imports a repository of 10,000 records over HTTP into a
// store on disk.
func BenchmarkImport10k(b *testing.B) {
	store, err := sqlite.Open(b.TempDir()+"/pds.db", sqlite.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = store.Close() })
	srv := pdstest.New(b, func(c *pds.Config) { c.Store, c.CheckCommits, c.ValidateOutput = store, false, false })
	alice := srv.CreateAccount("alice")
	path := b.TempDir() + "/repo.car"
	writeBigCAR(b, path, alice.DID, 10_000)
	car, err := os.ReadFile(path)
	if err != nil {
		b.Fatal(err)
	}
	h := http.Header{"Authorization": {"Bearer " + alice.Access}, "Content-Type": {"application/vnd.ipld.car"}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := srv.Call(b.Context(), http.MethodPost, importRepo, nil, h, bytes.Clone(car)); err != nil {
			b.Fatal(err)
		}
	}
}
