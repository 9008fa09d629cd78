package pds

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/storage"
)

// docSession is the kind of the documents that hold sessions. Their key is the
// id of the session's first refresh token; they expire with its last one. What
// they hold is of no use without Config.Secret.
const docSession = "session"

// Limits of sessions.
const (
	// maxSessionID is the length of the longest id of a refresh token.
	maxSessionID = 256

	// maxUsedTokens is how many used refresh tokens of a session are
	// remembered, and can be used again, while their grace lasts.
	maxUsedTokens = 16
)

// session is a session as stored. Each use of its refresh token gives the next
// one; a used one lives on for a short while and gives the same next one
// again, for a client that did not get the answer.
//
// The tokens of a session are numbered: their ids are "ID", "ID.1", "ID.2",
// and so on. So a session is one document, however often it is refreshed.
type session struct {
	App        string      `json:"app,omitempty"` // name of the app password it was made with
	Privileged bool        `json:"privileged,omitempty"`
	Number     int64       `json:"number"`         // of the current refresh token
	Used       []usedToken `json:"used,omitempty"` // those before, oldest first
}

type usedToken struct {
	Number int64 `json:"number"`
	Until  int64 `json:"until"` // end of its grace, Unix milliseconds
}

// scope is that of the session's access tokens.
func (s *session) scope() string {
	switch {
	case s.App == "":
		return scopeAccess
	case s.Privileged:
		return scopeAppPassPrivileged
	}
	return scopeAppPass
}

// sessionID and tokenID convert between the id of a refresh token and the key
// of its session with the number of the token.
func sessionID(tokenID string) (key string, number int64) {
	key, text, ok := strings.Cut(tokenID, ".")
	number, err := strconv.ParseInt(text, 10, 64)
	if !ok || err != nil || number < 1 || strconv.FormatInt(number, 10) != text {
		return tokenID, 0 // a first one, of this or of another server
	}
	return key, number
}

func tokenID(key string, number int64) string {
	if number == 0 {
		return key
	}
	return key + "." + strconv.FormatInt(number, 10)
}

// newSessionKey returns the id of a first refresh token.
func newSessionKey() string {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // never fails
	return base64.RawStdEncoding.EncodeToString(raw)
}

// newSession opens a session of an account and returns its first tokens. app
// is the app password that it is made with, nil for the account's own. If the
// account has too many sessions, those that would end first are ended.
func (s *Server) newSession(tx storage.Docs, a *storage.Account, app *appPassword) (sessionTokens, error) {
	var ses session
	if app != nil {
		ses.App, ses.Privileged = app.name, app.Privileged
	}
	docs, err := tx.ScanOwner(a.DID, docSession)
	if err != nil {
		return sessionTokens{}, err
	}
	if over := min(len(docs)+1-s.cfg.Limits.Sessions, len(docs)); over > 0 {
		slices.SortFunc(docs, func(x, y storage.Doc) int { return x.Expires.Compare(y.Expires) })
		for _, d := range docs[:over] {
			if err := tx.DeleteDoc(docSession, d.Key); err != nil {
				return sessionTokens{}, err
			}
		}
	}
	key := newSessionKey()
	err = putSession(tx, storage.Doc{Key: key, Owner: a.DID, Expires: s.refreshExpiry()}, &ses)
	if err != nil {
		return sessionTokens{}, err
	}
	return s.signTokens(a, ses.scope(), key)
}

// refreshExpiry is when a refresh token ends that is made now. A clock that is
// behind for a while must not make sessions that are over when it returns.
func (s *Server) refreshExpiry() time.Time { return s.clock.Latest().Add(s.cfg.Limits.RefreshTTL) }

func putSession(tx storage.Docs, d storage.Doc, ses *session) error {
	value, err := json.Marshal(ses)
	if err != nil {
		return err
	}
	d.Kind, d.Value = docSession, value
	_, err = tx.PutDoc(d)
	return err
}

