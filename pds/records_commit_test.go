package pds_test

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/repo"
	"github.com/pdskit/pdskit/storage"
)

// otherCID is the CID of something that is in no repository.
const otherCID = "bafyreidfayvfuwqa7qlnopdjiqrxzs6blmoeu4rujcjtnci5beludirz2a"

// unchanged runs fn and fails if it has moved the head of the repository or
// put an event on the log.
func unchanged(t *testing.T, a *pdstest.Account, fn func()) {
	t.Helper()
	root, seq := a.Export().Root, lastSeq(t, a.PDS)
	fn()
	if got := a.Export().Root; got != root {
		t.Errorf("the head has moved from %s to %s", root, got)
	}
	if got := lastSeq(t, a.PDS); got != seq {
		t.Errorf("%d events more", got-seq)
	}
}

// Records: swapCommit on four methods.
func TestRecordsSwapCommit(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	for _, nsid := range []string{createRecord, putRecord, applyWrites, deleteRecord} {
		note(t, alice, "b", nsid)
		stale := alice.Export().Root.String()
		note(t, alice, "c", nsid)
		unchanged(t, alice, func() {
			for swap, name := range map[string]string{stale: "InvalidSwap", otherCID: "InvalidSwap", "x": "InvalidRequest"} {
				in := eachWrite()[nsid]
				in["swapCommit"] = swap
				_, err := write(t, alice, nsid, in)
				wantError(t, err, 400, name)
			}
		})
		in := eachWrite()[nsid]
		in["swapCommit"] = alice.Export().Root.String()
		if out := mustWrite(t, alice, nsid, in); out.Commit == nil {
			t.Errorf("%s: no commit", nsid)
		}
	}
	// An empty batch compares, too.
	in := map[string]any{"writes": []any{}, "swapCommit": otherCID}
	_, err := write(t, alice, applyWrites, in)
	wantError(t, err, 400, "InvalidSwap")
	in["swapCommit"] = alice.Export().Root.String()
	unchanged(t, alice, func() { mustWrite(t, alice, applyWrites, in) })
}

// Records: swapRecord good, bad, null.
func TestRecordsSwapRecord(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	put := func(rkey, text string, swap any) (*written, error) {
		return write(t, alice, putRecord, map[string]any{
			"collection": noteCollection, "rkey": rkey, "record": map[string]any{"text": text}, "swapRecord": swap,
		})
	}
	first, err := put("a", "1", nil) // null: must not exist
	ok(t, err)
	unchanged(t, alice, func() {
		for _, swap := range []any{nil, otherCID} {
			_, err := put("a", "2", swap)
			wantError(t, err, 400, "InvalidSwap")
		}
		for _, swap := range []any{"x", 5, true, map[string]any{}, ""} {
			_, err := put("a", "2", swap)
			wantError(t, err, 400, "InvalidRequest")
		}
		_, err = put("new", "2", otherCID)
		wantError(t, err, 400, "InvalidSwap")
	})
	second, err := put("a", "2", first.CID)
	ok(t, err)

	del := func(rkey string, swap any) error {
		_, err := write(t, alice, deleteRecord, map[string]any{"collection": noteCollection, "rkey": rkey, "swapRecord": swap})
		return err
	}
	unchanged(t, alice, func() {
		wantError(t, del("a", first.CID), 400, "InvalidSwap")
		wantError(t, del("a", "x"), 400, "InvalidRequest")
		ok(t, del("none", first.CID)) // not there: nothing to compare
	})
	ok(t, del("a", second.CID))
	note(t, alice, "a", "3")
	ok(t, del("a", nil)) // null is as good as absent
	if len(alice.Export().Records) != 0 {
		t.Error("not deleted")
	}
}

