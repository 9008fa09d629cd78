package oauth_test

import (
	"net/http"
	"testing"

	"github.com/pdskit/pdskit/oauth"
)

// BenchmarkVerify is what a request to the resource costs: the goal is 0.2 ms of
// CPU.
func BenchmarkVerify(b *testing.B) {
	for name, change := range map[string]func(*oauth.Config){
		"one process": func(*oauth.Config) {},
		"replicated":  func(c *oauth.Config) { c.Replicated = true },
	} {
		b.Run(name, func(b *testing.B) {
			e := newEnv(b, change)
			a := e.newApp("app.example.org")
			token := a.signedIn().access
			a.mustUse(token)
			v := e.srv.Verifier()
			requests := make([]*http.Request, 0, b.N)
			for range b.N {
				requests = append(requests, a.resourceRequest(token))
			}
			b.ReportAllocs()
			b.ResetTimer()
			for _, r := range requests {
				if _, err := v.Verify(r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkRefresh is what a refresh costs: signature, rotation, one transaction.
func BenchmarkRefresh(b *testing.B) {
	e := newEnv(b)
	a := e.newApp("app.example.org")
	got := a.signedIn()
	for b.Loop() {
		got = tokensOf(a.refresh(got.refresh))
	}
}