// nextToken takes a refresh token of an account and returns the id of the next
// one, and the scope of the session. It returns errTokenRevoked for a token
// that is used up, or whose session or app password is gone.
func (s *Server) nextToken(tx storage.Docs, did syntax.DID, id string) (next, scope string, err error) {
	key, number := sessionID(id)
	d, ses, err := findSession(tx, did, key)
	if err != nil {
		return "", "", err
	}
	now := s.clock.Now()
	if number < ses.Number {
		used := slices.ContainsFunc(ses.Used, func(u usedToken) bool {
			return u.Number == number && now.UnixMilli() < u.Until
		})
		if !used {
			return "", "", errTokenRevoked()
		}
		return tokenID(key, number+1), ses.scope(), nil
	}
	// A number above the current one is that of a token that the server gave
	// out before it was restored from an older backup.
	ses.Used = slices.DeleteFunc(ses.Used, func(u usedToken) bool { return u.Until <= now.UnixMilli() })
	if len(ses.Used) >= maxUsedTokens {
		ses.Used = slices.Delete(ses.Used, 0, len(ses.Used)-maxUsedTokens+1)
	}
	ses.Used = append(ses.Used, usedToken{number, now.Add(s.cfg.Limits.RefreshGrace).UnixMilli()})
	ses.Number = number + 1
	d.Expires = s.refreshExpiry()
	return tokenID(key, ses.Number), ses.scope(), putSession(tx, d, &ses)
}

// findSession returns a session of an account, or errTokenRevoked if it or its app
// password is gone.
func findSession(tx storage.Docs, did syntax.DID, key string) (d storage.Doc, ses session, err error) {
	d, err = tx.GetDoc(docSession, key)
	if errors.Is(err, storage.ErrNotFound) || err == nil && d.Owner != did {
		return d, ses, errTokenRevoked()
	}
	if err != nil {
		return d, ses, err
	}
	if err := json.Unmarshal(d.Value, &ses); err != nil || ses.App == "" {
		return d, ses, err
	}
	_, err = tx.GetDoc(docAppPassword, appPasswordKey(did, ses.App))
	if errors.Is(err, storage.ErrNotFound) {
		err = errTokenRevoked()
	}
	return d, ses, err
}

// dropSessions ends all sessions of an account, or those that were made with
// an app password if a name is given.
func dropSessions(tx storage.Docs, did syntax.DID, app string) error {
	docs, err := tx.ScanOwner(did, docSession)
	if err != nil {
		return err
	}
	for _, d := range docs {
		if app != "" {
			var ses session
			if err := json.Unmarshal(d.Value, &ses); err != nil {
				return err
			}
			if ses.App != app {
				continue
			}
		}
		if err := tx.DeleteDoc(docSession, d.Key); err != nil {
			return err
		}
	}
	return nil
}

// endSessions ends all sessions of an account and makes its tokens invalid.
// The caller stores the account.
func (s *Server) endSessions(tx storage.Docs, a *storage.Account) error {
	s.endTokens(a)
	if err := s.endOAuth(tx, a.DID); err != nil {
		return err
	}
	return dropSessions(tx, a.DID, "")
}

// endOAuth ends the OAuth sessions of an account and its sign-ins in browsers.
func (s *Server) endOAuth(tx storage.Docs, did syntax.DID) error {
	if s.oauth == nil {
		return nil
	}
	return s.oauth.EndSessionsIn(tx, did)
}

// sessionInfo is what the session methods say about an account.
type sessionInfo struct {
	Handle         string          `json:"handle"`
	DID            syntax.DID      `json:"did"`
	DidDoc         json.RawMessage `json:"didDoc,omitempty"`
	Email          string          `json:"email,omitempty"`
	EmailConfirmed *bool           `json:"emailConfirmed,omitempty"`
	Active         bool            `json:"active"`
	Status         string          `json:"status,omitempty"`
}

// sessionOutput is the answer of createSession and refreshSession.
type sessionOutput struct {
	AccessJwt  string `json:"accessJwt"`
	RefreshJwt string `json:"refreshJwt"`
	sessionInfo
}

// sessionInfo describes an account to its owner.
func (s *Server) sessionInfo(ctx context.Context, a *storage.Account) sessionInfo {
	return sessionInfo{
		Handle: handleOf(a), DID: a.DID, DidDoc: s.sessionDocument(ctx, a.DID),
		Email: a.Email, EmailConfirmed: new(!a.EmailConfirmedAt.IsZero()),
		Active: a.Active(), Status: statusOf(a),
	}
}

// sessionDocument returns the DID document for a session's answer, nil if it
// is not asked for or cannot be had: that is no reason to refuse a session.
func (s *Server) sessionDocument(ctx context.Context, did syntax.DID) json.RawMessage {
	if !s.cfg.DidDocInSession {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, sessionDocumentTime)
	defer cancel()
	doc, err := s.cfg.Directory.ResolveDIDRaw(ctx, did)
	if err != nil {
		s.log.WarnContext(ctx, "a session goes without its DID document", "did", did, "error", err)
		return nil
	}
	return doc
}

// sessionDocumentTime is how long a session's answer waits for the DID
// document.
const sessionDocumentTime = 3 * time.Second
