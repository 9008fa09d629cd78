package pds

import (
	"cmp"
	"context"
	"net/http"

	"github.com/pdskit/pdskit/xrpc"
)

// OwnMethodRule is the rule for methods of the program's own that anybody with an
// account may call, here or on another server, and that decide by the Actor of
// the caller what it may do. It lets in whoever speaks for the own account:
//
//   - a session with the account's password
//   - an app that was granted the method by name, or all methods of this server:
//     rpc:<method>?aud=<this server>; transition scopes do not do
//   - a service token for the method. That of a procedure is good once, and for at
//     most 120 seconds
//   - a ticket that one of these has got, for a subscription
//
// It refuses app passwords, the administrator, and sessions as somebody else's
// account, with the error ActorNotPermitted, and apps without the scope with
// ScopeMissingError. Accounts of this server that are deactivated are refused.
func (s *Server) OwnMethodRule() xrpc.Rule {
	return xrpc.Required(func(ctx context.Context, c *xrpc.Caller) error {
		if err := s.mayCallOwn(c, xrpc.MethodFrom(ctx)); err != nil {
			return err
		}
		if c.OriginKind() == xrpc.KindService {
			if active, err := s.activeOrElsewhere(ctx, c.Actor); err != nil || !active {
				return cmp.Or(err, error(errActorNotPermitted()))
			}
			if c.Kind == xrpc.KindService && xrpc.RequestFrom(ctx).Method == http.MethodPost {
				return s.checkActingToken(ctx, c)
			}
			return nil
		}
		a, err := s.accountOf(ctx, c)
		if err == nil && !a.Active() {
			err = errAccountDeactivated()
		}
		return err
	})
}

// mayCallOwn checks the credential of a caller of a method that is the program's
// own: one that is meant for such methods, and for the caller's own account.
func (s *Server) mayCallOwn(c *xrpc.Caller, nsid string) error {
	switch kind := c.OriginKind(); {
	case c.Account != c.Actor:
	case kind == xrpc.KindOAuth:
		return s.requireOwnRPC(c, nsid)
	case kind == xrpc.KindService, kind == xrpc.KindSession && sessionScope(c) == scopeAccess:
		return nil
	}
	return errActorNotPermitted()
}
