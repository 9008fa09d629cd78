package pds_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/atdata"
	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/coder/websocket"

	"github.com/pdskit/pdskit/live"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/repo"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

const (
	watchNSID = "com.example.room.watch"
	roomTopic = "com.example.room/1"
)

type watchParams struct {
	Topic  string `json:"topic"`
	Cursor string `json:"cursor,omitempty"`
	Client string `json:"client,omitempty"`
}

// neverPoll leaves topics and streams nothing but to be told: what is noticed then,
// is noticed at once, however busy the machine is.
func neverPoll(cfg *pds.Config) {
	cfg.Live = live.Limits{Poll: 24 * time.Hour, Recheck: 24 * time.Hour}
	cfg.Stream.Recheck = 24 * time.Hour
}

// newLiveServer runs a server with a room, and a method that serves topics by a
// rule.
func newLiveServer(t *testing.T, rule live.Rule, adjust ...func(*pds.Config)) *pdstest.PDS {
	t.Helper()
	srv := pdstest.New(t, append(adjust, neverPoll)...)
	srv.Handle(xrpc.Subscription(watchNSID, xrpc.Public(), func(ctx context.Context, p *watchParams, stream *xrpc.Stream) error {
		return srv.ServeTopic(ctx, stream, p.Topic, rule, live.Options{Cursor: p.Cursor, Client: p.Client})
	}))
	ok(t, srv.Live().Create(t.Context(), live.Topic{Name: roomTopic}))
	return srv
}

// watch opens the method and returns a function that waits for the next frame,
// or for the end as "close <code> <reason>".
func watch(t *testing.T, srv *pdstest.PDS, topic, cursor string, protocols ...string) (next func() string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	url := "ws" + strings.TrimPrefix(srv.URL, "http") + "/xrpc/" + watchNSID + "?client=did:web:alice.test&topic=" + topic + "&cursor=" + cursor
	conn, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{Subprotocols: protocols})
	ok(t, err)
	t.Cleanup(func() { _ = conn.CloseNow() })
	return func() string {
		t.Helper()
		kind, data, err := conn.Read(ctx)
		if end, isClose := errors.AsType[websocket.CloseError](err); isClose {
			return "close " + end.Code.String() + " " + end.Reason
		}
		ok(t, err)
		if kind == websocket.MessageText {
			return string(data)
		}
		return hex.EncodeToString(data)
	}
}

func TestServeTopic(t *testing.T) {
	t.Parallel()
	srv := newLiveServer(t, live.Public())
	info, err := srv.Live().Topic(t.Context(), roomTopic)
	ok(t, err)
	first, err := srv.Live().Publish(t.Context(), roomTopic, map[string]string{"text": "hello"})
	ok(t, err)
	ok(t, srv.Live().Redact(t.Context(), roomTopic, 1))
	at := first.Time.Format("2006-01-02T15:04:05.000Z")

	next := watch(t, srv, roomTopic, info.Cursor(0), "xrpc.v1.json")
	for n, want := range []string{
		`{"$type":"message","payload":{"$type":"com.example.room.watch#message","topic":"com.example.room/1","cursor":"` + info.Cursor(1) + `","seq":1,"time":"` + at + `","redacted":true}}`,
		`{"$type":"message","payload":{"$type":"com.example.room.watch#redaction","topic":"com.example.room/1","cursor":"` + info.Cursor(2) + `","seq":2,`,
	} {
		if got := next(); !strings.HasPrefix(got, want) {
			t.Errorf("frame %d: %s, want %s", n, got, want)
		}
	}
	ok(t, srv.Live().Signal(roomTopic, "typing/alice", map[string]bool{"on": true}, time.Minute))
	if got, want := next(), `{"$type":"message","payload":{"$type":"com.example.room.watch#signal","topic":"com.example.room/1","key":"typing/alice","data":{"on":true}}}`; got != want {
		t.Errorf("signal: %s", got)
	}
	_, err = srv.Live().Publish(t.Context(), roomTopic, map[string]string{"text": "bye"})
	ok(t, err)
	if got := next(); !strings.Contains(got, `"data":{"text":"bye"}`) {
		t.Errorf("live: %s", got)
	}

	// The same in the older protocol.
	next = watch(t, srv, roomTopic, info.Cursor(2))
	frame, err := hex.DecodeString(next())
	ok(t, err)
	header := xrpc.EncodeMessageHeader("#message")
	if !strings.HasPrefix(string(frame), string(header)) {
		t.Fatalf("frame %x", frame)
	}
	body, err := atdata.UnmarshalCBOR(frame[len(header):])
	ok(t, err)
	if data, _ := body["data"].(map[string]any); body["seq"] != int64(3) || body["cursor"] != info.Cursor(3) || data["text"] != "bye" {
		t.Errorf("body %v", body)
	}
}