// Records: no-op put and delete make no commit and no event, also when a
// comparison would fail, so that retries succeed.
func TestRecordsNoOps(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	first := note(t, alice, "a", "1")
	unchanged(t, alice, func() {
		for _, more := range []map[string]any{{}, {"swapRecord": nil}, {"swapRecord": otherCID}, {"swapCommit": otherCID}} {
			in := map[string]any{"collection": noteCollection, "rkey": "a", "record": map[string]any{"text": "1"}}
			maps.Copy(in, more)
			out := mustWrite(t, alice, putRecord, in)
			if out.Commit != nil || out.CID != first.CID || out.URI != first.URI || out.ValidationStatus != "unknown" {
				t.Errorf("put: %+v", out)
			}
			out = mustWrite(t, alice, deleteRecord, map[string]any{"collection": noteCollection, "rkey": "none"})
			if out.Commit != nil {
				t.Errorf("delete: %+v", out)
			}
		}
		out := mustWrite(t, alice, applyWrites, map[string]any{"writes": []any{}})
		if out.Commit != nil || out.Results == nil {
			t.Errorf("empty applyWrites: %+v", out)
		}
	})
}

// Records: duplicate like, repost, follow, block replaced; only by
// createRecord, and not with validate=false.
func TestRecordsDuplicatesReplaced(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice, bob := srv.CreateAccount("alice"), srv.CreateAccount("bob")
	at := "2026-01-02T03:04:05Z"
	strongRef := map[string]any{"uri": "at://" + string(bob.DID) + "/app.bsky.feed.post/3jui7kd54zh2y", "cid": otherCID}
	for collection, subject := range map[string]any{
		"app.bsky.feed.like": strongRef, "app.bsky.feed.repost": strongRef,
		"app.bsky.graph.follow": bob.DID, "app.bsky.graph.block": bob.DID,
	} {
		record := map[string]any{"subject": subject, "createdAt": at}
		in := func() map[string]any { return map[string]any{"collection": collection, "record": record} }
		mustWrite(t, alice, createRecord, in())
		seq := lastSeq(t, srv)
		second := mustWrite(t, alice, createRecord, in())
		if list := listAll(t, alice, collection); len(list) != 1 || list[collection+"/"+second.rkey()].String() != second.CID {
			t.Errorf("%s: %v", collection, list)
		}
		events := allEvents(t, srv)
		last := events[len(events)-1]
		if last.Seq <= seq || len(last.Ops) != 2 || last.Ops[0].Action == last.Ops[1].Action {
			t.Errorf("%s: the replacement is not one commit with a delete and a create: %+v", collection, last.Ops)
		}
		unvalidated := in()
		unvalidated["validate"] = false
		mustWrite(t, alice, createRecord, unvalidated)
		mustWrite(t, alice, applyWrites, map[string]any{"writes": []any{map[string]any{
			"$type": applyWrites + "#create", "collection": collection, "value": record,
		}}})
		mustWrite(t, alice, putRecord, map[string]any{"collection": collection, "rkey": string(syntax.NewTIDNow(7)), "record": record})
		if list := listAll(t, alice, collection); len(list) != 4 {
			t.Errorf("%s: %d records, want all 4: %v", collection, len(list), list)
		}
		mustWrite(t, alice, createRecord, in())
		if list := listAll(t, alice, collection); len(list) != 1 {
			t.Errorf("%s: %d records after another create", collection, len(list))
		}
	}
	// Another subject is no duplicate; nor is another account's record.
	mustWrite(t, alice, createRecord, map[string]any{
		"collection": "app.bsky.graph.follow", "record": map[string]any{"subject": alice.DID, "createdAt": at},
	})
	mustWrite(t, bob, createRecord, map[string]any{
		"collection": "app.bsky.graph.follow", "record": map[string]any{"subject": bob.DID, "createdAt": at},
	})
	if n := len(listAll(t, alice, "app.bsky.graph.follow")); n != 2 {
		t.Errorf("%d follows", n)
	}
}

func createOps(n int) []any {
	writes := make([]any, n)
	for i := range writes {
		writes[i] = map[string]any{
			"$type": applyWrites + "#create", "collection": noteCollection, "rkey": fmt.Sprint("k", i),
			"value": map[string]any{"i": i},
		}
	}
	return writes
}

