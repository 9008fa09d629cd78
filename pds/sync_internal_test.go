package pds

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/repo"
	"github.com/pdskit/pdskit/storage"
)

func FuzzAccountCursor(f *testing.F) {
	for _, s := range []string{"", "1::did:plc:a", "-5::did:web:a.example", "::", "1:did:plc:a", "99999999999999999999::did:plc:a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := parseAccountCursor(text)
		if err != nil || text == "" {
			return
		}
		again, err := parseAccountCursor(formatAccountCursor(c))
		if err != nil || again != c {
			t.Errorf("%q is %v, and written and read again %v, %v", text, c, again, err)
		}
	})
}

func FuzzRange(f *testing.F) {
	for _, s := range []string{"bytes=0-1", "bytes=-1", "bytes=5-", "bytes=-0", "bytes=9-2", "bytes=99999999999999999999-", "bytes=1-99999999999999999999"} {
		f.Add(s, int64(10))
	}
	f.Fuzz(func(t *testing.T, header string, size int64) {
		if size < 0 {
			return
		}
		from, n, err := parseRange(header, size)
		if err == nil && (from < 0 || n < 1 || from > size-n) {
			t.Errorf("%q of %d bytes: %d from %d", header, size, n, from)
		}
	})
}

// Every event decodes as canonical DAG-CBOR with number and time filled in,
// and its JSON form holds the same.
func FuzzEventsDecode(f *testing.F) {
	for _, seq := range []int64{1, 23, 24, 255, 256, 65_535, 65_536, 1<<32 - 1, 1 << 32, 1 << 40} {
		f.Add("did:plc:a", "alice.test", "takendown", seq, int64(1_700_000_000_000), []byte("blocks"))
	}
	f.Fuzz(func(t *testing.T, did, handle, status string, seq, ms int64, blocks []byte) {
		year := time.UnixMilli(ms).UTC().Year()
		if seq < 1 || seq >= 1<<53 || year < 1970 || year > 9999 {
			return
		}
		for _, s := range []string{did, handle, status} {
			if strings.ToValidUTF8(s, "") != s {
				return
			}
		}
		d := syntax.DID(did)
		commit := commitEvent{did: d, commit: repo.CIDOf(blocks), rev: "3jui7kd54zh2y", prevData: repo.CIDOf(blocks), blocks: blocks,
			ops: []repo.Op{{Action: "delete", Path: "a.b.c/d", Prev: repo.CIDOf(blocks)}}}
		for _, ev := range []storage.Event{
			{Kind: eventIdentity, Body: encodeIdentity(d, syntax.Handle(handle))},
			{Kind: eventAccount, Body: encodeAccount(d, status)},
			{Kind: eventSync, Body: encodeSync(d, storage.Head{CID: repo.CIDOf(blocks), Commit: blocks, Rev: "3jui7kd54zh2y"})},
			{Kind: eventCommit, Body: commit.encode()},
		} {
			ev.Seq, ev.Time = seq, time.UnixMilli(ms)
			kind := ev.Kind
			frame, err := eventFrame(&ev)
			if err != nil {
				t.Fatal(err)
			}
			name, body, err := splitFrame(frame)
			if err != nil || name != "#"+kind {
				t.Fatalf("%s: %q, %v", kind, name, err)
			}
			v, err := repo.DecodeCBOR(body)
			if err != nil {
				t.Fatalf("%s: %v", kind, err)
			}
			m := v.(map[string]any)
			if m["seq"] != seq || m["time"] != formatTime(time.UnixMilli(ms)) {
				t.Errorf("%s: seq %v, time %v", kind, m["seq"], m["time"])
			}
			text, err := jsonFrame(frame)
			if err != nil {
				t.Fatal(err)
			}
			j, err := repo.DecodeJSON(text)
			if err != nil {
				t.Fatalf("%s: %v in %s", kind, err, text)
			}
			payload := j.(map[string]any)["payload"].(map[string]any)
			if payload["seq"] != seq || payload["$type"] != subscribeReposNSID+"#"+kind || len(payload) != len(m)+1 {
				t.Errorf("%s as JSON: %s", kind, text)
			}
		}
	})
}

