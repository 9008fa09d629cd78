package pds

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/storage"
)

// Bounds of what one [State] may do, so that the transaction that applies it
// stays small.
const (
	MaxStateReads    = 500     // documents read, by Get or Scan
	MaxStateWrites   = 200     // documents changed, jobs, and changes of topics
	MaxStateBytes    = 1 << 20 // bytes of all values changed, and messages
	MaxDocumentBytes = 64 << 10
	MaxDocumentKey   = 512 // bytes of DocumentKey.Key
	maxDocumentKind  = 64
)

// Errors of State, besides those of package storage.
var (
	// ErrStateLimit says that one of the bounds of a State was passed.
	ErrStateLimit = errors.New("pds: too much state in one transaction")

	// ErrStateClosed says that a State was used after its function returned or
	// its time was over.
	ErrStateClosed = errors.New("pds: the state is no longer valid")

	// ErrReadOnly says that a State is only for reading.
	ErrReadOnly = errors.New("pds: the state is read-only")

	// ErrDocumentKey says that a DocumentKey is not well formed.
	ErrDocumentKey = errors.New("pds: invalid document key")
)

// DocumentKey names a document of an extension.
type DocumentKey struct {
	// Kind is the extension's own name for documents of this sort, such as
	// "com.example.room". It has a dot, at most 64 bytes, and only letters,
	// digits, dots and hyphens.
	Kind string

	// Owner is the account that the document belongs to; the document is
	// deleted together with it. Empty: the document belongs to nobody.
	Owner syntax.DID

	// Key is unique among the documents of the same kind and owner. At most
	// MaxDocumentKey bytes.
	Key string
}

func (k DocumentKey) check() error {
	plain := func(r rune) bool {
		return r == '.' || r == '-' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
	}
	switch {
	case !strings.Contains(k.Kind, ".") || len(k.Kind) > maxDocumentKind || strings.ContainsFunc(k.Kind, func(r rune) bool { return !plain(r) }):
		return fmt.Errorf("%w: kind %q", ErrDocumentKey, k.Kind)
	case len(k.Key) > MaxDocumentKey || len(k.stored()) > 1024:
		return fmt.Errorf("%w: key of %d bytes", ErrDocumentKey, len(k.Key))
	}
	return nil
}

// stored is the key under which the store has the document.
func (k DocumentKey) stored() string { return string(k.Owner) + "/" + k.Key }

// Document is a document of an extension.
type Document struct {
	DocumentKey
	Value []byte

	// Expires is when the document vanishes. Zero: never.
	Expires time.Time

	// Version identifies this state of the document. It is zero for one that
	// was put by the same State.
	Version int64
}

// JSON decodes the value into v.
func (d *Document) JSON(v any) error { return json.Unmarshal(d.Value, v) }

// State gives an extension its documents, jobs and topics. Reads see the stored
// documents and what this State has changed; changes are kept as data and
// applied later, by one transaction, which also checks that nothing which was
// read has changed meanwhile. So a function that is given a State may run more than once and
// must have no other effects; see [Write.State] and [Server.Update].
//
// A State is valid until the function that it was given to returns. Its
// methods may be called concurrently.
type State struct {
	ctx      context.Context
	s        *Server
	tx       storage.Tx // of a snapshot, or nil: each read is a View of its own
	readOnly bool

	mu     sync.Mutex // guards following 10 fields, and tx
	closed bool
	reads  map[docID]storage.Doc // what the store said; Version 0: nothing
	scans  []scanned
	count  int // documents read
	writes map[docID]*storage.Doc
	order  []docID // of writes
	size   int
	later  []func(tx storage.Docs) error // other changes
	failed error                         // a bound that was passed: nothing may be applied
	news   liveNews                      // what subscribers are told when the changes are stored
}

type docID struct{ kind, key string }

// scanned is a scan and what it found.
type scanned struct {
	kind  string
	scan  storage.Scan
	found []docVersion
}

type docVersion struct {
	key     string
	version int64
}

func newState(ctx context.Context, s *Server) *State {
	return &State{ctx: ctx, s: s, reads: map[docID]storage.Doc{}, writes: map[docID]*storage.Doc{}}
}

// View calls fn with a State that shows one moment of the store and cannot be
// changed. fn must not wait for the network or for other requests, since the
// store keeps the moment for it. The error of fn comes back unchanged.
func (s *Server) View(ctx context.Context, fn func(*State) error) error {
	return s.store.View(ctx, func(tx storage.Tx) error {
		st := newState(ctx, s)
		st.tx, st.readOnly = tx, true
		defer st.close()
		return fn(st)
	})
}

