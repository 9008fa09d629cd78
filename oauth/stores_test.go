package oauth_test

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/examples/customstore/mapstore"
	"github.com/pdskit/pdskit/oauth"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/storagetest"
)

// stores are stores on which races are run, as changes of a configuration: a
// database, a table of documents, a store of one's own, and that again with all
// that the contract allows.
var stores = map[string]func(*oauth.Config){
	"sqlite":  func(*oauth.Config) {},
	"memory":  func(c *oauth.Config) { c.Store = newMemory() },
	"custom":  func(c *oauth.Config) { c.Store = storage.DocsOf(custom(c)) },
	"awkward": func(c *oauth.Config) { c.Store = storage.DocsOf(storagetest.Awkward(custom(c))) },
}

func custom(c *oauth.Config) storage.Store { return mapstore.New(wallClock(c.Clock)) }

// wallClock is a clock that nobody sets back.
type wallClock func() time.Time

func (c wallClock) Now() time.Time { return c() }

func (c wallClock) Elapsed() time.Duration { return c().Sub(time.Unix(0, 0)) }

// memory is a store of documents in a map, as a program without a database may
// have one. Its transactions run one after another.
type memory struct {
	mu      sync.Mutex // guards following
	docs    map[[2]string]storage.Doc
	version int64
}

func newMemory() *memory { return &memory{docs: map[[2]string]storage.Doc{}} }

func (m *memory) View(_ context.Context, fn func(storage.Docs) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return fn(m)
}

func (m *memory) Update(_ context.Context, fn func(storage.Docs) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := maps.Clone(m.docs)
	err := fn(m)
	if err != nil {
		m.docs = before
	}
	return err
}

func (m *memory) GetDoc(kind, key string) (storage.Doc, error) {
	doc, ok := m.docs[[2]string{kind, key}]
	if !ok {
		return storage.Doc{}, storage.ErrNotFound
	}
	return doc, nil
}

func (m *memory) PutDoc(d storage.Doc) (int64, error) {
	if m.docs[[2]string{d.Kind, d.Key}].Version != d.Version {
		return 0, storage.ErrConflict
	}
	m.version++
	d.Version = m.version
	m.docs[[2]string{d.Kind, d.Key}] = d
	return d.Version, nil
}

func (m *memory) DeleteDoc(kind, key string) error {
	delete(m.docs, [2]string{kind, key})
	return nil
}

func (m *memory) ScanDocs(kind string, s storage.Scan) (out []storage.Doc, err error) {
	for _, doc := range m.docs {
		if doc.Kind == kind && doc.Key >= s.From && doc.Key < s.To && len(out) < s.Limit {
			out = append(out, doc)
		}
	}
	return out, nil
}

func (m *memory) ScanOwner(syntax.DID, string) ([]storage.Doc, error) { return nil, nil }

func (m *memory) OwnerKinds(syntax.DID) ([]string, error) { return nil, nil }
