package pds

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"github.com/pdskit/pdskit/repo"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// Kinds of events, as on the wire without the "#".
const (
	eventCommit   = "commit"
	eventSync     = "sync"
	eventIdentity = "identity"
	eventAccount  = "account"
)

// An event is stored as it will be sent, except for its number and time, which
// the store assigns. So the body is complete but for two holes: Body = offset
// of seq, offset of time (4 bytes each, big-endian), room for the header of a
// frame, DAG-CBOR. A time is a string of 24 characters. A number has room for
// nine bytes, which all of our own take; those of events that came with the log
// of another server may be shorter.

const eventTimeLayout = "2006-01-02T15:04:05.000Z"

// eventEncoder writes one event body. Map keys must come in DAG-CBOR order:
// by length, then by bytes.
type eventEncoder struct {
	buf           []byte
	seqAt, timeAt int
}

// eventBodyOffset is where the DAG-CBOR begins: the longest header, that of
// #identity, takes 17 bytes.
const eventBodyOffset = 24

func newEventEncoder(fields, sizeHint int) *eventEncoder {
	e := &eventEncoder{buf: make([]byte, eventBodyOffset, eventBodyOffset+sizeHint)}
	e.head(5, uint64(fields))
	return e
}

func (e *eventEncoder) head(major byte, n uint64) { e.buf = appendCBORHead(e.buf, major, n) }

func (e *eventEncoder) text(s string) { e.head(3, uint64(len(s))); e.buf = append(e.buf, s...) }

func (e *eventEncoder) cid(c cid.Cid) {
	if !c.Defined() {
		e.null()
		return
	}
	raw := c.Bytes()
	e.buf = append(e.buf, 0xd8, 42)
	e.head(2, uint64(len(raw)+1))
	e.buf = append(append(e.buf, 0), raw...)
}

func (e *eventEncoder) bytes(b []byte) { e.head(2, uint64(len(b))); e.buf = append(e.buf, b...) }

func (e *eventEncoder) null() { e.buf = append(e.buf, 0xf6) }

func (e *eventEncoder) bool(v bool) {
	if v {
		e.buf = append(e.buf, 0xf5)
	} else {
		e.buf = append(e.buf, 0xf4)
	}
}

// seq and time write a field and leave its hole.
func (e *eventEncoder) seq() {
	e.text("seq")
	e.buf = append(e.buf, 0x1b)
	e.seqAt = len(e.buf)
	e.buf = append(e.buf, make([]byte, 8)...)
}

func (e *eventEncoder) time() {
	e.text("time")
	e.head(3, uint64(len(eventTimeLayout)))
	e.timeAt = len(e.buf)
	e.buf = append(e.buf, make([]byte, len(eventTimeLayout))...)
}

func (e *eventEncoder) done() []byte {
	binary.BigEndian.PutUint32(e.buf, uint32(e.seqAt))
	binary.BigEndian.PutUint32(e.buf[4:], uint32(e.timeAt))
	return e.buf
}

