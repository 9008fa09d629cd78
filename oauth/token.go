package oauth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"net/http"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/storage"
)

// tokenResponse is the answer of the token endpoint, RFC 6749 section 5.1.
type tokenResponse struct {
	AccessToken  string     `json:"access_token"`
	TokenType    string     `json:"token_type"`
	ExpiresIn    int64      `json:"expires_in"`
	RefreshToken string     `json:"refresh_token,omitempty"`
	Scope        string     `json:"scope"`
	Subject      syntax.DID `json:"sub"`
}

// token makes tokens of a code or of a refresh token.
func (s *Server) token(w http.ResponseWriter, r *http.Request) error {
	if err := s.limitIP(w, r, "token", s.cfg.Limits.Rates.TokenPerIP); err != nil {
		return err
	}
	f, err := readForm(w, r, s.cfg.Limits.BodyBytes)
	if err != nil {
		return err
	}
	c, err := s.readCaller(w, r, pathToken, f, true)
	if err == nil {
		err = c.requireProof()
	}
	if err != nil {
		return tokenError(err)
	}
	grant, err := f.require("grant_type")
	if err != nil {
		return err
	}
	var exchange func(context.Context, *caller, form) (*tokenResponse, error)
	switch grant {
	case grantCode:
		exchange = s.exchange
	case grantRefresh:
		exchange = s.refresh
	default:
		return errorf(codeUnsupportedGrantType, "grant_type is neither authorization_code nor refresh_token")
	}
	answer, err := exchange(r.Context(), c, f)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

// tokenError replaces a code that the token endpoint does not have.
func tokenError(err error) error {
	if e, ok := errors.AsType[*Error](err); ok && e.Code == codeInvalidClientMetadata {
		return &Error{Status: e.Status, Code: codeInvalidClient, Description: e.Description}
	}
	return err
}

var errInvalidCode = errorf(codeInvalidGrant, "the code is not valid, or not any more")

// exchange makes a session of an authorization code.
func (s *Server) exchange(ctx context.Context, c *caller, f form) (*tokenResponse, error) {
	if !c.HasGrant(grantCode) {
		return nil, errorf(codeUnauthorizedClient, "the client does not have this grant_type")
	}
	code, err := f.require("code")
	if err != nil {
		return nil, err
	}
	key := hash(code)
	prepared, err := s.prepareSession(ctx, c, key)
	if err != nil {
		return nil, err
	}

	var replayed bool
	var ended session // by the replay; without ID if it had ended already
	refused, err := s.decide(ctx, func(docs storage.Docs) (refused, err error) {
		replayed, ended = false, session{}
		now := s.now()
		if err := c.recordOnce(docs, now); err != nil {
			return asRefusal(err)
		}
		var doc codeDoc
		version, err := load(docs, kindCode, key, &doc)
		switch {
		case errors.Is(err, storage.ErrNotFound):
			return errInvalidCode, nil
		case err != nil:
			return nil, err
		case doc.Session != "":
			// Somebody has got hold of it. Nobody knows who was first.
			replayed = true
			if _, err := load(docs, kindSession, doc.Session, &ended); err != nil && !errors.Is(err, storage.ErrNotFound) {
				return nil, err
			}
			if err := docs.DeleteDoc(kindSession, doc.Session); err != nil {
				return nil, err
			}
			return errInvalidCode, signOut(docs, doc.Device, doc.Actor)
		case !c.is(doc.Request.ClientID, doc.Request.Auth, doc.jkt(c)):
			return errInvalidCode, nil
		case prepared == nil:
			return nil, errors.New("oauth: the code appeared after it was looked for")
		}
		if reason, err := s.checkCode(docs, &doc, prepared, f, now); err != nil {
			return nil, err
		} else if reason != "" {
			return errorf(codeInvalidGrant, "%s", reason), docs.DeleteDoc(kindCode, key)
		}
		challenge := doc.Request.Params.CodeChallenge
		if err := once(docs, onceChallenge, challenge, now, now.Add(s.cfg.Limits.ChallengeReuse)); err != nil {
			return nil, err
		}
		sess := prepared.session
		doc.Session = sess.ID
		if err := save(docs, kindCode, key, version, sess.Ends, doc); err != nil {
			return nil, err
		}
		for _, oldest := range prepared.surplus {
			if err := docs.DeleteDoc(kindSession, oldest); err != nil {
				return nil, err
			}
		}
		return nil, sess.save(docs, 0)
	})
	switch {
	case err != nil:
		return nil, err
	case replayed:
		s.cfg.Logger.WarnContext(ctx, "oauth: a code was used twice", "client", c.ID, "session", ended.ID)
		if ended.ID != "" {
			s.tellEnded(ctx, &ended)
		}
		return nil, refused
	case refused != nil:
		return nil, refused
	}
	return prepared.answer, s.created(ctx, EventCreated, prepared.session)
}

// jkt returns the DPoP key that a code is bound to: the one of the request, or
// that of the first who comes, if the request had none.
func (d *codeDoc) jkt(c *caller) string {
	if d.Request.JKT == "" {
		return c.jkt()
	}
	return d.Request.JKT
}

// checkCode returns why a code is no good for its own client, or "".
func (s *Server) checkCode(docs storage.Docs, doc *codeDoc, prepared *preparedSession, f form, now time.Time) (reason string, err error) {
	gens, err := loadGenerations(docs, doc.Account, doc.Actor)
	if err != nil {
		return "", err
	}
	burnt, err := wasSeen(docs, onceChallenge, doc.Request.Params.CodeChallenge, now)
	switch {
	case err != nil:
		return "", err
	case !now.Before(doc.Expires):
		return "the code has expired", nil
	case gens != doc.Generations || !prepared.active:
		return "the account is not available", nil
	case f["redirect_uri"] != doc.Request.Params.RedirectURI:
		return "redirect_uri is not that of the request", nil
	case burnt:
		return "the code_challenge was used before", nil
	case !verifies(f["code_verifier"], doc.Request.Params.CodeChallenge):
		return "code_verifier is not that of the code_challenge", nil
	}
	return "", nil
}

// verifies reports whether a code_verifier is well-formed and that of a
// challenge, RFC 7636 section 4.
func verifies(verifier, challenge string) bool {
	if len(verifier) < 43 || len(verifier) > 128 || !isUnreserved(verifier, "-._~") {
		return false
	}
	sum := sha256.Sum256([]byte(verifier))
	return subtle.ConstantTimeCompare([]byte(base64.RawURLEncoding.EncodeToString(sum[:])), []byte(challenge)) == 1
}

// preparedSession is a session that is ready to be stored, with its tokens.
type preparedSession struct {
	session *session
	answer  *tokenResponse
	active  bool     // so were the accounts
	surplus []string // sessions that make room for it
}

// prepareSession makes the session of a code, outside of any transaction. It is
// nil for a code that is no good for the caller; why is decided later.
func (s *Server) prepareSession(ctx context.Context, c *caller, codeKey string) (*preparedSession, error) {
	var doc codeDoc
	var known []storage.Doc
	err := s.view(ctx, func(docs storage.Docs) error {
		doc = codeDoc{}
		_, err := load(docs, kindCode, codeKey, &doc)
		if err != nil {
			return err
		}
		known, err = scanSessions(docs, doc.Account, s.cfg.Limits.Sessions+maxExtraSessions)
		return err
	})
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	case doc.Session != "" || !c.is(doc.Request.ClientID, doc.Request.Auth, doc.jkt(c)):
		return nil, nil
	}
	p := &preparedSession{surplus: surplus(known, s.cfg.Limits.Sessions)}
	switch err := s.checkActive(ctx, doc.Account, doc.Actor); {
	case errors.Is(err, errDeactivated), errors.Is(err, errTakenDown):
		return p, nil
	case err != nil:
		return nil, err
	}
	p.active = true
	now := s.now()
	p.session = &session{
		ID:          newSessionID(doc.Account),
		ClientID:    c.ID,
		Auth:        c.auth,
		JKT:         c.jkt(),
		Account:     doc.Account,
		Actor:       doc.Actor,
		Generations: doc.Generations,
		Device:      doc.Device,
		Scope:       doc.Scope,
		Expanded:    doc.Expanded,
		Created:     now,
		LongLived:   c.longLived(),
	}
	p.session.Ends = now.Add(s.cfg.Limits.PublicSession)
	if p.session.LongLived {
		p.session.Ends = now.Add(s.cfg.Limits.ConfidentialSession)
	}
	p.answer, err = s.issue(ctx, c, p.session, now)
	return p, err
}

