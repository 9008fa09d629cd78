package pds

import (
	"context"
	"errors"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// checkNewPassword returns the client's error for a password that cannot be
// set.
func checkNewPassword(password string) error {
	switch {
	case password == "":
		return xrpc.InvalidRequest("Password is required")
	case passwordLength(password) > maxNewPassword:
		return xrpc.InvalidRequest("Password too long. Maximum length is %d characters.", maxNewPassword)
	}
	return nil
}

// setPassword gives an account a new password, if check allows it, and ends
// all its sessions.
func (s *Server) setPassword(ctx context.Context, did syntax.DID, password string, check func(storage.Tx) error) error {
	if err := checkNewPassword(password); err != nil {
		return err
	}
	hash, err := s.passwords.hash(ctx, password)
	if err != nil {
		return err
	}
	_, err = s.changeAccount(ctx, did, func(tx storage.Tx, a *storage.Account) error {
		if err := check(tx); err != nil {
			return err
		}
		a.PasswordHash = hash
		return s.endSessions(tx, a)
	}, nil)
	return err
}

// requestReset mails a code for a new password to an address, if an account
// with a password has it. Neither the answer nor its time tells whether one
// does: the account is looked up when the mail is sent.
func (s *Server) requestReset(ctx context.Context, email string) error {
	email = normalizeIdentifier(email)
	if !strings.Contains(email, "@") || len(email) > maxEmailBytes {
		return xrpc.InvalidRequest("That is not an email address")
	}
	if err := xrpc.TakeLimits(ctx, resetLimits(email)...); err != nil {
		return err
	}
	return s.queueMail(ctx, queuedMail{Template: string(mailResetPassword), Email: email}, mailTokenTTL)
}

// resetByCode sets a new password for the account that the code was sent to,
// and returns whose that is. All its sessions end.
func (s *Server) resetByCode(ctx context.Context, code, password string) (did syntax.DID, err error) {
	if err := checkNewPassword(password); err != nil {
		return "", err
	}
	err = s.store.View(ctx, func(tx storage.Tx) error {
		did, err = findMailToken(tx, mailResetPassword, code)
		return err
	})
	if errors.Is(err, storage.ErrNotFound) {
		return "", errMailTokenInvalid()
	}
	if err != nil {
		return "", err
	}
	if err := s.useMailToken(ctx, mailResetPassword, did, code, checkMailToken); err != nil {
		return "", err
	}
	err = s.setPassword(ctx, did, password, func(tx storage.Tx) error {
		return s.spendMailToken(tx, mailResetPassword, did, code)
	})
	if isAccountNotFound(err) {
		err = errMailTokenInvalid()
	}
	return did, err
}
