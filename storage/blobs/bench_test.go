package blobs_test

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/blobs"
)

func BenchmarkPut(b *testing.B) {
	for _, size := range []int{1 << 10, 1 << 20} {
		data := bytes.Repeat([]byte{'x'}, size)
		disk := func(opts blobs.DiskOptions) storage.BlobStore {
			d, err := blobs.NewDisk(b.TempDir(), opts)
			if err != nil {
				b.Fatal(err)
			}
			return d
		}
		for _, c := range []struct {
			name  string
			store storage.BlobStore
		}{
			{"disk", disk(blobs.DiskOptions{})},
			{"disk without sync", disk(blobs.DiskOptions{NoSync: true})},
			{"memory", blobs.NewMemory(nil)},
		} {
			b.Run(fmt.Sprintf("%s/%d", c.name, size), func(b *testing.B) {
				b.SetBytes(int64(size))
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					key := fmt.Sprintf("%02x/%d", i%256, i)
					if _, err := c.store.Put(b.Context(), key, bytes.NewReader(data)); err != nil {
						b.Fatal(err)
					}
					b.StopTimer() // what was put goes, so that memory holds
					if err := c.store.Delete(b.Context(), key); err != nil {
						b.Fatal(err)
					}
					b.StartTimer()
					i++
				}
			})
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	d := openDisk(b, b.TempDir())
	put(b, d, "key", string(make([]byte, 1<<20)))
	b.SetBytes(1 << 20)
	for b.Loop() {
		r, err := d.Open(b.Context(), "key", 0, -1)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, r); err != nil {
			b.Fatal(err)
		}
		if err := r.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkList reads a page of 100 out of 10,000 keys.
func BenchmarkList(b *testing.B) {
	d := openDisk(b, b.TempDir())
	for i := range 10_000 {
		put(b, d, fmt.Sprintf("%02x/%d", i%256, i), "")
	}
	for b.Loop() {
		page, err := d.List(b.Context(), "80", 100)
		if err != nil || len(page) != 100 {
			b.Fatal(len(page), err)
		}
	}
}