// A damaged event is an error, never a panic.
func FuzzDamagedFrame(f *testing.F) {
	f.Add("identity", encodeIdentity("did:plc:a", "alice.test"))
	f.Add("commit", []byte{0, 0, 0, 24, 0, 0, 0, 25})
	f.Fuzz(func(t *testing.T, kind string, body []byte) {
		ev := storage.Event{Kind: kind, Body: body, Seq: 1 << 40, Time: time.UnixMilli(0)}
		frame, err := eventFrame(&ev)
		if err == nil {
			_, _, _ = splitFrame(frame)
			_, _ = jsonFrame(frame)
		} else if !errors.Is(err, errEventBody) {
			t.Error(err)
		}
	})
}

// Crawlers are asked at the start, after new events, at most once in the
// interval, and, for events that came meanwhile, at its end.
func TestCrawlersAreAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		signals := make(chan struct{}, 1)
		var last atomic.Int64
		var asked []time.Duration
		begin := time.Now()
		var fail atomic.Bool
		go crawlLoop(ctx, signals, 20*time.Minute, func(context.Context) (int64, error) { return last.Load(), nil }, func() bool {
			asked = append(asked, time.Since(begin).Round(time.Minute))
			return !fail.Load()
		})
		event := func() {
			last.Add(1)
			select {
			case signals <- struct{}{}:
			default:
			}
		}
		at := func(minute int, do func()) {
			time.Sleep(time.Until(begin.Add(time.Duration(minute) * time.Minute)))
			do()
			synctest.Wait()
		}
		at(1, event)                              // in the quiet period: told at 20
		at(45, event)                             // at once
		at(50, event)                             // told at 65
		at(55, event)                             // with it
		at(100, func() { signals <- struct{}{} }) // nothing new
		at(120, func() { fail.Store(true); event() })
		at(150, func() { fail.Store(false) }) // again at 140 and 160
		at(200, func() {})
		var want []time.Duration
		for _, m := range []int{0, 20, 45, 65, 120, 140, 160} {
			want = append(want, time.Duration(m)*time.Minute)
		}
		if !slices.Equal(asked, want) {
			t.Errorf("asked at %v, want %v", asked, want)
		}
		cancel()
		synctest.Wait()
	})
}

