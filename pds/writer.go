package pds

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"github.com/pdskit/pdskit/internal/lane"
	"github.com/pdskit/pdskit/repo"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// maxHotNodes is how many tree nodes an account's lane may keep between
// writes, about 1 KB each.
const maxHotNodes = 128

// maxConflicts is how often work in a lane starts again because somebody else,
// another process, say, changed what it had read.
const maxConflicts = 8

// conflictPause is how much longer each further attempt waits.
const conflictPause = 2 * time.Millisecond

// writer is what the lane of an account keeps between writes. What it holds
// may be out of date; the checks in storage.Repos.Apply decide.
type writer struct {
	s       *Server
	did     syntax.DID
	loaded  bool
	account storage.Account
	head    storage.Head // zero: no repository yet
	tree    *repo.Tree
	key     atcrypto.PrivateKey

	last *pending // the newest commit, if it may not be stored yet

	ctx context.Context // of the work that runs
	tx  storage.Tx      // of the View that runs, if any
}

// inLane runs work in the account's lane, with the account, its head and its
// key loaded and every commit before it stored. The work runs again, on fresh
// state, when it returns storage.ErrConflict.
func (s *Server) inLane(ctx context.Context, did syntax.DID, work func(ctx context.Context, w *writer) error) error {
	return s.retry(ctx, did, func(ctx context.Context, w *writer) error {
		if err := w.drain(); err != nil {
			return err
		}
		if err := w.load(ctx); err != nil {
			return err
		}
		return work(ctx, w)
	})
}

// pipeline prepares a commit in the account's lane and stores it outside of
// it, so that the next one can be prepared meanwhile and reach the disk
// together with it. The work returns nil if there is nothing to store.
//
// A commit that fails takes the ones prepared on top of it along: they name it
// as their base, so that Apply refuses them, and are prepared anew.
func (s *Server) pipeline(ctx context.Context, did syntax.DID, prepare func(ctx context.Context, w *writer) (*pending, error)) error {
	for try := 0; ; try++ {
		var p, before *pending
		err := s.retry(ctx, did, func(ctx context.Context, w *writer) (err error) {
			if try > 0 || w.last != nil && w.last.hasFailed() {
				_ = w.drain() // what failed is prepared anew by its own caller
				w.reset()
			}
			if err := w.load(ctx); err != nil {
				return err
			}
			p, err = prepare(ctx, w)
			before = w.last
			if p != nil && err == nil {
				w.last = p
			}
			return err
		})
		switch {
		case err == nil && p != nil:
			if err = s.reportPanic(ctx, did, p.settle(ctx, s, before)); err == nil && p.ops > 0 {
				s.counts.commits.Add(1)
				s.counts.writes.Add(int64(p.ops))
			}
		case before != nil && (err == nil || isRefusal(err)):
			// Nothing to store, or a refusal: true only if what it was seen
			// against is stored.
			if <-before.done; before.failed {
				err = fmt.Errorf("%w: a commit before this one failed", storage.ErrConflict)
			}
		}
		if !errors.Is(err, storage.ErrConflict) || try == maxConflicts {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Duration(try) * conflictPause):
		}
	}
}

// retry runs work in the account's lane, again while it returns
// storage.ErrConflict.
func (s *Server) retry(ctx context.Context, did syntax.DID, work func(ctx context.Context, w *writer) error) error {
	waits := s.tracer.startWait(ctx, spanLane)
	err := s.lanes.Do(ctx, did, func(ctx context.Context, w *writer) (bool, error) {
		waits.end(nil)
		w.s, w.did, w.ctx = s, did, ctx
		defer func() { w.ctx, w.tx = nil, nil }()
		for try := 0; ; try++ {
			err := work(ctx, w)
			if err == nil {
				w.trim()
				return true, nil
			}
			if errors.Is(err, storage.ErrConflict) && try < maxConflicts {
				_ = w.drain()
				w.reset()
				continue
			}
			// After a refusal the state is what it was; a commit that failed
			// half-way has marked it as not loaded.
			if w.loaded && isRefusal(err) {
				return true, err
			}
			_ = w.drain() // the next state is read after all that is under way
			return false, err
		}
	})
	waits.end(err) // its turn never came
	if errors.Is(err, lane.ErrFull) {
		return xrpc.NewError(http.StatusServiceUnavailable, "NotEnoughResources", "Too many writes are waiting for this account")
	}
	return s.reportPanic(ctx, did, err)
}

// reportPanic logs the panic that an error is, if it is one.
func (s *Server) reportPanic(ctx context.Context, did syntax.DID, err error) error {
	p, ok := errors.AsType[*lane.PanicError](err)
	if !ok {
		return err
	}
	s.log.ErrorContext(ctx, "panic in a write", "did", did, "panic", fmt.Sprint(p.Value), "stack", string(p.Stack))
	return fmt.Errorf("write to %s: %w", did, err)
}

