package blobs_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/pdskit/pdskit/storage/blobs"
)

func Example() {
	dir, err := os.MkdirTemp("", "blobs")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)

	ctx := context.Background()
	store, err := blobs.NewDisk(dir, blobs.DiskOptions{})
	if err != nil {
		panic(err)
	}
	info, err := store.Put(ctx, "3kq7/first", strings.NewReader("hello, world"))
	if err != nil {
		panic(err)
	}
	fmt.Printf("%d bytes, %x...\n", info.Size, info.SHA256[:4])

	r, err := store.Open(ctx, "3kq7/first", 7, -1)
	if err != nil {
		panic(err)
	}
	defer r.Close()
	rest, err := io.ReadAll(r)
	fmt.Println(string(rest), err)
	// Output:
	// 12 bytes, 09ca7e4e...
	// world <nil>
}
