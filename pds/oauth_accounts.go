package pds

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/oauth"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// oauthAccounts is the server's accounts as its authorization server sees them.
type oauthAccounts struct{ s *Server }

var (
	_ oauth.Accounts           = (*oauthAccounts)(nil)
	_ oauth.SignUps            = (*oauthAccounts)(nil)
	_ oauth.SignUpFields       = (*oauthAccounts)(nil)
	_ oauth.Reactivations      = (*oauthAccounts)(nil)
	_ oauth.HandleManager      = (*oauthAccounts)(nil)
	_ oauth.AppPasswordManager = (*oauthAccounts)(nil)
	_ oauth.Deactivator        = (*oauthAccounts)(nil)
	_ oauth.Deleter            = (*oauthAccounts)(nil)
	_ oauth.Exporter           = (*oauthAccounts)(nil)
)

func oauthAccount(a *storage.Account) oauth.Account {
	out := oauth.Account{DID: a.DID, Handle: a.Handle, Email: a.Email, EmailConfirmed: !a.EmailConfirmedAt.IsZero()}
	if out.Handle == "" {
		out.Handle = syntax.HandleInvalid
	}
	switch statusOf(a) {
	case statusTakendown:
		out.Status = oauth.TakenDown
	case statusDeactivated:
		out.Status = oauth.Deactivated
	}
	return out
}

// oauthReasons are errors of this package as package oauth names them.
var oauthReasons = map[string]error{
	"AccountNotFound":    oauth.ErrAccountNotFound,
	"NotEnoughResources": oauth.ErrBusy,
	"InvalidHandle":      oauth.ErrHandleInvalid,
	"UnsupportedDomain":  oauth.ErrHandleInvalid,
	"HandleNotAvailable": oauth.ErrHandleTaken,
	"InvalidInviteCode":  oauth.ErrInviteInvalid,
	"InvalidToken":       oauth.ErrCodeInvalid,
	"ExpiredToken":       oauth.ErrCodeInvalid,
	"TokenRequired":      oauth.ErrCodeInvalid,
}

// asOAuth gives an error the name that package oauth has for it, if it has one.
func asOAuth(err error) error {
	refused, ok := errors.AsType[*xrpc.Error](err)
	if !ok {
		return err
	}
	if reason := oauthReasons[refused.Name]; reason != nil {
		return errors.Join(reason, err)
	}
	return err
}

func (o *oauthAccounts) Account(ctx context.Context, did syntax.DID) (oauth.Account, error) {
	a, err := o.s.callerAccount(ctx, did)
	if err != nil {
		return oauth.Account{}, asOAuth(err)
	}
	return oauthAccount(a), nil
}

// SignIn implements oauth.Accounts. Tries are counted by the authorization
// server.
func (o *oauthAccounts) SignIn(ctx context.Context, identifier, password string) (oauth.Account, error) {
	if passwordLength(password) > maxPassword {
		return oauth.Account{}, oauth.ErrWrongCredentials
	}
	var who login
	err := o.s.store.View(ctx, func(tx storage.Tx) (err error) {
		who.account, err = findLogin(tx, normalizeIdentifier(identifier))
		return err
	})
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return oauth.Account{}, err
	}
	// Without an account the work is the same. App passwords are left out.
	ok, _, err := o.s.passwords.verify(ctx, who.account.PasswordHash, password)
	switch {
	case err != nil:
		return oauth.Account{}, asOAuth(err)
	case !ok:
		return oauth.Account{}, oauth.ErrWrongCredentials
	}
	return oauthAccount(&who.account), nil
}

func (o *oauthAccounts) HandleDomains() []string { return o.s.cfg.HandleDomains }

func (o *oauthAccounts) InviteRequired() bool { return o.s.cfg.InviteRequired }

func (o *oauthAccounts) CheckHandle(ctx context.Context, handle syntax.Handle) error {
	h, err := o.s.checkHandle(ctx, handle.String(), "", false)
	if err == nil {
		err = o.s.store.View(ctx, func(tx storage.Tx) error { return checkHandleFree(tx, h, "") })
	}
	return asOAuth(err)
}

func (o *oauthAccounts) SignUp(ctx context.Context, a oauth.NewAccount) (oauth.Account, error) {
	in := createAccountInput{Email: a.Email, Handle: a.Handle.String(), Password: a.Password, InviteCode: a.Invite}
	if passwordLength(a.Password) > maxNewPassword {
		return oauth.Account{}, oauth.ErrPasswordWeak
	}
	if _, err := checkEmail(a.Email); err != nil {
		return oauth.Account{}, errors.Join(oauth.ErrEmailInvalid, err)
	}
	if err := o.s.checkSignUp(ctx, &in); err != nil {
		return oauth.Account{}, asOAuth(err)
	}
	made, err := o.s.CreateAccount(ctx, NewAccount{
		Handle: in.Handle, Email: in.Email, Password: in.Password, InviteCode: in.InviteCode,
	})
	if errors.Is(err, errAddressTaken) {
		err = errors.Join(oauth.ErrEmailTaken, err)
	}
	if err != nil {
		return oauth.Account{}, asOAuth(err)
	}
	return oauthAccount(&made), nil
}

// SignUpFields implements oauth.SignUpFields: there are none but the usual ones.
func (o *oauthAccounts) SignUpFields(context.Context, string) ([]oauth.StepField, error) {
	return nil, nil
}

