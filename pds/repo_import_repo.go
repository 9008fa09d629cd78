package pds

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"github.com/pdskit/pdskit/repo"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// maxRevLead is how far the rev of an imported commit may be in the future.
const maxRevLead = 5 * time.Minute

func (s *Server) importRepo() xrpc.Method {
	return xrpc.ProcedureBody("com.atproto.repo.importRepo", s.importRule(),
		func(ctx context.Context, up *xrpc.Upload) (*xrpc.None, error) {
			if s.cfg.RefuseImports {
				return nil, xrpc.InvalidRequest("Service is not accepting repo imports")
			}
			caller := xrpc.CallerFrom(ctx)
			return nil, s.importFor(ctx, caller.Account, cause{caller.Actor, caller.Client}, up)
		}).WithMaxBody(s.cfg.Limits.ImportBytes)
}

// importFor is importCAR within the bounds of imports, and carries on a
// migration.
func (s *Server) importFor(ctx context.Context, did syntax.DID, by cause, up *xrpc.Upload) error {
	if _, running := s.importing.LoadOrStore(did, true); running {
		return xrpc.NewError(http.StatusServiceUnavailable, "NotEnoughResources", "An import of this account is running")
	}
	defer s.importing.Delete(did)
	select {
	case s.imports <- struct{}{}:
		defer func() { <-s.imports }()
	default:
		return xrpc.NewError(http.StatusServiceUnavailable, "NotEnoughResources", "Too many imports are running")
	}
	if err := s.importCAR(ctx, did, by, up); err != nil {
		return err
	}
	return s.extendMigration(ctx, did)
}

func errImport(err error, format string, args ...any) *xrpc.Error {
	return xrpc.InvalidRequest(format, args...).WithCause(err)
}

// importCAR replaces the repository of an account by the one in a CAR. It
// verifies the whole tree and stages it in small transactions under an
// unpublished generation; one more publishes it with a new commit. Nothing is
// visible, or left behind, if anything is wrong.
func (s *Server) importCAR(ctx context.Context, did syntax.DID, by cause, up *xrpc.Upload) (err error) {
	spool, err := newImportSpool()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, spool.Close()) }()
	root, err := spoolCAR(spool, up, repo.CARLimits{MaxBytes: s.cfg.Limits.ImportBytes, MaxBlocks: s.cfg.Limits.ImportBlocks})
	if err != nil {
		return err
	}
	commit, err := s.importedCommit(spool, root, did)
	if err != nil {
		return err
	}

	// The rev of everything imported is above what both repositories had.
	var head storage.Head
	err = s.store.View(ctx, func(tx storage.Tx) error {
		head, err = tx.Head(did)
		return err
	})
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	rev := repo.NextRev(max(head.Rev, commit.Rev), s.clock.Now(), s.clockID)

	st := &importer{
		stager: stager{
			ctx: ctx, store: s.store, did: did, block: spool.block,
			complete: func(r *storage.Record) error {
				r.Rev, r.Author = rev, by.actor
				return s.checkImportedBlobs(ctx, did, by.actor, r.Blobs)
			},
		},
		s: s, base: head.CID, rev: rev, imported: commit.Rev, by: by,
	}
	defer func() {
		if !st.published {
			err = errors.Join(err, st.drop())
		}
	}()
	if err := st.stage(commit.Data); err != nil {
		return err
	}
	return st.publish(commit.Data)
}

// spoolCAR reads a CAR with exactly one root, checking every block's hash.
func spoolCAR(spool *importSpool, up *xrpc.Upload, limits repo.CARLimits) (cid.Cid, error) {
	refuse := func(err error) error {
		if isRefusal(err) || !(errors.Is(err, repo.ErrInvalidCAR) || errors.Is(err, repo.ErrTooLarge)) {
			return err // the body's own limits, or a failing disk
		}
		return errImport(err, "Invalid CAR: %v", err)
	}
	car, err := repo.NewCARReader(up.Reader, limits)
	if err != nil {
		return cid.Undef, refuse(err)
	}
	if len(car.Roots()) != 1 {
		return cid.Undef, xrpc.InvalidRequest("expected one root")
	}
	for {
		b, err := car.Next()
		if errors.Is(err, io.EOF) {
			return car.Roots()[0], nil
		}
		if err != nil {
			return cid.Undef, refuse(err)
		}
		if err := spool.add(b); err != nil {
			return cid.Undef, err
		}
	}
}

