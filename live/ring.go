package live

// ring holds the newest entries of a topic as events, without a hole between
// two of them. Its methods are called under the feed's lock.
type ring struct {
	limit  int      // of bytes; fixed at creation
	events []*Event // of the entries in (low, high]
	bytes  int
	low    int64
	high   int64
}

// start empties the ring: it will hold what comes after an entry.
func (r *ring) start(seq int64) {
	clear(r.events)
	r.events, r.bytes = r.events[:0], 0
	r.low, r.high = seq, seq
}

// add appends the next entry. One that redacts a message takes that out of the
// ring. Entries that were left out before it are out of the ring's reach.
func (r *ring) add(info *Info, e Entry) {
	if e.Seq != r.high+1 {
		r.start(e.Seq - 1)
	}
	if at := e.Redacts - r.low - 1; e.Redacts > 0 && at >= 0 {
		old := r.events[at].Entry
		r.bytes -= eventSize(len(old.Data)) - eventSize(0)
		r.events[at] = info.entryEvent(Entry{Seq: old.Seq, Time: old.Time, Redacted: true})
	}
	r.events = append(r.events, info.entryEvent(e))
	r.bytes += eventSize(len(e.Data))
	r.high = e.Seq
	if r.bytes > r.limit {
		r.drop(r.bytes - r.limit + r.limit/8) // not one by one
	}
}

// drop removes the oldest entries, of so many bytes if there are, and returns
// how many they were.
func (r *ring) drop(bytes int) (dropped int) {
	n := 0
	for ; n < len(r.events) && dropped < bytes; n++ {
		dropped += eventSize(len(r.events[n].Entry.Data))
	}
	left := copy(r.events, r.events[n:])
	clear(r.events[left:])
	r.events, r.low, r.bytes = r.events[:left], r.low+int64(n), r.bytes-dropped
	return dropped
}

// after appends to dst the entries after a position, which the ring reaches
// back to, as far as there is room in the batch.
func (r *ring) after(pos int64, b *batch) int64 {
	for pos < r.high && b.take(r.events[pos-r.low], len(r.events[pos-r.low].Entry.Data)) {
		pos++
	}
	return pos
}