func TestServeTopicErrors(t *testing.T) {
	t.Parallel()
	var verdict atomic.Pointer[error]
	srv := newLiveServer(t, func(context.Context) error {
		if err := verdict.Load(); err != nil {
			return *err
		}
		return nil
	})
	closed := func(next func() string, name string) {
		t.Helper()
		if got := next(); !strings.HasPrefix(got, `{"$type":"error","error":"`+name+`"`) || strings.Contains(got, "secret") {
			t.Errorf("%s: frame %s", name, got)
		}
		if got := next(); got != "close StatusPolicyViolation "+name {
			t.Errorf("%s: %s", name, got)
		}
	}
	closed(watch(t, srv, "none", "", "xrpc.v1.json"), "TopicNotFound")
	closed(watch(t, srv, roomTopic, "x", "xrpc.v1.json"), "InvalidCursor")
	closed(watch(t, srv, strings.Repeat("x", live.MaxTopicName+1), "", "xrpc.v1.json"), "InvalidTopic")

	waited := 0
	await := func() func() string { // returns when the subscription is there
		t.Helper()
		next := watch(t, srv, roomTopic, "", "xrpc.v1.json")
		waited++
		key := fmt.Sprintf("key %d", waited)
		ok(t, srv.Live().Signal(roomTopic, key, map[string]int{}, time.Minute))
		for got := ""; !strings.Contains(got, key); {
			if got = next(); !strings.Contains(got, "#signal") {
				t.Fatalf("got %s", got)
			}
		}
		return next
	}
	next := await()
	srv.Live().Revoke("did:web:alice.test", roomTopic, nil)
	closed(next, "SubscriptionRevoked")
	next = await()
	srv.Live().Revoke("did:web:alice.test", "", xrpc.NewError(403, "SignedOut", "You have signed out"))
	closed(next, "SignedOut")

	// A ban, with the change of the rights that it is: within a second.
	next = await()
	var banned error = xrpc.NewError(403, "Banned", "You are banned")
	verdict.Store(&banned)
	ok(t, srv.Update(t.Context(), func(st *pds.State) error {
		if err := st.PutJSON(stateKey("", "ban"), 1); err != nil {
			return err
		}
		return st.RecheckTopic(roomTopic)
	}))
	began := time.Now()
	closed(next, "Banned")
	t.Logf("cut off after %v", time.Since(began))
	odd := errors.New("a secret")
	verdict.Store(&odd)
	closed(watch(t, srv, roomTopic, "", "xrpc.v1.json"), "InternalServerError")
	verdict.Store(nil)

	next = await()
	ok(t, srv.Update(t.Context(), func(st *pds.State) error { return st.DeleteTopic(roomTopic) }))
	closed(next, "TopicDeleted")
}

func TestServeTopicShutdown(t *testing.T) {
	t.Parallel()
	srv := newLiveServer(t, live.Public())
	next := watch(t, srv, roomTopic, "", "xrpc.v1.json")
	sub, err := srv.Live().Subscribe(t.Context(), roomTopic, live.Public(), live.Options{})
	ok(t, err)
	defer sub.Close()
	down := make(chan error)
	go func() { down <- srv.Shutdown(t.Context()) }()
	if got := next(); got != "close StatusGoingAway server is shutting down" {
		t.Errorf("got %s", got)
	}
	ok(t, <-down)
	if _, err := sub.Next(t.Context()); !errors.Is(err, live.ErrClosed) {
		t.Errorf("a subscription without a stream: %v", err)
	}
	if _, err := srv.Live().Publish(t.Context(), roomTopic, map[string]int{}); err != nil {
		t.Errorf("a request that still runs: %v", err)
	}
}

