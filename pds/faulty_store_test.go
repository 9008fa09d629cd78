package pds_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/sqlite"
)

// chaosStore lets Updates go wrong in every way that the contract of
// storage.Store allows, and, with panics, one that it does not.
type chaosStore struct {
	storage.Store
	on atomic.Bool
}

var (
	errChaos = errors.New("chaos")
	errAgain = errors.New("run the closure again")
)

func (s *chaosStore) Unwrap() storage.Store { return s.Store }

func (s *chaosStore) View(ctx context.Context, fn func(storage.Tx) error) error {
	if s.on.Load() && rand.IntN(400) == 0 {
		return errChaos
	}
	return s.Store.View(ctx, fn)
}

func (s *chaosStore) Update(ctx context.Context, fn func(storage.Tx) error) error {
	if !s.on.Load() {
		return s.Store.Update(ctx, fn)
	}
	if rand.IntN(3) == 0 {
		time.Sleep(time.Duration(rand.IntN(1500)) * time.Microsecond)
	}
	switch rand.IntN(70) {
	case 0: // it did not happen
		return fmt.Errorf("%w: by chance", storage.ErrConflict)
	case 1: // unknown; it did not happen
		return errChaos
	case 2: // unknown; it happened
		if err := s.Store.Update(ctx, fn); err != nil {
			return err
		}
		return errChaos
	case 3: // the closure runs twice
		if err := s.Store.Update(ctx, func(tx storage.Tx) error { return errors.Join(fn(tx), errAgain) }); !errors.Is(err, errAgain) {
			return err
		}
	case 4: // it ran and was undone
		err := s.Store.Update(ctx, func(tx storage.Tx) error { return errors.Join(fn(tx), errAgain) })
		if errors.Is(err, errAgain) {
			return storage.ErrConflict
		}
		return err
	case 5:
		panic("chaos before")
	case 6:
		if err := s.Store.Update(ctx, fn); err != nil {
			return err
		}
		panic("chaos after")
	}
	err := s.Store.Update(ctx, fn)
	if rand.IntN(4) == 0 {
		time.Sleep(time.Duration(rand.IntN(1500)) * time.Microsecond)
	}
	return err
}

// fate is what a client knows about one write.
type fate struct {
	path, cid string // of a create or update
	deleted   string // CID of the record that was deleted
	err       error
	refused   bool
}

