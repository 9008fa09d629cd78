package pds

import (
	"context"
	"errors"
	"net/http"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/oauth"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

var (
	_ oauth.PasswordResets  = (*oauthAccounts)(nil)
	_ oauth.PasswordChanger = (*oauthAccounts)(nil)
	_ oauth.EmailManager    = (*oauthAccounts)(nil)
)

// take spends from the limits of the method that does the same: what is done on
// the pages counts as well. The error is oauth.ErrBusy if they are used up.
func (o *oauthAccounts) take(ctx context.Context, nsid, key string, limits []xrpc.Limit) error {
	for _, l := range limits {
		state, err := o.s.cfg.Limiter.Take(ctx, nsid, key, 1, l)
		if err != nil {
			return err
		}
		if !state.Allowed {
			return oauth.ErrBusy
		}
	}
	return nil
}

// RequestPasswordReset implements oauth.PasswordResets. What cannot be an
// address is no error, since no account has it; and that an address has got
// enough mail is nothing to tell.
func (o *oauthAccounts) RequestPasswordReset(ctx context.Context, email string) error {
	key := normalizeIdentifier(email)
	err := o.take(ctx, "com.atproto.server.requestPasswordReset", boundedKey(key), resetLimits(key))
	if errors.Is(err, oauth.ErrBusy) {
		o.s.log.InfoContext(ctx, "a password reset was not sent: too many to one address")
		return nil
	}
	if err != nil {
		return err
	}
	err = o.s.requestReset(ctx, email)
	if refused, ok := errors.AsType[*xrpc.Error](err); ok && refused.Status == http.StatusBadRequest {
		return nil
	}
	return err
}

// ResetPassword implements oauth.PasswordResets. The sessions of OAuth end in
// the same transaction.
func (o *oauthAccounts) ResetPassword(ctx context.Context, code, password string) error {
	if err := checkNewPassword(password); err != nil {
		return errors.Join(oauth.ErrPasswordWeak, err)
	}
	_, err := o.s.resetByCode(ctx, code, password)
	return asOAuth(err)
}

// ChangePassword implements oauth.PasswordChanger.
func (o *oauthAccounts) ChangePassword(ctx context.Context, did syntax.DID, password string) error {
	if err := checkNewPassword(password); err != nil {
		return errors.Join(oauth.ErrPasswordWeak, err)
	}
	return asOAuth(o.s.setPassword(ctx, did, password, func(storage.Tx) error { return nil }))
}

// RequestEmailChange implements oauth.EmailManager.
func (o *oauthAccounts) RequestEmailChange(ctx context.Context, did syntax.DID) (codeSent bool, err error) {
	if err := o.take(ctx, "com.atproto.server.requestEmailUpdate", string(did), mailLimits()); err != nil {
		return false, err
	}
	codeSent, err = o.s.requestAddressChange(ctx, did)
	return codeSent, asOAuth(err)
}

// ChangeEmail implements oauth.EmailManager.
func (o *oauthAccounts) ChangeEmail(ctx context.Context, did syntax.DID, email, code string) error {
	if _, err := checkEmail(email); err != nil {
		return errors.Join(oauth.ErrEmailInvalid, err)
	}
	err := o.s.changeAddress(ctx, did, email, code)
	if errors.Is(err, errAddressTaken) {
		return errors.Join(oauth.ErrEmailTaken, err)
	}
	return asOAuth(err)
}

// RequestEmailConfirmation implements oauth.EmailManager.
func (o *oauthAccounts) RequestEmailConfirmation(ctx context.Context, did syntax.DID) error {
	if err := o.take(ctx, "com.atproto.server.requestEmailConfirmation", string(did), mailLimits()); err != nil {
		return err
	}
	return asOAuth(o.s.requestCode(ctx, did, mailConfirmEmail))
}

// ConfirmEmail implements oauth.EmailManager.
func (o *oauthAccounts) ConfirmEmail(ctx context.Context, did syntax.DID, code string) error {
	return asOAuth(o.s.confirmAddress(ctx, did, "", code))
}

// noteOAuth returns a hook that remembers from where somebody signs in, after
// another, which may be nil.
func (s *Server) noteOAuth(other oauth.Hook) oauth.Hook {
	return func(ctx context.Context, e oauth.Event) error {
		if other != nil {
			if err := other(ctx, e); err != nil {
				return err
			}
		}
		switch e.Kind {
		case oauth.EventSignedIn:
			s.noteSignIn(ctx, e.Account, device{e.UserAgent, e.IP})
		case oauth.EventSignedUp:
			s.noteSignUp(ctx, e.Account, device{e.UserAgent, e.IP})
		}
		return nil
	}
}