// pending is a commit that is signed but not yet stored.
type pending struct {
	update func(tx storage.Tx) error
	state  *State // what update applies besides, or nil
	ops    int    // records that it changes

	// entered is closed when the store has begun with the commit: whatever is
	// given to the store from then on comes after it.
	entered chan struct{}
	once    sync.Once
	done    chan struct{} // closed when its fate is known
	failed  bool          // valid after done
}

func newPending(state *State, update func(tx storage.Tx) error) *pending {
	return &pending{update: update, state: state, entered: make(chan struct{}), done: make(chan struct{})}
}

// hasFailed reports whether the commit is known to have failed.
func (p *pending) hasFailed() bool {
	select {
	case <-p.done:
		return p.failed
	default:
		return false
	}
}

func (p *pending) enter() { p.once.Do(func() { close(p.entered) }) }

// settle stores the commit, after the one before it has entered the store. A
// caller that is gone does not stop it, since others may build on it. A panic
// is returned as a *lane.PanicError.
func (p *pending) settle(ctx context.Context, s *Server, before *pending) (err error) {
	if before != nil {
		<-before.entered
	}
	defer func() {
		if v := recover(); v != nil {
			err = &lane.PanicError{Value: v, Stack: debug.Stack()}
		}
		p.failed = err != nil
		p.enter()
		close(p.done)
	}()
	update, state := p.update, p.state
	p.update, p.state = nil, nil // a lane may keep p for long
	return s.updateWith(context.WithoutCancel(ctx), state, func(tx storage.Tx) error {
		p.enter()
		return update(tx)
	})
}

// drain waits until every commit prepared so far is stored. It returns
// storage.ErrConflict, with the state reset, if one was not.
func (w *writer) drain() error {
	if w.last == nil {
		return nil
	}
	<-w.last.done
	failed := w.last.failed
	w.last = nil
	if failed {
		w.reset()
		return fmt.Errorf("%w: a commit before this one failed", storage.ErrConflict)
	}
	return nil
}

// reset forgets everything that was read.
func (w *writer) reset() {
	*w = writer{s: w.s, did: w.did, ctx: w.ctx, last: w.last}
}

// load reads account, head and key unless they are there.
func (w *writer) load(ctx context.Context) error {
	if w.loaded {
		return nil
	}
	err := w.s.store.View(ctx, func(tx storage.Tx) (err error) {
		if w.account, err = tx.Account(w.did); err != nil {
			return err
		}
		w.head, err = tx.Head(w.did)
		if errors.Is(err, storage.ErrNotFound) {
			w.head, err = storage.Head{}, nil
		}
		return err
	})
	if errors.Is(err, storage.ErrNotFound) {
		return errAccountNotFound()
	}
	if err != nil {
		return err
	}
	w.loaded = true
	return nil
}

// signer returns the account's signing key.
func (w *writer) signer(ctx context.Context) (atcrypto.PrivateKey, error) {
	if w.key == nil {
		key, err := w.s.openSigningKey(ctx, w.did, w.account.KeyID)
		if err != nil {
			return nil, err
		}
		w.key = key
	}
	return w.key, nil
}

// node is the tree's source of blocks.
func (w *writer) node(c cid.Cid) (block []byte, err error) {
	if w.tx != nil {
		return w.tx.Block(w.did, c)
	}
	err = w.s.store.View(w.ctx, func(tx storage.Tx) error {
		block, err = tx.Block(w.did, c)
		return err
	})
	return block, err
}

// currentTree returns the tree of the head. A tree that is not in memory is
// read from the store, which must have the head for that.
func (w *writer) currentTree() (*repo.Tree, error) {
	if w.tree == nil {
		if err := w.drain(); err != nil {
			return nil, err
		}
		if w.head.Data.Defined() {
			w.tree = repo.LoadTree(w.head.Data, w.node)
		} else {
			w.tree = repo.EmptyTree()
		}
	}
	return w.tree, nil
}

// view runs fn in one View, which also serves the tree's blocks. Use it where
// many reads are to come.
func (w *writer) view(ctx context.Context, fn func(tx storage.Tx) error) error {
	if w.tx != nil {
		return fn(w.tx)
	}
	return w.s.store.View(ctx, func(tx storage.Tx) error {
		w.tx = tx
		defer func() { w.tx = nil }()
		return fn(tx)
	})
}

func (w *writer) trim() {
	if w.tree != nil && w.tree.Nodes() > maxHotNodes {
		w.tree = nil
	}
}

