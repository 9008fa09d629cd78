package pdstest_test

import (
	"net/url"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/pds/pdstest"
)

// A test gets a server of its own in a few milliseconds, signs accounts up and
// talks to it as any client does. Other clients find it at srv.URL.
func ExampleNew() {
	_ = func(t *testing.T) {
		srv := pdstest.New(t)
		alice := srv.CreateAccount("alice")
		uri, _ := alice.CreateRecord("app.bsky.feed.post", map[string]any{
			"text": "hello", "createdAt": syntax.DatetimeNow(),
		})

		var out struct {
			Value struct{ Text string }
		}
		at := syntax.ATURI(uri)
		srv.Get("com.atproto.repo.getRecord", "", url.Values{
			"repo": {string(alice.Handle)}, "collection": {string(at.Collection())}, "rkey": {string(at.RecordKey())},
		}, &out)
		if out.Value.Text != "hello" {
			t.Errorf("the post says %q", out.Value.Text)
		}
		for _, ev := range srv.Events(5) {
			t.Log(ev.Seq, ev.Kind, ev.DID)
		}
	}
}