// TestWritesOnAStoreThatFails: what is acknowledged is there, what is refused
// is not, tree, index and firehose agree, and nothing hangs, whatever the store
// does.
func TestWritesOnAStoreThatFails(t *testing.T) {
	t.Parallel()
	clock := pdstest.NewClock()
	inner, err := sqlite.OpenMemory(sqlite.Options{Clock: clock})
	ok(t, err)
	t.Cleanup(func() { _ = inner.Close() })
	store := &chaosStore{Store: inner}
	srv := pdstest.New(t, func(cfg *pds.Config) { cfg.Store = store })
	acct := srv.CreateAccount("alice")
	store.on.Store(true)

	var mu sync.Mutex
	var fates []fate
	note := func(f fate, out map[string]any, err error) string {
		c, _ := out["cid"].(string)
		if f.deleted == "" {
			f.cid = c
		}
		f.err = err
		var e *pdstest.Error
		f.refused = errors.As(err, &e) && e.Status < 500
		mu.Lock()
		fates = append(fates, f)
		mu.Unlock()
		return c
	}
	var wg sync.WaitGroup
	for k := range 16 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(k), uint64(time.Now().UnixNano())))
			last := map[string]string{}
			for i := range scaled(120) {
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				if rng.IntN(12) == 0 {
					time.AfterFunc(time.Duration(rng.IntN(3000))*time.Microsecond, cancel)
				}
				text := fmt.Sprintf("%d %d %d", k, i, rng.Int64())
				record := map[string]any{"$type": noteCollection, "text": text}
				in := map[string]any{"repo": acct.DID, "collection": noteCollection, "record": record}
				switch what := rng.IntN(10); {
				case what < 4:
					rkey := fmt.Sprintf("c-%d-%d", k, i)
					in["rkey"] = rkey
					out, err := callJSON(ctx, acct, "com.atproto.repo.createRecord", in)
					if c := note(fate{path: noteCollection + "/" + rkey}, out, err); c != "" {
						last[rkey] = c
					}
				case what < 7:
					rkey := fmt.Sprintf("hot-%d", rng.IntN(4))
					in["rkey"] = rkey
					out, err := callJSON(ctx, acct, "com.atproto.repo.putRecord", in)
					note(fate{path: noteCollection + "/" + rkey}, out, err)
				case what < 9:
					for rkey, c := range last {
						delete(last, rkey)
						_, err := callJSON(ctx, acct, "com.atproto.repo.deleteRecord", map[string]any{
							"repo": acct.DID, "collection": noteCollection, "rkey": rkey, "swapRecord": c,
						})
						note(fate{path: noteCollection + "/" + rkey, deleted: c}, nil, err)
						break
					}
				default:
					var writes []any
					for n := range 8 {
						writes = append(writes, map[string]any{
							"$type": "com.atproto.repo.applyWrites#create", "collection": noteCollection,
							"rkey": fmt.Sprintf("b-%d-%d-%d", k, i, n), "value": record,
						})
					}
					_, err := callJSON(ctx, acct, "com.atproto.repo.applyWrites", map[string]any{"repo": acct.DID, "writes": writes})
					for n := range 8 {
						note(fate{path: fmt.Sprintf("%s/b-%d-%d-%d", noteCollection, k, i, n)}, nil, err)
					}
				}
				cancel()
			}
		})
	}
	// Meanwhile the account's status, and with it its version, changes.
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			case <-time.After(40 * time.Millisecond):
			}
			ref := map[string]any{"$type": "com.atproto.admin.defs#repoRef", "did": acct.DID}
			_ = post(t, srv, "com.atproto.admin.updateSubjectStatus", adminAuth,
				map[string]any{"subject": ref, "deactivated": map[string]any{"applied": n%2 == 0}}, nil)
			if n%2 == 0 {
				_ = post(t, srv, "com.atproto.admin.updateSubjectStatus", adminAuth,
					map[string]any{"subject": ref, "deactivated": map[string]any{"applied": false}}, nil)
			}
		}
	}()
	wg.Wait()
	close(stop)
	<-done
	store.on.Store(false)
	ok(t, post(t, srv, "com.atproto.admin.updateSubjectStatus", adminAuth, map[string]any{
		"subject":     map[string]any{"$type": "com.atproto.admin.defs#repoRef", "did": acct.DID},
		"deactivated": map[string]any{"applied": false},
	}, nil))
	checkFates(t, srv, acct, fates)
}

func checkFates(t *testing.T, srv *pdstest.PDS, acct *pdstest.Account, fates []fate) {
	t.Helper()
	events := allEvents(t, srv)
	tree := acct.Export().Records
	if replay := pdstest.Replay(events, acct.DID); !maps.Equal(tree, replay) {
		t.Errorf("the tree has %d records, the firehose leads to %d", len(tree), len(replay))
	}
	if index := listAll(t, acct, noteCollection); !maps.Equal(tree, index) {
		t.Errorf("the tree has %d records, the index %d", len(tree), len(index))
	}
	written := map[string]int{} // "path cid" to count
	paths := map[string]int{}
	deleted := map[string]int{}
	var rev syntax.TID
	for _, ev := range events {
		if ev.Kind != "#commit" || ev.DID != acct.DID {
			continue
		}
		if ev.Since != rev {
			t.Errorf("commit %s follows %s, not %s", ev.Rev, ev.Since, rev)
		}
		rev = ev.Rev
		for _, op := range ev.Ops {
			if op.Action == "delete" {
				deleted[op.Path+" "+op.Prev.String()]++
				continue
			}
			paths[op.Path]++
			written[op.Path+" "+op.CID.String()]++
		}
	}
	for _, f := range fates {
		var n int
		switch {
		case f.deleted != "":
			n = deleted[f.path+" "+f.deleted]
		case f.cid != "":
			n = written[f.path+" "+f.cid]
		default:
			n = paths[f.path]
		}
		hot := slices.Contains([]string{"hot-0", "hot-1", "hot-2", "hot-3"}, f.path[len(noteCollection)+1:])
		switch {
		case f.err == nil && n != 1:
			t.Errorf("acknowledged write of %s (%s%s) is %d times on the firehose", f.path, f.cid, f.deleted, n)
		case f.refused && n != 0 && !hot:
			t.Errorf("refused write of %s is on the firehose: %v", f.path, f.err)
		}
	}
}
