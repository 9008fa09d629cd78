package pds_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/ipfs/go-cid"

	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/storage"
)

// scaled shrinks a count for -short runs.
func scaled(n int) int {
	if testing.Short() {
		return max(1, n/10)
	}
	return n
}

// callJSON posts as the account and returns the answer, or the error of the
// call.
func callJSON(ctx context.Context, a *pdstest.Account, nsid string, in map[string]any) (map[string]any, error) {
	h := http.Header{"Authorization": {"Bearer " + a.Access}}
	data, err := a.PDS.Call(ctx, http.MethodPost, nsid, nil, h, in)
	if err != nil || len(data) == 0 {
		return nil, err
	}
	var out map[string]any
	return out, json.Unmarshal(data, &out)
}

// listAll returns a collection as listRecords has it, as "collection/rkey" to
// CID.
func listAll(t *testing.T, a *pdstest.Account, collection string) map[string]cid.Cid {
	t.Helper()
	out := map[string]cid.Cid{}
	cursor := ""
	for {
		var page struct {
			Cursor  string
			Records []struct{ URI, CID string }
		}
		a.Get("com.atproto.repo.listRecords", url.Values{
			"repo": {string(a.DID)}, "collection": {collection}, "limit": {"100"}, "cursor": {cursor},
		}, &page)
		for _, r := range page.Records {
			c, err := cid.Decode(r.CID)
			if err != nil {
				t.Fatal(err)
			}
			out[r.URI[len("at://")+len(a.DID)+1:]] = c
		}
		if page.Cursor == "" {
			return out
		}
		cursor = page.Cursor
	}
}

// allEvents returns everything on the firehose, up to the last event stored.
func allEvents(t *testing.T, srv *pdstest.PDS) []pdstest.Event {
	t.Helper()
	var last int64
	err := srv.Config.Store.View(t.Context(), func(tx storage.Tx) (err error) {
		last, err = tx.LastSeq()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := srv.Subscribe(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var out []pdstest.Event
	for {
		ev, err := s.Next(ctx)
		if err != nil {
			t.Fatalf("after %d events: %v", len(out), err)
		}
		if ev.Seq > 0 && len(out) > 0 && ev.Seq <= out[len(out)-1].Seq {
			t.Fatalf("seq %d after %d", ev.Seq, out[len(out)-1].Seq)
		}
		out = append(out, *ev)
		if ev.Seq >= last {
			return out
		}
	}
}
