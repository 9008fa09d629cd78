package pds

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/internal/lookup"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc/lexicons"
)

// LexiconPolicy says what a server does about records of collections that its
// own catalog does not know.
type LexiconPolicy int

const (
	// LexiconsOptimistic looks for the lexicon on the network, while the write
	// waits for Limits.LexiconWait at most. A record whose lexicon cannot be
	// found passes as unknown. It is the default.
	LexiconsOptimistic LexiconPolicy = iota

	// LexiconsIgnored asks nobody: such records are unknown.
	LexiconsIgnored

	// LexiconsRequired is like LexiconsOptimistic, but refuses records that are
	// unknown, unless the client asks for no validation at all.
	LexiconsRequired
)

// Bounds of what is remembered of lexicons.
const (
	lexiconStale    = time.Hour          // then it is renewed, behind the scenes
	lexiconMaxAge   = 7 * 24 * time.Hour // then it is not used any more
	lexiconErrorAge = 5 * time.Minute    // of a failure
	maxLexicons     = 1000               // in memory
	maxLexiconCache = 64 << 20           // bytes of memory, estimated
	lexiconFactor   = 16                 // bytes of memory for one of its JSON

	maxLexiconRefs    = 32               // lexicons that one refers to, directly or not
	lexiconTime       = 20 * time.Second // for one with all that it refers to
	maxLexiconLookups = 32               // at a time
	maxLookupsEach    = 4                // of them for the writes of one account

	// Lexicons are stored in so many places, by a hash of their names: a later
	// one takes the place of another. So what strangers can make this server
	// store is bounded, without counting.
	lexiconPlaces    = 4096
	maxStoredLexicon = 64 << 10 // bytes, with all that it refers to
)

// docLexicon is the kind of the documents that hold lexicons of others.
const docLexicon = "lexicon"

// foreignLexicon is the lexicon of a collection with all that it refers to. It
// does not change.
type foreignLexicon struct {
	catalog *lexicons.Catalog
	files   map[string]json.RawMessage // by NSID
	size    int
}

// foreignLexicons finds and remembers lexicons that Config.Catalog does not have.
type foreignLexicons struct {
	s        *Server
	resolver *LexiconResolver
	cache    *lookup.Cache[syntax.NSID, *foreignLexicon]
	slots    *callSlots
}

// newForeignLexicons returns nil if nobody can be asked.
func (s *Server) newForeignLexicons() (*foreignLexicons, error) {
	directory, able := s.cfg.Directory.(LexiconDirectory)
	if !able {
		if s.cfg.Lexicons == LexiconsRequired {
			return nil, errors.New("pds: Config.Lexicons: LexiconsRequired needs a Directory that is a LexiconDirectory")
		}
		return nil, nil
	}
	resolver, err := NewLexiconResolver(LexiconResolverConfig{
		Directory: directory, Store: s.store, Transport: s.cfg.Transport, DevMode: s.cfg.DevMode,
	})
	if err != nil {
		return nil, err
	}
	f := &foreignLexicons{s: s, resolver: resolver, slots: newCallSlots(maxLexiconLookups, maxLookupsEach)}
	f.cache = lookup.New(lookup.Config[syntax.NSID, *foreignLexicon]{
		Fetch: f.fetch, NotFound: ErrLexiconNotFound,
		Cost:     func(l *foreignLexicon) int { return l.size * lexiconFactor },
		StaleTTL: lexiconStale, MaxTTL: lexiconMaxAge, ErrorTTL: lexiconErrorAge, Clock: s.clock.Now,
		MaxEntries: maxLexicons, MaxBytes: maxLexiconCache,
	})
	return f, nil
}

// get returns the lexicon of a collection, or nil if it cannot be found in time,
// for a write of an account.
func (f *foreignLexicons) get(ctx context.Context, account syntax.DID, nsid syntax.NSID, wait time.Duration) *foreignLexicon {
	nsid = nsid.Normalize()
	if _, known := f.cache.Peek(nsid); !known {
		f.load(ctx, nsid)
	}
	if res, ok, err := f.cache.Known(ctx, nsid); ok {
		if err != nil {
			return nil
		}
		return res.Value
	}
	if wait <= 0 {
		return nil
	}
	release, ok := f.slots.take(string(account))
	if !ok {
		return nil
	}
	found := make(chan *foreignLexicon, 1)
	detached := context.WithoutCancel(ctx)
	go func() {
		defer release()
		res, err := f.cache.Get(detached, nsid)
		if err != nil {
			f.s.log.DebugContext(detached, "lexicon not found", "nsid", nsid, "error", err)
			res.Value = nil
		}
		found <- res.Value
	}()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case l := <-found:
		return l
	case <-timer.C:
	case <-ctx.Done():
	}
	return nil
}

