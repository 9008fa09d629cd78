// Package livetest checks that topics work on a store: import it into the tests
// of one.
//
//	func TestLive(t *testing.T) {
//		livetest.Run(t, func(t testing.TB, clock storage.Clock) storage.Store {
//			return mystore.New(clock)
//		}, livetest.Options{})
//	}
package livetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/pdskit/pdskit/live"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/storagetest"
)

// Options say what a store can do.
type Options struct {
	// Reopen opens the store that lives in the folder dir, and makes it if
	// there is none. A store that does not survive the death of its process
	// leaves it nil; the cases that kill a child process, which is the test
	// binary run again, are then skipped.
	Reopen func(t testing.TB, dir string, clock storage.Clock) storage.Store
}

// Run runs the suite. Open returns a new, empty store that uses the clock; it
// is closed with the test. Run must be called from a test function that does
// nothing else before it, because the killed children run that function again.
func Run(t *testing.T, open func(t testing.TB, clock storage.Clock) storage.Store, opts Options) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			e := &env{T: t, clock: storagetest.NewClock()}
			store := open(t, e.clock)
			t.Cleanup(func() { _ = store.Close() })
			e.store = storagetest.Counting(store)
			e.hub = e.newHub(live.Limits{})
			if err := e.hub.Create(t.Context(), live.Topic{Name: topic}); err != nil {
				t.Fatal(err)
			}
			c.run(e)
		})
	}
	t.Run("KillAndResume", func(t *testing.T) {
		if opts.Reopen == nil {
			t.Skip("the store does not survive its process")
		}
		killAndResume(t, opts)
	})
}

var cases = []struct {
	name string
	run  func(e *env)
}{
	{"DenseUnderConcurrency", dense},
	{"FailedTransactionLeavesNothing", failedTransaction},
	{"OneTransactionManyMessages", manyInOne},
	{"TimesNeverGoBack", times},
	{"NamesAndLimits", limits},
	{"History", history},
	{"HistoryInBytes", historyBytes},
	{"ResumeAnywhere", resume},
	{"ResumeWhileWritten", resumeWhileWritten},
	{"Redaction", redaction},
	{"RetentionByCount", retentionByCount},
	{"RetentionByAge", retentionByAge},
	{"Deletion", deletion},
	{"DeletedAndMadeAgain", madeAgain},
	{"VoidCursors", voidCursors},
	{"OwnerLeaves", ownerLeaves},
	{"TooFarBehind", behind},
	{"SeveralProcesses", severalProcesses},
}

// topic is there in every case.
const topic = "com.example.room/1"

// env is what a case works with.
type env struct {
	*testing.T
	clock *storagetest.Clock
	store storage.Store
	hub   *live.Hub
}

// newHub returns a hub of another process, as it were.
func (e *env) newHub(l live.Limits) *live.Hub {
	e.Helper()
	h, err := live.New(live.Config{Store: storage.DocsOf(e.store), Clock: e.clock, Limits: l})
	if err != nil {
		e.Fatal(err)
	}
	e.Cleanup(h.Close)
	return h
}

// message is the data of the messages of the suite.
type message struct {
	Text string `json:"text"`
}

func (e *env) publish(h *live.Hub, text string) live.Entry {
	e.Helper()
	entry, err := h.Publish(e.Context(), topic, message{text})
	if err != nil {
		e.Fatalf("Publish: %v", err)
	}
	return entry
}

func (e *env) publishN(from, to int) {
	e.Helper()
	for n := from; n <= to; n++ {
		e.publish(e.hub, fmt.Sprint("message ", n))
	}
}

func (e *env) update(fn func(tx storage.Docs) error) error {
	return storage.Retry(e.Context(), storage.DocsOf(e.store), fn)
}

func (e *env) info() live.Info {
	e.Helper()
	info, err := e.hub.Topic(e.Context(), topic)
	if err != nil {
		e.Fatalf("Topic: %v", err)
	}
	return info
}

