package scope_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pdskit/pdskit/oauth/scope"
)

const typical = "atproto repo:app.bsky.feed.post repo:app.bsky.feed.like?action=create&action=delete repo:app.bsky.actor.profile?action=update " +
	"blob:image/* rpc:app.bsky.feed.getTimeline?aud=did:web:api.bsky.app%23bsky_appview account:email"

// large is as an app's permission set may be, expanded.
var large = func() string {
	var methods, collections []string
	for i := range 150 {
		methods = append(methods, fmt.Sprintf("lxm=app.bsky.namespace%d.getSomething", i))
		collections = append(collections, fmt.Sprintf("collection=app.bsky.namespace%d.record", i/3))
	}
	return "atproto rpc?" + strings.Join(methods, "&") + "&aud=did:web:api.bsky.app%23bsky_appview repo?" + strings.Join(collections, "&")
}()

func BenchmarkParse(b *testing.B) {
	for name, text := range map[string]string{"transition": "atproto transition:generic transition:chat.bsky", "typical": typical, "large": large} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := scope.Parse(text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAllows(b *testing.B) {
	sets := map[string]*scope.Set{"typical": parse(b, typical), "large": parse(b, large)}
	for name, set := range sets {
		b.Run(name+"/repo", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				set.Allows(repo{"app.bsky.feed.post", scope.Create})
			}
		})
		b.Run(name+"/rpc", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				set.Allows(rpc{"app.bsky.feed.getTimeline", "did:web:api.bsky.app#bsky_appview"})
			}
		})
	}
	b.Run("typical/blob", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			sets["typical"].Allows(blob{"image/png"})
		}
	})
	b.Run("typical/missing", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if sets["typical"].Missing(repo{"app.bsky.feed.post", scope.Create}, repo{"app.bsky.feed.post", scope.Update}) != "" {
				b.Fatal("missing")
			}
		}
	})
}

func BenchmarkIntersect(b *testing.B) {
	for name, text := range map[string]string{"typical": typical, "large": large} {
		a, other := parse(b, text), parse(b, "repo:* blob:*/* rpc:*?aud=did:web:api.bsky.app%23bsky_appview")
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				a.Intersect(other)
			}
		})
	}
}
