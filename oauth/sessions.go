package oauth

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/storage"
)

// session is what a client may do for an account, and the tokens by which it
// does.
type session struct {
	ID          string      `json:"id"`
	ClientID    string      `json:"client"`
	Auth        clientAuth  `json:"auth"`
	JKT         string      `json:"jkt"`
	Account     syntax.DID  `json:"account"`
	Actor       syntax.DID  `json:"actor"`
	Generations generations `json:"generations"`
	Device      string      `json:"device,omitempty"` // on which it was authorized
	Scope       string      `json:"scope"`            // that was granted, as the client wrote it
	Expanded    string      `json:"expanded"`         // the same with permission sets replaced
	Created     time.Time   `json:"created"`
	Refreshed   time.Time   `json:"refreshed"`
	Ends        time.Time   `json:"ends"` // for good

	// The refresh token that is good now: its place in the row, hash and end.
	// No hash: the client has not asked for refresh tokens.
	Turn           uint32    `json:"turn"`
	RefreshHash    string    `json:"refreshHash,omitempty"`
	RefreshExpires time.Time `json:"refreshExpires"`

	// The access token that is good now.
	TokenHash    string    `json:"tokenHash"`
	TokenScope   string    `json:"tokenScope,omitempty"` // if it is narrower than Expanded
	TokenExpires time.Time `json:"tokenExpires"`

	// LongLived says that the session has the lifetimes of confidential clients.
	LongLived bool   `json:"longLived,omitempty"`
	Grace     *grace `json:"grace,omitempty"` // see Config.RefreshGrace
}

// lasts is when a session ends if nobody refreshes it.
func (s *session) lasts() time.Time { return earlier(s.Ends, s.RefreshExpires) }

// scope is what the access token allows.
func (s *session) scope() string {
	if s.TokenScope != "" {
		return s.TokenScope
	}
	return s.Expanded
}

// newSessionID makes the ID of a session. It begins with a hash of the account,
// so that those of an account stand beside each other in the store.
func newSessionID(account syntax.DID) string {
	return sessionPrefix(account) + randomID("", sizeID)
}

func sessionPrefix(account syntax.DID) string {
	sum := sha256.Sum256([]byte(account))
	return prefixSession + hex.EncodeToString(sum[:sizeID])
}

// isSessionID reports whether a text has the form of a session's ID.
func isSessionID(id string) bool { return isRandomID(id, prefixSession, 2*sizeID) }

// loadSession loads a session that has not ended.
func loadSession(docs storage.Docs, id string, now time.Time, to *session) (version int64, err error) {
	*to = session{}
	if version, err = load(docs, kindSession, id, to); err != nil {
		return 0, err
	}
	if !now.Before(to.lasts()) {
		return 0, storage.ErrNotFound
	}
	gens, err := loadGenerations(docs, to.Account, to.Actor)
	if err == nil && gens != to.Generations {
		err = storage.ErrNotFound
	}
	return version, err
}

func (s *session) save(docs storage.Docs, version int64) error {
	return save(docs, kindSession, s.ID, version, s.lasts(), s)
}

// scanSessions returns the documents of an account's sessions, at most limit.
func scanSessions(docs storage.Docs, account syntax.DID, limit int) ([]storage.Doc, error) {
	prefix := sessionPrefix(account)
	return docs.ScanDocs(kindSession, storage.Scan{From: prefix, To: prefix + "~", Limit: limit})
}

// SessionInfo describes what a client may do for an account.
type SessionInfo struct {
	ID        string
	Client    string     // the client_id
	Account   syntax.DID // whose account it is
	Actor     syntax.DID // who has authorized it; the same unless somebody acts for a group
	Scope     string     // as it was granted
	Device    string     // that it was authorized on, as the pages name it
	Created   time.Time
	Refreshed time.Time // when the client last got a token
	Expires   time.Time // unless it is refreshed
}

func (s *session) info() SessionInfo {
	return SessionInfo{
		ID: s.ID, Client: s.ClientID, Account: s.Account, Actor: s.Actor, Scope: s.Scope, Device: s.Device,
		Created: s.Created, Refreshed: s.Refreshed, Expires: s.lasts(),
	}
}

// Sessions returns the sessions of an account, the one that was used last first.
func (s *Server) Sessions(ctx context.Context, account syntax.DID) ([]SessionInfo, error) {
	var out []SessionInfo
	err := s.view(ctx, func(docs storage.Docs) error {
		out = nil
		found, err := scanSessions(docs, account, s.cfg.Limits.Sessions+maxExtraSessions)
		if err != nil {
			return err
		}
		for _, doc := range found {
			var one session
			switch _, err := loadSession(docs, doc.Key, s.now(), &one); {
			case errors.Is(err, storage.ErrNotFound):
			case err != nil:
				return err
			case one.Account == account:
				out = append(out, one.info())
			}
		}
		return nil
	})
	slices.SortFunc(out, func(a, b SessionInfo) int { return b.Refreshed.Compare(a.Refreshed) })
	return out, err
}

