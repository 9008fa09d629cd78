package oauth

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/pdskit/pdskit/oauth/internal/clients"
	"github.com/pdskit/pdskit/oauth/internal/dpop"
	"github.com/pdskit/pdskit/storage"
)

// Ways of clients to authenticate.
const (
	methodNone = clients.AuthNone
	methodKey  = clients.AuthPrivateKeyJWT
)

// caller is who sends a request to one of the endpoints, with what proves it.
type caller struct {
	*client
	auth      clientAuth
	assertion *clients.Assertion
	proof     *dpop.Proof // nil if there is none
}

// jkt returns the thumbprint of the DPoP key, or "".
func (c *caller) jkt() string {
	if c.proof == nil {
		return ""
	}
	return c.proof.JKT
}

// is reports whether the caller proves to be the one to whom something belongs.
func (c *caller) is(clientID string, auth clientAuth, jkt string) bool {
	return c.ID == clientID && c.auth == auth && c.jkt() == jkt
}

// readCaller checks the DPoP proof, if there is one, and the client of a request,
// which must authenticate if that is wanted.
func (s *Server) readCaller(w http.ResponseWriter, r *http.Request, path string, f form, authenticate bool) (*caller, error) {
	ctx := r.Context()
	proof, err := s.checker.Check(r, s.cfg.Issuer+path, "")
	if err != nil {
		return nil, err
	}
	if !s.clients.Known(f["client_id"]) {
		if err := s.limitIP(w, r, "new client", s.cfg.Limits.Rates.NewClientPerIP); err != nil {
			return nil, err
		}
	}
	found, err := s.client(ctx, f["client_id"])
	if err != nil {
		return nil, err
	}
	c := &caller{client: found, proof: proof}
	if !authenticate {
		return c, nil
	}
	jkt := c.jkt()
	if jkt == "" {
		jkt = f["dpop_jkt"]
	}
	c.assertion, err = s.clients.Authenticate(ctx, found.Client, f["client_assertion_type"], f["client_assertion"], s.cfg.Issuer, jkt)
	if err != nil {
		return nil, s.clientError(ctx, err)
	}
	c.auth = clientAuth{Method: c.assertion.Method, Alg: c.assertion.Alg, KeyID: c.assertion.KeyID, JKT: c.assertion.JKT}
	return c, nil
}

// requireProof returns an error if the caller has shown no DPoP key.
func (c *caller) requireProof() error {
	if c.proof == nil {
		return errorf(codeInvalidProof, "the DPoP proof is missing")
	}
	return nil
}

// recordOnce notes that a caller's proof and assertion are used, in the
// transaction of what they are good for. It returns an *Error if they were
// before.
func (c *caller) recordOnce(docs storage.Docs, now time.Time) error {
	if c.proof != nil {
		err := onceProven(docs, c.proof, now)
		if errors.Is(err, errSeen) {
			return errorf(codeInvalidProof, "the DPoP proof was used before")
		} else if err != nil {
			return err
		}
	}
	if c.assertion != nil && c.assertion.JTI != "" {
		err := once(docs, onceAssertion, c.ID+" "+c.assertion.JTI, now, c.assertion.Expires)
		if errors.Is(err, errSeen) {
			return errorf(codeInvalidClient, "the client_assertion was used before")
		} else if err != nil {
			return err
		}
	}
	return nil
}

// decide runs a transaction whose outcome may be an error for the client while
// what it has changed remains: fn returns that error as refused.
func (s *Server) decide(ctx context.Context, fn func(docs storage.Docs) (refused, err error)) (refused, err error) {
	err = s.update(ctx, func(docs storage.Docs) error {
		var err error
		refused, err = fn(docs)
		return err
	})
	return refused, err
}

// limitIP spends a point of the rate of an address.
func (s *Server) limitIP(w http.ResponseWriter, r *http.Request, bucket string, rate Rate) error {
	if wait := s.limited(r.Context(), bucket, ipKey(originOf(r.Context()).IP), rate); wait > 0 {
		return errLimited(w, wait)
	}
	return nil
}
