package livetest

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/pdskit/pdskit/live"
	"github.com/pdskit/pdskit/storage"
)

func dense(e *env) {
	const writers, each = 8, 25
	r := e.subscribe(e.hub, "")
	var wg sync.WaitGroup
	var mu sync.Mutex
	texts := map[int64]string{}
	for w := range writers {
		wg.Go(func() {
			for n := range each {
				text := fmt.Sprint(w, "/", n)
				entry, err := e.hub.Publish(e.Context(), topic, message{text})
				if err != nil {
					e.Error(err)
					return
				}
				mu.Lock()
				if other, ok := texts[entry.Seq]; ok {
					e.Errorf("%s and %s have the number %d", other, text, entry.Seq)
				}
				texts[entry.Seq] = text
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for seq := int64(1); seq <= writers*each; seq++ {
		ev := r.next()
		var m message
		if err := json.Unmarshal(ev.Entry.Data, &m); err != nil || ev.Entry.Seq != seq || m.Text != texts[seq] {
			e.Fatalf("got %s, want %d %q", ev.JSON(), seq, texts[seq])
		}
	}
	if info := e.info(); info.First != 1 || info.Last != writers*each {
		e.Errorf("the topic has %d to %d", info.First, info.Last)
	}
}

func failedTransaction(e *env) {
	failed := errors.New("no")
	err := e.update(func(tx storage.Docs) error {
		if _, err := live.Append(tx, e.clock.Now(), topic, json.RawMessage(`{}`)); err != nil {
			return err
		}
		if err := live.Create(tx, e.clock.Now(), live.Topic{Name: "other"}); err != nil {
			return err
		}
		return failed
	})
	e.matches("Update", err, failed)
	if n := e.stored(); n != 0 {
		e.Errorf("%d entries are left", n)
	}
	_, err = e.hub.Topic(e.Context(), "other")
	e.matches("Topic", err, live.ErrNotFound)
	if entry := e.publish(e.hub, "first"); entry.Seq != 1 {
		e.Errorf("the first message has number %d", entry.Seq)
	}
}

func manyInOne(e *env) {
	r := e.subscribe(e.hub, "")
	err := e.update(func(tx storage.Docs) error {
		if err := live.Create(tx, e.clock.Now(), live.Topic{Name: "other"}); err != nil {
			return err
		}
		for n := range 3 {
			for _, name := range []string{topic, "other"} {
				entry, err := live.Append(tx, e.clock.Now(), name, json.RawMessage(`{"n":1}`))
				if err == nil && entry.Seq != int64(n+1) {
					err = fmt.Errorf("message %d has number %d", n+1, entry.Seq)
				}
				if err != nil {
					return err
				}
			}
		}
		return live.Redact(tx, e.clock.Now(), topic, 2)
	})
	if err != nil {
		e.Fatal(err)
	}
	e.hub.Wake(topic, "other", "no such topic")
	r.wantMessages(1, 3)
	if ev := r.next(); ev.Kind != live.KindRedaction || ev.Entry.Redacts != 2 {
		e.Errorf("got %s", ev.JSON())
	}
}

func times(e *env) {
	first := e.publish(e.hub, "first")
	e.clock.Step(-time.Hour)
	second := e.publish(e.hub, "second")
	e.clock.Pass(2 * time.Hour)
	third := e.publish(e.hub, "third")
	if second.Time.Before(first.Time) || !third.Time.After(second.Time) {
		e.Errorf("%v, %v, %v", first.Time, second.Time, third.Time)
	}
	for n, entry := range e.page(live.Query{}).Entries {
		if want := []live.Entry{first, second, third}[n]; !entry.Time.Equal(want.Time) {
			e.Errorf("entry %d: %v, published %v", n+1, entry.Time, want.Time)
		}
	}
}

func limits(e *env) {
	ctx := e.Context()
	long := strings.Repeat("n", live.MaxTopicName)
	if err := e.hub.Create(ctx, live.Topic{Name: long}); err != nil {
		e.Errorf("the longest name: %v", err)
	}
	for _, name := range []string{"", long + "n", "a\xff"} {
		e.matches("Create", e.hub.Create(ctx, live.Topic{Name: name}), live.ErrInvalid)
	}
	e.matches("Create", e.hub.Create(ctx, live.Topic{Name: topic}), live.ErrExists)
	e.matches("Create", e.hub.Create(ctx, live.Topic{Name: topic}), storage.ErrExists)
	e.matches("Create", e.hub.Create(ctx, live.Topic{Name: "a", Keep: live.Retention{Count: -1}}), live.ErrInvalid)
	e.matches("Create", e.hub.Create(ctx, live.Topic{Name: "a", Keep: live.Retention{Age: time.Millisecond}}), live.ErrInvalid)
	e.matches("SetRetention", e.hub.SetRetention(ctx, topic, live.Retention{Age: -1}), live.ErrInvalid)
	e.matches("SetRetention", e.hub.SetRetention(ctx, "none", live.Retention{}), live.ErrNotFound)

	const frame = len(`{"text":""}`)
	if _, err := e.hub.Publish(ctx, topic, message{strings.Repeat("x", live.MaxMessageBytes-frame)}); err != nil {
		e.Errorf("the largest message: %v", err)
	}
	for _, data := range []any{
		message{strings.Repeat("x", live.MaxMessageBytes-frame+1)},
		"text", 1, nil, []int{1}, map[string]any{"a": 1.5}, json.RawMessage(`{`), json.RawMessage(``), json.RawMessage(nil),
		json.RawMessage(`{"a":1,"a":1}`), make(chan int),
	} {
		_, err := e.hub.Publish(ctx, topic, data)
		e.matches("Publish", err, live.ErrInvalid)
	}
	_, err := e.hub.Publish(ctx, "none", message{})
	e.matches("Publish", err, live.ErrNotFound)
	e.matches("Publish", err, storage.ErrNotFound)
	for _, seq := range []int64{-1, 0, 2} {
		e.matches("Redact", e.hub.Redact(ctx, topic, seq), live.ErrNotFound)
	}
	e.matches("Redact", e.hub.Redact(ctx, "none", 1), live.ErrNotFound)
	_, err = e.hub.Subscribe(ctx, "none", live.Public(), live.Options{})
	e.matches("Subscribe", err, live.ErrNotFound)
	_, err = e.hub.Page(ctx, "none", live.Query{})
	e.matches("Page", err, live.ErrNotFound)
	if err := e.hub.Delete(ctx, "none"); err != nil {
		e.Errorf("deleting what is not there: %v", err)
	}
	if entry, err := e.hub.Publish(ctx, topic, json.RawMessage(` {"a" : 1.0} `)); err != nil || string(entry.Data) != `{"a" : 1}` {
		e.Errorf("raw data: %s, %v", entry.Data, err)
	}
}

func history(e *env) {
	e.wantSeqs("an empty topic", e.page(live.Query{}))
	e.publishN(1, 120)
	e.wantSeqs("after 3, before 7", e.page(live.Query{From: 4, To: 7}), 4, 5, 6)
	e.wantSeqs("the same, newest first", e.page(live.Query{From: 4, To: 7, Reverse: true}), 6, 5, 4)
	e.wantSeqs("limited", e.page(live.Query{From: 4, Limit: 2}), 4, 5)
	e.wantSeqs("limited, newest first", e.page(live.Query{To: 7, Limit: 2, Reverse: true}), 6, 5)
	e.wantSeqs("from the end", e.page(live.Query{From: 121}))
	e.wantSeqs("nothing between", e.page(live.Query{From: 7, To: 7}))
	e.wantSeqs("wide", e.page(live.Query{From: -5, To: 1 << 50, Limit: 1}), 1)
	for limit, want := range map[int]int{0: live.DefaultPage, -1: live.DefaultPage, live.MaxPage: live.MaxPage, live.MaxPage + 1: live.MaxPage} {
		if n := len(e.page(live.Query{Limit: limit}).Entries); n != want {
			e.Errorf("limit %d: %d entries", limit, n)
		}
	}
	before := int64(0)
	for want := int64(120); ; {
		p := e.page(live.Query{To: before, Reverse: true, Limit: 33})
		if len(p.Entries) == 0 {
			if want != 0 {
				e.Errorf("the pages end before %d", want)
			}
			break
		}
		for _, entry := range p.Entries {
			if entry.Seq != want || string(entry.Data) != fmt.Sprintf(`{"text":"message %d"}`, want) {
				e.Fatalf("entry %d %s, want %d", entry.Seq, entry.Data, want)
			}
			want--
		}
		if before = p.Entries[len(p.Entries)-1].Seq; before == 1 {
			break
		}
	}
	// The newest page, then what comes after it.
	p := e.page(live.Query{Reverse: true, Limit: 1})
	e.publish(e.hub, "message 121")
	e.subscribe(e.hub, p.Topic.Cursor(p.Topic.Last)).wantMessages(121, 121)
}

func historyBytes(e *env) {
	big := message{strings.Repeat("x", live.MaxMessageBytes-100)}
	const n = 40
	for range n {
		if _, err := e.hub.Publish(e.Context(), topic, big); err != nil {
			e.Fatal(err)
		}
	}
	seen, from := 0, int64(1)
	for from <= n {
		p := e.page(live.Query{From: from, Limit: live.MaxPage})
		size := 0
		for _, entry := range p.Entries {
			size += len(entry.Data)
			if entry.Seq != from {
				e.Fatalf("entry %d, want %d", entry.Seq, from)
			}
			from++
		}
		if size > live.MaxPageBytes || size == 0 {
			e.Fatalf("a page of %d bytes", size)
		}
		seen++
	}
	if want := n/(live.MaxPageBytes/live.MaxMessageBytes) + 1; seen != want {
		e.Errorf("%d pages, want %d", seen, want)
	}
}

func resume(e *env) {
	e.publishN(1, 60)
	info := e.info()
	for _, at := range []int64{0, 1, 30, 59, 60} {
		r := e.subscribe(e.hub, info.Cursor(at))
		r.wantMessages(at+1, 60)
		r.wantNothing()
	}
	// A subscriber who was sent some and comes back with the cursor of each.
	r := e.subscribe(e.hub, info.Cursor(57))
	cursor := ""
	for n := int64(58); n <= 60; n++ {
		cursor = r.next().Cursor
		e.subscribe(e.hub, cursor).wantMessages(n+1, 60)
	}
	r.sub.Close()
	r.wantEnd(live.ErrClosed)
	again := e.subscribe(e.hub, cursor)
	e.publishN(61, 62)
	again.wantMessages(61, 62)

	for _, bad := range []string{"x", "-1", cursor + "0x", strings.ToLower(cursor), cursor + " ", info.Cursor(-1), "AAAAAAAAAAAAAAAA-01"} {
		_, err := e.hub.Subscribe(e.Context(), topic, live.Public(), live.Options{Cursor: bad})
		e.matches("cursor "+bad, err, live.ErrCursor)
	}
	e.subscribe(e.hub, info.Cursor(1000)).wantGap(live.Gap{From: 1, To: 62, Reset: true})
	r = e.subscribe(e.hub, "AAAAAAAAAAAAAAAA-5")
	ev := r.wantGap(live.Gap{From: 1, To: 62, Reset: true})
	e.publish(e.hub, "message 63")
	r.wantMessages(63, 63)
	e.subscribe(e.hub, ev.Cursor).wantMessages(63, 63)
}

// resumeWhileWritten drops and resumes subscriptions while others write.
func resumeWhileWritten(e *env) {
	const n = 150
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range n {
			if _, err := e.hub.Publish(e.Context(), topic, message{fmt.Sprint(i)}); err != nil {
				e.Error(err)
				return
			}
		}
	}()
	info := e.info()
	var wg sync.WaitGroup
	for every := range 4 {
		wg.Go(func() {
			cursor := info.Cursor(0)
			for want := int64(1); want <= n; {
				sub, err := e.hub.Subscribe(e.Context(), topic, live.Public(), live.Options{Cursor: cursor})
				if err != nil {
					e.Error(err)
					return
				}
				for range every*3 + 1 {
					events, err := sub.Next(e.Context())
					if err != nil {
						e.Error(err)
						sub.Close()
						return
					}
					for _, ev := range events {
						if ev.Kind != live.KindMessage || ev.Entry.Seq != want {
							e.Errorf("got %s, want %d", ev.JSON(), want)
							sub.Close()
							return
						}
						want++
						cursor = ev.Cursor
					}
					if want > n {
						break
					}
				}
				sub.Close()
			}
		})
	}
	wg.Wait()
	<-done
}

func redaction(e *env) {
	info := e.info()
	r := e.subscribe(e.hub, "")
	e.publish(e.hub, "one")
	secret := e.publish(e.hub, "the secret")
	e.publish(e.hub, "three")
	r.wantMessages(1, 3)
	late := e.subscribe(e.hub, info.Cursor(0)) // what it gets lies in memory
	if err := e.hub.Redact(e.Context(), topic, secret.Seq); err != nil {
		e.Fatal(err)
	}
	ev := r.next()
	if ev.Kind != live.KindRedaction || ev.Entry.Seq != 4 || ev.Entry.Redacts != 2 {
		e.Errorf("got %s", ev.JSON())
	}
	check := func(what string, r *reader) {
		e.Helper()
		for seq := int64(1); seq <= 4; seq++ {
			ev := r.next()
			if ev.Entry == nil || ev.Entry.Seq != seq || strings.Contains(string(ev.JSON()), "secret") {
				e.Errorf("%s: %s", what, ev.JSON())
			} else if seq == 2 && (!ev.Entry.Redacted || !strings.Contains(string(ev.JSON()), `"redacted":true`)) {
				e.Errorf("%s: no empty entry: %s", what, ev.JSON())
			}
		}
	}
	check("from memory", late)
	check("from the store", e.subscribe(e.newHub(live.Limits{}), info.Cursor(0)))
	e.subscribe(e.newHub(live.Limits{}), info.Cursor(3)).next() // the notice alone

	err := e.store.View(e.Context(), func(tx storage.Tx) error {
		docs, err := tx.ScanDocs("live-entry", storage.Scan{Limit: 100})
		for _, d := range docs {
			if strings.Contains(string(d.Value), "secret") {
				e.Errorf("the store has %s", d.Value)
			}
		}
		return err
	})
	if err != nil {
		e.Fatal(err)
	}
	p := e.page(live.Query{})
	e.wantSeqs("history", p, 1, 2, 3, 4)
	if got := p.Entries[1]; !got.Redacted || got.Data != nil || !got.Time.Equal(secret.Time) {
		e.Errorf("the entry is %+v", got)
	}
	if err := e.hub.Redact(e.Context(), topic, 2); err != nil {
		e.Errorf("redacting again: %v", err)
	}
	e.matches("redacting a notice", e.hub.Redact(e.Context(), topic, 4), live.ErrNotFound)
	if e.info().Last != 4 {
		e.Error("what changes nothing has left an entry")
	}
}

// fill publishes many messages in few transactions.
func (e *env) fill(n int) {
	e.Helper()
	for n > 0 {
		some := min(n, 200)
		n -= some
		err := e.update(func(tx storage.Docs) error {
			for range some {
				if _, err := live.Append(tx, e.clock.Now(), topic, json.RawMessage(`{}`)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			e.Fatal(err)
		}
	}
	e.hub.Wake(topic)
}

func retentionByCount(e *env) {
	info := e.info()
	if err := e.hub.SetRetention(e.Context(), topic, live.Retention{Count: 10}); err != nil {
		e.Fatal(err)
	}
	e.fill(10)
	e.maintain()
	if e.stored() != 10 {
		e.Errorf("%d entries, all ten should be left", e.stored())
	}
	e.fill(1200) // more than goes in one transaction
	e.maintain()
	if got := e.info(); got.First != 1201 || got.Last != 1210 || e.stored() != 10 {
		e.Errorf("%d to %d, %d stored", got.First, got.Last, e.stored())
	}
	e.wantSeqs("history", e.page(live.Query{Limit: 2}), 1201, 1202)
	h := e.newHub(live.Limits{Behind: 5000})
	r := e.subscribe(h, info.Cursor(5))
	r.wantGap(live.Gap{From: 6, To: 1200})
	r.wantMessages(1201, 1210)
	e.subscribe(h, info.Cursor(1200)).wantMessages(1201, 1210)
	e.matches("Redact", e.hub.Redact(e.Context(), topic, 1200), live.ErrNotFound)

	if err := e.hub.SetRetention(e.Context(), topic, live.Retention{}); err != nil {
		e.Fatal(err)
	}
	e.fill(5)
	e.maintain()
	if e.stored() != 15 {
		e.Errorf("%d stored, want 15", e.stored())
	}
}

func retentionByAge(e *env) {
	info := e.info()
	if err := e.hub.SetRetention(e.Context(), topic, live.Retention{Age: time.Hour, Count: 1000}); err != nil {
		e.Fatal(err)
	}
	e.fill(700)
	e.clock.Pass(30 * time.Minute)
	e.fill(3)
	e.clock.Pass(30 * time.Minute)
	e.maintain()
	if got := e.info(); got.First != 1 {
		e.Errorf("what is an hour old is gone: %d", got.First)
	}
	e.clock.Pass(time.Second)
	e.maintain()
	if got := e.info(); got.First != 701 || got.Last != 703 || e.stored() != 3 {
		e.Errorf("%d to %d, %d stored", got.First, got.Last, e.stored())
	}
	e.clock.Pass(time.Hour)
	e.maintain()
	if got := e.info(); got.First != 704 || got.Last != 703 || e.stored() != 0 {
		e.Errorf("%d to %d, %d stored", got.First, got.Last, e.stored())
	}
	r := e.subscribe(e.hub, info.Cursor(700))
	e.fill(1)
	r.wantGap(live.Gap{From: 701, To: 703})
	r.wantMessages(704, 704)
}