// change is a set of writes to the tree with the records they write.
type change struct {
	writes  []repo.Write
	records map[string]storage.Record // by path
	overlay map[string]cid.Cid        // by path: the records after the writes so far; Undef: none

	// newBlobs are the blobs that records of this change refer to; oldBlobs
	// those that replaced or deleted records referred to.
	newBlobs, oldBlobs []cid.Cid

	cause cause

	asked *Write // what the policy is asked, while the writes are planned
	state *State // what the policy changed, or nil

	act *Act // to be remembered with the commit, or nil
}

// withoutCommit returns what is to be stored if the tree does not change, or
// nil.
func (ch *change) withoutCommit() *pending {
	if !ch.state.changed() {
		return nil
	}
	return newPending(ch.state, func(tx storage.Tx) error { return ch.state.apply(tx) })
}

// commitInfo is what a write's answer says of its commit.
type commitInfo struct {
	CID string `json:"cid"`
	Rev string `json:"rev"`
}

// errBlobGone says that a blob vanished between the check and the commit.
var errBlobGone = errors.New("pds: a referenced blob is gone")

// commit applies a change to the tree in memory, signs the new root and
// returns what is to be stored, with its event. It returns nil, nil if the
// change has no effect. The caller runs in the account's lane.
func (w *writer) commit(ctx context.Context, ch *change) (_ *pending, err error) {
	diff, err := w.changeTree(ctx, ch)
	if err != nil {
		return nil, err
	}
	if len(diff.Ops) == 0 && w.head.CID.Defined() {
		return ch.withoutCommit(), nil
	}
	defer func() {
		if err != nil { // the tree in memory is ahead of the stored one
			w.loaded, w.tree = false, nil
		}
	}()
	head, err := w.sign(ctx, diff.Root)
	if err != nil {
		return nil, err
	}
	stored, blocks, err := w.storedCommit(head, diff, ch)
	if err != nil {
		return nil, err
	}
	ev := commitEvent{
		did: w.did, commit: head.CID, rev: head.Rev, since: w.head.Rev, prevData: w.head.Data,
		ops: diff.Ops, blocks: repo.EncodeCAR(head.CID, blocks),
	}
	if limit := w.s.cfg.Limits.EventBytes; len(ev.blocks) > limit {
		return nil, xrpc.InvalidRequest("Too many writes. Max event size: %d bytes", limit)
	}
	if w.s.cfg.CheckCommits {
		if err := checkInversion(&ev, blocks, diff.Root); err != nil {
			return nil, err
		}
	}
	w.head = head
	return w.newCommit(stored, ch, &ev), nil
}

// changeTree applies a change to the tree in memory.
func (w *writer) changeTree(ctx context.Context, ch *change) (diff *repo.Diff, err error) {
	tree, err := w.currentTree()
	if err != nil {
		return nil, err
	}
	apply := func(storage.Tx) error {
		diff, err = tree.Apply(ch.writes)
		return err
	}
	if len(ch.writes) > 4 || tree.Nodes() == 0 {
		err = w.view(ctx, apply)
	} else {
		err = apply(nil)
	}
	if err == nil {
		return diff, nil
	}
	w.loaded, w.tree = false, nil
	switch {
	case errors.Is(err, storage.ErrNotFound):
		// A node has gone: the head has moved since it was read.
		err = fmt.Errorf("%w: %w", storage.ErrConflict, err)
	case errors.Is(err, repo.ErrTooLarge):
		err = xrpc.InvalidRequest("Too many record keys fall into one node of the tree").WithCause(err)
	}
	return nil, err
}

// storedCommit returns what the store is to apply for a new head, and the
// blocks of its event.
func (w *writer) storedCommit(head storage.Head, diff *repo.Diff, ch *change) (*storage.Commit, []repo.Block, error) {
	stored := &storage.Commit{
		DID: w.did, Base: w.head.CID, AccountVersion: w.account.Version, KeyID: w.account.KeyID,
		Head: head, OldNodes: diff.OldNodes,
	}
	for _, n := range diff.NewNodes {
		stored.NewNodes = append(stored.NewNodes, storage.Block(n))
	}
	blocks := make([]repo.Block, 0, len(diff.Proof)+len(diff.Ops)+1)
	blocks = append(blocks, repo.Block{CID: head.CID, Data: head.Commit})
	blocks = append(blocks, diff.Proof...)
	for _, op := range diff.Ops {
		if !op.CID.Defined() {
			path, err := splitPath(op.Path)
			if err != nil {
				return nil, nil, err
			}
			stored.Deletes = append(stored.Deletes, path)
			continue
		}
		rec := ch.records[op.Path]
		rec.Rev = head.Rev
		stored.Puts = append(stored.Puts, rec)
		blocks = append(blocks, repo.Block{CID: rec.CID, Data: rec.Value})
	}
	return stored, blocks, nil
}