func appendCBORHead(dst []byte, major byte, n uint64) []byte {
	m := major << 5
	switch {
	case n < 24:
		return append(dst, m|byte(n))
	case n < 1<<8:
		return append(dst, m|24, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(dst, m|25), uint16(n))
	case n < 1<<32:
		return binary.BigEndian.AppendUint32(append(dst, m|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, m|27), n)
}

var errEventBody = errors.New("pds: a stored event is damaged")

// eventFrame turns a stored event into a firehose frame. The frame lies in
// ev.Body, which is no longer to be used.
func eventFrame(ev *storage.Event) ([]byte, error) {
	body := ev.Body
	if len(body) < eventBodyOffset {
		return nil, errEventBody
	}
	seqAt, timeAt := int(binary.BigEndian.Uint32(body)), int(binary.BigEndian.Uint32(body[4:]))
	if seqAt <= eventBodyOffset || timeAt < eventBodyOffset ||
		seqAt+8 > len(body) || timeAt+len(eventTimeLayout) > len(body) {
		return nil, errEventBody
	}
	header := eventHeader(ev.Kind)
	if len(header) > eventBodyOffset {
		return nil, errEventBody
	}
	var text [2 * len(eventTimeLayout)]byte // AppendFormat needs room for nanoseconds
	copy(body[timeAt:timeAt+len(eventTimeLayout)], ev.Time.UTC().AppendFormat(text[:0], eventTimeLayout))
	start := eventBodyOffset
	var number [9]byte
	seq := appendCBORHead(number[:0], 0, uint64(ev.Seq))
	if unused := len(number) - len(seq); unused > 0 {
		// The fields before it move up to it.
		copy(body[start+unused:], body[start:seqAt-1])
		start += unused
	}
	copy(body[seqAt+8-len(seq):], seq)
	start -= len(header)
	copy(body[start:], header)
	ev.Body = nil
	return body[start:], nil
}

// eventHeader returns the header of frames of a kind.
func eventHeader(kind string) []byte {
	switch kind {
	case eventCommit:
		return commitHeader
	case eventIdentity:
		return identityHeader
	}
	return xrpc.EncodeMessageHeader("#" + kind)
}

var (
	commitHeader   = xrpc.EncodeMessageHeader("#" + eventCommit)
	identityHeader = xrpc.EncodeMessageHeader("#" + eventIdentity)
)

// commitEvent is what a #commit event says (com.atproto.sync.subscribeRepos).
type commitEvent struct {
	did      syntax.DID
	commit   cid.Cid
	rev      syntax.TID
	since    syntax.TID // empty: the first commit
	prevData cid.Cid    // Undef: the first commit
	ops      []repo.Op
	blocks   []byte // CAR
}

func (c *commitEvent) encode() []byte {
	fields := 11
	if c.prevData.Defined() {
		fields++
	}
	e := newEventEncoder(fields, len(c.blocks)+256+200*len(c.ops))
	e.text("ops")
	e.head(4, uint64(len(c.ops)))
	for _, op := range c.ops {
		n := 3
		if op.Prev.Defined() {
			n++
		}
		e.head(5, uint64(n))
		e.text("cid")
		e.cid(op.CID)
		e.text("path")
		e.text(op.Path)
		if op.Prev.Defined() {
			e.text("prev")
			e.cid(op.Prev)
		}
		e.text("action")
		e.text(op.Action)
	}
	e.text("rev")
	e.text(string(c.rev))
	e.seq()
	e.text("repo")
	e.text(string(c.did))
	e.time()
	e.text("blobs")
	e.head(4, 0)
	e.text("since")
	if c.since == "" {
		e.null()
	} else {
		e.text(string(c.since))
	}
	e.text("blocks")
	e.bytes(c.blocks)
	e.text("commit")
	e.cid(c.commit)
	e.text("rebase")
	e.bool(false)
	e.text("tooBig")
	e.bool(false)
	if c.prevData.Defined() {
		e.text("prevData")
		e.cid(c.prevData)
	}
	return e.done()
}

// encodeSync returns the body of a #sync event for a head.
func encodeSync(did syntax.DID, head storage.Head) []byte {
	e := newEventEncoder(5, len(head.Commit)+256)
	e.text("did")
	e.text(string(did))
	e.text("rev")
	e.text(string(head.Rev))
	e.seq()
	e.time()
	e.text("blocks")
	e.bytes(repo.EncodeCAR(head.CID, []repo.Block{{CID: head.CID, Data: head.Commit}}))
	return e.done()
}

// encodeIdentity returns the body of an #identity event. The handle is left
// out if it is empty.
func encodeIdentity(did syntax.DID, handle syntax.Handle) []byte {
	fields := 3
	if handle != "" {
		fields++
	}
	e := newEventEncoder(fields, 256)
	e.text("did")
	e.text(string(did))
	e.seq()
	e.time()
	if handle != "" {
		e.text("handle")
		e.text(string(handle))
	}
	return e.done()
}

// encodeAccount returns the body of an #account event. The status is empty if
// and only if the account is active.
func encodeAccount(did syntax.DID, status string) []byte {
	fields := 4
	if status != "" {
		fields++
	}
	e := newEventEncoder(fields, 128)
	e.text("did")
	e.text(string(did))
	e.seq()
	e.time()
	if status != "" {
		e.text("active")
		e.bool(false)
		e.text("status")
		e.text(status)
	} else {
		e.text("active")
		e.bool(true)
	}
	return e.done()
}

// cause says who made something happen; it stays private.
type cause struct {
	actor  syntax.DID
	client string
}

func (c cause) event(did syntax.DID, kind string, body []byte) storage.Event {
	return storage.Event{DID: did, Kind: kind, Body: body, Actor: c.actor, Client: c.client}
}

func formatTime(t time.Time) string { return t.UTC().Format(eventTimeLayout) }
