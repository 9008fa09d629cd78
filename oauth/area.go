package oauth

import (
	"context"
	"crypto/hmac"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/storage"
)

// Area is a part of a program's site that people enter by their accounts, such
// as pages for administrators. It is on the host of the server, so that the
// server's cookies come with its requests. Who may enter is up to the program;
// the Area knows who somebody is, and for how long that is true.
//
// Somebody signs in to the account manager, with the password or a
// [SignInMethod], and with the [SecondFactor] of the account, and enters within a
// quarter of an hour. The entry belongs to the browser. It ends with its time,
// with [Area.Leave], when the account signs out of this browser or of all, when
// its sessions end, as with a new password, and when it is not [Active] any more.
//
// The methods may be called concurrently. They may set cookies, so they are
// called before anything of the answer is written.
type Area struct {
	s    *Server
	back string
}

// NewArea returns an area of the site. back is the address of the page to which
// [Area.SignIn] leads in the end: a path, maybe with a query, that no other area
// has.
func (s *Server) NewArea(back string) (*Area, error) {
	u, err := url.ParseRequestURI(back)
	if err != nil || u.Host != "" || !strings.HasPrefix(back, "/") || strings.HasPrefix(back, "//") ||
		strings.ContainsAny(back, "\\#") || len(back) > MaxParameterBytes {
		return nil, fmt.Errorf("oauth: the address of an area is %q, which is no path of this site", back)
	}
	return &Area{s, back}, nil
}

// context is that of the entries.
func (a *Area) context() string { return "area " + a.back }

// device returns the browser of a request, nil if it is not known. The request
// that comes back knows where it is from.
func (a *Area) device(w http.ResponseWriter, r *http.Request) (*device, *http.Request, error) {
	r = a.s.withOrigin(r)
	if !a.s.isOwnHost(r) {
		return nil, r, nil
	}
	d, err := a.s.knownDevice(w, r)
	return d, r, err
}

// active returns an account that may enter, or [ErrSignedOut].
func (a *Area) active(ctx context.Context, did syntax.DID) (Account, error) {
	account, err := a.s.cfg.Accounts.Account(ctx, did)
	if errors.Is(err, ErrAccountNotFound) || err == nil && account.Status != Active {
		err = ErrSignedOut
	}
	return account, err
}

// lately reports whether somebody has signed in lately enough to enter.
func (a *Area) lately(si *signIn) bool { return a.s.now().Sub(si.Proved) < confirmFor }

// SignIn sends the browser to where people sign in, and back afterwards.
func (a *Area) SignIn(w http.ResponseWriter, r *http.Request) {
	a.s.setReturn(w, a.back)
	http.Redirect(w, r, pathAccount+"/sign-in", http.StatusSeeOther)
}

// Ready returns the accounts that can enter: those that are signed in in this
// browser since less than a quarter of an hour, the latest first.
func (a *Area) Ready(w http.ResponseWriter, r *http.Request) ([]Account, error) {
	d, r, err := a.device(w, r)
	if d == nil {
		return nil, err
	}
	var found []signIn
	err = a.s.view(r.Context(), func(docs storage.Docs) (err error) {
		found, err = a.s.signInsOf(docs, d.key, managerContext)
		return err
	})
	if err != nil {
		return nil, err
	}
	found = slices.DeleteFunc(found, func(si signIn) bool { return !a.lately(&si) })
	slices.SortStableFunc(found, func(x, y signIn) int { return y.Proved.Compare(x.Proved) })
	var list []Account
	for _, si := range found {
		account, err := a.active(r.Context(), si.Account)
		switch {
		case err == nil:
			list = append(list, account)
		case !errors.Is(err, ErrSignedOut):
			return nil, err
		}
	}
	return list, nil
}

// Enter lets an account in that is ready, for so long at most. The error is
// [ErrSignedOut] if it is not ready.
func (a *Area) Enter(w http.ResponseWriter, r *http.Request, did syntax.DID, ttl time.Duration) (Account, error) {
	d, r, err := a.device(w, r)
	if err != nil {
		return Account{}, err
	}
	if d == nil {
		return Account{}, ErrSignedOut
	}
	account, err := a.active(r.Context(), did)
	if err != nil {
		return Account{}, err
	}
	err = a.s.changeDevice(r.Context(), w, d, true, func(docs storage.Docs) error {
		si, err := a.s.signInOf(docs, d.key, managerContext, did)
		if err != nil {
			return err
		}
		if si == nil || !a.lately(si) {
			return ErrSignedOut
		}
		return putSignIn(docs, d.key, &signIn{
			Account: did, Context: a.context(), Proved: si.Proved, Expires: a.s.now().Add(ttl),
			Generation: si.Generation, Identifier: si.Identifier,
		})
	})
	if errors.Is(err, errDeviceGone) {
		err = ErrSignedOut
	}
	return account, err
}

// Entered returns an account that has entered in this browser, as it is now, or
// [ErrSignedOut] if its entry has ended.
func (a *Area) Entered(w http.ResponseWriter, r *http.Request, did syntax.DID) (Account, error) {
	d, r, err := a.device(w, r)
	if err != nil {
		return Account{}, err
	}
	if d == nil {
		return Account{}, ErrSignedOut
	}
	err = a.s.view(r.Context(), func(docs storage.Docs) error {
		si := signIn{Account: did, Context: a.context()}
		_, err := load(docs, kindDeviceAccount, si.key(d.key), &si)
		if errors.Is(err, storage.ErrNotFound) {
			return ErrSignedOut
		}
		if err != nil {
			return err
		}
		counts, err := si.counts(docs, a.context(), a.s.now())
		if err == nil && !counts {
			err = ErrSignedOut
		}
		return err
	})
	if err != nil {
		return Account{}, err
	}
	return a.active(r.Context(), did)
}

// Leave ends the entry of an account in this browser. One that has not entered
// is no error.
func (a *Area) Leave(w http.ResponseWriter, r *http.Request, did syntax.DID) error {
	d, r, err := a.device(w, r)
	if d == nil {
		return err
	}
	entry := signIn{Account: did, Context: a.context()}
	return a.s.update(r.Context(), func(docs storage.Docs) error {
		return docs.DeleteDoc(kindDeviceAccount, entry.key(d.key))
	})
}

// returnSeal keeps others from naming where people go after they have signed in.
func (s *Server) returnSeal(back string) string { return s.csrfToken("return", back) }

// setReturn has the browser led to an address of ours after the next sign-in to
// the account manager, if that is soon.
func (s *Server) setReturn(w http.ResponseWriter, back string) {
	s.setCookieFor(w, cookieReturn, base64.RawURLEncoding.EncodeToString([]byte(back))+"."+s.returnSeal(back), returnTTL)
}

// takeReturn returns the address that setReturn has set, empty if there is none,
// and forgets it.
func (s *Server) takeReturn(w http.ResponseWriter, r *http.Request) string {
	value := s.cookie(r, cookieReturn)
	if value == "" {
		return ""
	}
	s.setCookieFor(w, cookieReturn, "", -time.Second)
	encoded, seal, _ := strings.Cut(value, ".")
	back, err := base64.RawURLEncoding.DecodeString(encoded)
	if err != nil || !hmac.Equal([]byte(seal), []byte(s.returnSeal(string(back)))) {
		return ""
	}
	return string(back)
}
