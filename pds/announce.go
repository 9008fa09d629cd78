package pds

import (
	"context"
	"encoding/json"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/internal/jobs"
	"github.com/pdskit/pdskit/storage"
)

// A server that was restored from a backup continues at an older state than
// the network has seen: heads have gone back, and cursors of consumers lie
// beyond the end of the log. So it tells the state of every repository anew.
// The commit must be a new one, since consumers ignore revs that are not above
// the last that they saw.

const (
	// jobAnnounce is the kind of the job, the only one of its name, that
	// announces repositories; its data is an announcement.
	jobAnnounce = "announce-repos"

	// announceBatch is how many accounts one run looks at, and announcePause
	// lies between two runs: each #sync makes every relay fetch a repository.
	announceBatch = 50
	announcePause = time.Second

	// announceTries is how often one account is tried before it is left out.
	announceTries = 3
)

// announcement is how far the job has come.
type announcement struct {
	CreatedAt int64      `json:"createdAt"` // the account that was the last
	DID       syntax.DID `json:"did"`
}

// AnnounceRepos tells the network the state of every repository as if it were
// new: each active account gets a new commit over the records that it has, and
// a #sync event. Cursors of topics begin anew, see live.Hub.VoidCursors. Call it, once, when the store has gone back in time, before
// the server serves: after it has been restored from a backup.
//
// When it returns, one account has been announced, so that the cursors of
// those who followed the server lie within its log again, and the others are
// a durable job that [Server.Run] does, about 50 accounts in a second. It goes
// on after a restart where it was, and begins anew when AnnounceRepos is
// called again. An account that cannot be announced is named in the log.
func (s *Server) AnnounceRepos(ctx context.Context) error {
	if err := s.live.VoidCursors(ctx); err != nil {
		return err
	}
	var at announcement
	for told := false; !told; {
		accounts, err := s.accountsAfter(ctx, at, 1)
		if err != nil || len(accounts) == 0 {
			return err
		}
		a := &accounts[0]
		if told, err = s.announceRepo(ctx, a.DID); err != nil {
			s.log.ErrorContext(ctx, "a repository could not be announced", "did", a.DID, "error", err)
		}
		at = announcement(a.Cursor())
	}
	return s.scheduleAnnouncement(ctx, at, time.Time{})
}

func (s *Server) scheduleAnnouncement(ctx context.Context, at announcement, due time.Time) error {
	data, err := json.Marshal(at)
	if err != nil {
		return err
	}
	return s.schedule(ctx, jobs.Job{Kind: jobAnnounce, Name: "all", Due: due, Data: data})
}

func (s *Server) accountsAfter(ctx context.Context, at announcement, limit int) (list []storage.Account, err error) {
	err = s.store.View(ctx, func(tx storage.Tx) error {
		list, err = tx.ListAccounts(storage.AccountCursor(at), limit)
		return err
	})
	return list, err
}

// announcementJobs does the jobs that announce repositories.
func (s *Server) announcementJobs() jobs.Handler {
	return jobs.Handler{Kind: jobAnnounce, Run: s.announceSome}
}

// announceSome announces the next accounts and makes the job that goes on
// after them.
func (s *Server) announceSome(ctx context.Context, j jobs.Job) error {
	var at announcement
	if err := json.Unmarshal(j.Data, &at); err != nil {
		return jobs.Permanent(err)
	}
	accounts, err := s.accountsAfter(ctx, at, announceBatch)
	if err != nil {
		return err
	}
	for i := range accounts {
		a := &accounts[i]
		if _, err := s.announceRepo(ctx, a.DID); err != nil {
			if i > 0 {
				break // the next run begins with it
			}
			if j.Attempt < announceTries {
				return err
			}
			s.log.ErrorContext(ctx, "a repository could not be announced and is left out", "did", a.DID, "error", err)
		}
		at = announcement(a.Cursor())
	}
	if len(accounts) == 0 {
		s.log.InfoContext(ctx, "all repositories have been announced")
		return nil
	}
	return s.scheduleAnnouncement(ctx, at, s.clock.Now().Add(announcePause))
}

// announceRepo gives an active account a new commit over its tree and tells
// the network. Of other accounts there is nothing to tell: told is false.
func (s *Server) announceRepo(ctx context.Context, did syntax.DID) (told bool, err error) {
	err = s.inLane(ctx, did, func(ctx context.Context, w *writer) error {
		defer w.reset()
		if told = false; !w.account.Active() || !w.head.CID.Defined() {
			return nil
		}
		head, err := w.sign(ctx, w.head.Data)
		if err != nil {
			return err
		}
		commit := storage.Commit{
			DID: did, Base: w.head.CID, AccountVersion: w.account.Version, KeyID: w.account.KeyID, Head: head,
		}
		err = s.store.Update(ctx, func(tx storage.Tx) error {
			if err := tx.Apply(&commit); err != nil {
				return err
			}
			return tx.Append(cause{}.event(did, eventSync, encodeSync(did, head)))
		})
		told = err == nil
		return err
	})
	if isAccountNotFound(err) {
		return false, nil // deleted meanwhile
	}
	return told, err
}
