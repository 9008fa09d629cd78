package pds

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/atdata"
	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"github.com/pdskit/pdskit/repo"
	"github.com/pdskit/pdskit/storage"
)

var update = flag.Bool("update", false, "write the golden files anew")

const goldenEvents = "testdata/events.txt"

// goldenCases are events with fixed contents: name, kind, body, and the same
// as a value of the data model.
func goldenCases() []goldenCase {
	const (
		did = syntax.DID("did:plc:ewvi7nxzyoun6zhxrhs64oiz")
		rev = syntax.TID("3jzfcijpj2z2a")
		old = syntax.TID("3jzfcijpj2z22")
	)
	c := func(text string) cid.Cid { return repo.CIDOf([]byte(text)) }
	link := func(text string) any { return atdata.CIDLink(c(text)) }
	block := repo.Block{CID: c("commit"), Data: []byte("commit")}
	car := repo.EncodeCAR(block.CID, []repo.Block{block})
	op := func(action, path string, cid, prev any) map[string]any {
		m := map[string]any{"action": action, "path": path, "cid": cid}
		if prev != nil {
			m["prev"] = prev
		}
		return m
	}
	commit := commitEvent{
		did: did, commit: c("commit"), rev: rev, since: old, prevData: c("before"), blocks: car,
		ops: []repo.Op{
			{Action: "create", Path: "com.example.a/1", CID: c("a")},
			{Action: "update", Path: "com.example.b/2", CID: c("b"), Prev: c("b before")},
			{Action: "delete", Path: "com.example.c/3", Prev: c("c before")},
		},
	}
	commitValue := map[string]any{
		"repo": string(did), "commit": link("commit"), "rev": string(rev), "since": string(old), "prevData": link("before"),
		"blocks": atdata.Bytes(car), "blobs": []any{}, "rebase": false, "tooBig": false,
		"ops": []any{
			op("create", "com.example.a/1", link("a"), nil),
			op("update", "com.example.b/2", link("b"), link("b before")),
			op("delete", "com.example.c/3", nil, link("c before")),
		},
	}
	first := commitEvent{did: did, commit: c("commit"), rev: rev, blocks: car, ops: []repo.Op{}}
	firstValue := map[string]any{
		"repo": string(did), "commit": link("commit"), "rev": string(rev), "since": nil,
		"blocks": atdata.Bytes(car), "blobs": []any{}, "rebase": false, "tooBig": false, "ops": []any{},
	}
	head := storage.Head{CID: block.CID, Rev: rev, Commit: block.Data}
	return []goldenCase{
		{"commit", eventCommit, commit.encode(), commitValue},
		{"first commit", eventCommit, first.encode(), firstValue},
		{"sync", eventSync, encodeSync(did, head), map[string]any{"did": string(did), "rev": string(rev), "blocks": atdata.Bytes(car)}},
		{"identity", eventIdentity, encodeIdentity(did, "alice.test"), map[string]any{"did": string(did), "handle": "alice.test"}},
		{"identity without handle", eventIdentity, encodeIdentity(did, ""), map[string]any{"did": string(did)}},
		{"account active", eventAccount, encodeAccount(did, ""), map[string]any{"did": string(did), "active": true}},
		{"account takendown", eventAccount, encodeAccount(did, statusTakendown), map[string]any{"did": string(did), "active": false, "status": "takendown"}},
	}
}

type goldenCase struct {
	name, kind string
	body       []byte
	value      map[string]any
}

var (
	goldenSeq  = int64(1767323045678000)
	goldenTime = time.Date(2026, 1, 2, 3, 4, 5, 678_900_000, time.FixedZone("", 3600))
)

// Events are byte for byte what the golden file has, and what the general
// encoder makes of the same contents.
func TestEventsAreByteExact(t *testing.T) {
	var golden bytes.Buffer
	for _, tt := range goldenCases() {
		frame, err := eventFrame(&storage.Event{Seq: goldenSeq, Time: goldenTime, Kind: tt.kind, Body: tt.body})
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		tt.value["seq"], tt.value["time"] = goldenSeq, "2026-01-02T02:04:05.678Z"
		want, err := repo.AppendCBOR(nil, map[string]any{"op": int64(1), "t": "#" + tt.kind})
		if err != nil {
			t.Fatal(err)
		}
		want, err = repo.AppendCBOR(want, tt.value)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(frame, want) {
			t.Errorf("%s:\n got %x\nwant %x", tt.name, frame, want)
		}
		fmt.Fprintf(&golden, "# %s\n", tt.name)
		for line := hex.EncodeToString(frame); line != ""; {
			n := min(len(line), 120)
			fmt.Fprintln(&golden, line[:n])
			line = line[n:]
		}
	}
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(goldenEvents, golden.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(goldenEvents)
	if err != nil {
		t.Fatal(err)
	}
	if got := golden.String(); got != strings.ReplaceAll(string(want), "\r\n", "\n") {
		t.Errorf("the events have changed on the wire (go test -run %s -update, if that is meant)\n%s", t.Name(), got)
	}
}

// FuzzEventFrame: whatever a damaged store holds, a frame or an error.
func FuzzEventFrame(f *testing.F) {
	for _, tt := range goldenCases() {
		f.Add(tt.kind, tt.body)
	}
	f.Add("commit", bytes.Repeat([]byte{0xff}, 64))
	f.Fuzz(func(t *testing.T, kind string, body []byte) {
		sum := sha256.Sum256(body)
		frame, err := eventFrame(&storage.Event{Seq: 1 << 40, Time: goldenTime, Kind: kind, Body: bytes.Clone(body)})
		if (err == nil) == (frame == nil) {
			t.Errorf("frame %x, error %v", frame, err)
		}
		if sha256.Sum256(body) != sum {
			t.Error("the input has changed")
		}
	})
}
