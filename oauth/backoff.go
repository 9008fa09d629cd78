package oauth

import (
	"context"
	"errors"
	"time"

	"github.com/pdskit/pdskit/storage"
)

// Failures to prove who one is are counted for each name, wherever they come
// from, and answered more and more slowly. A device on which the name has been
// good before is counted by itself, so that strangers cannot lock anybody out.

// kindBackoff holds the failures, by hash.
const kindBackoff = "oauth-backoff"

const (
	freeFailures = 5                // before there is a wait
	firstWait    = 2 * time.Second  // doubled by every further failure
	maxWait      = 15 * time.Minute // at most
	forgetAfter  = day              // since the last failure
)

type backoffDoc struct {
	Failures int       `json:"failures"`
	Until    time.Time `json:"until"` // no attempt before
	Expires  time.Time `json:"expires"`
}

// waitAfter returns how long to wait after so many failures.
func waitAfter(failures int) time.Duration {
	if failures < freeFailures {
		return 0
	}
	wait := firstWait
	for range failures - freeFailures {
		if wait *= 2; wait >= maxWait {
			return maxWait
		}
	}
	return wait
}

// tryOnce counts an attempt as failed, before it is made, so that attempts at
// the same time are all counted. It returns how long to wait if there is none to
// be made now.
func (s *Server) tryOnce(ctx context.Context, name string) (wait time.Duration, err error) {
	key, now := hash(name), s.now()
	err = s.update(ctx, func(docs storage.Docs) error {
		wait = 0
		var doc backoffDoc
		version, err := load(docs, kindBackoff, key, &doc)
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return err
		}
		if !now.Before(doc.Expires) {
			doc = backoffDoc{}
		}
		if wait = doc.Until.Sub(now); wait > 0 {
			return nil
		}
		wait = 0
		doc.Failures++
		doc.Until, doc.Expires = now.Add(waitAfter(doc.Failures)), now.Add(forgetAfter)
		return save(docs, kindBackoff, key, version, doc.Expires, doc)
	})
	return wait, err
}

// forgive forgets failures after a success.
func (s *Server) forgive(ctx context.Context, name string) error {
	return s.update(ctx, func(docs storage.Docs) error { return docs.DeleteDoc(kindBackoff, hash(name)) })
}

// takeBack takes back an attempt that was counted and not made.
func (s *Server) takeBack(ctx context.Context, name string) error {
	return s.update(ctx, func(docs storage.Docs) error {
		var doc backoffDoc
		version, err := load(docs, kindBackoff, hash(name), &doc)
		if errors.Is(err, storage.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		doc.Failures, doc.Until = max(doc.Failures-1, 0), time.Time{}
		return save(docs, kindBackoff, hash(name), version, doc.Expires, doc)
	})
}
