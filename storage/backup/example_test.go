package backup_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"

	"github.com/pdskit/pdskit/storage/backup"
	"github.com/pdskit/pdskit/storage/blobs"
	"github.com/pdskit/pdskit/storage/sqlite"
)

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}

// A backup of a server that goes on serving, and a restore into new files.
func Example() {
	ctx := context.Background()
	dir := must(os.MkdirTemp("", "example"))
	defer os.RemoveAll(dir)
	store := must(sqlite.Open(filepath.Join(dir, "pds.db"), sqlite.Options{}))
	defer store.Close()
	disk := must(blobs.NewDisk(filepath.Join(dir, "blobs"), blobs.DiskOptions{}))
	must(disk.Put(ctx, "a/picture", strings.NewReader("bytes")))

	folder := filepath.Join(dir, "monday")
	made := must(backup.Create(ctx, folder, backup.Source{
		Database: store,
		Blobs:    disk,
		// Keep: srv.KeepBlobs, where a pds.Server runs on these
	}))
	fmt.Println(made.Blobs, "blob")

	restored := must(blobs.NewDisk(filepath.Join(dir, "restored"), blobs.DiskOptions{}))
	_, lost, err := backup.Restore(ctx, folder, backup.Target{
		Database: filepath.Join(dir, "restored.db"),
		Blobs:    restored,
	})
	fmt.Println(len(lost), "lost", err)
	for _, file := range must(restored.List(ctx, "", 10)) {
		fmt.Println(file.Key, file.Size)
	}
	// Output:
	// 1 blob
	// 0 lost <nil>
	// a/picture 5
}
