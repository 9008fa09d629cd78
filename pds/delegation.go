package pds

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/oauth/scope"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// Delegation says what one DID may do for the account of another: a member for
// a group. It is asked anew at each use, so that a role that is taken away is
// gone at the next request.
//
// It opens three doors and no others:
//
//   - a session as the account: an OAuth token for the account that a member
//     with an account here has authorized (its Caller has Account and Actor
//     apart). What the token allows is cut to the grant of the moment. This
//     needs a Delegation that is a [GroupLister], too; with
//     Config.RemoteMembers members with accounts elsewhere have it as well.
//   - the methods of [Server.Alias], called by members with accounts here or
//     elsewhere.
//   - with Config.DirectDelegation, the methods com.atproto.repo.* called with
//     a service token of the member.
//
// What somebody grants to an app for the own account, and app passwords, never
// reach the account of another.
type Delegation interface {
	// Grant returns what actor may do for account, in the language of OAuth
	// scopes, such as "repo:com.example.post?action=create blob:image/*"; nil
	// means nothing. The actor may have its account anywhere. st is read-only.
	// An error is answered as an internal error, and so is a panic; after
	// Limits.PolicyTime nobody may act, and until Grant has returned it is not
	// asked about the account again. Grant may be called concurrently.
	Grant(ctx context.Context, st *State, account, actor syntax.DID) (*scope.Set, error)
}

// DelegationFunc is a function as a Delegation.
type DelegationFunc func(ctx context.Context, st *State, account, actor syntax.DID) (*scope.Set, error)

// Grant calls f.
func (f DelegationFunc) Grant(ctx context.Context, st *State, account, actor syntax.DID) (*scope.Set, error) {
	return f(ctx, st, account, actor)
}

// GroupLister is implemented by a [Delegation] to let members sign in as an
// account, on the server's own pages: what Grant allows can then be given to any
// app that signs its users in by OAuth.
type GroupLister interface {
	// Groups returns the accounts that actor may act for, to be offered to it;
	// the first [oauth.MaxDelegated] are. Grant alone decides. The rules for
	// Grant hold here, too.
	Groups(ctx context.Context, st *State, actor syntax.DID) ([]syntax.DID, error)
}

// maxActingTokenLife is how long a service token may live with which somebody
// acts for another account.
const maxActingTokenLife = 120 * time.Second

// ErrorActorNotPermitted is the name of the error for somebody who may not act
// for an account. Its status is 403.
const ErrorActorNotPermitted = "ActorNotPermitted"

func errActorNotPermitted() *xrpc.Error {
	return xrpc.NewError(403, ErrorActorNotPermitted, "You may not act for this account")
}

// grantOf asks what an actor may do for an account now. It returns nil for
// nothing. Whose own account here is deactivated or taken down acts for nobody.
func (s *Server) grantOf(ctx context.Context, account, actor syntax.DID) (*scope.Set, error) {
	if s.cfg.Delegation == nil || account == actor {
		return nil, nil
	}
	if active, err := s.activeOrElsewhere(ctx, actor); !active {
		return nil, err
	}
	return askDelegation(ctx, s, account, func(ctx context.Context, st *State) (*scope.Set, error) {
		return s.cfg.Delegation.Grant(ctx, st, account, actor)
	})
}

// groupsOf asks for whom an actor may act.
func (s *Server) groupsOf(ctx context.Context, lister GroupLister, actor syntax.DID) ([]syntax.DID, error) {
	return askDelegation(ctx, s, actor, func(ctx context.Context, st *State) ([]syntax.DID, error) {
		return lister.Groups(ctx, st, actor)
	})
}

// askDelegation calls a function of the Delegation, about an account.
func askDelegation[T any](ctx context.Context, s *Server, about syntax.DID, ask func(context.Context, *State) (T, error)) (T, error) {
	call := extensionCall{what: "delegation", about: about, limit: s.cfg.Limits.PolicyTime, readOnly: true}
	value, _, err := callExtension(ctx, s, call, ask)
	return value, err
}

// permit returns what the caller of a method may do for an account that is not
// its own, or the client's error. nsid is the method's.
func (s *Server) permit(ctx context.Context, account syntax.DID, nsid string) (*scope.Set, error) {
	caller := xrpc.CallerFrom(ctx)
	grant, err := s.permitted(ctx, caller, account, nsid)
	if err != nil && caller != nil {
		s.noteRefusal(ctx, account, caller, nsid, err)
	}
	return grant, err
}

func (s *Server) permitted(ctx context.Context, c *xrpc.Caller, account syntax.DID, nsid string) (*scope.Set, error) {
	if c == nil || s.cfg.Delegation == nil || c.Account == account {
		return nil, errActorNotPermitted()
	}
	if err := s.mayCallOwn(c, nsid); err != nil {
		return nil, err
	}
	if c.Kind == xrpc.KindService {
		if err := s.checkActingToken(ctx, c); err != nil {
			return nil, err
		}
	}
	grant, err := s.grantOf(ctx, account, c.Actor)
	if err == nil && grant == nil {
		err = errActorNotPermitted()
	}
	return grant, err
}

// checkActingToken checks what a service token needs besides its validity to
// act for an account, and uses it up.
func (s *Server) checkActingToken(ctx context.Context, c *xrpc.Caller) error {
	token := credentialOf(c).service
	if token == nil {
		return errActorNotPermitted()
	}
	if token.Expires > s.clock.Now().Add(maxActingTokenLife).Unix() {
		return errService("BadJwt", "jwt expires too late: at most 120 seconds for acting for an account")
	}
	return s.store.Update(ctx, func(tx storage.Tx) error { return s.spendServiceToken(tx, c) })
}

// activeOrElsewhere reports whether somebody's account is active, as far as this
// server knows: one that is not here is.
func (s *Server) activeOrElsewhere(ctx context.Context, did syntax.DID) (active bool, err error) {
	err = s.store.View(ctx, func(tx storage.Tx) error {
		a, err := tx.Account(did)
		active = err == nil && a.Active() || errors.Is(err, storage.ErrNotFound)
		if errors.Is(err, storage.ErrNotFound) {
			return nil
		}
		return err
	})
	return active, err
}

// requireOwnRPC checks that an app was granted a method by name. The wide grants
// of transition scopes are for a person's own account.
func (s *Server) requireOwnRPC(c *xrpc.Caller, nsid string) error {
	narrow := slices.DeleteFunc(slices.Clone(c.Scopes), func(text string) bool { return strings.HasPrefix(text, "transition:") })
	set, err := scope.ParseGranted(narrow...)
	if err != nil {
		return err
	}
	for _, aud := range s.audiences() {
		if set.Allows(scope.RPC{Method: nsid, Audience: aud}) {
			return nil
		}
	}
	return requireIn(set, scope.RPC{Method: nsid, Audience: string(s.cfg.ServiceDID) + "#atproto_pds"})
}

// requireIn returns the error for what a set does not allow.
func requireIn(set *scope.Set, p ...scope.Permission) error {
	if missing := set.Missing(p...); missing != "" {
		return errScopeMissing(missing)
	}
	return nil
}

// cutToGrant is what a session as another account may do at the moment: what was
// consented, as far as the actor may still do it.
func (s *Server) cutToGrant(ctx context.Context, granted *scope.Set, account, actor syntax.DID) (*scope.Set, error) {
	if account == actor {
		return granted, nil
	}
	grant, err := s.grantOf(ctx, account, actor)
	if err == nil && grant == nil {
		err = errActorNotPermitted()
	}
	if err != nil {
		return nil, err
	}
	return granted.Intersect(grant), nil
}
