package storagetest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"
	"github.com/pdskit/pdskit/storage"
)

// How far over [storage.MaxTxTime] an Update must be to fail, and how often in
// turn: machines that run tests are noisy.
const (
	slowFactor = 40
	slowTries  = 3
)

// TooLargeError is the error of an Update that touches more than the contract
// allows.
type TooLargeError struct {
	Rows  int
	Bytes int
	Time  time.Duration // zero unless it was the time
}

// Error says what was too much.
func (e *TooLargeError) Error() string {
	return fmt.Sprintf("storagetest: an Update touched %d rows and %d bytes in %v (limits %d, %d, %v)",
		e.Rows, e.Bytes, e.Time, storage.MaxTxRows, storage.MaxTxBytes, storage.MaxTxTime)
}

// CountingStore is a store that counts what its Updates touch.
type CountingStore struct {
	storage.Store
	maxRows, maxBytes atomic.Int64
	maxTime           atomic.Int64
}

// Counting returns a wrapper of store that fails every Update that changes
// more than [storage.MaxTxRows] rows or [storage.MaxTxBytes] bytes, or that is
// far over [storage.MaxTxTime] each of three times, with a [TooLargeError]; nothing of it remains.
// A row is counted for each thing that is stored or removed: a node, a record,
// a reference to a blob, an event, a document, an account.
func Counting(store storage.Store) *CountingStore { return &CountingStore{Store: store} }

var _ storage.Store = (*CountingStore)(nil)

// Unwrap returns the store below, see [storage.As].
func (s *CountingStore) Unwrap() storage.Store { return s.Store }

// Max returns the rows, bytes and time of the largest Updates so far, each
// maximum for itself.
func (s *CountingStore) Max() (rows, bytes int, d time.Duration) {
	return int(s.maxRows.Load()), int(s.maxBytes.Load()), time.Duration(s.maxTime.Load())
}

// Update implements [storage.Store].
func (s *CountingStore) Update(ctx context.Context, fn func(storage.Tx) error) (err error) {
	for range slowTries {
		err = s.update(ctx, fn)
		if large, ok := errors.AsType[*TooLargeError](err); !ok || large.Time == 0 {
			return err
		}
	}
	return err
}

func (s *CountingStore) update(ctx context.Context, fn func(storage.Tx) error) error {
	return s.Store.Update(ctx, func(tx storage.Tx) error {
		c := &countingTx{Tx: tx}
		start := time.Now()
		err := fn(c)
		took := time.Since(start)
		raise(&s.maxRows, int64(c.rows))
		raise(&s.maxBytes, int64(c.bytes))
		raise(&s.maxTime, int64(took))
		if err != nil {
			return err
		}
		if c.rows > storage.MaxTxRows || c.bytes > storage.MaxTxBytes {
			return &TooLargeError{Rows: c.rows, Bytes: c.bytes}
		}
		if took > slowFactor*storage.MaxTxTime {
			return &TooLargeError{Rows: c.rows, Bytes: c.bytes, Time: took}
		}
		return nil
	})
}

func raise(to *atomic.Int64, v int64) {
	for {
		old := to.Load()
		if v <= old || to.CompareAndSwap(old, v) {
			return
		}
	}
}

// countingTx counts what the mutating methods are given.
type countingTx struct {
	storage.Tx
	rows, bytes int
}

// Unwrap returns the transaction below, see [storage.TxAs].
func (c *countingTx) Unwrap() storage.Tx { return c.Tx }

func (c *countingTx) count(rows, bytes int) { c.rows, c.bytes = c.rows+rows, c.bytes+bytes }

func (c *countingTx) nodes(nodes []storage.Block) {
	for _, n := range nodes {
		c.count(1, len(n.Data))
	}
}

func (c *countingTx) records(records []storage.Record) {
	for i := range records {
		c.count(1+len(records[i].Blobs), len(records[i].Value))
	}
}

func (c *countingTx) PutAccount(a storage.Account) (int64, error) {
	c.count(1, 0)
	return c.Tx.PutAccount(a)
}

func (c *countingTx) DeleteAccount(did syntax.DID) error {
	c.count(1, 0)
	return c.Tx.DeleteAccount(did)
}

func (c *countingTx) Apply(commit *storage.Commit) error {
	c.count(1+len(commit.OldNodes)+len(commit.Deletes), len(commit.Head.Commit))
	c.nodes(commit.NewNodes)
	c.records(commit.Puts)
	return c.Tx.Apply(commit)
}

func (c *countingTx) SetRecordTakedown(did syntax.DID, collection syntax.NSID, rkey syntax.RecordKey, ref string) error {
	c.count(1, 0)
	return c.Tx.SetRecordTakedown(did, collection, rkey, ref)
}

func (c *countingTx) NewGeneration(did syntax.DID) (storage.Generation, error) {
	c.count(1, 0)
	return c.Tx.NewGeneration(did)
}

func (c *countingTx) Stage(g storage.Generation, nodes []storage.Block, records []storage.Record) error {
	c.nodes(nodes)
	c.records(records)
	return c.Tx.Stage(g, nodes, records)
}

func (c *countingTx) DropGeneration(g storage.Generation) error {
	c.count(1, 0)
	return c.Tx.DropGeneration(g)
}

func (c *countingTx) Append(e storage.Event) error {
	c.count(1, len(e.Body))
	return c.Tx.Append(e)
}

func (c *countingTx) HideEvents(did syntax.DID) error {
	c.count(1, 0)
	return c.Tx.HideEvents(did)
}

func (c *countingTx) PruneEvents(upTo int64, limit int) (int, error) {
	n, err := c.Tx.PruneEvents(upTo, limit)
	c.count(n, 0)
	return n, err
}

func (c *countingTx) PutBlob(b storage.Blob) error {
	c.count(1, 0)
	return c.Tx.PutBlob(b)
}

func (c *countingTx) DeleteBlob(owner syntax.DID, id cid.Cid) error {
	c.count(1, 0)
	return c.Tx.DeleteBlob(owner, id)
}

func (c *countingTx) SetBlobRefs(owner syntax.DID, uri string, blobs []cid.Cid) error {
	c.count(max(1, len(blobs)), 0)
	return c.Tx.SetBlobRefs(owner, uri, blobs)
}

func (c *countingTx) ForgetReleasedBlobs(keys []string) error {
	c.count(len(keys), 0)
	return c.Tx.ForgetReleasedBlobs(keys)
}

func (c *countingTx) PutDoc(d storage.Doc) (int64, error) {
	c.count(1, len(d.Value))
	return c.Tx.PutDoc(d)
}

func (c *countingTx) DeleteDoc(kind, key string) error {
	c.count(1, 0)
	return c.Tx.DeleteDoc(kind, key)
}
