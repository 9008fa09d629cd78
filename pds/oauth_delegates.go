package pds

import (
	"context"
	"errors"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/oauth"
)

// oauthDelegates is the server's accounts where members can sign in as a group.
type oauthDelegates struct {
	oauthAccounts
	groups GroupLister
}

// Account also returns members whose accounts are elsewhere, as guests. Only of
// those whom a group knows anybody else is asked.
func (o *oauthDelegates) Account(ctx context.Context, did syntax.DID) (oauth.Account, error) {
	a, err := o.oauthAccounts.Account(ctx, did)
	if !o.s.cfg.RemoteMembers || !errors.Is(err, oauth.ErrAccountNotFound) {
		return a, err
	}
	if dids, lookErr := o.s.groupsOf(ctx, o.groups, did); lookErr != nil || len(dids) == 0 {
		return a, errors.Join(err, lookErr)
	}
	guest := oauth.Account{DID: did, Handle: syntax.HandleInvalid, Status: oauth.Guest}
	if id, err := o.s.cfg.Directory.LookupDID(ctx, did); err == nil {
		guest.Handle = id.Handle
	}
	return guest, nil
}

var _ oauth.Delegates = (*oauthDelegates)(nil)

// accountsForOAuth returns the accounts for the authorization server.
func (s *Server) accountsForOAuth() oauth.Accounts {
	if groups, ok := s.cfg.Delegation.(GroupLister); ok {
		return &oauthDelegates{oauthAccounts{s}, groups}
	}
	return &oauthAccounts{s}
}

func (o *oauthDelegates) ActsFor(ctx context.Context, actor syntax.DID) ([]oauth.Account, error) {
	dids, err := o.s.groupsOf(ctx, o.groups, actor)
	if err != nil {
		return nil, err
	}
	var list []oauth.Account
	for _, did := range dids[:min(len(dids), oauth.MaxDelegated)] {
		switch a, err := o.s.callerAccount(ctx, did); {
		case isAccountNotFound(err): // it has left
		case err != nil:
			return nil, err
		default:
			list = append(list, oauthAccount(a))
		}
	}
	return list, nil
}

func (o *oauthDelegates) MayAct(ctx context.Context, account, actor syntax.DID) (bool, error) {
	grant, err := o.s.grantOf(ctx, account, actor)
	return grant != nil, err
}
