package oauth

import (
	"context"
	"errors"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/storage"
)

// kindStep holds, by the hash of their names, the unfinished sign-ins.
const kindStep = "oauth-step"

const (
	prefixStep = "stp-"
	// stepTTL is how long somebody may take for one step of a sign-in.
	stepTTL = 10 * time.Minute
)

// step is a sign-in that waits for a second factor, or for what a
// [SignInMethod] asks for.
type step struct {
	Device     string     `json:"device"`
	Context    string     `json:"context"`
	Client     string     `json:"client,omitempty"` // client_id of the authorization request, if there is one
	RequestURI string     `json:"requestURI,omitempty"`
	Account    syntax.DID `json:"account,omitempty"` // who has proved to be it, before a second factor
	Method     string     `json:"method"`
	Began      time.Time  `json:"began"`
	Identifier string     `json:"identifier,omitempty"`
	Remember   bool       `json:"remember,omitempty"`
	Tries      int        `json:"tries,omitempty"`
	Expires    time.Time  `json:"expires"`

	Challenge *Challenge  `json:"challenge,omitempty"` // of the second factor
	Step      *SignInStep `json:"step,omitempty"`      // of the SignInMethod

	id      string // the name in forms
	version int64
}

// newStep begins a step of the visit.
func (v *visit) newStep() *step {
	st := &step{Device: v.dev.key, Context: v.context(), id: randomID(prefixStep, sizeID)}
	if v.req != nil {
		st.Client, st.RequestURI = v.client.ID, v.requestURI
	}
	return st
}

// putStep stores a step anew. The one that it follows, if any, is over.
func (s *Server) putStep(ctx context.Context, st, after *step) error {
	st.Expires = s.now().Add(stepTTL)
	return s.update(ctx, func(docs storage.Docs) error {
		if after != nil {
			if err := takeStep(docs, after); err != nil {
				return err
			}
		}
		return save(docs, kindStep, hash(st.id), 0, st.Expires, st)
	})
}

// loadStep returns a step of the device, or errExpired.
func (s *Server) loadStep(docs storage.Docs, id, device string) (*step, error) {
	if !isRandomID(id, prefixStep, sizeID) {
		return nil, errExpired
	}
	st := &step{id: id}
	version, err := load(docs, kindStep, hash(id), st)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return nil, errExpired
	case err != nil:
		return nil, err
	case st.Device != device || !s.now().Before(st.Expires):
		return nil, errExpired
	}
	st.version = version
	return st, nil
}

// stepOf returns the step that a form or an address of the visit names.
func (v *visit) stepOf(id string) (*step, error) {
	var st *step
	err := v.view(v.r.Context(), func(docs storage.Docs) (err error) {
		st, err = v.loadStep(docs, id, v.dev.key)
		return err
	})
	if err == nil && st.Context != v.context() {
		err = errExpired
	}
	return st, err
}

// takeStep ends a step, once.
func takeStep(docs storage.Docs, st *step) error {
	d, err := docs.GetDoc(kindStep, hash(st.id))
	if errors.Is(err, storage.ErrNotFound) {
		return errExpired
	}
	if err != nil {
		return err
	}
	return docs.DeleteDoc(kindStep, d.Key)
}

// countTry counts an answer to a step before it is looked at. After the last one
// the step is gone.
func (s *Server) countTry(ctx context.Context, st *step) error {
	var found *step
	var over bool
	err := s.update(ctx, func(docs storage.Docs) error {
		var err error
		if found, err = s.loadStep(docs, st.id, st.Device); err != nil {
			return err
		}
		if over = found.Tries >= MaxFactorTries; over {
			return docs.DeleteDoc(kindStep, hash(st.id))
		}
		found.Tries++
		return save(docs, kindStep, hash(st.id), found.version, found.Expires, found)
	})
	if err != nil {
		return err
	}
	if over {
		return errExpired
	}
	return nil
}
