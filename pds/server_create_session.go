package pds

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/oauth"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

type createSessionInput struct {
	Identifier      string `json:"identifier"`
	Password        string `json:"password"`
	AuthFactorToken string `json:"authFactorToken"`
	AllowTakendown  bool   `json:"allowTakendown"`
}

func (s *Server) createSession() xrpc.Method {
	return xrpc.Procedure("com.atproto.server.createSession", xrpc.Public(),
		func(ctx context.Context, in *createSessionInput) (*sessionOutput, error) {
			began := s.clock.Elapsed()
			in.Identifier = normalizeIdentifier(in.Identifier)
			if err := xrpc.TakeLimits(ctx, loginLimits(in.Identifier)...); err != nil {
				return nil, err
			}
			who, err := s.verifyLogin(ctx, in.Identifier, in.Password)
			if err == nil {
				err = s.checkFactor(ctx, who, in.AuthFactorToken)
			}
			var tokens sessionTokens
			if err == nil {
				tokens, err = s.openSession(ctx, who, in.AllowTakendown)
			}
			if err != nil {
				s.waitUntil(ctx, began+s.cfg.Limits.LoginFloor)
				return nil, err
			}
			if who.app == nil {
				s.noteSignIn(ctx, who.account.DID, requestDevice(ctx))
			}
			return &sessionOutput{tokens.Access, tokens.Refresh, s.sessionInfo(ctx, &who.account)}, nil
		})
}

// waitUntil waits until the server's clock has gone on to a moment, so that
// refusals take the same time whatever their reason.
func (s *Server) waitUntil(ctx context.Context, moment time.Duration) {
	left := min(moment-s.clock.Elapsed(), s.cfg.Limits.LoginFloor)
	if left <= 0 {
		return
	}
	timer := time.NewTimer(left)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// login is somebody who has given a right password.
type login struct {
	account storage.Account
	app     *appPassword // that was given; nil: the account's own
	rehash  string       // a new hash of the password, if the stored one is of an old kind
}

func errBadLogin() *xrpc.Error { return xrpc.AuthRequired("Invalid identifier or password") }

// verifyLogin finds an account by e-mail address, handle or DID and checks a
// password. An account that is not there, one without a password and a wrong
// password give the same answer after the same work.
func (s *Server) verifyLogin(ctx context.Context, identifier, password string) (*login, error) {
	var who login
	var apps []appPassword
	a := &who.account
	err := s.store.View(ctx, func(tx storage.Tx) (err error) {
		if *a, err = findLogin(tx, identifier); err == nil && a.TakedownRef == "" {
			apps, err = listAppPasswords(tx, a.DID)
		}
		return err
	})
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return nil, err
	}
	failures := failureLimit(a.DID, identifier)
	if err := s.checkFailures(ctx, failures); err != nil {
		return nil, err
	}
	ok := false
	if passwordLength(password) <= maxPassword {
		if ok, err = s.verifyPassword(ctx, &who, apps, password); err != nil {
			return nil, err
		}
	}
	if ok {
		return &who, nil
	}
	if err := xrpc.TakeLimits(ctx, failures); err != nil {
		return nil, err
	}
	return nil, errBadLogin()
}

// findLogin looks an account up by what its owner signs in with.
func findLogin(tx storage.Accounts, identifier string) (storage.Account, error) {
	if !strings.Contains(identifier, "@") {
		return findAccount(tx, identifier)
	}
	a, err := tx.AccountByEmail(identifier)
	if err == nil && a.Pending {
		return storage.Account{}, storage.ErrNotFound
	}
	return a, err
}

// verifyPassword compares a password with that of the account, then with its
// app passwords.
func (s *Server) verifyPassword(ctx context.Context, who *login, apps []appPassword, password string) (bool, error) {
	ok, stale, err := s.passwords.verify(ctx, who.account.PasswordHash, password)
	if err != nil {
		return false, err
	}
	if ok {
		if stale {
			who.rehash, err = s.passwords.hash(ctx, password)
			if isRefusal(err) { // too busy
				err = nil // the next login will do
			}
		}
		return true, err
	}
	if !isAppPassword(password) {
		return false, nil
	}
	hashes := make([]string, len(apps))
	for i := range apps {
		hashes[i] = apps[i].Hash
	}
	i, err := s.passwords.verifyAny(ctx, hashes, password)
	if err != nil || i < 0 {
		return false, err
	}
	who.app = &apps[i]
	return true, nil
}

// checkFactor asks who has given the right password for the second factor of the
// account, if it has one: that of Config.OAuth. App passwords are for programs
// that could not answer.
func (s *Server) checkFactor(ctx context.Context, who *login, token string) error {
	if s.oauth == nil || who.app != nil {
		return nil
	}
	wait, err := s.oauth.CheckSecondFactor(ctx, oauthAccount(&who.account), strings.TrimSpace(token))
	switch {
	case wait > 0:
		return xrpc.NewError(http.StatusTooManyRequests, "", "Too many wrong codes").
			WithHeader("Retry-After", strconv.Itoa(int((wait+time.Second-1)/time.Second)))
	case errors.Is(err, oauth.ErrFactorRequired):
		return xrpc.NewError(http.StatusUnauthorized, "AuthFactorTokenRequired", "A code of the second factor is required")
	case errors.Is(err, oauth.ErrCodeInvalid):
		return errMailTokenInvalid()
	}
	return err
}

// openSession makes a session for somebody who has given a right password,
// unless that was changed or revoked in the meantime. Who is taken down gets
// narrow tokens on request, which cannot be refreshed.
func (s *Server) openSession(ctx context.Context, who *login, allowTakendown bool) (tokens sessionTokens, err error) {
	did, hash := who.account.DID, who.account.PasswordHash
	err = s.store.Update(ctx, func(tx storage.Tx) error {
		a, err := findAccount(tx, string(did))
		if errors.Is(err, storage.ErrNotFound) {
			return errBadLogin()
		}
		if err != nil {
			return err
		}
		who.account = a
		if who.app == nil && a.PasswordHash != hash {
			return errBadLogin()
		}
		if who.app != nil {
			if err := checkAppPassword(tx, did, who.app); err != nil {
				return err
			}
		}
		if a.TakedownRef != "" {
			if who.app != nil {
				return errBadLogin()
			}
			if !allowTakendown {
				return errAccountTakedown()
			}
			tokens, err = s.signTokens(&a, scopeTakendown, newSessionKey())
			return err
		}
		if who.rehash != "" {
			a.PasswordHash = who.rehash
			if a.Version, err = tx.PutAccount(a); err != nil {
				return err
			}
		}
		tokens, err = s.newSession(tx, &a, who.app)
		return err
	})
	return tokens, err
}

// checkAppPassword returns the client's error if an app password has been
// revoked or replaced since it was read.
func checkAppPassword(tx storage.Docs, did syntax.DID, app *appPassword) error {
	d, err := tx.GetDoc(docAppPassword, appPasswordKey(did, app.name))
	if errors.Is(err, storage.ErrNotFound) || err == nil && d.Version != app.version {
		return errBadLogin()
	}
	return err
}