// TestPublishWithCommit: a record and the message about it are there together
// or not at all, and subscribers learn of it at once.
func TestPublishWithCommit(t *testing.T) {
	t.Parallel()
	policy := pds.PolicyFunc(func(_ context.Context, w *pds.Write) error {
		for _, op := range w.Ops {
			m := map[string]string{"uri": string(op.URI(w.Account))}
			if op.RKey == "none" {
				return w.State.Publish("no such topic", m)
			}
			if err := w.State.Publish(roomTopic, m); err != nil {
				return err
			}
			if op.RKey == "denied" {
				return xrpc.NewError(403, "No", "not this one")
			}
		}
		return nil
	})
	srv := newLiveServer(t, live.Public(), func(cfg *pds.Config) { cfg.Policy = policy })
	alice := srv.CreateAccount("alice")
	sub, err := srv.Live().Subscribe(t.Context(), roomTopic, live.Public(), live.Options{})
	ok(t, err)
	defer sub.Close()

	const collection = "com.example.note"
	put := func(rkey syntax.RecordKey) error {
		rec, err := repo.RecordFromValue(map[string]any{"text": "hello"}, collection)
		ok(t, err)
		_, err = srv.Apply(t.Context(), pds.Batch{Account: alice.DID, Actor: alice.DID, Ops: []pds.Op{{
			Action: pds.Create, Collection: collection, RKey: rkey, Record: rec,
		}}})
		return err
	}
	if err := put("denied"); xrpc.ErrorName(err) != "No" {
		t.Errorf("denied: %v", err)
	}
	if err := put("none"); !errors.Is(err, live.ErrNotFound) {
		t.Errorf("a message for no topic: %v", err)
	}
	ok(t, put("one"))
	if err := put("one"); err == nil {
		t.Error("the same record twice")
	}
	ok(t, put("two"))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var got []string
	for len(got) < 2 {
		events, err := sub.Next(ctx)
		ok(t, err)
		for _, ev := range events {
			got = append(got, string(ev.Entry.Data))
		}
	}
	uri := func(rkey string) string {
		return `{"uri":"at://` + string(alice.DID) + "/" + collection + "/" + rkey + `"}`
	}
	if got[0] != uri("one") || got[1] != uri("two") {
		t.Errorf("messages %v", got)
	}
	info, err := srv.Live().Topic(t.Context(), roomTopic)
	ok(t, err)
	if info.Last != 2 {
		t.Errorf("%d messages, want 2", info.Last)
	}
}

func TestStateTopics(t *testing.T) {
	t.Parallel()
	srv := newLiveServer(t, live.Public())
	alice := srv.CreateAccount("alice")
	own := live.Topic{Name: "com.example.own", Owner: alice.DID}
	failed := errors.New("no")
	err := srv.Update(t.Context(), func(st *pds.State) error {
		ok(t, st.CreateTopic(own))
		return failed
	})
	if !errors.Is(err, failed) {
		t.Fatal(err)
	}
	if _, err := srv.Live().Topic(t.Context(), own.Name); !errors.Is(err, live.ErrNotFound) {
		t.Errorf("after a failure: %v", err)
	}
	ok(t, srv.Update(t.Context(), func(st *pds.State) error {
		for _, err := range []error{
			st.CreateTopic(own), st.Publish(own.Name, map[string]int{"n": 1}), st.Publish(own.Name, map[string]int{"n": 2}), st.Redact(own.Name, 1),
		} {
			if err != nil {
				return err
			}
		}
		return nil
	}))
	page, err := srv.Live().Page(t.Context(), own.Name, live.Query{})
	ok(t, err)
	if len(page.Entries) != 3 || !page.Entries[0].Redacted || page.Entries[2].Redacts != 1 {
		t.Errorf("entries %+v", page.Entries)
	}
	for name, change := range map[string]func(*pds.State) error{
		"exists":  func(st *pds.State) error { return st.CreateTopic(own) },
		"none":    func(st *pds.State) error { return st.Publish("none", map[string]int{}) },
		"invalid": func(st *pds.State) error { return st.Publish(own.Name, 1) },
		"entry":   func(st *pds.State) error { return st.Redact(own.Name, 9) },
	} {
		want := map[string]error{"exists": live.ErrExists, "none": live.ErrNotFound, "invalid": live.ErrInvalid, "entry": live.ErrNotFound}[name]
		if err := srv.Update(t.Context(), change); !errors.Is(err, want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	ok(t, srv.View(t.Context(), func(st *pds.State) error {
		if err := st.Publish(own.Name, map[string]int{}); !errors.Is(err, pds.ErrReadOnly) {
			t.Errorf("in a View: %v", err)
		}
		if err := st.RecheckTopic(own.Name); !errors.Is(err, pds.ErrReadOnly) {
			t.Errorf("in a View: %v", err)
		}
		return nil
	}))
	err = srv.Update(t.Context(), func(st *pds.State) error {
		for range pds.MaxStateWrites + 1 {
			if err := st.Publish(own.Name, map[string]int{}); err != nil {
				return err
			}
		}
		return nil
	})
	if !errors.Is(err, pds.ErrStateLimit) {
		t.Errorf("too many messages: %v", err)
	}
	// Topics leave with their owner.
	ok(t, srv.DeleteAccount(t.Context(), alice.DID, pds.By{}))
	if _, err := srv.Live().Topic(t.Context(), own.Name); !errors.Is(err, storage.ErrNotFound) {
		t.Errorf("after its owner has left: %v", err)
	}
}
