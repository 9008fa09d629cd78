package oauth

import (
	"net/http"
	"strings"
	"time"
)

// Names of the cookies, with the prefix "__Host-" unless the issuer is plain
// http.
const (
	cookieDevice  = "dev"  // names the device
	cookieSession = "ses"  // changes often, and so finds out copies
	cookieLocale  = "lang" // the language that was picked
	cookieReturn  = "ret"  // where to go after signing in, see Area
)

// returnTTL is how long somebody may take to sign in and come back to an Area.
const returnTTL = 15 * time.Minute

// cookieTTL is how long browsers keep a cookie at most.
const cookieTTL = 400 * day

// secure reports whether browsers reach the server by https.
func (s *Server) secure() bool { return strings.HasPrefix(s.cfg.Issuer, "https:") }

func (s *Server) cookieName(name string) string {
	if s.secure() {
		return "__Host-" + name
	}
	return name
}

func (s *Server) setCookie(w http.ResponseWriter, name, value string) {
	s.setCookieFor(w, name, value, cookieTTL)
}

// setCookieFor sets a cookie that browsers keep for so long. A negative time
// removes it.
func (s *Server) setCookieFor(w http.ResponseWriter, name, value string, ttl time.Duration) {
	http.SetCookie(w, &http.Cookie{
		Name: s.cookieName(name), Value: value, Path: "/", MaxAge: int(ttl / time.Second),
		Secure: s.secure(), HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
}

// cookie returns the value of a cookie, empty if it is there not exactly once.
func (s *Server) cookie(r *http.Request, name string) string {
	if found := r.CookiesNamed(s.cookieName(name)); len(found) == 1 {
		return found[0].Value
	}
	return ""
}

// deviceCookies returns the device and session secrets of a browser, if they
// are there and look like ours.
func (s *Server) deviceCookies(r *http.Request) (id, secret string, ok bool) {
	id, secret = s.cookie(r, cookieDevice), s.cookie(r, cookieSession)
	ok = isRandomID(id, prefixDevice, sizeID) && isRandomID(secret, prefixSession, sizeID)
	return id, secret, ok
}
