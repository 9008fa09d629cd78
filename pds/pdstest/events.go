package pdstest

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/bluesky-social/indigo/atproto/atdata"
	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/coder/websocket"
	"github.com/ipfs/go-cid"

	"github.com/pdskit/pdskit/repo"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// Event is an event of the firehose.
type Event struct {
	Kind string // "#commit", "#sync", "#identity", "#account" or "#info"
	Seq  int64
	DID  syntax.DID
	Time string

	// #commit and #sync
	Rev      syntax.TID
	Since    syntax.TID
	Commit   cid.Cid
	PrevData cid.Cid
	Ops      []repo.Op
	Blocks   []byte // CAR

	// #account
	Active bool
	Status string

	// #identity
	Handle syntax.Handle

	// #info
	Name, Message string
}

// Events is a subscription to the firehose.
type Events struct {
	conn *websocket.Conn
}

// Subscribe opens the firehose after a cursor, or, with a negative one, at its
// end: what is stored from now on comes. The connection closes with ctx, at the
// latest with the test.
func (p *PDS) Subscribe(ctx context.Context, cursor int64) (*Events, error) {
	if cursor < 0 { // a request without a cursor begins when the server has come to it
		err := p.Config.Store.View(ctx, func(tx storage.Tx) (err error) {
			cursor, err = tx.LastSeq()
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	u := "ws" + strings.TrimPrefix(p.URL, "http") + "/xrpc/com.atproto.sync.subscribeRepos?cursor=" + strconv.FormatInt(cursor, 10)
	conn, _, err := websocket.Dial(ctx, u, nil)
	if err != nil {
		return nil, err
	}
	conn.SetReadLimit(8 << 20)
	p.t.Cleanup(func() { _ = conn.CloseNow() })
	return &Events{conn}, nil
}

// Events reads the firehose from its beginning until there are n events, and
// fails the test if they do not come.
func (p *PDS) Events(n int) []Event {
	p.t.Helper()
	s, err := p.Subscribe(p.t.Context(), 0)
	if err != nil {
		p.t.Fatalf("pdstest: %v", err)
	}
	defer s.Close()
	out := make([]Event, 0, n)
	for len(out) < n {
		ev, err := s.Next(p.t.Context())
		if err != nil {
			p.t.Fatalf("pdstest: after %d events: %v", len(out), err)
		}
		out = append(out, *ev)
	}
	return out
}

// Close ends the subscription.
func (s *Events) Close() { _ = s.conn.CloseNow() }

// Next returns the next event. An error frame is returned as an [*Error] with
// status zero.
func (s *Events) Next(ctx context.Context) (*Event, error) {
	kind, frame, err := s.conn.Read(ctx)
	if err != nil {
		return nil, err
	}
	if kind != websocket.MessageBinary {
		return nil, fmt.Errorf("pdstest: a text frame: %q", frame)
	}
	return DecodeEvent(frame)
}

// DecodeEvent reads a frame of subscribeRepos.
func DecodeEvent(frame []byte) (*Event, error) {
	for _, kind := range []string{"#commit", "#sync", "#identity", "#account", "#info"} {
		body, ok := bytes.CutPrefix(frame, xrpc.EncodeMessageHeader(kind))
		if !ok {
			continue
		}
		v, err := repo.DecodeCBOR(body)
		if err != nil {
			return nil, fmt.Errorf("pdstest: %s event: %w", kind, err)
		}
		m, _ := v.(map[string]any)
		return readEvent(kind, m), nil
	}
	// {"op": -1}
	if body, ok := bytes.CutPrefix(frame, []byte{0xa1, 0x62, 'o', 'p', 0x20}); ok {
		v, err := repo.DecodeCBOR(body)
		if err != nil {
			return nil, fmt.Errorf("pdstest: error frame: %w", err)
		}
		m, _ := v.(map[string]any)
		return nil, &Error{Name: text(m["error"]), Message: text(m["message"])}
	}
	return nil, fmt.Errorf("pdstest: unknown frame %x", frame[:min(len(frame), 32)])
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

func link(v any) cid.Cid {
	c, _ := v.(atdata.CIDLink)
	return c.CID()
}

func readEvent(kind string, m map[string]any) *Event {
	ev := &Event{
		Kind: kind, DID: syntax.DID(text(m["did"])), Time: text(m["time"]),
		Rev: syntax.TID(text(m["rev"])), Since: syntax.TID(text(m["since"])),
		Commit: link(m["commit"]), PrevData: link(m["prevData"]),
		Status: text(m["status"]), Handle: syntax.Handle(text(m["handle"])),
		Name: text(m["name"]), Message: text(m["message"]),
	}
	ev.Seq, _ = m["seq"].(int64)
	ev.Active, _ = m["active"].(bool)
	if kind == "#commit" {
		ev.DID = syntax.DID(text(m["repo"]))
	}
	if b, ok := m["blocks"].(atdata.Bytes); ok {
		ev.Blocks = b
	}
	ops, _ := m["ops"].([]any)
	for _, o := range ops {
		op, _ := o.(map[string]any)
		ev.Ops = append(ev.Ops, repo.Op{
			Action: text(op["action"]), Path: text(op["path"]), CID: link(op["cid"]), Prev: link(op["prev"]),
		})
	}
	return ev
}