// maxExtraSessions is how many sessions above Limits.Sessions an account can
// have for a moment, because they began at the same time.
const maxExtraSessions = 100

// oldestSessions returns the keys of the n sessions that were not refreshed for
// longest.
func oldestSessions(docs []storage.Doc, n int) []string {
	type used struct {
		key string
		at  time.Time
	}
	list := make([]used, 0, len(docs))
	for _, doc := range docs {
		var one session
		if json.Unmarshal(doc.Value, &one) == nil {
			list = append(list, used{doc.Key, one.Refreshed})
		}
	}
	slices.SortFunc(list, func(a, b used) int { return a.at.Compare(b.at) })
	var keys []string
	for _, u := range list[:min(n, len(list))] {
		keys = append(keys, u.key)
	}
	return keys
}

// EndSession ends a session of an account; one that is not there is no error.
func (s *Server) EndSession(ctx context.Context, account syntax.DID, id string) error {
	if !strings.HasPrefix(id, sessionPrefix(account)) || !isSessionID(id) {
		return nil
	}
	return s.endSession(ctx, id)
}

// endSession ends a session and tells the hook.
func (s *Server) endSession(ctx context.Context, id string) error {
	var ended session
	err := s.update(ctx, func(docs storage.Docs) error {
		ended = session{}
		if _, err := load(docs, kindSession, id, &ended); errors.Is(err, storage.ErrNotFound) {
			return nil
		} else if err != nil {
			return err
		}
		return docs.DeleteDoc(kindSession, id)
	})
	if err == nil && ended.ID != "" {
		s.tellEnded(ctx, &ended)
	}
	return err
}

// tellEnded tells the hook of a session that has ended.
func (s *Server) tellEnded(ctx context.Context, ended *session) {
	s.tell(ctx, Event{Kind: EventEnded, Client: ended.ClientID, Account: ended.Account, Actor: ended.Actor, Session: ended.ID, Scope: ended.Scope})
}

// EndSessions ends all sessions of an account and all its sign-ins on devices:
// for a change of password, a takedown, a deactivation or deletion. When it has
// returned, no token, code or cookie from before is good for this account any
// more, nor for another that it acts for.
func (s *Server) EndSessions(ctx context.Context, account syntax.DID) error {
	err := s.update(ctx, func(docs storage.Docs) error { return s.EndSessionsIn(docs, account) })
	if err != nil {
		return err
	}
	// They have ended. What follows tidies up.
	return s.removeDocs(ctx, kindSession, sessionPrefix(account))
}

// Forget ends all sessions of an account, as EndSessions does, and removes what
// it has consented to, for itself and for others, and what others have for it:
// for a deactivation or deletion.
func (s *Server) Forget(ctx context.Context, account syntax.DID) error {
	if err := s.EndSessions(ctx, account); err != nil {
		return err
	}
	remove := func(docs storage.Docs, d storage.Doc) error {
		first, rest, _ := strings.Cut(d.Key, "/")
		second, client, _ := strings.Cut(rest, "/")
		if d.Kind == kindActorConsent {
			first, second = second, first
		}
		return deleteConsent(docs, syntax.DID(first), syntax.DID(second), client)
	}
	if err := s.removeEach(ctx, kindConsent, account.String()+"/", remove); err != nil {
		return err
	}
	return s.removeEach(ctx, kindActorConsent, account.String()+"/", remove)
}

// removeChunk is how many documents are removed in one transaction.
const removeChunk = 200

// removeDocs removes the documents whose keys begin with a prefix.
func (s *Server) removeDocs(ctx context.Context, kind, prefix string) error {
	return s.removeEach(ctx, kind, prefix, func(docs storage.Docs, d storage.Doc) error { return docs.DeleteDoc(kind, d.Key) })
}

// removeEach removes the documents whose keys begin with a prefix, and what
// belongs to them, by a function.
func (s *Server) removeEach(ctx context.Context, kind, prefix string, remove func(storage.Docs, storage.Doc) error) error {
	for {
		var found []storage.Doc
		err := s.update(ctx, func(docs storage.Docs) (err error) {
			found, err = docs.ScanDocs(kind, storage.Scan{From: prefix, To: prefix + "~", Limit: removeChunk})
			if err != nil {
				return err
			}
			for _, doc := range found {
				if err := remove(docs, doc); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil || len(found) < removeChunk {
			return err
		}
	}
}

// deviceAccountKey is the key of an account that is signed in on a device.
func deviceAccountKey(device string, did syntax.DID) string { return device + "/" + did.String() }

// grace is the answer to a refresh, for a client that did not get it and asks
// again: sealed by the token that it had before.
type grace struct {
	Until  time.Time `json:"until"`
	Sealed []byte    `json:"sealed"`
}
