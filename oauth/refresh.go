package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/pdskit/pdskit/oauth/scope"
	"github.com/pdskit/pdskit/storage"
)

// refreshGrace is how long an answer can be had again, see Config.RefreshGrace.
const refreshGrace = 10 * time.Second

var errInvalidRefresh = errorf(codeInvalidGrant, "the refresh token is not valid, or not any more")

// refresh makes new tokens of a refresh token.
func (s *Server) refresh(ctx context.Context, c *caller, f form) (*tokenResponse, error) {
	token, err := f.require("refresh_token")
	if err != nil {
		return nil, err
	}
	id, turn, authentic := s.parseRefreshToken(token)
	if !authentic {
		return nil, errInvalidRefresh
	}
	p, err := s.prepareRefresh(ctx, c, id, token, f["scope"])
	if err != nil {
		return nil, err
	}

	var ended *session // by this request
	var again *grace   // the answer was given before
	refused, err := s.decide(ctx, func(docs storage.Docs) (refused, err error) {
		ended, again = nil, nil
		now := s.now()
		if err := c.recordOnce(docs, now); err != nil {
			return asRefusal(err)
		}
		var sess session
		version, err := loadSession(docs, id, now, &sess)
		switch {
		case errors.Is(err, storage.ErrNotFound):
			return errInvalidRefresh, nil
		case err != nil:
			return nil, err
		}
		mine := s.mayRefresh(c, &sess)
		if g := sess.Grace; turn+1 == sess.Turn && mine && g != nil && now.Before(g.Until) {
			again = g
			return nil, nil
		}
		if turn != sess.Turn || !mine || !sameHash(sess.RefreshHash, token) || p.gone {
			ended = &sess
			return errInvalidRefresh, docs.DeleteDoc(kindSession, id)
		}
		if p.session == nil || p.version != version {
			return nil, errors.New("oauth: the session changed while it was being refreshed")
		}
		return nil, p.session.save(docs, version)
	})
	switch {
	case err != nil:
		return nil, err
	case ended != nil:
		s.cfg.Logger.InfoContext(ctx, "oauth: a refresh has ended the session", "client", c.ID, "session", id, "replay", turn < ended.Turn)
		s.tellEnded(ctx, ended)
		return nil, refused
	case refused != nil:
		return nil, refused
	case again != nil:
		return s.openGrace(token, again, s.now())
	}
	return p.answer, s.created(ctx, EventRefresh, p.session)
}

// mayRefresh reports whether a caller is the one that a session belongs to, and
// still a client with refresh tokens. A public client may have become a
// confidential one.
func (s *Server) mayRefresh(c *caller, sess *session) bool {
	auth := sess.Auth
	if auth.Method == methodNone {
		auth = c.auth
	}
	return c.is(sess.ClientID, auth, sess.JKT) && c.HasGrant(grantRefresh)
}

// preparedRefresh is a session with new tokens, ready to be stored.
type preparedRefresh struct {
	version int64
	session *session // nil if there is nothing to refresh
	answer  *tokenResponse
	gone    bool // an account was taken down or deleted, or nobody may act for it any more
}

// prepareRefresh makes the new tokens, outside of any transaction.
func (s *Server) prepareRefresh(ctx context.Context, c *caller, id, token, requested string) (*preparedRefresh, error) {
	p := &preparedRefresh{}
	var sess session
	err := s.view(ctx, func(docs storage.Docs) (err error) {
		p.version, err = loadSession(docs, id, s.now(), &sess)
		return err
	})
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return p, nil
	case err != nil:
		return nil, err
	case !s.mayRefresh(c, &sess) || !sameHash(sess.RefreshHash, token):
		return p, nil
	}
	switch err := s.checkActive(ctx, sess.Account, sess.Actor); {
	case errors.Is(err, errTakenDown):
		p.gone = true
		return p, nil
	case err != nil && !errors.Is(err, errDeactivated):
		return nil, err
	}
	if sess.TokenScope, err = s.narrow(ctx, &sess, requested); err != nil {
		return nil, err
	}
	// What permission sets hold may have changed. If they cannot be had, they
	// hold what they held.
	if expanded, err := s.expand(ctx, sess.Scope); err == nil {
		sess.Expanded = expanded
	} else if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	sess.Auth = c.auth
	sess.Grace = nil
	now := s.now()
	if p.answer, err = s.issue(ctx, c, &sess, now); err != nil {
		return nil, err
	}
	if s.cfg.RefreshGrace {
		if sess.Grace, err = s.sealGrace(token, p.answer, now); err != nil {
			return nil, err
		}
	}
	p.session = &sess
	return p, nil
}

// narrow returns the scope of an access token that is to allow less than its
// session, or "".
func (s *Server) narrow(ctx context.Context, sess *session, requested string) (string, error) {
	wanted, granted, expanded := strings.Fields(requested), strings.Fields(sess.Scope), strings.Fields(sess.Expanded)
	isIn := func(values []string) bool {
		return !slices.ContainsFunc(wanted, func(value string) bool { return !slices.Contains(values, value) })
	}
	covers := func(values []string) bool {
		return !slices.ContainsFunc(values, func(value string) bool { return !slices.Contains(wanted, value) })
	}
	text := strings.Join(wanted, " ")
	switch {
	case len(wanted) == 0, isIn(granted) && covers(granted), isIn(expanded) && covers(expanded):
		return "", nil
	case !slices.Contains(wanted, scope.Atproto):
		return "", errorf(codeInvalidScope, "the scope does not have atproto")
	case isIn(expanded):
		return text, nil
	case isIn(granted):
		return s.expand(ctx, text)
	}
	return "", errorf(codeInvalidScope, "the scope has more than was granted")
}

// sealGrace keeps an answer for a client that does not get it. Only who has the
// token that it was given for can read it.
func (s *Server) sealGrace(token string, answer *tokenResponse, now time.Time) (*grace, error) {
	data, err := json.Marshal(answer)
	if err != nil {
		return nil, err
	}
	sealed, err := seal(s.graceKey(token), data)
	return &grace{Until: now.Add(refreshGrace), Sealed: sealed}, err
}

func (s *Server) openGrace(token string, g *grace, now time.Time) (*tokenResponse, error) {
	data, err := unseal(s.graceKey(token), g.Sealed)
	if err != nil {
		return nil, errInvalidRefresh // authentic, but never given out
	}
	answer := &tokenResponse{}
	err = json.Unmarshal(data, answer)
	answer.ExpiresIn -= int64((refreshGrace - g.Until.Sub(now)) / time.Second)
	return answer, err
}

func (s *Server) graceKey(token string) [32]byte {
	return derive(append(s.refreshKey[:], token...), labelGrace)
}
