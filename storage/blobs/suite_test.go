package blobs_test

import (
	"testing"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/blobs"
	"github.com/pdskit/pdskit/storage/storagetest"
)

func TestDiskSuite(t *testing.T) {
	dirs := map[storage.BlobStore]string{}
	storagetest.RunBlobs(t, func(t testing.TB) storage.BlobStore {
		dir := t.TempDir()
		d := openDisk(t, dir)
		dirs[d] = dir
		return d
	}, storagetest.BlobOptions{
		Reopen: func(t testing.TB, s storage.BlobStore) storage.BlobStore { return openDisk(t, dirs[s]) },
	})
}

func TestMemorySuite(t *testing.T) {
	storagetest.RunBlobs(t, func(testing.TB) storage.BlobStore {
		return blobs.NewMemory(nil)
	}, storagetest.BlobOptions{})
}