// Records: 200 writes, 201 writes, atomic batch.
func TestRecordsBatchLimits(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	unchanged(t, alice, func() {
		_, err := write(t, alice, applyWrites, map[string]any{"writes": createOps(201)})
		wantError(t, err, 400, "InvalidRequest")
		wantMessage(t, err, "Too many writes. Max: 200")
	})
	seq := lastSeq(t, srv)
	out := mustWrite(t, alice, applyWrites, map[string]any{"writes": createOps(200)})
	if len(out.Results) != 200 || !strings.HasSuffix(out.Results[199].URI, "/k199") {
		t.Errorf("%d results", len(out.Results))
	}
	if got := eventsAfter(t, srv, seq); !slices.Equal(got, []string{"#commit"}) {
		t.Errorf("events: %v", got)
	}
	unchanged(t, alice, func() {
		for name, bad := range map[string]map[string]any{
			"key clash":      {"$type": applyWrites + "#create", "collection": noteCollection, "rkey": "k0", "value": map[string]any{}},
			"missing update": {"$type": applyWrites + "#update", "collection": noteCollection, "rkey": "none", "value": map[string]any{}},
			"missing delete": {"$type": applyWrites + "#delete", "collection": noteCollection, "rkey": "none"},
			"unknown write":  {"$type": applyWrites + "#upsert", "collection": noteCollection, "rkey": "none", "value": map[string]any{}},
			"no write type":  {"collection": noteCollection, "rkey": "none", "value": map[string]any{}},
			"no key":         {"$type": applyWrites + "#delete", "collection": noteCollection},
			"invalid record": {"$type": applyWrites + "#create", "collection": postCollection, "value": map[string]any{"text": 1}},
			"no record":      {"$type": applyWrites + "#create", "collection": noteCollection},
			"missing blob": {"$type": applyWrites + "#create", "collection": noteCollection, "value": map[string]any{
				"b": blobRef(rawCID("not stored"), "text/plain", 10),
			}},
		} {
			first := map[string]any{"$type": applyWrites + "#create", "collection": noteCollection, "rkey": "atomic", "value": map[string]any{}}
			_, err := write(t, alice, applyWrites, map[string]any{"writes": []any{first, bad}})
			if err == nil {
				t.Errorf("%s: accepted", name)
				continue
			}
			want := "InvalidRequest"
			if name == "missing blob" {
				want = "BlobNotFound"
			}
			wantError(t, err, 400, want)
		}
		_, err := write(t, alice, createRecord, map[string]any{"collection": noteCollection, "rkey": "k0", "record": map[string]any{}})
		wantError(t, err, 400, "InvalidRequest")
	})
}

// Records: 2 MB. The body limit answers first from outside, so this is tested
// inside.
func TestRecordsEventLimit(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	batch := func(n, size int) pds.Batch {
		b := pds.Batch{Account: alice.DID, Actor: alice.DID}
		for i := range n {
			rec, err := repo.RecordFromValue(map[string]any{"text": strings.Repeat("x", size-i), "i": int64(i)}, noteCollection)
			ok(t, err)
			b.Ops = append(b.Ops, pds.Op{Action: pds.Create, Collection: noteCollection, Record: rec})
		}
		return b
	}
	unchanged(t, alice, func() {
		_, err := srv.Apply(t.Context(), batch(3, 700_000))
		wantRefused(t, err, 400, "InvalidRequest")
		wantMessage(t, err, "Too many writes. Max event size: 2000000 bytes")
		_, err = srv.Apply(t.Context(), batch(201, 1000))
		wantRefused(t, err, 400, "InvalidRequest")
	})
	// The edge: the largest batch that passes is within a hundred bytes.
	passes := func(last int) bool {
		b := batch(2, 900_000)
		b.Ops = append(b.Ops, batch(1, last).Ops...)
		_, err := srv.Apply(t.Context(), b)
		return err == nil
	}
	low, high := 190_000, 210_000
	for high-low > 64 {
		if mid := (low + high) / 2; passes(mid) {
			low = mid
		} else {
			high = mid
		}
	}
	events := allEvents(t, srv)
	largest := 0
	for _, ev := range events {
		largest = max(largest, len(ev.Blocks))
	}
	if largest > 2_000_000 || largest < 1_999_000 {
		t.Errorf("the largest event has %d bytes of blocks", largest)
	}
	alice.Export()
}

