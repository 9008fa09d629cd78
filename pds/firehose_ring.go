package pds

import (
	"bytes"
	"sort"
	"sync"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/storage"
)

// frame is an encoded event. It never changes.
type frame struct {
	seq   int64
	did   syntax.DID
	data  []byte // header and body; nil: withdrawn
	final bool   // it announces that the account is deleted
}

// frameOverhead is about what a frame takes in memory besides its data.
const frameOverhead = 96

// ring holds the newest frames, without a gap between two of them.
type ring struct {
	limit int // of bytes; fixed at creation

	mu     sync.Mutex // guards following 7 fields
	frames []frame    // [head:] are in use
	head   int
	bytes  int
	// The ring holds all events above low, up to high.
	low, high int64
	more      chan struct{} // closed when high rises or the ring closes
	closed    bool
}

func newRing(limit int) *ring { return &ring{limit: limit, more: make(chan struct{})} }

// start says that the ring will hold all events above seq.
func (r *ring) start(seq int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.low, r.high = seq, seq
}

// add appends frames, after which the ring holds all events up to high, and
// drops the oldest beyond the limit.
func (r *ring) add(frames []frame, high int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range frames {
		if f.final {
			r.withdraw(f.did)
		}
		r.frames = append(r.frames, f)
		r.bytes += len(f.data) + frameOverhead
	}
	r.high = high
	for r.bytes > r.limit && r.head < len(r.frames) {
		f := &r.frames[r.head]
		r.low = f.seq
		r.bytes -= len(f.data) + frameOverhead
		*f = frame{}
		r.head++
	}
	if r.head > len(r.frames)/2 {
		n := copy(r.frames, r.frames[r.head:])
		clear(r.frames[n:])
		r.frames, r.head = r.frames[:n], 0
	}
	close(r.more)
	r.more = make(chan struct{})
}

// withdraw removes the events of an account that has been deleted: they have
// left the log. The caller holds r.mu.
func (r *ring) withdraw(did syntax.DID) {
	for i := r.head; i < len(r.frames); i++ {
		if f := &r.frames[i]; f.did == did {
			r.bytes -= len(f.data)
			f.data = nil
		}
	}
}

// close wakes all readers for the last time.
func (r *ring) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		r.closed = true
		close(r.more)
	}
}

// after appends to dst the frames after a position, up to about size bytes but
// at least one, and returns the position behind them. Without new frames it
// returns a channel that is closed when there are some. ok is false if the
// position lies before what the ring holds.
func (r *ring) after(pos int64, size int, dst [][]byte) (frames [][]byte, next int64, more <-chan struct{}, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if pos < r.low {
		return dst, pos, nil, false
	}
	if pos >= r.high {
		return dst, pos, r.more, true
	}
	live := r.frames[r.head:]
	i := sort.Search(len(live), func(i int) bool { return live[i].seq > pos })
	for ; i < len(live) && size > 0; i++ {
		pos = live[i].seq
		if data := live[i].data; data != nil {
			dst = append(dst, data)
			size -= len(data)
		}
	}
	if i == len(live) {
		pos = r.high
	}
	return dst, pos, nil, true
}

// behind reports whether a position lies before what the ring holds.
func (r *ring) behind(pos int64) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return pos < r.low
}

// deletionEnd is how the body of an #account event of a deleted account ends,
// see encodeAccount: status is its last field.
var deletionEnd = append(append([]byte{0x66}, "status"...), append([]byte{0x67}, statusDeleted...)...)

// isDeletion reports whether an event announces that an account is deleted.
func isDeletion(ev *storage.Event) bool {
	return ev.Kind == eventAccount && bytes.HasSuffix(ev.Body, deletionEnd)
}
