package identity

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	atid "github.com/bluesky-social/indigo/atproto/identity"
	"github.com/bluesky-social/indigo/atproto/syntax"
)

// How many operations on one DID a directory takes. A recovery that nullifies
// others is exempt, so that an attacker cannot use up the owner's share.
const (
	MaxOperationsPerHour = 10
	MaxOperationsPerDay  = 30
	MaxOperationsPerWeek = 100
)

// ErrOperationRate says that a DID had too many operations lately.
var ErrOperationRate = errors.New("identity: too many PLC operations")

// PLCLog keeps the log of a MemoryPLC. Calls do not overlap.
type PLCLog interface {
	// Append stores one entry durably, after those before it. The operation
	// counts only if it returns nil. Entries are appended with Nullified
	// false; replaying the log finds the nullified ones again.
	Append(did syntax.DID, entry LogEntry) error
	// Load calls fn for every stored entry in the order of Append and ends
	// with the first error of fn.
	Load(fn func(did syntax.DID, entry LogEntry) error) error
}

// MemoryPLCConfig configures a MemoryPLC. The zero value is a directory in
// memory with the real clock and the real limits.
type MemoryPLCConfig struct {
	// Log keeps the operations; nil means memory only.
	Log PLCLog
	// Clock gives the time; nil means time.Now.
	Clock func() time.Time
	// NoRateLimit lifts the limits of operations per hour, day and week.
	NoRateLimit bool
}

// MemoryPLC is a PLC directory inside the process, for tests and dev mode: an
// http.Handler with the HTTP API of the real one that takes an operation only
// if the real one would. It is safe for concurrent use, starts no goroutine
// and needs no closing.
type MemoryPLC struct {
	// Fixed at creation.
	log         PLCLog
	clock       func() time.Time
	noRateLimit bool

	mu   sync.Mutex // guards following 3 fields
	dids map[syntax.DID]*plcRecord
	all  []*LogEntry // every entry in order, for /export
	last time.Time   // of the newest entry
}

var _ http.Handler = (*MemoryPLC)(nil)

// plcRecord is one DID: its whole log and the valid part of it.
type plcRecord struct {
	entries []*LogEntry
	chain   chain
}

// NewMemoryPLC returns a directory, with what cfg.Log holds replayed and
// verified. Without a log it cannot fail and costs next to nothing.
func NewMemoryPLC(cfg MemoryPLCConfig) (*MemoryPLC, error) {
	p := &MemoryPLC{
		log:         cfg.Log,
		clock:       cfg.Clock,
		noRateLimit: cfg.NoRateLimit,
		dids:        make(map[syntax.DID]*plcRecord),
	}
	if p.clock == nil {
		p.clock = time.Now
	}
	if p.log == nil {
		return p, nil
	}
	err := p.log.Load(func(did syntax.DID, e LogEntry) error {
		rec := p.record(did)
		s, err := rec.chain.next(did, &e.Operation, e.CreatedAt)
		if err != nil {
			return fmt.Errorf("%w: %s: %w", ErrInvalidLog, did, err)
		}
		if s.cid != e.CID {
			return fmt.Errorf("%w: %s: CID is %s, stored %s", ErrInvalidLog, did, s.cid, e.CID)
		}
		p.add(did, rec, s)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("identity: load PLC log: %w", err)
	}
	return p, nil
}

// Submit takes an operation as POST does: it must be well-formed, within the
// limits, signed by a key that may and placed in the log. Errors match those of
// Validate and VerifyLog, or ErrOperationRate; an error of the log comes back
// wrapped, and then nothing has happened.
func (p *MemoryPLC) Submit(did syntax.DID, op *Operation) error {
	if op.Sig == "" {
		return ErrUnsigned
	}
	if err := op.Validate(); err != nil {
		return err
	}
	owned := op.Normalize() // the caller may go on using op
	p.mu.Lock()
	defer p.mu.Unlock()
	// Time never runs backwards in a log.
	now := p.clock().UTC().Truncate(time.Millisecond)
	if now.Before(p.last) {
		now = p.last
	}
	rec := p.dids[did]
	if rec == nil {
		rec = &plcRecord{}
	}
	s, err := rec.chain.next(did, owned, now)
	if err != nil {
		return err
	}
	if s.keep == len(rec.chain.links) && !p.noRateLimit {
		if err := rec.chain.checkRate(now); err != nil {
			return err
		}
	}
	if p.log != nil {
		if err := p.log.Append(did, *newEntry(did, s)); err != nil {
			return fmt.Errorf("identity: append to PLC log: %w", err)
		}
	}
	p.dids[did] = rec
	p.add(did, rec, s)
	return nil
}

// AuditLog returns copies of all entries of a DID, oldest first; the error
// matches indigo's ErrDIDNotFound if there are none.
func (p *MemoryPLC) AuditLog(did syntax.DID) ([]LogEntry, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	rec := p.dids[did]
	if rec == nil {
		return nil, fmt.Errorf("%w: %s", atid.ErrDIDNotFound, did)
	}
	out := make([]LogEntry, len(rec.entries))
	for i, e := range rec.entries {
		out[i] = *e
	}
	return out, nil
}

// export returns copies of up to n entries newer than after.
func (p *MemoryPLC) export(n int, after time.Time) []LogEntry {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []LogEntry
	for _, e := range p.all {
		if len(out) == n {
			break
		}
		if after.IsZero() || e.CreatedAt.After(after) {
			out = append(out, *e)
		}
	}
	return out
}

// record returns the record of did, making it if needed. Callers hold mu or
// are alone.
func (p *MemoryPLC) record(did syntax.DID) *plcRecord {
	rec := p.dids[did]
	if rec == nil {
		rec = &plcRecord{}
		p.dids[did] = rec
	}
	return rec
}

// add applies a valid step. Callers hold mu or are alone.
func (p *MemoryPLC) add(did syntax.DID, rec *plcRecord, s step) {
	for _, i := range rec.chain.apply(s, len(rec.entries)) {
		rec.entries[i].Nullified = true
	}
	e := newEntry(did, s)
	rec.entries = append(rec.entries, e)
	p.all = append(p.all, e)
	if s.at.After(p.last) {
		p.last = s.at
	}
}

func newEntry(did syntax.DID, s step) *LogEntry {
	return &LogEntry{DID: did, Operation: *s.op, CID: s.cid, CreatedAt: s.at}
}

// checkRate refuses a further operation if the valid ones are too dense.
func (c *chain) checkRate(now time.Time) error {
	for _, w := range []struct {
		span time.Duration
		max  int
		name string
	}{
		{time.Hour, MaxOperationsPerHour, "hour"},
		{24 * time.Hour, MaxOperationsPerDay, "day"},
		{7 * 24 * time.Hour, MaxOperationsPerWeek, "week"},
	} {
		n := 0
		for i := len(c.links) - 1; i >= 0 && c.links[i].at.After(now.Add(-w.span)); i-- {
			if n++; n >= w.max {
				return fmt.Errorf("%w: at most %d within the last %s", ErrOperationRate, w.max, w.name)
			}
		}
	}
	return nil
}
