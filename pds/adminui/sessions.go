package adminui

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"mime"
	"net/http"
	"sync"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/xrpc"
)

// sessions are the browsers that are signed in. They live in this process.
type sessions struct {
	now       func() time.Time // fixed, like the following 2 fields
	idle, max time.Duration

	mu   sync.Mutex // guards following field and what it holds
	byID map[[sha256.Size]byte]*session
}

// session is a browser that is signed in.
type session struct {
	table         *sessions
	id            [sha256.Size]byte // hash of the cookie
	did           syntax.DID        // of the administrator's account; empty: by the password
	csrf          string
	created, used time.Time
	said          string // notice for the next page
}

func newSessions(now func() time.Time, idle, limit time.Duration) *sessions {
	return &sessions{now: now, idle: idle, max: limit, byID: map[[sha256.Size]byte]*session{}}
}

// begin makes a session of an account, or with "" of the password, and returns
// the value of its cookie.
func (s *sessions) begin(did syntax.DID) string {
	token := rand.Text()
	now := s.now()
	next := &session{table: s, id: sha256.Sum256([]byte(token)), did: did, csrf: rand.Text(), created: now, used: now}
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, old := range s.byID {
		if s.over(old, now) {
			delete(s.byID, id)
		}
	}
	for len(s.byID) >= maxSessions {
		var oldest *session
		for _, one := range s.byID {
			if oldest == nil || one.used.Before(oldest.used) {
				oldest = one
			}
		}
		delete(s.byID, oldest.id)
	}
	s.byID[next.id] = next
	return token
}

func (s *sessions) over(one *session, now time.Time) bool {
	return now.Sub(one.used) >= s.idle || now.Sub(one.created) >= s.max
}

// find returns the session of a cookie, nil if there is none any more.
func (s *sessions) find(token string) *session {
	if token == "" {
		return nil
	}
	id, now := sha256.Sum256([]byte(token)), s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.byID[id]
	if found == nil {
		return nil
	}
	if s.over(found, now) {
		delete(s.byID, id)
		return nil
	}
	found.used = now
	return found
}

// end ends a session.
func (s *session) end() {
	s.table.mu.Lock()
	defer s.table.mu.Unlock()
	delete(s.table.byID, s.id)
}

// owns reports whether a form's token is that of the session.
func (s *session) owns(token string) bool {
	return subtle.ConstantTimeCompare([]byte(token), []byte(s.csrf)) == 1
}

// notice sets what the next page says.
func (s *session) notice(text string) {
	s.table.mu.Lock()
	defer s.table.mu.Unlock()
	s.said = text
}

// takeNotice returns what the page is to say, once.
func (s *session) takeNotice() (text string) {
	s.table.mu.Lock()
	defer s.table.mu.Unlock()
	text, s.said = s.said, ""
	return text
}

func (h *handler) cookieName() string {
	if h.secure {
		return "__Host-pds-admin"
	}
	return "pds-admin"
}

// cookie returns the value of the session's cookie, "" if it is there not
// exactly once.
func (h *handler) cookie(r *http.Request) string {
	if found := r.CookiesNamed(h.cookieName()); len(found) == 1 {
		return found[0].Value
	}
	return ""
}

// setCookie sets the cookie of a session, or with "" removes it.
func (h *handler) setCookie(w http.ResponseWriter, value string) {
	c := &http.Cookie{
		Name: h.cookieName(), Value: value, Path: "/", Secure: h.secure, HttpOnly: true, SameSite: http.SameSiteStrictMode,
	}
	if value == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

func errForged() error {
	return xrpc.NewError(http.StatusForbidden, "Forbidden", "This form did not come from a page of yours. Go back, load the page again, and repeat it.")
}

// checkForm reads a form that must come from one of our pages.
func (h *handler) checkForm(w http.ResponseWriter, r *http.Request) error {
	origin, site := r.Header.Values("Origin"), r.Header.Values("Sec-Fetch-Site")
	if len(origin) != 1 || origin[0] != h.origin || len(site) > 1 || len(site) == 1 && site[0] != "same-origin" {
		return errForged()
	}
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/x-www-form-urlencoded" {
		return xrpc.NewError(http.StatusUnsupportedMediaType, "InvalidRequest", "This is not a form.")
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxFormBytes)
	if err := r.ParseForm(); err != nil {
		return xrpc.InvalidRequest("The form could not be read.").WithCause(err)
	}
	return nil
}