func (e *env) page(q live.Query) live.Page {
	e.Helper()
	p, err := e.hub.Page(e.Context(), topic, q)
	if err != nil {
		e.Fatalf("Page: %v", err)
	}
	return p
}

func (e *env) maintain() {
	e.Helper()
	for n := 0; ; n++ {
		more, err := e.hub.Maintain(e.Context())
		if err != nil {
			e.Fatalf("Maintain: %v", err)
		}
		if !more {
			return
		}
		if n > 1000 {
			e.Fatal("Maintain does not come to an end")
		}
	}
}

// stored returns how many entries the store holds, those of deleted topics
// included.
func (e *env) stored() (n int) {
	e.Helper()
	err := e.store.View(e.Context(), func(tx storage.Tx) error {
		docs, err := tx.ScanDocs("live-entry", storage.Scan{Limit: 10_000})
		n = len(docs)
		return err
	})
	if err != nil {
		e.Fatal(err)
	}
	return n
}

func (e *env) matches(what string, err, want error) {
	e.Helper()
	if !errors.Is(err, want) {
		e.Errorf("%s: error %v, want %v", what, err, want)
	}
}

// reader is a subscription with what it has not been asked for yet.
type reader struct {
	e    *env
	sub  *live.Subscription
	list []*live.Event
}

func (e *env) subscribe(h *live.Hub, cursor string) *reader {
	e.Helper()
	sub, err := h.Subscribe(e.Context(), topic, live.Public(), live.Options{Cursor: cursor})
	if err != nil {
		e.Fatalf("Subscribe: %v", err)
	}
	e.Cleanup(sub.Close)
	return &reader{e: e, sub: sub}
}

// patience is how long a case waits for what must come.
const patience = 30 * time.Second

func (r *reader) next() *live.Event {
	r.e.Helper()
	if len(r.list) == 0 {
		ctx, cancel := context.WithTimeout(r.e.Context(), patience)
		defer cancel()
		var err error
		if r.list, err = r.sub.Next(ctx); err != nil {
			r.e.Fatalf("Next: %v", err)
		}
	}
	ev := r.list[0]
	r.list = r.list[1:]
	return ev
}

// wantMessages fails unless the next events are messages with these numbers.
func (r *reader) wantMessages(from, to int64) {
	r.e.Helper()
	for seq := from; seq <= to; seq++ {
		if ev := r.next(); ev.Kind != live.KindMessage || ev.Entry.Seq != seq {
			r.e.Fatalf("got %s, want message %d", ev.JSON(), seq)
		}
	}
}

func (r *reader) wantGap(g live.Gap) *live.Event {
	r.e.Helper()
	ev := r.next()
	if ev.Kind != live.KindGap || *ev.Gap != g {
		r.e.Fatalf("got %s %s, want gap %+v", ev.Kind, ev.JSON(), g)
	}
	return ev
}

func (r *reader) wantEnd(want error) {
	r.e.Helper()
	ctx, cancel := context.WithTimeout(r.e.Context(), patience)
	defer cancel()
	if list, err := r.sub.Next(ctx); !errors.Is(err, want) {
		r.e.Fatalf("Next: %d events, error %v, want %v", len(list), err, want)
	}
}

// wantNothing fails if there is an event already.
func (r *reader) wantNothing() {
	r.e.Helper()
	if len(r.list) > 0 {
		r.e.Fatalf("unexpected event %s", r.list[0].JSON())
	}
	ctx, cancel := context.WithCancel(r.e.Context())
	cancel()
	if list, err := r.sub.Next(ctx); err == nil {
		r.e.Fatalf("unexpected event %s", list[0].JSON())
	}
}

func seqs(list []live.Entry) []int64 {
	var out []int64
	for _, entry := range list {
		out = append(out, entry.Seq)
	}
	return out
}

func (e *env) wantSeqs(what string, p live.Page, want ...int64) {
	e.Helper()
	if got := seqs(p.Entries); !slices.Equal(got, want) {
		e.Errorf("%s: entries %v, want %v", what, got, want)
	}
}