// surplus returns the keys of the sessions that were not used for longest, so
// many that one more than the rest is within the limit.
func surplus(docs []storage.Doc, limit int) []string {
	if len(docs) < limit {
		return nil
	}
	return oldestSessions(docs, len(docs)-limit+1)
}

// issue gives a session new tokens.
func (s *Server) issue(ctx context.Context, c *caller, sess *session, now time.Time) (*tokenResponse, error) {
	sess.Refreshed = now
	answer := &tokenResponse{TokenType: "DPoP", Scope: sess.scope(), Subject: sess.Account}
	if c.HasGrant(grantRefresh) {
		sess.Turn++
		answer.RefreshToken = s.newRefreshToken(sess.ID, sess.Turn)
		sess.RefreshHash = hash(answer.RefreshToken)
		life := s.cfg.Limits.PublicRefresh
		if sess.LongLived {
			life = s.cfg.Limits.ConfidentialRefresh
		}
		sess.RefreshExpires = now.Add(life)
	} else {
		sess.RefreshExpires = now.Add(s.cfg.Limits.AccessTTL)
	}
	var err error
	answer.AccessToken, err = s.mint(ctx, sess, now)
	answer.ExpiresIn = int64(sess.TokenExpires.Sub(now) / time.Second)
	return answer, err
}

// created tells the hook of new tokens. If it refuses, the session ends.
func (s *Server) created(ctx context.Context, kind EventKind, sess *session) error {
	err := s.hook(ctx, Event{Kind: kind, Client: sess.ClientID, Account: sess.Account, Actor: sess.Actor, Session: sess.ID, Scope: sess.scope()})
	if err == nil {
		return nil
	}
	if ended := s.endSession(ctx, sess.ID); ended != nil {
		return ended
	}
	return s.refusal(ctx, err)
}

// refusal is the answer to a client that the hook refuses.
func (s *Server) refusal(ctx context.Context, err error) error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	s.cfg.Logger.InfoContext(ctx, "oauth: refused by the hook", "error", err)
	return errorf(codeUnauthorizedClient, "the server refuses this request")
}

// asRefusal tells an error for the client from others.
func asRefusal(err error) (refused, failed error) {
	if e, ok := errors.AsType[*Error](err); ok {
		return e, nil
	}
	return nil, err
}