// Now returns the time of the server's clock, Config.Clock, by which documents
// expire and jobs are due. In tests it is the clock that the test moves.
func (s *Server) Now() time.Time { return s.clock.Now() }

// Now is the time of the server's clock, see [Server.Now].
func (st *State) Now() time.Time { return st.s.Now() }

// close ends the use of the State; what it holds stays.
func (st *State) close() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.closed, st.tx = true, nil
}

func (st *State) changed() bool { return st != nil && len(st.order)+len(st.later) > 0 }

// view reads from the snapshot or the store.
func (st *State) view(fn func(storage.Tx) error) error {
	if st.tx != nil {
		return fn(st.tx)
	}
	return st.s.store.View(st.ctx, fn)
}

func (st *State) countReads(n int) error {
	if st.count += n; st.count > MaxStateReads {
		st.failed = fmt.Errorf("%w: more than %d documents read", ErrStateLimit, MaxStateReads)
	}
	return st.failed
}

// Get returns a document, or storage.ErrNotFound.
func (st *State) Get(k DocumentKey) (Document, error) {
	if err := k.check(); err != nil {
		return Document{}, err
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.closed {
		return Document{}, ErrStateClosed
	}
	id := docID{k.Kind, k.stored()}
	if w, ok := st.writes[id]; ok {
		if w == nil {
			return Document{}, storage.ErrNotFound
		}
		return documentOf(*w), nil
	}
	d, known := st.reads[id]
	if !known {
		if err := st.countReads(1); err != nil {
			return Document{}, err
		}
		err := st.view(func(tx storage.Tx) (err error) {
			d, err = tx.GetDoc(id.kind, id.key)
			return err
		})
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return Document{}, err
		}
		st.reads[id] = d
	}
	if d.Version == 0 {
		return Document{}, storage.ErrNotFound
	}
	return documentOf(d), nil
}

// documentOf returns a copy of a stored document.
func documentOf(d storage.Doc) Document {
	owner, key, _ := strings.Cut(d.Key, "/")
	return Document{
		DocumentKey: DocumentKey{Kind: d.Kind, Owner: syntax.DID(owner), Key: key},
		Value:       bytes.Clone(d.Value), Expires: d.Expires, Version: d.Version,
	}
}

// Put stores a document, in place of one with the same key. d.Version is not
// looked at. When the change is applied and d.Owner is no account, the whole
// transaction fails with storage.ErrNotFound.
func (st *State) Put(d Document) error {
	if len(d.Value) > MaxDocumentBytes {
		return fmt.Errorf("%w: a document of %d bytes", ErrStateLimit, len(d.Value))
	}
	return st.write(d.DocumentKey, &storage.Doc{
		Kind: d.Kind, Key: d.stored(), Owner: d.Owner, Expires: d.Expires, Value: bytes.Clone(d.Value),
	})
}

