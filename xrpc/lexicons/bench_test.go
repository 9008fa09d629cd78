package lexicons_test

import (
	"strings"
	"testing"

	"github.com/bluesky-social/indigo/atproto/atdata"
	"github.com/bluesky-social/indigo/atproto/lexicon"

	"github.com/pdskit/pdskit/xrpc/lexicons"
)

// benchPost is a reply with a link, tags and an image: 1.2 KB.
var benchPost = `{"$type":"app.bsky.feed.post","text":"` + strings.Repeat("Grüße aus dem Wald! ", 10) + `",
"createdAt":"2024-02-28T12:00:00.123Z","langs":["en","de"],"tags":["one","two"],
"facets":[{"index":{"byteStart":0,"byteEnd":10},"features":[{"$type":"app.bsky.richtext.facet#link","uri":"https://example.com/some/path?query=1"}]}],
"reply":{"root":{"uri":"at://did:plc:abcdefghijklmnopqrstuvwx/app.bsky.feed.post/3jui7kd54zh2y","cid":"bafyreiclp443lavogvhj3d2ob2cxbfuscni2k5jk7bebjzg7khl3esabwq"},
"parent":{"uri":"at://did:plc:abcdefghijklmnopqrstuvwx/app.bsky.feed.post/3jui7kd54zh2y","cid":"bafyreiclp443lavogvhj3d2ob2cxbfuscni2k5jk7bebjzg7khl3esabwq"}},
"embed":{"$type":"app.bsky.embed.images","images":[{"alt":"a tree","aspectRatio":{"width":4,"height":3},
"image":{"$type":"blob","mimeType":"image/jpeg","size":12345,"ref":{"$link":"bafkreiclp443lavogvhj3d2ob2cxbfuscni2k5jk7bebjzg7khl3esabwq"}}}]}}`

func BenchmarkValidateRecord(b *testing.B) {
	cat := lexicons.New()
	record, err := atdata.UnmarshalJSON([]byte(benchPost))
	if err != nil {
		b.Fatal(err)
	}
	if known, err := cat.ValidateRecord(record, "app.bsky.feed.post", 0); !known || err != nil {
		b.Fatal(known, err)
	}
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = cat.ValidateRecord(record, "app.bsky.feed.post", 0)
		}
	})
	b.Run("indigo", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := lexicon.ValidateRecord(cat, record, "app.bsky.feed.post", 0); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkValidateInput(b *testing.B) {
	cat := lexicons.New()
	text := []byte(`{"repo":"did:plc:abcdefghijklmnopqrstuvwx","collection":"app.bsky.feed.post","record":` + benchPost + `}`)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := cat.ValidateInput("com.atproto.repo.createRecord", text); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNew(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		lexicons.New()
	}
}

// BenchmarkParseAll parses every schema, which nobody needs at once.
func BenchmarkParseAll(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		cat := lexicons.New()
		for nsid := range cat.NSIDs() {
			if _, err := cat.CheckRecordKey(nsid, "self"); err != nil && cat.Has(nsid) {
				continue
			}
		}
	}
}