// Records: folded paths. Several writes to one key in one batch give one net
// operation, whose prev is the state before the batch.
func TestRecordsFoldedPaths(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	w := func(action, rkey, text string) map[string]any {
		m := map[string]any{"$type": applyWrites + "#" + action, "collection": noteCollection, "rkey": rkey}
		if action != "delete" {
			m["value"] = map[string]any{"text": text}
		}
		return m
	}
	for _, tt := range []struct {
		name   string
		stored string // text of the record before, if any
		writes []any
		op     string // net operation, if any
		text   string // in the end, if any
	}{
		{"create, update, delete", "", []any{w("create", "a", "1"), w("update", "a", "2"), w("delete", "a", "")}, "", ""},
		{"create, update", "", []any{w("create", "a", "1"), w("update", "a", "2")}, "create", "2"},
		{"create, delete, create", "", []any{w("create", "a", "1"), w("delete", "a", ""), w("create", "a", "3")}, "create", "3"},
		{"update, update", "0", []any{w("update", "a", "1"), w("update", "a", "2")}, "update", "2"},
		{"update and back", "0", []any{w("update", "a", "1"), w("update", "a", "0")}, "", "0"},
		{"delete, create", "0", []any{w("delete", "a", ""), w("create", "a", "1")}, "update", "1"},
		{"delete, create the same", "0", []any{w("delete", "a", ""), w("create", "a", "0")}, "", "0"},
		{"update, delete", "0", []any{w("update", "a", "1"), w("delete", "a", "")}, "delete", ""},
		{"update the same", "0", []any{w("update", "a", "0")}, "", "0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			mustWrite(t, alice, deleteRecord, map[string]any{"collection": noteCollection, "rkey": "a"})
			var prev string
			if tt.stored != "" {
				prev = note(t, alice, "a", tt.stored).CID
			}
			seq := lastSeq(t, srv)
			out := mustWrite(t, alice, applyWrites, map[string]any{"writes": tt.writes})
			if len(out.Results) != len(tt.writes) {
				t.Errorf("%d results", len(out.Results))
			}
			var got []repo.Op
			for _, ev := range allEvents(t, srv) {
				if ev.Seq > seq {
					got = append(got, ev.Ops...)
				}
			}
			switch {
			case tt.op == "" && (len(got) > 0 || out.Commit != nil):
				t.Errorf("ops %+v, want none", got)
			case tt.op != "" && (len(got) != 1 || got[0].Action != tt.op):
				t.Errorf("ops %+v, want one %s", got, tt.op)
			case tt.op == "create" && got[0].Prev.Defined(), tt.op != "" && tt.op != "create" && got[0].Prev.String() != prev:
				t.Errorf("prev %s, want %s", got[0].Prev, prev)
			}
			v, err := read(t, alice, noteCollection+"/a")
			if tt.text == "" {
				wantError(t, err, 400, "RecordNotFound")
			} else if err != nil || v["text"] != tt.text {
				t.Errorf("%v %v, want %s", v, err, tt.text)
			}
		})
	}
	// In one batch, with the keys between them.
	mustWrite(t, alice, applyWrites, map[string]any{"writes": []any{
		w("create", "x", "1"), w("create", "y", "1"), w("update", "x", "2"), w("delete", "y", ""), w("create", "z", "1"), w("create", "y", "2"),
	}})
	want := map[string]string{"x": "2", "y": "2", "z": "1"}
	for rkey, text := range want {
		if v, err := read(t, alice, noteCollection+"/"+rkey); err != nil || v["text"] != text {
			t.Errorf("%s: %v %v", rkey, v, err)
		}
	}
	if tree := alice.Export().Records; !maps.Equal(tree, pdstest.Replay(allEvents(t, srv), alice.DID)) {
		t.Errorf("the firehose leads elsewhere than %v", tree)
	}
}