// newCommit is a commit with all that is stored together with it.
func (w *writer) newCommit(stored *storage.Commit, ch *change, ev *commitEvent) *pending {
	s, did := w.s, w.did
	event := ch.cause.event(did, eventCommit, ev.encode())
	p := newPending(ch.state, func(tx storage.Tx) error {
		if err := tx.Apply(stored); err != nil {
			return err
		}
		if err := settleBlobs(tx, did, ch); err != nil {
			return err
		}
		if err := ch.state.apply(tx); err != nil {
			return err
		}
		if ch.act != nil {
			if err := s.putAct(tx, docAct, *ch.act); err != nil {
				return err
			}
		}
		return tx.Append(event)
	})
	p.ops = len(ev.ops)
	return p
}

// checkInversion undoes a commit from the blocks of its own event, as a relay
// does (sync v1.1), and returns an error unless that gives the root before it.
func checkInversion(ev *commitEvent, blocks []repo.Block, root cid.Cid) error {
	byCID := make(map[cid.Cid][]byte, len(blocks))
	for _, b := range blocks {
		byCID[b.CID] = b.Data
	}
	got, err := repo.InvertCommit(root, ev.ops, func(c cid.Cid) ([]byte, error) {
		if data, ok := byCID[c]; ok {
			return data, nil
		}
		return nil, repo.ErrBlockNotFound
	})
	want := ev.prevData
	if err == nil && !want.Defined() {
		want, err = repo.EmptyTree().Root()
	}
	if err != nil {
		return fmt.Errorf("commit %s cannot be inverted from its event: %w", ev.commit, err)
	}
	if got != want {
		return fmt.Errorf("commit %s inverts to %s, not to %s", ev.commit, got, want)
	}
	return nil
}

// sign makes the next commit, over a root.
func (w *writer) sign(ctx context.Context, root cid.Cid) (storage.Head, error) {
	return w.signCommit(ctx, root, repo.NextRev(w.head.Rev, w.s.clock.Now(), w.s.clockID))
}

// signCommit makes a commit over a root.
func (w *writer) signCommit(ctx context.Context, root cid.Cid, rev syntax.TID) (head storage.Head, err error) {
	ctx, sp := w.s.tracer.start(ctx, SpanInternal, spanSign)
	defer func() { sp.end(err) }()
	key, err := w.signer(ctx)
	if err != nil {
		return storage.Head{}, err
	}
	c := repo.Commit{DID: w.did, Version: repo.CommitVersion, Data: root, Rev: rev}
	if err := c.Sign(key); err != nil {
		return storage.Head{}, err
	}
	block, err := c.Block()
	if err != nil {
		return storage.Head{}, err
	}
	return storage.Head{CID: block.CID, Rev: rev, Data: root, Commit: block.Data}, nil
}

// settleBlobs makes the blobs that a commit refers to permanent and removes
// those that it left without any reference.
func settleBlobs(tx storage.Tx, did syntax.DID, ch *change) error {
	for _, c := range ch.newBlobs {
		b, err := tx.Blob(did, c)
		if errors.Is(err, storage.ErrNotFound) || (err == nil && b.TakedownRef != "") {
			return errBlobGone
		}
		if err != nil {
			return err
		}
		if b.Temporary || !b.Public {
			b.Temporary, b.Public = false, true
			if err := tx.PutBlob(b); err != nil {
				return err
			}
		}
	}
	for _, c := range ch.oldBlobs {
		used, err := tx.BlobReferenced(did, c)
		if err != nil {
			return err
		}
		if used {
			continue
		}
		b, err := tx.Blob(did, c)
		if errors.Is(err, storage.ErrNotFound) || (err == nil && b.TakedownRef != "") {
			continue // a blob that is taken down stays known, so that it cannot return
		}
		if err != nil {
			return err
		}
		if err := tx.DeleteBlob(did, c); err != nil {
			return err
		}
	}
	return nil
}

// recordBlobs returns the blobs that a stored record refers to.
func recordBlobs(value []byte) ([]cid.Cid, error) {
	if !bytes.Contains(value, []byte("mimeType")) {
		return nil, nil // neither form of a blob is without it
	}
	rec, err := repo.RecordFromCBOR(value)
	if err != nil {
		return nil, err
	}
	return blobCIDs(rec), nil
}

// blobCIDs returns the distinct blobs that a record refers to.
func blobCIDs(rec *repo.Record) []cid.Cid {
	var out []cid.Cid
	for _, b := range rec.Blobs {
		if !slices.Contains(out, b.CID) {
			out = append(out, b.CID)
		}
	}
	return out
}

func splitPath(path string) (storage.RecordPath, error) {
	if err := repo.CheckPath(path); err != nil {
		return storage.RecordPath{}, err
	}
	collection, rkey, _ := cutPath(path)
	return storage.RecordPath{Collection: syntax.NSID(collection), RKey: syntax.RecordKey(rkey)}, nil
}
