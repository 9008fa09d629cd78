package storage

import (
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// Events is the role of [Tx] that holds the log which the firehose serves.
//
// The store gives each event a sequence number in durable order:
// max(last+1, unix microseconds of the store's clock), below 2^53. Whoever has
// seen an event with number n never later finds one below n. The events of one
// account keep the order of its transactions. Numbers are never used again,
// also not after pruning, and rise across restarts and restores.
type Events interface {
	// Append adds an event to the log. It stands in the same Update as the
	// change that it announces. The store sets Seq and Time.
	Append(e Event) error

	// ListEvents returns events with a number above after, ascending, until
	// there are limit of them or their bodies exceed maxBytes; at least one
	// if there is one. Hidden events are left out.
	ListEvents(after int64, limit, maxBytes int) ([]Event, error)

	// LastSeq returns the highest number ever given, or zero. It survives
	// pruning and hiding.
	LastSeq() (int64, error)

	// HideEvents makes all events of did that were appended before this call
	// invisible, earlier ones of this transaction included. Pruning collects
	// them in time.
	HideEvents(did syntax.DID) error

	// PruneEvents removes up to limit of the oldest events whose number is
	// not above upTo, and returns how many it removed. Within [MaxTxRows] the
	// caller chooses the limit.
	PruneEvents(upTo int64, limit int) (int, error)
}

// EventLoader is what the Tx of a store may be besides, see [TxAs]: it takes
// over the log of another server, so that those who follow it can go on where
// they are. A store without it serves, but cannot adopt such a log.
type EventLoader interface {
	// LoadEvent adds an event with the Seq and the Time that it has. It
	// returns [ErrConflict] if the number is not above LastSeq, and an error
	// if it is 2^53 or more.
	LoadEvent(e Event) error

	// RaiseSeq makes seq the last number, so that the next event gets one
	// above it. A seq that is not above LastSeq changes nothing; one that
	// leaves none above it, below 2^53, is an error.
	RaiseSeq(seq int64) error
}

// Event is one entry of the log.
type Event struct {
	Seq  int64     // given by the store
	Time time.Time // of the store's clock at Append, in milliseconds

	DID  syntax.DID
	Kind string // "commit", "sync", "identity", "account", ...
	Body []byte // the event as its writer encoded it; opaque to the store

	// Actor and Client say who caused the event and by which application.
	// They are private: they never go on the wire.
	Actor  syntax.DID
	Client string
}