func (o *oauthAccounts) SignUpTerms(string) (terms, policy string) {
	return o.s.cfg.Info.TermsOfService, o.s.cfg.Info.PrivacyPolicy
}

func (o *oauthAccounts) Reactivate(ctx context.Context, did syntax.DID) error {
	return o.s.activate(ctx, did, cause{actor: did})
}

func (o *oauthAccounts) ChangeableDomains() []string { return o.s.cfg.HandleDomains }

func (o *oauthAccounts) ChangeHandle(ctx context.Context, did syntax.DID, handle syntax.Handle) error {
	if err := o.take(ctx, "com.atproto.identity.updateHandle", string(did), handleLimits()); err != nil {
		return err
	}
	err := o.s.setHandle(ctx, did, handle.String(), false, cause{actor: did})
	if errors.Is(err, errHandleElsewhere) {
		return errors.Join(oauth.ErrHandleUnproven, err)
	}
	return asOAuth(err)
}

func (o *oauthAccounts) AppPasswords(ctx context.Context, did syntax.DID) ([]oauth.AppPassword, error) {
	var out []oauth.AppPassword
	err := o.s.store.View(ctx, func(tx storage.Tx) error {
		list, err := listAppPasswords(tx, did)
		out = make([]oauth.AppPassword, len(list))
		for i, a := range list {
			out[i] = oauth.AppPassword{Name: a.name, Privileged: a.Privileged, Created: a.CreatedAt}
		}
		return err
	})
	return out, err
}

func (o *oauthAccounts) CreateAppPassword(ctx context.Context, did syntax.DID, name string, privileged bool) (string, error) {
	password, _, err := o.s.addAppPassword(ctx, did, name, privileged)
	switch {
	case errors.Is(err, errAppPasswordExists):
		err = errors.Join(oauth.ErrNameTaken, err)
	case errors.Is(err, errAppPasswordName):
		err = errors.Join(oauth.ErrNameInvalid, err)
	}
	return password, err
}

func (o *oauthAccounts) RevokeAppPassword(ctx context.Context, did syntax.DID, name string) error {
	return o.s.dropAppPassword(ctx, did, name)
}

func (o *oauthAccounts) Deactivate(ctx context.Context, did syntax.DID) error {
	return o.s.deactivate(ctx, did, time.Time{}, true, cause{actor: did})
}

func (o *oauthAccounts) RequestDeletion(ctx context.Context, did syntax.DID) error {
	if err := o.take(ctx, "com.atproto.server.requestAccountDelete", string(did), mailLimits()); err != nil {
		return err
	}
	a, err := o.s.callerAccount(ctx, did)
	if err != nil {
		return asOAuth(err)
	}
	return o.s.requestDeletion(ctx, a)
}

func (o *oauthAccounts) Delete(ctx context.Context, did syntax.DID, code string) error {
	a, err := o.s.callerAccount(ctx, did)
	if err != nil {
		return asOAuth(err)
	}
	return asOAuth(o.s.deleteByOwner(ctx, a, code))
}

// The files that an owner can fetch from the account manager.
const (
	repoExport    = "repo"
	archiveExport = "archive"
)

func (o *oauthAccounts) Exports(ctx context.Context, did syntax.DID) ([]oauth.Export, error) {
	a, err := o.s.callerAccount(ctx, did)
	if err != nil {
		return nil, asOAuth(err)
	}
	list := []oauth.Export{{Code: archiveExport, FileName: exportName(a), MediaType: zipType}}
	err = o.s.store.View(ctx, func(tx storage.Tx) error {
		_, err := tx.Head(did)
		return err
	})
	if errors.Is(err, storage.ErrNotFound) {
		return list, nil
	}
	return append(list, oauth.Export{Code: repoExport, FileName: "repo.car", MediaType: carType}), err
}

func (o *oauthAccounts) OpenExport(ctx context.Context, did syntax.DID, code string) (io.ReadCloser, error) {
	switch code {
	case archiveExport:
		return o.pipe(ctx, func(ctx context.Context, w io.Writer) error { return o.s.ExportAccount(ctx, did, w) })
	case repoExport:
		return o.pipe(ctx, func(ctx context.Context, w io.Writer) error {
			sp, err := o.s.spoolRepo(ctx, did)
			if err != nil {
				return err
			}
			return sp.drain(w)
		})
	}
	return nil, storage.ErrNotFound
}

// pipe returns what write writes, when there is a beginning of it, or its error.
func (o *oauthAccounts) pipe(ctx context.Context, write func(context.Context, io.Writer) error) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancel(ctx)
	r, w := io.Pipe()
	go func() {
		err := errors.New("pds: an export panicked")
		defer func() {
			if v := recover(); v != nil {
				o.s.log.ErrorContext(ctx, "panic in an export", "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
			}
			w.CloseWithError(err)
		}()
		err = write(ctx, w)
	}()
	out := &exportReader{bufio.NewReader(r), r, cancel}
	if _, err := out.Peek(1); err != nil && err != io.EOF {
		out.Close()
		return nil, asOAuth(err)
	}
	return out, nil
}

// exportReader is an export that its reader can end.
type exportReader struct {
	*bufio.Reader
	pipe   *io.PipeReader
	cancel context.CancelFunc
}

func (e *exportReader) Close() error {
	e.cancel()
	return e.pipe.Close()
}
