package lexicons_test

import (
	"fmt"

	"github.com/pdskit/pdskit/xrpc/lexicons"
)

func ExampleCatalog_ValidateRecord() {
	cat := lexicons.New()
	like := map[string]any{
		"$type":     "app.bsky.feed.like",
		"createdAt": "yesterday",
		"subject": map[string]any{
			"uri": "at://alice.test/app.bsky.feed.post/3jui7kd54zh2y",
			"cid": "bafyreiclp443lavogvhj3d2ob2cxbfuscni2k5jk7bebjzg7khl3esabwq",
		},
	}
	fmt.Println(cat.ValidateRecord(like, "app.bsky.feed.like", 0))
	like["createdAt"] = "2024-02-28T12:00:00Z"
	fmt.Println(cat.ValidateRecord(like, "app.bsky.feed.like", 0))
	fmt.Println(cat.ValidateRecord(like, "com.example.unknown", 0))
	// Output:
	// true createdAt: must be a valid datetime
	// true <nil>
	// false <nil>
}
