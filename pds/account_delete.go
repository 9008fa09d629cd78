package pds

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/storage"
)

// docJob is the kind of the documents that hold work with a due time. The key
// begins with what is to be done and when, so that a scan finds what is due.
const docJob = "job"

// jobDelete begins the keys of the jobs that delete accounts:
// "delete-account/<time>/<DID>".
const jobDelete = "delete-account/"

// docMigration is the kind of the documents that mark accounts which brought
// their DID and have never been activated here; their key is the DID.
const docMigration = "migration"

// dueBatch is how many accounts one turn of deleteDueAccounts deletes.
const dueBatch = 50

// migrationStep is by how much less than migrationTTL is left before a sign of
// life of a migration renews it.
const migrationStep = time.Hour

func deleteJobKey(a *storage.Account) string {
	return jobDelete + formatTime(a.DeleteAfter) + "/" + string(a.DID)
}

// scheduleDeletion makes the job that belongs to a.DeleteAfter, if that is set.
func (s *Server) scheduleDeletion(tx storage.Docs, a *storage.Account) error {
	if a.DeleteAfter.IsZero() {
		return nil
	}
	_, err := tx.PutDoc(storage.Doc{Kind: docJob, Key: deleteJobKey(a), Owner: a.DID})
	return err
}

// unscheduleDeletion removes the job that belongs to a.DeleteAfter. Call it
// before that changes.
func (s *Server) unscheduleDeletion(tx storage.Docs, a *storage.Account) error {
	if a.DeleteAfter.IsZero() {
		return nil
	}
	return tx.DeleteDoc(docJob, deleteJobKey(a))
}

// markMigration notes that an account is still on its way here.
func markMigration(tx storage.Docs, did syntax.DID) error {
	_, err := tx.PutDoc(storage.Doc{Kind: docMigration, Key: string(did), Owner: did})
	return err
}

// isMigrating reports whether an account is still on its way here.
func isMigrating(tx storage.Docs, did syntax.DID) (bool, error) {
	_, err := tx.GetDoc(docMigration, string(did))
	if errors.Is(err, storage.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// extendMigration postpones the deletion of an account that brought its DID
// and has not been activated yet. The methods that carry a migration on call
// it. For other accounts it does nothing.
func (s *Server) extendMigration(ctx context.Context, did syntax.DID) error {
	until := s.clock.Now().Add(migrationTTL)
	due := false
	err := s.store.View(ctx, func(tx storage.Tx) error {
		if migrating, err := isMigrating(tx, did); !migrating {
			return err
		}
		a, err := tx.Account(did)
		due = err == nil && !a.DeleteAfter.IsZero() && until.Sub(a.DeleteAfter) > migrationStep
		return err
	})
	if err != nil || !due {
		return err
	}
	_, err = s.changeAccount(ctx, did, func(tx storage.Tx, a *storage.Account) error {
		if a.DeactivatedAt.IsZero() || a.DeleteAfter.IsZero() {
			return nil // activated in between
		}
		if err := s.unscheduleDeletion(tx, a); err != nil {
			return err
		}
		a.DeleteAfter = until
		return s.scheduleDeletion(tx, a)
	}, nil)
	return err
}

// deleteAccountNow deletes an account: when it returns nothing of it is
// visible any more, its names are free, and the network has been told, unless
// the account never became active here. The rows and the bytes of its blobs are collected later. It returns
// AccountNotFound if there is no such account. If check is not nil it runs
// first in the same Update; its error stops the deletion.
func (s *Server) deleteAccountNow(ctx context.Context, did syntax.DID, by cause, check func(tx storage.Tx, a *storage.Account) error) error {
	var gone storage.Account
	err := s.inLane(ctx, did, func(ctx context.Context, w *writer) error {
		defer w.reset()
		state, err := w.askAboutStatus(ctx, by, StatusChange{Action: StatusDelete})
		if err != nil {
			return err
		}
		return s.store.Update(ctx, func(tx storage.Tx) error {
			a, err := tx.Account(did)
			if errors.Is(err, storage.ErrNotFound) || err == nil && a.Pending {
				return errAccountNotFound()
			}
			if err != nil {
				return err
			}
			if check != nil {
				if err := check(tx, &a); err != nil {
					return err
				}
			}
			migrating, err := isMigrating(tx, did)
			if err != nil {
				return err
			}
			if err := state.apply(tx); err != nil {
				return err
			}
			if err := tx.DeleteAccount(did); err != nil {
				return err
			}
			if err := tx.HideEvents(did); err != nil {
				return err
			}
			gone = a
			if migrating {
				return nil // it lives elsewhere, and was never announced from here
			}
			return tx.Append(by.event(did, eventAccount, encodeAccount(did, statusDeleted)))
		})
	})
	if err == nil {
		s.forgetIdentity(ctx, did, gone.Handle)
	}
	return err
}

// deleteDueAccounts is the task that deletes deactivated accounts whose time
// is over.
func (s *Server) deleteDueAccounts(ctx context.Context) (more bool, err error) {
	if s.cfg.KeepDeactivated {
		return false, nil
	}
	now := s.clock.Now()
	var due []storage.Doc
	err = s.store.View(ctx, func(tx storage.Tx) (err error) {
		due, err = tx.ScanDocs(docJob, storage.Scan{From: jobDelete, To: jobDelete + formatTime(now), Limit: dueBatch})
		return err
	})
	if err != nil {
		return false, err
	}
	var failed []error
	for _, job := range due {
		if err := s.deleteDue(ctx, job, now); err != nil {
			failed = append(failed, fmt.Errorf("job %s: %w", job.Key, err))
		}
	}
	return len(due) == dueBatch, errors.Join(failed...)
}

// errNotDue says that a job is out of date.
var errNotDue = errors.New("pds: the account is not to be deleted")

func (s *Server) deleteDue(ctx context.Context, job storage.Doc, now time.Time) error {
	_, did, _ := strings.Cut(strings.TrimPrefix(job.Key, jobDelete), "/")
	err := s.deleteAccountNow(ctx, syntax.DID(did), cause{}, func(_ storage.Tx, a *storage.Account) error {
		if a.DeactivatedAt.IsZero() || a.DeleteAfter.IsZero() || a.DeleteAfter.After(now) {
			return errNotDue
		}
		return nil
	})
	if isAccountNotFound(err) || errors.Is(err, errNotDue) {
		return s.store.Update(ctx, func(tx storage.Tx) error { return tx.DeleteDoc(docJob, job.Key) })
	}
	if err == nil {
		s.log.InfoContext(ctx, "an account was deleted because its time was over", "did", did)
	}
	return err
}
