package pds_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
)

func next(t *testing.T, s *pdstest.Events) *pdstest.Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ev, err := s.Next(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return ev
}

func subscribe(t *testing.T, srv *pdstest.PDS, cursor int64) *pdstest.Events {
	t.Helper()
	s, err := srv.Subscribe(t.Context(), cursor)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A new account is one group of events, and its #sync equals its commit.
func TestFirehoseCreationGroup(t *testing.T) {
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	s := subscribe(t, srv, 0)
	defer s.Close()
	var kinds []string
	var commit, sync *pdstest.Event
	for range 4 {
		ev := next(t, s)
		kinds = append(kinds, ev.Kind)
		if ev.DID != alice.DID || !strings.HasSuffix(ev.Time, "Z") || len(ev.Time) != 24 {
			t.Errorf("%s of %s at %q", ev.Kind, ev.DID, ev.Time)
		}
		switch ev.Kind {
		case "#commit":
			commit = ev
		case "#sync":
			sync = ev
		}
	}
	if !slices.Equal(kinds, []string{"#identity", "#account", "#commit", "#sync"}) {
		t.Fatalf("the group is %v", kinds)
	}
	roots, blocks := readSyncCAR(t, sync.Blocks)
	if len(roots) != 1 || len(blocks) != 1 || roots[0] != commit.Commit || blocks[0].CID != commit.Commit || sync.Rev != commit.Rev {
		t.Errorf("#sync is at %v %v, #commit at %v %v", roots, sync.Rev, commit.Commit, commit.Rev)
	}
	if commit.Since != "" || commit.PrevData.Defined() {
		t.Errorf("the first commit has since %q, prevData %v", commit.Since, commit.PrevData)
	}
}

// Whoever sees a #commit finds it by the queries, or a newer one.
func TestFirehoseNeverAheadOfQueries(t *testing.T) {
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	s := subscribe(t, srv, 0)
	defer s.Close()
	n := scaled(100)
	go func() {
		for i := range n {
			_, _ = callJSON(t.Context(), alice, "com.atproto.repo.createRecord",
				map[string]any{"repo": alice.DID, "collection": "app.bsky.feed.post", "record": syncPost(fmt.Sprint(i))})
		}
	}()
	for seen := 0; seen < n; {
		ev := next(t, s)
		if ev.Kind != "#commit" || len(ev.Ops) == 0 {
			continue
		}
		seen++
		var latest struct{ CID, Rev string }
		srv.Get("com.atproto.sync.getLatestCommit", "", url.Values{"did": {string(alice.DID)}}, &latest)
		if latest.Rev < string(ev.Rev) {
			t.Fatalf("event of %s, but the head is at %s", ev.Rev, latest.Rev)
		}
		collection, rkey, _ := strings.Cut(ev.Ops[0].Path, "/")
		var rec struct{ CID string }
		srv.Get("com.atproto.repo.getRecord", "",
			url.Values{"repo": {string(alice.DID)}, "collection": {collection}, "rkey": {rkey}}, &rec)
		if rec.CID != ev.Ops[0].CID.String() {
			t.Fatalf("%s is %s, not %s", ev.Ops[0].Path, rec.CID, ev.Ops[0].CID)
		}
	}
}

// Many consumers that connect, drop, come back and lag at random see every
// number once and in order.
func TestFirehose100SlowAndFastSubscribers(t *testing.T) {
	consumers, writes := 100, 300
	if testing.Short() {
		consumers, writes = 30, 100
	}
	srv := pdstest.New(t, func(c *pds.Config) { c.Limits.RingBytes = 200 << 10 })
	alice := srv.CreateAccount("alice")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	const end = "the end"
	var wg sync.WaitGroup
	seen := make([][]int64, consumers)
	for i := range seen {
		wg.Go(func() {
			cursor := int64(0)
			for {
				s, err := srv.Subscribe(ctx, cursor)
				if err != nil {
					t.Error(err)
					return
				}
				for range 1 + rand.IntN(writes) { // then it drops the connection
					ev, err := s.Next(ctx)
					if err != nil {
						t.Errorf("consumer %d at %d: %v", i, cursor, err)
						return
					}
					seen[i] = append(seen[i], ev.Seq)
					cursor = ev.Seq
					if len(ev.Ops) > 0 && strings.HasSuffix(ev.Ops[0].Path, "/end") {
						s.Close()
						return
					}
					if i%4 == 0 {
						time.Sleep(time.Duration(rand.IntN(3)) * time.Millisecond) // a slow one
					}
				}
				s.Close()
			}
		})
	}
	for i := range writes {
		alice.CreateRecord("app.bsky.feed.post", syncPost(fmt.Sprint(i)))
	}
	alice.Post("com.atproto.repo.putRecord", map[string]any{
		"repo": alice.DID, "collection": "com.example.thing", "rkey": "end", "record": map[string]any{"text": end},
	}, nil)
	wg.Wait()
	want := seen[0]
	if len(want) < writes+5 || !slices.IsSorted(want) {
		t.Fatalf("%d events", len(want))
	}
	for i := range seen {
		if !slices.Equal(seen[i], want) {
			t.Errorf("consumer %d saw %d events, or others, or in another order; want %d", i, len(seen[i]), len(want))
		}
	}
}

// Without a cursor only new events come; with the newest none comes again.
func TestFirehoseLiveFollows(t *testing.T) {
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	events := allEvents(t, srv)
	newest := events[len(events)-1].Seq
	for _, cursor := range []int64{newest} {
		s := subscribe(t, srv, cursor)
		_, cid := alice.CreateRecord("app.bsky.feed.post", syncPost("new"))
		ev := next(t, s)
		if ev.Seq <= newest || len(ev.Ops) != 1 || ev.Ops[0].CID.String() != cid {
			t.Errorf("cursor %d: %+v", cursor, ev)
		}
		s.Close()
	}
}

// The errors come as a frame, and then as the reason of close code 1008.
func TestFirehoseFutureCursor(t *testing.T) {
	srv := pdstest.New(t)
	srv.CreateAccount("alice")
	u := "ws" + strings.TrimPrefix(srv.URL, "http") + "/xrpc/com.atproto.sync.subscribeRepos?cursor=9000000000000000"
	conn, _, err := websocket.Dial(t.Context(), u, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	_, frame, err := conn.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var e *pdstest.Error
	if _, err := pdstest.DecodeEvent(frame); !errors.As(err, &e) || e.Name != "FutureCursor" {
		t.Errorf("the frame says %v", err)
	}
	_, _, err = conn.Read(t.Context())
	var c websocket.CloseError
	if !errors.As(err, &c) || c.Code != websocket.StatusPolicyViolation || c.Reason != "FutureCursor" {
		t.Errorf("closed with %v", err)
	}
}

// An outdated cursor gets an #info and then the window.
func TestFirehoseOutdatedCursor(t *testing.T) {
	srv := pdstest.New(t)
	srv.CreateAccount("alice")
	srv.Clock.Advance(25 * time.Hour)
	bob := srv.CreateAccount("bob")
	s := subscribe(t, srv, 1)
	defer s.Close()
	if ev := next(t, s); ev.Kind != "#info" || ev.Name != "OutdatedCursor" || ev.Message == "" {
		t.Errorf("first comes %+v", ev)
	}
	for range 4 {
		if ev := next(t, s); ev.DID != bob.DID {
			t.Errorf("%s of %s is not in the window", ev.Kind, ev.DID)
		}
	}
}

// A client that stops reading while the ring moves on is told ConsumerTooSlow
// when it reads again, after what was on its way.
func TestFirehoseStalledReaderIsToldConsumerTooSlow(t *testing.T) {
	const stall = 300 * time.Millisecond
	srv := pdstest.New(t, func(c *pds.Config) {
		c.Limits.RingBytes, c.Limits.StallTime = 64<<10, stall
	})
	alice := srv.CreateAccount("alice")
	big := strings.Repeat("x", 100<<10)
	for i := range 90 { // more than kernel buffers take
		alice.Post("com.atproto.repo.putRecord", map[string]any{
			"repo": alice.DID, "collection": "com.example.big", "rkey": fmt.Sprint("r", i), "record": map[string]any{"text": big + fmt.Sprint(i)},
		}, nil)
	}
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetReadBuffer(256 << 10)
		}
		return conn, err
	}}}
	u := "ws" + strings.TrimPrefix(srv.URL, "http") + "/xrpc/com.atproto.sync.subscribeRepos?cursor=0"
	conn, _, err := websocket.Dial(t.Context(), u, &websocket.DialOptions{HTTPClient: client})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	conn.SetReadLimit(8 << 20)
	time.Sleep(stall + stall/2) // the client is slow
	last := int64(0)
	for {
		_, frame, err := conn.Read(t.Context())
		if err != nil {
			t.Fatalf("after %d: %v", last, err)
		}
		ev, err := pdstest.DecodeEvent(frame)
		if e, said := errors.AsType[*pdstest.Error](err); said {
			if e.Name != "ConsumerTooSlow" {
				t.Errorf("the frame says %v", err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if last = ev.Seq; len(ev.Ops) == 1 && strings.HasSuffix(ev.Ops[0].Path, "/r89") {
			t.Skip("the kernel's buffers took everything")
		}
	}
}

// Who asks for JSON gets JSON.
func TestFirehoseJSON(t *testing.T) {
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	u := "ws" + strings.TrimPrefix(srv.URL, "http") + "/xrpc/com.atproto.sync.subscribeRepos?cursor=0"
	conn, _, err := websocket.Dial(t.Context(), u, &websocket.DialOptions{Subprotocols: []string{"xrpc.v1.json"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	for _, kind := range []string{"identity", "account", "commit", "sync"} {
		typ, frame, err := conn.Read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var m struct {
			Type    string `json:"$type"`
			Payload struct {
				Type      string `json:"$type"`
				DID, Repo string
				Seq       int64
			}
		}
		if err := json.Unmarshal(frame, &m); err != nil {
			t.Fatal(err)
		}
		if typ != websocket.MessageText || m.Type != "message" || m.Payload.Seq == 0 ||
			m.Payload.Type != "com.atproto.sync.subscribeRepos#"+kind || m.Payload.DID+m.Payload.Repo != string(alice.DID) {
			t.Errorf("%s: %s", kind, frame)
		}
	}
}