// GetJSON decodes a document into v by encoding/json. found is false, and v is
// left alone, if there is none.
func (st *State) GetJSON(k DocumentKey, v any) (found bool, err error) {
	d, err := st.Get(k)
	if errors.Is(err, storage.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, d.JSON(v)
}

// PutJSON stores v, encoded by encoding/json, without an end.
func (st *State) PutJSON(k DocumentKey, v any) error { return st.PutJSONUntil(k, v, time.Time{}) }

// PutJSONUntil is PutJSON for a document that vanishes at a time; zero: never.
func (st *State) PutJSONUntil(k DocumentKey, v any, end time.Time) error {
	value, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return st.Put(Document{DocumentKey: k, Value: value, Expires: end})
}

// Delete removes a document; one that is not there is no error.
func (st *State) Delete(k DocumentKey) error { return st.write(k, nil) }

func (st *State) write(k DocumentKey, d *storage.Doc) error {
	if err := k.check(); err != nil {
		return err
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if err := st.writable(); err != nil {
		return err
	}
	id := docID{k.Kind, k.stored()}
	old, again := st.writes[id]
	if old != nil {
		st.size -= len(old.Value)
	}
	if d != nil {
		st.size += len(d.Value)
	}
	if !again {
		st.order = append(st.order, id)
	}
	st.writes[id] = d
	return st.checkSize()
}

func (st *State) writable() error {
	switch {
	case st.closed:
		return ErrStateClosed
	case st.readOnly:
		return ErrReadOnly
	}
	return nil
}

func (st *State) checkSize() error {
	if len(st.order)+len(st.later) > MaxStateWrites || st.size > MaxStateBytes {
		st.failed = fmt.Errorf("%w: more than %d changes or %d bytes", ErrStateLimit, MaxStateWrites, MaxStateBytes)
	}
	return st.failed
}

// Schedule puts a job into the queue together with the other changes, see
// [Server.Schedule]. If its owner is no account when they are applied, the
// whole transaction fails with storage.ErrNotFound.
func (st *State) Schedule(j Job) error {
	job, err := j.checked()
	if err != nil {
		return err
	}
	return st.also(len(j.Data), func(tx storage.Docs) error { return st.s.jobs.Put(tx, job) })
}

// CancelJob removes a job together with the other changes, see
// [Server.CancelJob].
func (st *State) CancelJob(kind, name string) error {
	if err := checkJobKind(kind); err != nil {
		return err
	}
	return st.also(0, func(tx storage.Docs) error { return st.s.jobs.Cancel(tx, kind, name) })
}

// also notes a change that is not one of documents of the extension, and the
// topics that it is about.
func (st *State) also(size int, change func(tx storage.Docs) error, topics ...string) error {
	st.mu.Lock()
	defer st.mu.Unlock()
	if err := st.writable(); err != nil {
		return err
	}
	st.size += size
	st.later = append(st.later, change)
	st.news.changed = append(st.news.changed, topics...)
	return st.checkSize()
}

// Scan returns documents of a kind and owner by key, in byte order or in
// reverse. From, To and Limit of s are as in storage.Scan; a Limit of zero is
// MaxStateReads. Other transactions conflict with this one if they change what
// the scan would find.
func (st *State) Scan(kind string, owner syntax.DID, s storage.Scan) ([]Document, error) {
	if err := (DocumentKey{Kind: kind, Owner: owner, Key: s.From}).check(); err != nil {
		return nil, err
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.closed {
		return nil, ErrStateClosed
	}
	limit := s.Limit
	if limit <= 0 {
		limit = MaxStateReads
	}
	prefix := DocumentKey{Owner: owner}.stored()
	s.From, s.To = prefix+s.From, prefix+s.To
	if s.To == prefix {
		s.To = string(owner) + "0" // the byte after the slash
	}
	// Each change can hide one of the documents that are found.
	s.Limit = limit + len(st.order)
	var docs []storage.Doc
	err := st.view(func(tx storage.Tx) (err error) {
		docs, err = tx.ScanDocs(kind, s)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := st.countReads(len(docs)); err != nil {
		return nil, err
	}
	seen := scanned{kind: kind, scan: s, found: versionsOf(docs)}
	st.scans = append(st.scans, seen)
	return st.overlay(docs, kind, s, limit), nil
}

func versionsOf(docs []storage.Doc) []docVersion {
	out := make([]docVersion, len(docs))
	for i, d := range docs {
		out[i] = docVersion{d.Key, d.Version}
	}
	return out
}

// overlay puts the changes of this State into what a scan found.
func (st *State) overlay(docs []storage.Doc, kind string, s storage.Scan, limit int) []Document {
	docs = slices.DeleteFunc(docs, func(d storage.Doc) bool {
		_, changed := st.writes[docID{kind, d.Key}]
		return changed
	})
	for id, w := range st.writes {
		if w != nil && id.kind == kind && s.From <= id.key && id.key < s.To {
			docs = append(docs, *w)
		}
	}
	slices.SortFunc(docs, func(a, b storage.Doc) int {
		if s.Reverse {
			a, b = b, a
		}
		return strings.Compare(a.Key, b.Key)
	})
	out := make([]Document, 0, min(len(docs), limit))
	for _, d := range docs[:min(len(docs), limit)] {
		out = append(out, documentOf(d))
	}
	return out
}

// apply checks what was read and carries the changes out. The State is closed.
// A State that is nil has no changes.
func (st *State) apply(tx storage.Docs) error {
	if st == nil {
		return nil
	}
	if st.failed != nil {
		return st.failed
	}
	if err := st.unchanged(tx); err != nil {
		return err
	}
	for _, id := range st.order {
		w := st.writes[id]
		if w == nil {
			if err := tx.DeleteDoc(id.kind, id.key); err != nil {
				return err
			}
			continue
		}
		d := *w
		old, err := tx.GetDoc(id.kind, id.key)
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return err
		}
		d.Version = old.Version
		if _, err := tx.PutDoc(d); err != nil {
			return err
		}
	}
	for _, change := range st.later {
		if err := change(tx); err != nil {
			return err
		}
	}
	return nil
}