// Pruning keeps the log within its size, whatever the age of events: the oldest
// go, and a cursor before what went is told so.
func TestPruningKeepsSize(t *testing.T) {
	body := bytes.Repeat([]byte{'x'}, 1000-eventRow) // 1000 bytes with its row
	l := newEventLog(t, Limits{EventLogBytes: 640_000})
	s := &Server{store: l.store, clock: storage.NewGuard(l.clock, time.Time{}), log: l.log, firehose: l.firehose, cfg: Config{Limits: l.limits}}
	work := func(run func(context.Context) (bool, error)) {
		t.Helper()
		for more := true; more; {
			var err error
			if more, err = run(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	write := func(n int) {
		t.Helper()
		for range n {
			err := l.store.Update(t.Context(), func(tx storage.Tx) error {
				return tx.Append(storage.Event{DID: "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", Kind: eventSync, Body: body})
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		work(s.measureLog)
	}
	write(640)
	if work(s.pruneEvents); len(l.all(0)) != 640 {
		t.Errorf("at the limit %d events are left", len(l.all(0)))
	}
	all := l.all(0)
	write(1)
	if work(s.pruneEvents); len(l.all(0)) != 631 { // a part of ten has gone
		t.Errorf("beyond the limit %d events are left", len(l.all(0)))
	}
	for i, outdated := range map[int]bool{0: true, 8: true, 9: false, 20: false} {
		at, err := l.begin(t.Context(), &all[i])
		if err != nil || at.outdated != outdated {
			t.Errorf("cursor of event %d: %+v, %v", i, at, err)
		}
	}
	// An event that was hidden counts until it is pruned, and not for ever.
	err := l.store.Update(t.Context(), func(tx storage.Tx) error { return tx.HideEvents("did:plc:aaaaaaaaaaaaaaaaaaaaaaaa") })
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		write(640)
		work(s.pruneEvents)
	}
	if n := len(l.all(0)); n < 620 || n > 640 {
		t.Errorf("in the end %d events are left", n)
	}
	var size logSize
	err = l.store.View(t.Context(), func(tx storage.Tx) (err error) {
		size, _, err = readLogSize(tx)
		return err
	})
	if err != nil || len(size.Parts) > 3*sizeParts {
		t.Errorf("%d parts, %v", len(size.Parts), err)
	}
	// One event larger than the limit stays until there is another one.
	small := body
	body = bytes.Repeat([]byte{'y'}, 700_000)
	write(1)
	if work(s.pruneEvents); len(l.all(0)) < 1 || len(l.all(0)) > 10 {
		t.Errorf("%d events are left with a large one", len(l.all(0)))
	}
	body = small
	write(1)
	if work(s.pruneEvents); len(l.all(0)) != 1 {
		t.Errorf("%d events are left after a large one", len(l.all(0)))
	}
}

// Pruning removes what is old, in chunks, but nothing in the window, and keeps
// numbers rising; a cursor before what went is told so.
func TestPruningKeepsWindow(t *testing.T) {
	l := newEventLog(t, Limits{EventAge: 72 * time.Hour})
	s := &Server{store: l.store, clock: storage.NewGuard(l.clock, time.Time{}), log: l.log, firehose: l.firehose, cfg: Config{Limits: l.limits}}
	prune := func() (rounds int) {
		t.Helper()
		for {
			more, err := s.pruneEvents(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if rounds++; !more {
				return rounds
			}
		}
	}
	prune() // an empty log
	events := someEvents(1)
	err := l.store.Update(t.Context(), func(tx storage.Tx) error {
		for range 1500 {
			if err := tx.Append(events[0]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	old := l.all(0)
	l.clock.advance(48 * time.Hour)
	middle := l.append(someEvents(10)...)
	l.clock.advance(24 * time.Hour)
	if prune(); len(l.all(0)) != 1510 {
		t.Errorf("at the age limit %d events are left", len(l.all(0)))
	}
	l.clock.advance(time.Millisecond)
	if rounds := prune(); rounds != 2 || len(l.all(0)) != 10 {
		t.Errorf("beyond the limit %d events are left after %d rounds", len(l.all(0)), rounds)
	}
	for _, tc := range []struct {
		cursor   int64
		outdated bool
	}{{old[1498], true}, {0, true}} {
		at, err := l.begin(t.Context(), &tc.cursor)
		if err != nil || at.outdated != tc.outdated {
			t.Errorf("cursor %d: %+v, %v", tc.cursor, at, err)
		}
	}
	// All goes in the end, and the numbers still rise.
	l.clock.advance(1000 * time.Hour)
	if prune(); len(l.all(0)) != 0 {
		t.Errorf("%d events are left", len(l.all(0)))
	}
	if at, err := l.begin(t.Context(), &middle); err != nil || at.outdated || at.pos != middle {
		t.Errorf("the cursor of who has seen all: %+v, %v", at, err)
	}
	if next := l.append(someEvents(1)...); next <= middle {
		t.Errorf("after pruning comes %d, after %d", next, middle)
	}
	// A window longer than the age is kept.
	s.cfg.Limits.EventAge = time.Hour
	l.clock.advance(23 * time.Hour)
	if prune(); len(l.all(0)) != 1 {
		t.Error("an event in the window is gone")
	}
}
