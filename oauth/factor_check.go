package oauth

import (
	"context"
	"errors"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/storage"
)

// ErrFactorRequired is for a password that is right and not enough.
var ErrFactorRequired = errors.New("oauth: a second factor is required")

// kindFactor holds, by DID, the challenges of CheckSecondFactor.
const kindFactor = "oauth-factor"

// factorDoc is a challenge that waits for its answer.
type factorDoc struct {
	Challenge *Challenge `json:"challenge"`
	Tries     int        `json:"tries,omitempty"`
	Expires   time.Time  `json:"expires"`
}

// CheckSecondFactor asks for the second factor of an account whose owner has
// proved to be it elsewhere than on the server's pages: by a password that a
// method of one's own takes, which would be a way around the factor otherwise.
// answer is what was given for it, empty at first.
//
// It returns nil if the account needs no second factor, or if the answer is
// right, which it is once; [ErrFactorRequired] if there is no answer; and
// [ErrCodeInvalid] if it is wrong. Failures are counted as on the pages: if wait
// is not zero there were too many, and the answer was not looked at. A challenge
// is good for ten minutes; each call without an answer begins anew.
func (s *Server) CheckSecondFactor(ctx context.Context, a Account, answer string) (wait time.Duration, err error) {
	if s.cfg.SecondFactor == nil {
		return 0, nil
	}
	challenge, err := s.openChallenge(ctx, a, answer == "")
	if challenge == nil || err != nil {
		return 0, err
	}
	if answer == "" {
		return 0, ErrFactorRequired
	}
	name := factorBackoff(a.DID)
	if wait, err = s.tryOnce(ctx, name); err != nil || wait > 0 {
		return wait, err
	}
	if err := s.countAnswer(ctx, a.DID); err != nil {
		return 0, err
	}
	err = s.cfg.SecondFactor.Verify(ctx, challenge, answer)
	if errors.Is(err, ErrCodeInvalid) {
		return 0, err
	}
	if err != nil {
		return 0, errors.Join(err, s.takeBack(ctx, name))
	}
	if err := s.forgive(ctx, name); err != nil {
		return 0, err
	}
	return 0, s.update(ctx, func(docs storage.Docs) error { return docs.DeleteDoc(kindFactor, string(a.DID)) })
}

// factorBackoff is the name by which wrong answers of an account are counted.
// Whoever knows the password begins anew as often as he likes: the failures are
// counted for the account, and only the right answer clears them.
func factorBackoff(did syntax.DID) string { return "factor\x00" + string(did) }

// openChallenge returns the challenge that waits for an answer of an account, or
// a new one; nil if the account needs none.
func (s *Server) openChallenge(ctx context.Context, a Account, anew bool) (*Challenge, error) {
	if !anew {
		var doc factorDoc
		err := s.view(ctx, func(docs storage.Docs) error {
			_, err := load(docs, kindFactor, string(a.DID), &doc)
			return err
		})
		if err == nil && s.now().Before(doc.Expires) {
			return doc.Challenge, nil
		}
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return nil, err
		}
	}
	challenge, err := s.cfg.SecondFactor.Begin(ctx, FactorAttempt{Account: a})
	if challenge == nil || err != nil {
		return nil, err
	}
	doc := factorDoc{Challenge: challenge, Expires: s.now().Add(stepTTL)}
	return challenge, s.update(ctx, func(docs storage.Docs) error {
		var old factorDoc
		version, err := load(docs, kindFactor, string(a.DID), &old)
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return err
		}
		return save(docs, kindFactor, string(a.DID), version, doc.Expires, doc)
	})
}

// countAnswer counts an answer before it is looked at. After the last one the
// challenge is gone.
func (s *Server) countAnswer(ctx context.Context, did syntax.DID) error {
	over := false
	err := s.update(ctx, func(docs storage.Docs) error {
		var doc factorDoc
		version, err := load(docs, kindFactor, string(did), &doc)
		if errors.Is(err, storage.ErrNotFound) {
			over = true // another answer was faster
			return nil
		}
		if err != nil {
			return err
		}
		if doc.Tries++; doc.Tries > MaxFactorTries {
			over = true
			return docs.DeleteDoc(kindFactor, string(did))
		}
		over = false
		return save(docs, kindFactor, string(did), version, doc.Expires, doc)
	})
	if err == nil && over {
		err = ErrCodeInvalid
	}
	return err
}
