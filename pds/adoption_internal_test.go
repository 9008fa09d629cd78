package pds

import (
	"bytes"
	"testing"
	"time"

	"github.com/pdskit/pdskit/repo"
	"github.com/pdskit/pdskit/storage"
)

// FuzzAdoptedEvent: whatever another server's log holds, an event that can be
// sent and observed, or an error.
func FuzzAdoptedEvent(f *testing.F) {
	const did = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"
	block := repo.Block{CID: repo.CIDOf([]byte{0xa0}), Data: []byte{0xa0}}
	for _, fields := range []map[string]any{
		{"did": did, "active": true},
		{"did": did, "handle": "alice.test", "seq": int64(7), "unknown": []any{int64(1), nil}},
		{"did": did, "rev": "3jui7kd54zh2y", "blocks": repo.EncodeCAR(block.CID, []repo.Block{block})},
		{
			"repo": did, "commit": block.CID, "rev": "3jui7kd54zh2y", "since": nil, "rebase": false, "tooBig": false, "blobs": []any{},
			"blocks": repo.EncodeCAR(block.CID, []repo.Block{block}),
			"ops":    []any{map[string]any{"action": "create", "path": "app.bsky.feed.post/a", "cid": block.CID}},
		},
	} {
		body, err := repo.AppendCBOR(nil, fields)
		if err != nil {
			f.Fatal(err)
		}
		for _, kind := range []string{eventCommit, eventSync, eventIdentity, eventAccount} {
			f.Add(kind, int64(4711), body)
		}
	}
	at := time.UnixMilli(1_700_000_000_000)
	f.Fuzz(func(t *testing.T, kind string, seq int64, body []byte) {
		if seq < 1 || seq >= 1<<53 {
			return
		}
		in := AdoptedEvent{Seq: seq, Time: at, DID: did, Kind: EventKind(kind), Body: bytes.Clone(body)}
		out, err := in.stored()
		if !bytes.Equal(in.Body, body) {
			t.Error("the input has changed")
		}
		if err != nil {
			return
		}
		frame, err := eventFrame(&storage.Event{Seq: out.Seq, Time: out.Time, Kind: out.Kind, Body: bytes.Clone(out.Body)})
		if err != nil {
			t.Fatal(err)
		}
		value, err := repo.DecodeCBOR(bytes.TrimPrefix(frame, eventHeader(kind)))
		if err != nil {
			t.Fatalf("%x: %v", frame, err)
		}
		sent := value.(map[string]any)
		if sent["seq"] != seq || sent["time"] != formatTime(at) {
			t.Errorf("sent as %v", sent)
		}
		was, err := repo.DecodeCBOR(body)
		if err != nil {
			t.Fatal(err)
		}
		for name := range was.(map[string]any) {
			if _, there := sent[name]; !there {
				t.Errorf("the field %q is gone", name)
			}
		}
	})
}
