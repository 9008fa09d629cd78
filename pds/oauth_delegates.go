package pds

import (
	"context"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/oauth"
)

// oauthDelegates is the server's accounts where members can sign in as a group.
type oauthDelegates struct {
	oauthAccounts
	groups GroupLister
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
