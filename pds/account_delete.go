package pds

import (
	"context"
	"errors"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/internal/jobs"
	"github.com/pdskit/pdskit/storage"
)

// jobDeleteAccount is the kind of the jobs that delete deactivated accounts
// whose time is over; their name is the DID.
const jobDeleteAccount = "delete-account"

// deletionAttempts is how often a deletion that fails is tried: for a month.
const deletionAttempts = 700

// deletionWarning is how long before the deletion of a deactivated account its
// owner gets a mail.
const deletionWarning = 7 * day

// docMigration is the kind of the documents that mark accounts which brought
// their DID and have never been activated here; their key is the DID.
const docMigration = "migration"

// migrationStep is by how much less than migrationTTL is left before a sign of
// life of a migration renews it.
const migrationStep = time.Hour

// scheduleDeletion lets the jobs that belong to a.DeleteAfter, or none, be there.
// Call it in the Update that changes that.
func (s *Server) scheduleDeletion(tx storage.Docs, a *storage.Account) error {
	return scheduleDeletion(tx, s.jobs, a)
}

// scheduleDeletion puts the job that deletes an account at its DeleteAfter into
// a queue, and the mail that says so before. Without a DeleteAfter it takes both
// back. An account that is still on its way here has its owner's attention.
func scheduleDeletion(tx storage.Docs, queue *jobs.Queue, a *storage.Account) error {
	notice, err := deletionNotice(a)
	if err != nil {
		return err
	}
	if a.DeleteAfter.IsZero() {
		return errors.Join(queue.Cancel(tx, jobDeleteAccount, string(a.DID)), queue.Cancel(tx, notice.Kind, notice.Name))
	}
	if err := queue.Put(tx, jobs.Job{Kind: jobDeleteAccount, Name: string(a.DID), Owner: a.DID, Due: a.DeleteAfter}); err != nil {
		return err
	}
	migrating, err := isMigrating(tx, a.DID)
	if migrating || err != nil {
		return err
	}
	return queue.Put(tx, notice)
}

// deletionNotice is the job that mails the owner of an account when it will be
// deleted: deletionWarning before that, or at once if it is nearer.
func deletionNotice(a *storage.Account) (jobs.Job, error) {
	j, err := queuedMail{Template: mailDeletionNotice, DID: a.DID}.job(a.DeleteAfter)
	j.Due = a.DeleteAfter.Add(-deletionWarning)
	return j, err
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
	defer s.Recheck(did)
	var gone storage.Account
	err := s.inLane(ctx, did, func(ctx context.Context, w *writer) error {
		defer w.reset()
		state, err := w.askAboutStatus(ctx, by, StatusChange{Action: StatusDelete})
		if err != nil {
			return err
		}
		return s.updateWith(ctx, state, func(tx storage.Tx) error {
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
			if err := s.endOAuth(tx, did); err != nil {
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
		s.counts.deletedAccounts.Add(1)
		s.forgetIdentity(ctx, did, gone.Handle)
		s.forgetConsents(ctx, did)
	}
	return err
}

// deletionJobs does the jobs that delete accounts.
func (s *Server) deletionJobs() jobs.Handler {
	return jobs.Handler{
		Kind: jobDeleteAccount, Destructive: true, Attempts: deletionAttempts,
		Run: func(ctx context.Context, j jobs.Job) error {
			err := s.deleteAccountNow(ctx, syntax.DID(j.Name), cause{}, func(_ storage.Tx, a *storage.Account) error {
				switch {
				case a.DeactivatedAt.IsZero() || a.DeleteAfter.IsZero():
					return errStays
				case a.DeleteAfter.UnixMilli() > s.clock.Now().UnixMilli():
					return errNotDue // the clock was set back
				}
				return nil
			})
			if isAccountNotFound(err) || errors.Is(err, errStays) {
				return nil // the job is out of date
			}
			if err == nil {
				s.log.InfoContext(ctx, "an account was deleted because its time was over", "did", j.Name)
			}
			return err
		},
	}
}

// Why an account is not deleted though a job says so.
var (
	errStays  = errors.New("pds: the account is not to be deleted")
	errNotDue = errors.New("pds: the account is not to be deleted yet")
)
