// Package storage is the contract between a PDS and the database that holds
// it: one transactional [Store], whose transaction [Tx] is made of five small
// roles, and a [BlobStore] for the bytes of blobs.
//
// Import it to write a store of your own, or to wrap one. Programs that only
// want a store import a package below it: storage/sqlite (the default) and
// storage/blobs. Every implementation and every wrapper passes
// storagetest.Run.
//
// # Transactions
//
// All domain logic runs inside closures given to [Store.View] and
// [Store.Update] and composes the roles there:
//
//	err := store.Update(ctx, func(tx storage.Tx) error {
//		if err := tx.Apply(commit); err != nil {
//			return err
//		}
//		return tx.Append(event)
//	})
//
// The closure of Update may run more than once. It does no network I/O, no
// signing and no sleeping, keeps no reference to the Tx or to an iterator of
// it, and assigns outer variables only so that the last run wins.
//
// # Small transactions
//
// No Update touches more than [MaxTxRows] rows or [MaxTxBytes] bytes. Long
// work is staged: an import fills an unpublished [Generation] in chunks and
// one small Apply publishes it; a deleted account is invisible at once and
// [Store.Maintain] collects its rows later, in chunks.
//
// # Errors
//
// The methods of Tx return errors that match [ErrNotFound], [ErrExists] or
// [ErrConflict] under errors.Is where their comment says so; any other error
// is a failure of the store. A store knows no HTTP and no lexicon.
package storage

import (
	"context"
	"errors"
	"time"
)

// Limits of one Update. They bound how long a transaction can hold up the
// others; a store need not enforce them, but the code that composes
// transactions stays within them and storagetest's counting store fails an
// Update that does not.
const (
	MaxTxRows  = 2000
	MaxTxBytes = 4 << 20
	MaxTxTime  = 50 * time.Millisecond
)

var (
	// ErrNotFound says that what was asked for is not there.
	ErrNotFound = errors.New("storage: not found")

	// ErrExists says that something with this key is there already.
	ErrExists = errors.New("storage: already exists")

	// ErrConflict says that a stored value is not the one that the caller
	// expected, and that nothing happened. The caller reads again and decides
	// anew.
	ErrConflict = errors.New("storage: conflict")

	// ErrFull says that there is no room on the disk, and that nothing happened.
	// Reading goes on, and writing by itself as soon as there is room.
	ErrFull = errors.New("storage: no room on the disk")

	// ErrClosed is returned by every method of a closed store.
	ErrClosed = errors.New("storage: store is closed")
)

// Store is a transactional database. Its methods may be called concurrently.
type Store interface {
	// View calls fn with a consistent snapshot: fn sees one state of the
	// store, however long it runs. A View that begins after an Update
	// returned, anywhere, sees that Update. The mutating methods of the Tx
	// fail. fn does no client or network I/O, since a slow View can make the
	// store's log grow. The error of fn comes back unchanged.
	View(ctx context.Context, fn func(Tx) error) error

	// Update calls fn and makes its effects durable, all or nothing, before
	// it returns nil. Updates behave as if run one after another. fn may run
	// more than once, see the package comment.
	//
	// An error of fn comes back unchanged and nothing of fn remains. An error
	// that matches [ErrConflict] or [ErrFull] means that nothing happened. Any other error
	// means that the fate of the transaction is unknown: the caller must read
	// again before it does anything else. Cancelling ctx takes effect only
	// until fn has started, with ctx's error; after that Update returns when
	// the transaction's fate is known.
	Update(ctx context.Context, fn func(Tx) error) error

	// Watch returns a channel that receives a value when events may have been
	// appended since the last one was received. Signals coalesce and may be
	// spurious; none is lost: an event that became visible after Watch
	// returned is followed by a signal. The channel is closed when ctx ends
	// or the store closes.
	Watch(ctx context.Context) <-chan struct{}

	// Maintain does pending work within the budget: it collects the rows of
	// deleted accounts and of dropped or abandoned generations, removes
	// expired documents, and keeps the database's own files in order. It
	// returns more = true if work was left over. The server calls it from
	// time to time; it may run beside anything else.
	Maintain(ctx context.Context, budget Budget) (more bool, err error)

	// Close waits for running transactions and closes the store. Later calls
	// return [ErrClosed].
	Close() error
}

// Budget bounds one call of [Store.Maintain].
type Budget struct {
	// Time is about how long the call may take. Zero means one second.
	Time time.Duration

	// KeepAll forbids to collect anything that a wrong clock could have made
	// look old: expired documents and abandoned generations. Deleted accounts
	// do not depend on a clock and are collected all the same.
	KeepAll bool
}

// Tx is a transaction. It is valid only inside the closure that received it
// and is not safe for concurrent use. Byte slices that it returns belong to
// the caller; byte slices given to it must not change until the closure
// returns.
//
// Further roles, such as [EventLoader], are optional interfaces found by
// [TxAs].
type Tx interface {
	Accounts
	Repos
	Events
	Blobs
	Docs
}

// TxAs returns the first Tx in tx's chain of wrappers that is a T. A wrapper is
// a Tx with a method Unwrap() Tx; without it, what is below is not found.
func TxAs[T any](tx Tx) (T, bool) {
	for {
		if t, ok := tx.(T); ok {
			return t, true
		}
		w, ok := tx.(interface{ Unwrap() Tx })
		if !ok {
			var zero T
			return zero, false
		}
		tx = w.Unwrap()
	}
}

// As returns the first store in s's chain of wrappers that is a T. A wrapper
// is a Store with a method Unwrap() Store; without that method what is below
// it, such as the Guard of [GuardOf], is not found.
func As[T any](s Store) (T, bool) {
	for {
		if t, ok := s.(T); ok {
			return t, true
		}
		w, ok := s.(interface{ Unwrap() Store })
		if !ok {
			var zero T
			return zero, false
		}
		s = w.Unwrap()
	}
}