// fetch resolves a lexicon and all that it refers to.
func (f *foreignLexicons) fetch(ctx context.Context, nsid syntax.NSID) (*foreignLexicon, error) {
	ctx, cancel := context.WithTimeout(ctx, lexiconTime)
	defer cancel()
	files := make(map[string]json.RawMessage)
	wanted := []string{string(nsid)}
	for len(wanted) > 0 {
		name := wanted[0]
		wanted = wanted[1:]
		if files[name] != nil || f.s.cfg.Catalog.Has(name) {
			continue
		}
		if len(files) > maxLexiconRefs {
			return nil, fmt.Errorf("pds: lexicon %s refers to more than %d others", nsid, maxLexiconRefs)
		}
		parsed, err := syntax.ParseNSID(name)
		if err != nil {
			return nil, fmt.Errorf("pds: lexicon %s: %w", nsid, err)
		}
		text, err := f.resolver.Resolve(ctx, parsed)
		if err != nil {
			return nil, err
		}
		refs, err := lexicons.References(text)
		if err != nil {
			return nil, err
		}
		files[name] = text
		wanted = append(wanted, refs...)
	}
	l, err := f.compile(nsid, files)
	if err != nil {
		return nil, err
	}
	if err := f.store(ctx, nsid, l); err != nil {
		f.s.log.InfoContext(ctx, "storing a lexicon failed", "nsid", nsid, "error", err)
	}
	return l, nil
}

// compile makes a catalog of the files on top of the server's own.
func (f *foreignLexicons) compile(nsid syntax.NSID, files map[string]json.RawMessage) (*foreignLexicon, error) {
	l := &foreignLexicon{catalog: lexicons.Over(f.s.cfg.Catalog), files: files}
	for name, text := range files {
		// One that the server's own catalog has got meanwhile is as good.
		if err := l.catalog.Add(text); err != nil && !errors.Is(err, lexicons.ErrExists) {
			return nil, fmt.Errorf("lexicon %s, for %s: %w", name, nsid, err)
		}
		l.size += len(text)
	}
	return l, nil
}

// storedLexicon is the document of a lexicon.
type storedLexicon struct {
	NSID  syntax.NSID                `json:"nsid"`
	Found int64                      `json:"found"` // Unix seconds
	Files map[string]json.RawMessage `json:"files"`
}

// lexiconKey is the key of the document in which a lexicon may be.
func lexiconKey(nsid syntax.NSID) string {
	sum := sha256.Sum256([]byte(nsid))
	place := (int(sum[0])<<8 | int(sum[1])) % lexiconPlaces
	return hex.EncodeToString([]byte{byte(place >> 8), byte(place)})
}

// store keeps a lexicon for the next start of the server.
func (f *foreignLexicons) store(ctx context.Context, nsid syntax.NSID, l *foreignLexicon) error {
	if l.size > maxStoredLexicon {
		return nil
	}
	now := f.s.clock.Now()
	value, err := json.Marshal(storedLexicon{nsid, now.Unix(), l.files})
	if err != nil {
		return err
	}
	return f.s.store.Update(ctx, func(tx storage.Tx) error {
		old, err := tx.GetDoc(docLexicon, lexiconKey(nsid))
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return err
		}
		_, err = tx.PutDoc(storage.Doc{
			Kind: docLexicon, Key: lexiconKey(nsid), Version: old.Version, Expires: now.Add(lexiconMaxAge), Value: value,
		})
		return err
	})
}

// load takes a lexicon that is stored into the cache, as old as it is.
func (f *foreignLexicons) load(ctx context.Context, nsid syntax.NSID) {
	var doc storage.Doc
	err := f.s.store.View(ctx, func(tx storage.Tx) (err error) {
		doc, err = tx.GetDoc(docLexicon, lexiconKey(nsid))
		return err
	})
	if errors.Is(err, storage.ErrNotFound) {
		return
	}
	var stored storedLexicon
	if err == nil {
		err = json.Unmarshal(doc.Value, &stored)
	}
	if err == nil && stored.NSID != nsid {
		return // of another one in the same place
	}
	var l *foreignLexicon
	if err == nil {
		l, err = f.compile(nsid, stored.Files)
	}
	if err != nil {
		f.s.log.WarnContext(ctx, "a stored lexicon cannot be read", "nsid", nsid, "error", err)
		return
	}
	f.cache.Put(nsid, l, time.Unix(stored.Found, 0))
}

// catalogOf returns the catalog by which records of a collection are checked:
// that of the configuration, or one with the lexicon of the collection's
// authority. All records of a batch together wait for Limits.LexiconWait at most.
func (s *Server) catalogOf(ctx context.Context, b *Batch, collection syntax.NSID) *lexicons.Catalog {
	if b.Validate == ValidateNone || s.cfg.Lexicons == LexiconsIgnored || s.lexicons == nil || s.cfg.Catalog.Has(string(collection)) {
		return s.cfg.Catalog
	}
	if b.lexiconsUntil == 0 {
		b.lexiconsUntil = s.clock.Elapsed() + s.cfg.Limits.LexiconWait
	}
	if l := s.lexicons.get(ctx, b.Account, collection, b.lexiconsUntil-s.clock.Elapsed()); l != nil {
		return l.catalog
	}
	return s.cfg.Catalog
}
