package pds

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pdskit/pdskit/internal/jobs"
	"github.com/pdskit/pdskit/storage"
)

// counters count what this process has done.
type counters struct {
	commits, writes                          atomic.Int64
	prunedEvents, sweptUploads, deletedBlobs atomic.Int64
	orphanedBlobs, deletedAccounts           atomic.Int64
}

// Stats is the state of a server at one moment, and what this process has
// done since New.
type Stats struct {
	// Done by this process. Commits are those of writes; Writes are the records
	// that they changed.
	Commits, Writes int64
	PrunedEvents    int64 // removed from the log because of their age
	SweptUploads    int64 // uploads that nothing referred to in time
	DeletedBlobs    int64 // blobs whose bytes were deleted
	OrphanedBlobs   int64 // bytes of uploads that a crash cut off, deleted
	DeletedAccounts int64

	LastSeq     int64     // of the event log
	OldestEvent time.Time // that the log still holds; zero: it is empty

	Subscribers int           // of the firehose
	Lag         time.Duration // of the slowest of them, about: sequence numbers follow the clock

	Lanes            int // accounts whose state is in memory
	ProxyCalls       int // calls of other services under way
	PasswordsHashing int
	PasswordsWaiting int // for their turn to be hashed
	Exports, Imports int // under way

	// Jobs of all processes; at most MaxCountedJobs of each are counted.
	JobsWaiting, JobsRunning, JobsDead int

	// Totals are nil if the store does not keep any, see storage.Totaler. They
	// are older the longer it takes to read them, which is done for a hundredth
	// of the time at most.
	Totals *storage.Totals

	ClockInDoubt bool
}

// MaxCountedJobs is how many jobs Stats looks at.
const MaxCountedJobs = 10_000

// Stats returns the state of the server. It reads the store: call it every few
// seconds, not for each request.
func (s *Server) Stats(ctx context.Context) (*Stats, error) {
	st := &Stats{
		Commits: s.counts.commits.Load(), Writes: s.counts.writes.Load(),
		PrunedEvents: s.counts.prunedEvents.Load(), SweptUploads: s.counts.sweptUploads.Load(), DeletedBlobs: s.counts.deletedBlobs.Load(),
		OrphanedBlobs: s.counts.orphanedBlobs.Load(), DeletedAccounts: s.counts.deletedAccounts.Load(),
		Lanes: s.lanes.Len(), ProxyCalls: s.calls.inUse(),
		PasswordsHashing: len(s.passwords.slots), PasswordsWaiting: int(s.passwords.waiting.Load()),
		Exports: len(s.exports.slots), Imports: len(s.imports),
		ClockInDoubt: s.clockDoubt() != nil,
	}
	err := s.store.View(ctx, func(tx storage.Tx) (err error) {
		if st.LastSeq, err = tx.LastSeq(); err != nil {
			return err
		}
		oldest, err := tx.ListEvents(0, 1, 1)
		if err == nil && len(oldest) > 0 {
			st.OldestEvent = oldest[0].Time
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	var lowest int64
	st.Subscribers, lowest = s.firehose.state(st.LastSeq)
	st.Lag = time.Duration(st.LastSeq-lowest) * time.Microsecond
	if err := s.countJobs(ctx, st); err != nil {
		return nil, err
	}
	st.Totals, err = s.totals.read(ctx, s)
	return st, err
}

// totalsShare is what part of the time the totals may be read: a hundredth.
// Their cost grows with the number of accounts.
const totalsShare = 100

// sharedTotals are the totals of the store, read anew when the last reading
// lies totalsShare times as far back as it took.
type sharedTotals struct {
	mu   sync.Mutex // guards following 2 fields
	last *storage.Totals
	next time.Duration // by the clock's Elapsed
}

// read returns the totals, or nil if the store has none.
func (t *sharedTotals) read(ctx context.Context, s *Server) (*storage.Totals, error) {
	from, ok := storage.As[storage.Totaler](s.store)
	if !ok {
		return nil, nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	began := s.clock.Elapsed()
	if t.last != nil && began < t.next {
		return t.last, nil
	}
	totals, err := from.Totals(ctx)
	if err != nil {
		return nil, err
	}
	ended := s.clock.Elapsed()
	t.last, t.next = &totals, ended+totalsShare*(ended-began)
	return t.last, nil
}

func (s *Server) countJobs(ctx context.Context, st *Stats) error {
	for _, dead := range []bool{false, true} {
		q := jobs.Query{Dead: dead, Limit: maxPage}
		for range MaxCountedJobs / maxPage {
			page, err := s.jobs.List(ctx, q)
			if err != nil {
				return err
			}
			for _, j := range page {
				switch {
				case dead:
					st.JobsDead++
				case j.Dead:
				case j.Running:
					st.JobsRunning++
				default:
					st.JobsWaiting++
				}
			}
			if len(page) == 0 {
				break
			}
			last := page[len(page)-1]
			q.After = last.Kind + "/" + last.Name
		}
	}
	return nil
}
