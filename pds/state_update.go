package pds

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pdskit/pdskit/storage"
)

// maxStateTries is how often Update begins again because of a conflict.
const maxStateTries = 15

// Update calls fn and applies what it changed in one durable transaction. If
// something that fn read has changed in the meantime, fn is called again with a
// new State, up to 16 times; then the error matches storage.ErrConflict. An
// error of fn comes back unchanged and nothing is applied. After an error that
// matches neither the changes may or may not have been applied.
//
// Who meets others at a document waits for its turn: of many who change the same
// one in this process, all get on, in the order in which they came to it.
//
// Update must not be called by a [Policy], which has a State of its own, nor by fn.
func (s *Server) Update(ctx context.Context, fn func(*State) error) error {
	var met *docID // what the last try conflicted about
	for try := 0; ; try++ {
		err := s.updateInTurn(ctx, fn, met)
		if !errors.Is(err, storage.ErrConflict) || try == maxStateTries {
			return err
		}
		if stale, ok := errors.AsType[*conflictError](err); ok {
			met = &stale.about
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Duration(try) * conflictPause):
		}
	}
}

// updateInTurn makes one try: at first when it likes, later one after another
// with those who have met at the same document.
func (s *Server) updateInTurn(ctx context.Context, fn func(*State) error, met *docID) error {
	if met != nil {
		leave, err := s.turns.Enter(ctx, *met)
		if err != nil {
			return err
		}
		defer leave()
	}
	st := newState(ctx, s)
	err := fn(st)
	st.close()
	if err != nil || !st.changed() {
		return cmp.Or(st.confirm(), err)
	}
	if met == nil {
		// Those who wait would begin anew because of this one, again and again.
		if i := slices.IndexFunc(st.order, s.turns.Busy); i >= 0 {
			return &conflictError{st.order[i]}
		}
	}
	return s.updateWith(ctx, st, func(tx storage.Tx) error { return st.apply(tx) })
}

// updateWith is an Update in which fn applies st, which may be nil.
func (s *Server) updateWith(ctx context.Context, st *State, fn func(tx storage.Tx) error) error {
	defer st.tellLive()
	return s.store.Update(ctx, fn)
}

// conflictError says what has changed since it was read: a document, or what a
// scan finds that begins there.
type conflictError struct{ about docID }

func (e *conflictError) Error() string {
	return fmt.Sprintf("%v: documents %s %q", storage.ErrConflict, e.about.kind, e.about.key)
}

func (e *conflictError) Unwrap() error { return storage.ErrConflict }

// confirm returns a conflictError if something that was read has changed.
func (st *State) confirm() error {
	if len(st.reads)+len(st.scans) == 0 {
		return nil
	}
	return st.s.store.View(st.ctx, func(tx storage.Tx) error { return st.unchanged(tx) })
}

// unchanged returns a conflictError unless the store still holds what was read.
// Of several documents that have changed it names the same one to everybody.
func (st *State) unchanged(tx storage.Docs) error {
	var changed []docID
	for id, seen := range st.reads {
		d, err := tx.GetDoc(id.kind, id.key)
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return err
		}
		if d.Version != seen.Version {
			changed = append(changed, id)
		}
	}
	for _, sc := range st.scans {
		docs, err := tx.ScanDocs(sc.kind, sc.scan)
		if err != nil {
			return err
		}
		if !slices.Equal(versionsOf(docs), sc.found) {
			changed = append(changed, docID{sc.kind, sc.scan.From})
		}
	}
	if len(changed) == 0 {
		return nil
	}
	return &conflictError{slices.MinFunc(changed, func(a, b docID) int {
		return cmp.Or(strings.Compare(a.kind, b.kind), strings.Compare(a.key, b.key))
	})}
}
