package pds

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"

	"github.com/pdskit/pdskit/xrpc"
)

// An export reads one View of the store at the speed of the database into a
// spool, from which the client takes it at its own. So a slow client, or one
// that is gone, keeps no transaction open.

// spoolChunk is the unit in which a spool passes bytes on. A finished spool
// that holds no more than one gives its place in the pool back before its
// client has taken it.
const spoolChunk = 64 << 10

// maxFills is how many spools are filled at a time. Filling is bound by the
// database, and every filler takes one of the store's read connections for as
// long as a whole repository takes to read.
const maxFills = 3

var (
	errSpoolClosed = errors.New("pds: the reader of a spool is gone")
	errSpoolFull   = errors.New("pds: Limits.SpoolDisk is used up")
)

// spoolPool bounds spools: their number, the memory of each, and the size of
// their files together.
type spoolPool struct {
	// fixed at creation
	memory  int
	maxDisk int64

	slots chan struct{} // one element for each spool in use
	fills chan struct{} // one element for each spool that is being filled
	disk  atomic.Int64

	mu       sync.Mutex     // guards following field
	byClient map[string]int // spools in use, of clients that are known
}

func newSpoolPool(n, memory int, disk int64) *spoolPool {
	return &spoolPool{
		memory: memory, maxDisk: disk,
		slots: make(chan struct{}, n), fills: make(chan struct{}, maxFills), byClient: map[string]int{},
	}
}

// open returns an empty spool, or a 503 when too many are in use. One client
// may have a quarter of them, so that a slow one leaves some to others; it is
// empty if it is not known, and then not counted.
func (p *spoolPool) open(client string) (*spool, error) {
	tooMany := xrpc.NewError(http.StatusServiceUnavailable, "NotEnoughResources", "Too many exports are running")
	if !p.enter(client) {
		return nil, tooMany
	}
	select {
	case p.slots <- struct{}{}:
	default:
		p.leave(client)
		return nil, tooMany
	}
	s := &spool{pool: p, slot: true, client: client}
	s.cond.L = &s.mu
	return s, nil
}

// enter counts a spool of a client, unless it has its share already.
func (p *spoolPool) enter(client string) bool {
	if client == "" {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.byClient[client] >= max(cap(p.slots)/4, 1) {
		return false
	}
	p.byClient[client]++
	return true
}

func (p *spoolPool) leave(client string) {
	if client == "" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.byClient[client]--; p.byClient[client] == 0 {
		delete(p.byClient, client)
	}
}

// spool is a pipe that takes everything its writer has without ever making it
// wait: what the reader has not taken lies in memory, and beyond the pool's
// limit in a temporary file. It has one writer (Write, then finish) and one
// reader (next); close may be called by anybody, more than once.
type spool struct {
	pool   *spoolPool
	client string // in whose share of the pool it is, or empty
	fill   []byte // of the writer: the chunk being filled
	held   []byte // of the reader: what next returned last

	mu     sync.Mutex // guards following 9 fields
	cond   sync.Cond  // the reader has something to see
	chunks [][]byte   // full chunks, older than what lies in the file
	memory int        // bytes in chunks
	// What lies between taken and stored in the file waits for the reader.
	// The file is used from its start again when nothing does.
	file                *os.File
	taken, stored, size int64
	done                bool
	err                 error // of finish
	closed              bool
	slot                bool // holds a place in the pool
}

var spoolChunks = sync.Pool{New: func() any { return new([spoolChunk]byte) }}

func newSpoolChunk() []byte { return spoolChunks.Get().(*[spoolChunk]byte)[:0] }

func freeSpoolChunk(c []byte) {
	if cap(c) == spoolChunk {
		spoolChunks.Put((*[spoolChunk]byte)(c[:spoolChunk]))
	}
}

// Write takes bytes. It fails when the reader is gone or the disk is full, and
// never waits for the reader.
func (s *spool) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 {
		if s.fill == nil {
			s.fill = newSpoolChunk()
		}
		n := copy(s.fill[len(s.fill):spoolChunk], p)
		s.fill, p = s.fill[:len(s.fill)+n], p[n:]
		if len(s.fill) == spoolChunk {
			if err := s.push(); err != nil {
				return total - len(p), err
			}
		}
	}
	return total, nil
}

