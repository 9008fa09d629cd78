package oauth

import (
	"context"
	"errors"
	"net/http"

	"github.com/pdskit/pdskit/storage"
)

// revoke ends the session of a token, RFC 7009. Of a token that is none of the
// caller's it says nothing.
func (s *Server) revoke(w http.ResponseWriter, r *http.Request) error {
	if err := s.limitIP(w, r, "token", s.cfg.Limits.Rates.TokenPerIP); err != nil {
		return err
	}
	f, err := readForm(w, r, s.cfg.Limits.BodyBytes)
	if err != nil {
		return err
	}
	// Some confidential clients send no assertion here. They may still end a
	// session, by its DPoP key.
	silent := f["client_assertion"] == "" && f["client_assertion_type"] == ""
	c, err := s.readCaller(w, r, pathRevoke, f, !silent)
	if err == nil {
		err = c.requireProof()
	}
	if err != nil {
		return tokenError(err)
	}
	token, err := f.require("token")
	if err != nil {
		return err
	}
	ctx := r.Context()
	id, ok, err := s.sessionOfToken(ctx, token)
	if err != nil {
		return err
	}
	var ended session
	refused, err := s.decide(ctx, func(docs storage.Docs) (refused, err error) {
		ended = session{}
		now := s.now()
		if err := c.recordOnce(docs, now); err != nil {
			return asRefusal(err)
		}
		if !ok {
			return nil, nil
		}
		var sess session
		_, err = loadSession(docs, id, now, &sess)
		switch {
		case errors.Is(err, storage.ErrNotFound):
			return nil, nil
		case err != nil:
			return nil, err
		case c.ID != sess.ClientID || c.jkt() != sess.JKT:
			return nil, nil
		}
		ended = sess
		return nil, docs.DeleteDoc(kindSession, id)
	})
	switch {
	case err != nil:
		return err
	case refused != nil:
		return refused
	case ended.ID != "":
		s.tellEnded(ctx, &ended)
	}
	writeJSON(w, http.StatusOK, struct{}{})
	return nil
}

// sessionOfToken returns the session of a refresh token, or of an access token
// that may have expired. ok says that this server has made the token.
func (s *Server) sessionOfToken(ctx context.Context, token string) (id string, ok bool, err error) {
	if id, _, ok = s.parseRefreshToken(token); ok {
		return id, true, nil
	}
	parsed, id := parseAccessToken(token)
	if parsed == nil {
		return "", false, nil
	}
	keys, err := s.keySet(ctx)
	if err != nil {
		return "", false, err
	}
	key := keys.Find(parsed.Header.KeyID)
	return id, key != nil && parsed.Verify(key, signingAlgs) == nil, nil
}
