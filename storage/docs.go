package storage

import (
	"context"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// Docs is the role of [Tx] that holds documents: everything small or
// ephemeral, such as sessions, tokens, preferences, jobs and the state of
// extensions. A document is invisible from the moment it expires by the
// store's clock.
//
// Kinds without a dot, such as "session", belong to the packages of this
// module. A program that keeps documents of its own in the store of a server
// gives them kinds with one, such as "com.example.greeting".
type Docs interface {
	// GetDoc returns a document, or [ErrNotFound].
	GetDoc(kind, key string) (Doc, error)

	// PutDoc stores d if the stored version is d.Version; zero says that
	// there must be none. Otherwise it returns [ErrConflict]. It returns the
	// new version, which this key never had before. An Owner that is not
	// empty must be the DID of an account, else [ErrNotFound]; the document
	// leaves with that account.
	PutDoc(d Doc) (version int64, err error)

	// DeleteDoc removes a document; one that is not there is no error.
	DeleteDoc(kind, key string) error

	// ScanDocs returns the documents of a kind whose keys are in [From, To),
	// in byte order or in reverse.
	ScanDocs(kind string, s Scan) ([]Doc, error)

	// ScanOwner returns the documents of a kind that did owns, by key.
	ScanOwner(did syntax.DID, kind string) ([]Doc, error)

	// OwnerKinds returns the kinds of the documents that did owns, each once, in
	// byte order.
	OwnerKinds(did syntax.DID) ([]string, error)
}

// Doc is a document.
type Doc struct {
	Kind    string // at most 64 bytes
	Key     string // at most 1,024 bytes, unique in its kind
	Owner   syntax.DID
	Version int64
	Expires time.Time // zero: never; kept to the millisecond
	Value   []byte
}

// Scan selects documents by key.
type Scan struct {
	From    string // inclusive; empty: from the first
	To      string // exclusive; empty: to the last
	Reverse bool
	Limit   int
}

// DocStore is the part of a [Store] that whoever needs only documents takes.
// The rules of Store hold for View and Update.
type DocStore interface {
	View(ctx context.Context, fn func(Docs) error) error
	Update(ctx context.Context, fn func(Docs) error) error
}

// DocsOf returns the documents of s as a DocStore.
func DocsOf(s Store) DocStore { return docStore{s} }

type docStore struct{ s Store }

func (d docStore) View(ctx context.Context, fn func(Docs) error) error {
	return d.s.View(ctx, func(tx Tx) error { return fn(tx) })
}

func (d docStore) Update(ctx context.Context, fn func(Docs) error) error {
	return d.s.Update(ctx, func(tx Tx) error { return fn(tx) })
}