// push hands the chunk that was filled to the reader.
func (s *spool) push() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errSpoolClosed
	}
	if s.taken == s.stored && s.memory+len(s.fill) <= s.pool.memory {
		s.chunks = append(s.chunks, s.fill)
		s.memory += len(s.fill)
		s.fill = nil
		s.cond.Signal()
		return nil
	}
	if err := s.reserve(); err != nil {
		return err
	}
	file, at := s.file, s.stored
	s.mu.Unlock() // nobody but the writer moves s.stored and s.file
	_, err := file.WriteAt(s.fill, at)
	s.mu.Lock()
	switch {
	case s.closed:
		return errSpoolClosed
	case err != nil:
		return err
	}
	s.stored += int64(len(s.fill))
	s.fill = s.fill[:0]
	s.cond.Signal()
	return nil
}

// reserve makes room for a chunk in the file. The caller holds s.mu.
func (s *spool) reserve() error {
	if s.file == nil {
		f, err := os.CreateTemp("", "pdskit-export-*")
		if err != nil {
			return err
		}
		// Where the system allows it the name goes at once, so that a crash
		// leaves nothing. Elsewhere close does it.
		_ = os.Remove(f.Name())
		s.file = f
	}
	if s.taken == s.stored {
		s.taken, s.stored = 0, 0
	}
	if end := s.stored + int64(len(s.fill)); end > s.size {
		grow := end - s.size
		if s.pool.disk.Add(grow) > s.pool.maxDisk {
			s.pool.disk.Add(-grow)
			return errSpoolFull
		}
		s.size = end
	}
	return nil
}

// finish ends what Write began. The reader gets err, or io.EOF if it is nil,
// after all that was written.
func (s *spool) finish(err error) {
	if len(s.fill) > 0 && err == nil {
		err = s.push()
	}
	freeSpoolChunk(s.fill)
	s.fill = nil
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done, s.err = true, err
	if s.file == nil && s.memory <= spoolChunk {
		s.giveSlot()
	}
	s.cond.Signal()
}

// next returns the next bytes, at most a chunk, which are valid until it is
// called again; io.EOF at the end; the writer's error if it failed.
func (s *spool) next() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.closed:
			return nil, errSpoolClosed
		case len(s.chunks) > 0:
			freeSpoolChunk(s.held)
			s.held = s.chunks[0]
			s.chunks[0] = nil
			s.chunks = s.chunks[1:]
			s.memory -= len(s.held)
			return s.held, nil
		case s.taken < s.stored:
			return s.nextStored()
		case s.done && s.err != nil:
			return nil, s.err
		case s.done:
			return nil, io.EOF
		}
		s.cond.Wait()
	}
}

// nextStored reads from the file. The caller holds s.mu.
func (s *spool) nextStored() ([]byte, error) {
	if cap(s.held) < spoolChunk {
		s.held = newSpoolChunk()
	}
	buf := s.held[:min(spoolChunk, s.stored-s.taken)]
	file, at := s.file, s.taken
	s.mu.Unlock() // the writer does not touch what lies before s.stored
	_, err := file.ReadAt(buf, at)
	s.mu.Lock()
	switch {
	case s.closed:
		return nil, errSpoolClosed
	case err != nil && err != io.EOF:
		return nil, err
	}
	s.taken += int64(len(buf))
	s.held = buf
	return buf, nil
}

// close frees what the spool holds. Its writer fails from now on.
func (s *spool) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.closed = true
	s.giveSlot()
	s.chunks, s.memory = nil, 0
	if s.file != nil {
		_ = s.file.Close()
		_ = os.Remove(s.file.Name()) // gone already on most systems
		s.pool.disk.Add(-s.size)
		s.file = nil
	}
	s.cond.Broadcast()
}

// giveSlot gives the place in the pool back. The caller holds s.mu.
func (s *spool) giveSlot() {
	if s.slot {
		s.slot = false
		s.pool.leave(s.client)
		<-s.pool.slots
	}
}

// drain copies the spool to w until its end and closes it.
func (s *spool) drain(w io.Writer) error {
	defer s.close()
	for {
		b, err := s.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
}
