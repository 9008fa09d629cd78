package livetest

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/live"
	"github.com/pdskit/pdskit/storage"
)

func deletion(e *env) {
	e.fill(1100)
	r := e.subscribe(e.hub, "")
	if err := e.hub.Delete(e.Context(), topic); err != nil {
		e.Fatal(err)
	}
	r.wantEnd(live.ErrDeleted)
	_, err := e.hub.Page(e.Context(), topic, live.Query{})
	e.matches("Page", err, live.ErrNotFound)
	_, err = e.hub.Publish(e.Context(), topic, message{})
	e.matches("Publish", err, live.ErrNotFound)
	e.maintain()
	if n := e.stored(); n != 0 {
		e.Errorf("%d entries are left", n)
	}
}

func madeAgain(e *env) {
	e.publishN(1, 3)
	old := e.info()
	r := e.subscribe(e.hub, "")
	err := e.update(func(tx storage.Docs) error {
		if err := live.Delete(tx, topic); err != nil {
			return err
		}
		if err := live.Create(tx, e.clock.Now(), live.Topic{Name: topic}); err != nil {
			return err
		}
		_, err := live.Append(tx, e.clock.Now(), topic, json.RawMessage(`{}`))
		return err
	})
	if err != nil {
		e.Fatal(err)
	}
	e.hub.Wake(topic)
	r.wantEnd(live.ErrDeleted)
	e.wantSeqs("the new topic", e.page(live.Query{}), 1)
	e.maintain()
	e.wantSeqs("after the old one was collected", e.page(live.Query{}), 1)
	again := e.subscribe(e.hub, old.Cursor(3))
	again.wantGap(live.Gap{From: 1, To: 1, Reset: true})
	e.publish(e.hub, "two")
	again.wantMessages(2, 2)
}

// What is published after the store has gone back in time is not taken for what
// a client has of before.
func voidCursors(e *env) {
	const others = 120 // more than one transaction takes
	for i := range others {
		if err := e.hub.Create(e.Context(), live.Topic{Name: fmt.Sprint("other/", i)}); err != nil {
			e.Fatal(err)
		}
	}
	e.publishN(1, 3)
	old := e.info()
	if err := e.hub.VoidCursors(e.Context()); err != nil {
		e.Fatal(err)
	}
	e.publish(e.hub, "four")
	resumed := e.subscribe(e.hub, old.Cursor(3))
	resumed.wantGap(live.Gap{From: 1, To: 4, Reset: true})
	e.publish(e.hub, "five")
	resumed.wantMessages(5, 5)
	now := e.info()
	e.subscribe(e.hub, now.Cursor(3)).wantMessages(4, 5)
	e.wantSeqs("all", e.page(live.Query{}), 1, 2, 3, 4, 5)
	for i := range others {
		info, err := e.hub.Topic(e.Context(), fmt.Sprint("other/", i))
		if err != nil || info.Cursor(0) != now.Cursor(0) {
			e.Fatalf("topic %d: %s %v", i, info.Cursor(0), err)
		}
	}
}

func ownerLeaves(e *env) {
	const did = syntax.DID("did:plc:aaaaaaaaaaaaaaaaaaaaaaaa")
	mine, store := live.Topic{Name: "mine", Owner: did}, storage.Retrying(e.store)
	e.matches("a topic of nobody", e.hub.Create(e.Context(), mine), storage.ErrNotFound)
	put := func(tx storage.Tx) error {
		_, err := tx.PutAccount(storage.Account{DID: did, CreatedAt: e.clock.Now()})
		return err
	}
	if err := store.Update(e.Context(), put); err != nil {
		e.Fatal(err)
	}
	if err := e.hub.Create(e.Context(), mine); err != nil {
		e.Fatal(err)
	}
	for range 3 {
		if _, err := e.hub.Publish(e.Context(), "mine", message{}); err != nil {
			e.Fatal(err)
		}
	}
	sub, err := e.hub.Subscribe(e.Context(), "mine", live.Public(), live.Options{})
	if err != nil {
		e.Fatal(err)
	}
	defer sub.Close()
	if err := store.Update(e.Context(), func(tx storage.Tx) error { return tx.DeleteAccount(did) }); err != nil {
		e.Fatal(err)
	}
	e.clock.Pass(live.DefaultPoll)
	(&reader{e: e, sub: sub}).wantEnd(live.ErrDeleted)
	if n := e.stored(); n != 0 {
		e.Errorf("%d entries are left", n)
	}
	if err := store.Update(e.Context(), put); err != nil {
		e.Fatal(err)
	}
	if err := e.hub.Create(e.Context(), mine); err != nil {
		e.Fatal(err)
	}
	if entry, err := e.hub.Publish(e.Context(), "mine", message{}); err != nil || entry.Seq != 1 {
		e.Errorf("the first message of the new topic: %d, %v", entry.Seq, err)
	}
}

func behind(e *env) {
	h := e.newHub(live.Limits{Behind: 10})
	info := e.info()
	slow := e.subscribe(h, "")
	e.fill(10)
	h.Wake(topic)
	slow.wantMessages(1, 1) // it takes a batch, and rests
	slow.list = nil
	at := e.subscribe(h, info.Cursor(0))
	at.wantMessages(1, 10) // at the edge
	e.fill(11)
	h.Wake(topic)
	at.wantGap(live.Gap{From: 11, To: 21})
	gap := slow.wantGap(live.Gap{From: 11, To: 21})
	e.publish(h, "22")
	slow.wantMessages(22, 22)
	e.subscribe(h, gap.Cursor).wantMessages(22, 22)
	e.subscribe(h, info.Cursor(0)).wantGap(live.Gap{From: 1, To: 22})
}

func severalProcesses(e *env) {
	other := e.newHub(live.Limits{Poll: time.Minute})
	r := e.subscribe(other, "")
	e.publishN(1, 5)
	r.wantNothing()
	e.clock.Pass(time.Minute)
	r.wantMessages(1, 5)
	if err := e.hub.Redact(e.Context(), topic, 1); err != nil {
		e.Fatal(err)
	}
	e.publish(other, "7") // whoever publishes sees the other's, too
	if ev := r.next(); ev.Kind != live.KindRedaction {
		e.Errorf("got %s", ev.JSON())
	}
	r.wantMessages(7, 7)
	if err := e.hub.Delete(e.Context(), topic); err != nil {
		e.Fatal(err)
	}
	e.clock.Pass(time.Minute)
	r.wantEnd(live.ErrDeleted)
}
