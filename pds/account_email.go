package pds

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// What becomes of the e-mail address of an account.

func errEmailInUse() *xrpc.Error {
	return xrpc.InvalidRequest("This email address is already in use, please use a different email.").WithCause(errAddressTaken)
}

func errInvalidEmail() *xrpc.Error {
	return xrpc.NewError(http.StatusBadRequest, "InvalidEmail", "invalid email")
}

func errTokenRequired() *xrpc.Error {
	return xrpc.NewError(http.StatusBadRequest, "TokenRequired", "confirmation token required")
}

// requestCode mails an account a code for one of the things that it is asked
// for.
func (s *Server) requestCode(ctx context.Context, did syntax.DID, purpose mailPurpose) error {
	a, err := s.accountByIdentifier(ctx, string(did))
	if err != nil {
		return err
	}
	return s.sendMailToken(ctx, &a, purpose)
}

// confirmAddress notes that the address of an account is its owner's, who
// shows the code that was sent there. A given address must be that one; empty,
// it is not looked at.
func (s *Server) confirmAddress(ctx context.Context, did syntax.DID, email, code string) error {
	a, err := s.accountByIdentifier(ctx, string(did))
	if err != nil {
		return err
	}
	if email != "" && normalizeIdentifier(email) != a.Email || a.Email == "" {
		return errInvalidEmail()
	}
	if err := s.useMailToken(ctx, mailConfirmEmail, did, code, checkMailToken); err != nil {
		return err
	}
	confirmed := a.Email
	_, err = s.changeAccount(ctx, did, func(tx storage.Tx, a *storage.Account) error {
		if a.Email != confirmed {
			return errInvalidEmail()
		}
		a.EmailConfirmedAt = s.clock.Now()
		return s.spendMailToken(tx, mailConfirmEmail, did, code)
	}, nil)
	return err
}

// requestAddressChange prepares a change of the address. If the present one is
// confirmed it sends a code there and reports that: the change needs it.
func (s *Server) requestAddressChange(ctx context.Context, did syntax.DID) (codeSent bool, err error) {
	a, err := s.accountByIdentifier(ctx, string(did))
	if err != nil || a.EmailConfirmedAt.IsZero() {
		return false, err
	}
	return true, s.sendMailToken(ctx, &a, mailUpdateEmail)
}

// changeAddress gives an account another address, which is not confirmed. The
// code is needed if the present one is.
func (s *Server) changeAddress(ctx context.Context, did syntax.DID, email, code string) error {
	email, err := checkEmail(email)
	if err != nil {
		return err
	}
	a, err := s.accountByIdentifier(ctx, string(did))
	if err != nil {
		return err
	}
	if !a.EmailConfirmedAt.IsZero() && code == "" {
		return errTokenRequired()
	}
	if code != "" {
		if err := s.useMailToken(ctx, mailUpdateEmail, did, code, checkMailToken); err != nil {
			return err
		}
	}
	return s.setAddress(ctx, did, email, func(tx storage.Tx, a *storage.Account) error {
		if code != "" {
			return s.spendMailToken(tx, mailUpdateEmail, did, code)
		}
		if !a.EmailConfirmedAt.IsZero() { // by now
			return errTokenRequired()
		}
		return nil
	})
}

// setAddress stores an address, which is not confirmed, if check allows it.
// All codes that were sent or are about to be sent come to nothing.
func (s *Server) setAddress(ctx context.Context, did syntax.DID, email string, check func(storage.Tx, *storage.Account) error) error {
	_, err := s.changeAccount(ctx, did, func(tx storage.Tx, a *storage.Account) error {
		if err := check(tx, a); err != nil {
			return err
		}
		holder, err := tx.AccountByEmail(email)
		if err == nil && holder.DID != did {
			return errEmailInUse()
		}
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return err
		}
		a.Email, a.EmailConfirmedAt = email, time.Time{}
		return s.dropMail(tx, did)
	}, nil)
	return err
}

// dropMail ends all codes of an account, and takes back mail with codes that
// was not sent yet.
func (s *Server) dropMail(tx storage.Docs, did syntax.DID) error {
	for _, p := range mailPurposes() {
		j, err := queuedMail{Template: string(p), DID: did}.job(time.Time{})
		if err != nil {
			return err
		}
		if err := s.jobs.Cancel(tx, j.Kind, j.Name); err != nil {
			return err
		}
	}
	return dropMailTokens(tx, did)
}
