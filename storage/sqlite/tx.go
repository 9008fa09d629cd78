package sqlite

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"
	"github.com/pdskit/pdskit/storage"
)

var (
	errEnded    = errors.New("sqlite: the transaction has ended")
	errReadOnly = errors.New("sqlite: a View cannot write")
)

// tx is a transaction on one connection.
type tx struct {
	ctx context.Context
	s   *Store
	c   *conn
	w   *writer // nil in a View

	// accountsVersion is that of the accounts as the transaction sees them, see
	// sqlVersion; zero: not known, or the transaction has changed them.
	accountsVersion int64

	at    time.Time // see now
	ended bool
	err   error   // the first failure of the database; nothing runs after it
	open  []*rows // of iterators
	seq   int64   // the last number given; used if w is not nil
	bytes int     // written
	memo  *accountRef
}

var _ storage.Tx = (*tx)(nil)

// now is the time at which the transaction first asked for it.
func (t *tx) now() time.Time {
	if t.at.IsZero() {
		t.at = t.s.guard.Now()
	}
	return t.at
}

// end makes the transaction unusable and closes what iterators left open.
func (t *tx) end() {
	t.ended = true
	for _, r := range t.open {
		r.close()
	}
	t.open = nil
}

// usable returns why no statement may run, if so. After a failure SQLite may
// have rolled back the transaction, and another statement would become a
// transaction of its own.
func (t *tx) usable() error {
	switch {
	case t.ended:
		return errEnded
	case t.err != nil:
		return t.err
	}
	return t.ctx.Err()
}

func (t *tx) fail(err error) error {
	t.err = fmt.Errorf("sqlite: %w", err)
	return t.err
}

// exec runs a statement that writes and returns how many rows it changed.
func (t *tx) exec(sql string, args ...any) (int64, error) {
	if err := t.writable(); err != nil {
		return 0, err
	}
	n, err := t.c.exec(sql, args...)
	if err != nil {
		return 0, t.fail(err)
	}
	for _, a := range args {
		switch v := a.(type) {
		case []byte:
			t.bytes += len(v)
		case string:
			t.bytes += len(v)
		}
	}
	return n, nil
}

func (t *tx) writable() error {
	if err := t.usable(); err != nil {
		return err
	}
	if t.w == nil {
		return errReadOnly
	}
	return nil
}

// one runs a query for one row. The row is readable although it is closed.
func (t *tx) one(sql string, args ...any) (*rows, bool, error) {
	if err := t.usable(); err != nil {
		return nil, false, err
	}
	r, err := t.c.query(sql, args...)
	if err != nil {
		return nil, false, t.fail(err)
	}
	found := r.next()
	if err := r.close(); err != nil {
		return nil, false, t.fail(err)
	}
	return r, found, nil
}

// each runs a query and calls fn for every row until it returns false.
func (t *tx) each(fn func(r *rows) bool, sql string, args ...any) error {
	if err := t.usable(); err != nil {
		return err
	}
	r, err := t.c.query(sql, args...)
	if err != nil {
		return t.fail(err)
	}
	for r.next() && fn(r) {
	}
	if err := r.close(); err != nil {
		return t.fail(err)
	}
	return nil
}

// accountRef is what the methods need to know of an account to find its rows.
type accountRef struct {
	did        syntax.DID
	id         int64
	generation int64 // published, or zero
	version    int64
	keyID      string

	recent    []recentNode // of the generation, once hasRecent
	hasRecent bool
}

// account finds an account, or returns [storage.ErrNotFound]. The last one is
// remembered, since the methods of a transaction mostly concern one account.
func (t *tx) account(did syntax.DID) (*accountRef, error) {
	if t.memo == nil || t.memo.did != did || t.ended {
		if _, err := t.Account(did); err != nil {
			return nil, err
		}
	}
	return t.memo, nil
}

// ids returns the bounds of the ids of a generation's nodes and records.
func ids(generation int64) (first, last int64) {
	return generation << 32, generation<<32 | 0xffffffff
}

// cidKey is the number by which the blocks of a generation are found. Several
// CIDs may share it.
func cidKey[S string | []byte](generation int64, c S) int64 {
	var n uint32
	for i := max(0, len(c)-4); i < len(c); i++ {
		n = n<<8 | uint32(c[i])
	}
	return generation<<32 | int64(n)
}

// cidBytes is the binary form of c, nil for cid.Undef.
func cidBytes(c cid.Cid) []byte {
	if !c.Defined() {
		return nil
	}
	return []byte(c.KeyString())
}

// parseCID reads what cidBytes wrote.
func parseCID(b []byte) (cid.Cid, error) {
	if len(b) == 0 {
		return cid.Undef, nil
	}
	c, err := cid.Cast(b)
	if err != nil {
		return cid.Undef, fmt.Errorf("sqlite: stored CID: %w", err)
	}
	return c, nil
}

// timeText is the stored form of a time that may be absent.
func timeText(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(time.RFC3339Nano)
}

func parseTime(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Time{}, fmt.Errorf("sqlite: stored time: %w", err)
	}
	return t.UTC(), nil
}

// optional is the stored form of a text that may be absent.
func optional(s string) any {
	if s == "" {
		return nil
	}
	return s
}