// Records: shared block survives. A block that two records share stays until
// both are gone, and a record that moves with the same content is in the
// blocks of the event.
func TestRecordsSharedBlockSurvives(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	a, b := note(t, alice, "a", "same"), note(t, alice, "b", "same")
	if a.CID != b.CID {
		t.Fatal("not the same")
	}
	mustWrite(t, alice, deleteRecord, map[string]any{"collection": noteCollection, "rkey": "a"})
	if v, err := read(t, alice, noteCollection+"/b"); err != nil || v["text"] != "same" {
		t.Fatalf("%v %v", v, err)
	}
	c, err := cid.Decode(a.CID)
	ok(t, err)
	if _, there := alice.Export().Blocks[c]; !there {
		t.Error("the shared block has left the export")
	}
	mustWrite(t, alice, applyWrites, map[string]any{"writes": []any{
		map[string]any{"$type": applyWrites + "#delete", "collection": noteCollection, "rkey": "b"},
		map[string]any{"$type": applyWrites + "#create", "collection": noteCollection, "rkey": "c", "value": map[string]any{"text": "same"}},
	}})
	events := allEvents(t, srv)
	last := events[len(events)-1]
	in, err := repo.NewCARReader(bytes.NewReader(last.Blocks), repo.CARLimits{})
	ok(t, err)
	found := false
	for {
		block, err := in.Next()
		if err == io.EOF {
			break
		}
		ok(t, err)
		found = found || block.CID == c
	}
	if !found {
		t.Error("the moved record is not in the event's blocks")
	}
	if _, there := alice.Export().Blocks[c]; !there {
		t.Error("the moved record has left the export")
	}
	mustWrite(t, alice, deleteRecord, map[string]any{"collection": noteCollection, "rkey": "c"})
	if _, there := alice.Export().Blocks[c]; there {
		t.Error("the block has outlived its last record")
	}
}

// Bug 24 of the field: many updates of a record leave about the live tree.
func TestRecordsUpdatesLeaveNoGarbage(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t, func(c *pds.Config) { c.CheckCommits = false })
	alice := srv.CreateAccount("alice")
	for i := range 30 {
		note(t, alice, fmt.Sprint("other", i), "stays")
	}
	usage := func() (u storage.Usage) {
		ok(t, srv.Config.Store.View(t.Context(), func(tx storage.Tx) (err error) {
			u, err = tx.Usage(alice.DID)
			return err
		}))
		return u
	}
	update := func(i int) {
		rec, err := repo.RecordFromValue(map[string]any{"text": fmt.Sprintf("version %08d", i)}, noteCollection)
		ok(t, err)
		_, err = srv.Apply(t.Context(), pds.Batch{Account: alice.DID, Actor: alice.DID, Ops: []pds.Op{
			{Action: pds.Put, Collection: noteCollection, RKey: "hot", Record: rec},
		}})
		ok(t, err)
	}
	update(0)
	before := usage()
	for i := range scaled(10_000) {
		update(i + 1)
	}
	if after := usage(); after != before {
		t.Errorf("usage was %+v, is %+v", before, after)
	}
	if n := len(alice.Export().Blocks); n > 60 {
		t.Errorf("%d blocks in the export of 31 records", n)
	}
}

// Bug 3 of the field: whoever sees an event sees its commit and its records,
// too.
func TestRecordsVisibleBeforeTheirEvent(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	sub, err := srv.Subscribe(t.Context(), lastSeq(t, srv))
	ok(t, err)
	n := scaled(100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range n {
			if _, err := callJSON(t.Context(), alice, createRecord, map[string]any{
				"repo": alice.DID, "collection": noteCollection, "record": map[string]any{"i": i},
			}); err != nil {
				t.Error(err)
			}
		}
	}()
	for range n {
		ev, err := sub.Next(t.Context())
		ok(t, err)
		var head struct{ CID, Rev string }
		srv.Get("com.atproto.sync.getLatestCommit", "", map[string][]string{"did": {string(alice.DID)}}, &head)
		if head.Rev < string(ev.Rev) || (head.Rev == string(ev.Rev) && head.CID != ev.Commit.String()) {
			t.Errorf("the event has %s, getLatestCommit %s", ev.Rev, head.Rev)
		}
		if _, err := read(t, alice, ev.Ops[0].Path); err != nil {
			t.Errorf("%s: %v", ev.Ops[0].Path, err)
		}
	}
	<-done
}

// A rev is above the one before it, even when the clock steps back.
func TestRecordsRevRises(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	last := syntax.TID("")
	for i, jump := range []time.Duration{0, -time.Second, 0, -time.Hour, 0, 2 * time.Second, 0} {
		srv.Clock.Jump(jump)
		out := mustWrite(t, alice, createRecord, map[string]any{"collection": noteCollection, "record": map[string]any{"i": i}})
		if rev := syntax.TID(out.Commit.Rev); rev <= last {
			t.Errorf("rev %s after %s", rev, last)
		} else {
			last = rev
		}
	}
}