// importedCommit reads and checks the commit of an import.
func (s *Server) importedCommit(spool *importSpool, root cid.Cid, did syntax.DID) (*repo.Commit, error) {
	data, err := spool.block(root)
	if errors.Is(err, repo.ErrBlockNotFound) || (err == nil && repo.CIDOf(data) != root) {
		return nil, errImport(err, "The CAR does not hold its root block")
	}
	if err != nil {
		return nil, err
	}
	commit, err := repo.ParseCommit(data)
	if err != nil {
		return nil, errImport(err, "Invalid commit: %v", err)
	}
	if commit.DID != did {
		return nil, xrpc.InvalidRequest("The repo is of %s, not of %s", commit.DID, did)
	}
	if at := commit.Rev.Time(); at.After(s.clock.Now().Add(maxRevLead)) {
		return nil, xrpc.InvalidRequest("The rev %s is in the future", commit.Rev)
	}
	return commit, nil
}

// importer publishes what its stager has written.
type importer struct {
	stager
	s    *Server
	base cid.Cid // head of the repository that is replaced
	rev  syntax.TID
	// imported is the rev of the commit in the CAR.
	imported  syntax.TID
	by        cause
	published bool
}

// publish makes the staged generation the repository, under a new commit. An
// active account announces it by a #sync event.
func (st *importer) publish(root cid.Cid) error {
	return st.s.inLane(st.ctx, st.did, func(ctx context.Context, w *writer) error {
		if w.account.TakedownRef != "" {
			return errAccountTakedown()
		}
		if w.head.CID != st.base {
			return xrpc.InvalidRequest("The repo was written to during the import: try again")
		}
		state, err := st.askPolicy(ctx, root)
		if err != nil {
			return err
		}
		if err := st.releaseBlobs(ctx); err != nil {
			return err
		}
		head, err := w.signCommit(ctx, root, st.rev)
		if err != nil {
			return err
		}
		commit := storage.Commit{
			DID: w.did, Base: w.head.CID, AccountVersion: w.account.Version, KeyID: w.account.KeyID,
			Head: head, Generation: st.generation,
		}
		active := w.account.Active()
		w.loaded, w.tree = false, nil
		err = st.s.updateWith(ctx, state, func(tx storage.Tx) error {
			if err := tx.Apply(&commit); err != nil {
				return err
			}
			if err := state.apply(tx); err != nil {
				return err
			}
			if err := st.s.noteChange(ctx, tx, st.did, st.by, ChangeImport); err != nil {
				return err
			}
			if !active {
				return nil
			}
			return tx.Append(st.by.event(st.did, eventSync, encodeSync(st.did, head)))
		})
		st.published = err == nil
		return err
	})
}

// askPolicy asks the policy about the import as a whole.
func (st *importer) askPolicy(ctx context.Context, root cid.Cid) (*State, error) {
	// A policy that is too slow must not read the spool any longer.
	var (
		mu     sync.Mutex
		over   bool
		failed error
	)
	block := func(c cid.Cid) ([]byte, error) {
		mu.Lock()
		defer mu.Unlock()
		if over {
			return nil, errStopWalk
		}
		return st.block(c)
	}
	records := func(yield func(string, *repo.Record) bool) {
		err := repo.WalkTree(root, block, func(path string, value cid.Cid) error {
			data, err := block(value)
			if err != nil {
				return err
			}
			rec, err := repo.RecordFromCBOR(data)
			if err != nil {
				return err
			}
			if !yield(path, rec) {
				return errStopWalk
			}
			return nil
		}, func(repo.Block) error { return nil })
		if err != nil && !errors.Is(err, errStopWalk) {
			mu.Lock()
			defer mu.Unlock()
			failed = err
		}
	}
	state, err := st.s.askPolicy(ctx, &Write{
		Account: st.did, Actor: st.by.actor, Client: st.by.client,
		Import: &ImportedRepo{Rev: st.imported, Records: records},
	})
	mu.Lock()
	defer mu.Unlock()
	over = true
	if err == nil {
		err = failed // the policy has not seen all
	}
	return state, err
}

// errStopWalk ends a walk that has served its purpose.
var errStopWalk = errors.New("pds: enough records")

// releaseBlobs makes the blobs of the repository that is replaced temporary, so
// that the sweep decides about them in its time: it keeps those that anything
// refers to then.
func (st *importer) releaseBlobs(ctx context.Context) error {
	after, last := "", ""
	for {
		n := 0
		err := st.s.store.Update(ctx, func(tx storage.Tx) error {
			refs, err := tx.ListBlobRefs(st.did, "", after, sweepBatch)
			if n = len(refs); err != nil || n == 0 {
				return err
			}
			for _, c := range refs {
				b, err := tx.Blob(st.did, c)
				if errors.Is(err, storage.ErrNotFound) || (err == nil && (b.Temporary || b.TakedownRef != "")) {
					continue
				}
				if err != nil {
					return err
				}
				b.Temporary, b.CreatedAt = true, st.s.clock.Now()
				if err := tx.PutBlob(b); err != nil {
					return err
				}
			}
			last = refs[n-1].String()
			return nil
		})
		if err != nil || n < sweepBatch {
			return err
		}
		after = last
	}
}
