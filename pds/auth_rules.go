package pds

import (
	"context"
	"errors"
	"net/http"

	"github.com/pdskit/pdskit/oauth/scope"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// scopeSet says which sessions may call a method, besides the narrow ones that
// an accessRule names. The zero value is the smallest set.
type scopeSet int

const (
	fullAccess       scopeSet = iota // sessions by the account's own password
	privilegedAccess                 // and by privileged app passwords
	standardAccess                   // and by other app passwords
)

// accessRule says which callers with an account may call a method.
type accessRule struct {
	scopes       scopeSet
	takendown    bool // also for accounts that are taken down, which have a narrow session
	signupQueued bool // also with the narrow session of an account that waits to be admitted

	refuseDeactivated bool

	// What an OAuth caller must be allowed, or whether any caller will do.
	// Neither: OAuth callers are refused.
	oauth    scope.Permission
	oauthAny bool
}

// check is the check of the rule for an xrpc.Rule. Callers of kinds that have
// no account are refused as if they had sent an unknown kind of credential.
func (s *Server) check(r accessRule) xrpc.Check {
	return func(ctx context.Context, c *xrpc.Caller) error {
		if err := r.allows(c); err != nil {
			s.noteActing(ctx, c, err)
			return err
		}
		account, err := s.accountOf(ctx, c)
		if err != nil {
			return err
		}
		if account.TakedownRef != "" && !r.takendown {
			return errAccountTakedown()
		}
		if r.refuseDeactivated && !account.DeactivatedAt.IsZero() {
			return errAccountDeactivated()
		}
		return nil
	}
}

// allows checks kind and scope of a caller.
func (r *accessRule) allows(c *xrpc.Caller) error {
	switch c.OriginKind() {
	case xrpc.KindSession, xrpc.KindAppPassword:
		if !r.allowsSession(sessionScope(c)) {
			return errBadTokenScope()
		}
		return nil
	case xrpc.KindOAuth:
		if r.oauthAny {
			return nil
		}
		if r.oauth == nil {
			return xrpc.Forbidden("OAuth credentials are not supported for this endpoint")
		}
		return requireScope(c, r.oauth)
	}
	return xrpc.InvalidToken("Unexpected authorization type")
}

func (r *accessRule) allowsSession(scope string) bool {
	switch scope {
	case scopeAccess:
		return true
	case scopeAppPassPrivileged:
		return r.scopes >= privilegedAccess
	case scopeAppPass:
		return r.scopes >= standardAccess
	case scopeTakendown:
		return r.takendown
	case scopeSignupQueued:
		return r.signupQueued
	}
	return false
}

// sessionScope returns the scope of a session. The caller of a foreign
// authenticator has the one that it names in its scopes, or that of its kind.
func sessionScope(c *xrpc.Caller) string {
	switch cred := credentialOf(c); {
	case cred.scope != "":
		return cred.scope
	case len(c.Scopes) > 0:
		return c.Scopes[0]
	case c.Kind == xrpc.KindSession:
		return scopeAccess
	}
	return scopeAppPass
}

// accountOf returns the account of a caller as it was when the request began.
func (s *Server) accountOf(ctx context.Context, c *xrpc.Caller) (*storage.Account, error) {
	if a := credentialOf(c).account; a != nil {
		return a, nil
	}
	return s.callerAccount(ctx, c.Account)
}

// access is for methods that need a caller with an account.
func (s *Server) access(r accessRule) xrpc.Rule { return xrpc.Required(s.check(r)) }

// writeRule is for the methods that write records. Their handlers check the
// scope of each write, see allowScope.
func (s *Server) writeRule() xrpc.Rule {
	check := s.check(accessRule{scopes: standardAccess, refuseDeactivated: true, oauthAny: true})
	return xrpc.Required(func(ctx context.Context, c *xrpc.Caller) error {
		if c.Kind == xrpc.KindService && s.cfg.Delegation != nil {
			if !s.cfg.DirectDelegation {
				return errActorNotPermitted()
			}
			return nil // what it may do depends on the account, see writableRepo
		}
		return check(ctx, c)
	})
}

// refreshRule is for the methods that take a refresh token.
func (s *Server) refreshRule() xrpc.Rule {
	return xrpc.Required(func(_ context.Context, c *xrpc.Caller) error {
		if credentialOf(c).refresh == nil {
			return errTokenUnverified()
		}
		return nil
	})
}

// adminOnly is for methods of the administrator.
func (s *Server) adminOnly() xrpc.Rule {
	return xrpc.Required(func(_ context.Context, c *xrpc.Caller) error {
		if c.Kind != xrpc.KindAdmin {
			return xrpc.AuthRequired("")
		}
		return nil
	})
}

// moderator is for methods of the administrator and of the moderation service.
func (s *Server) moderator() xrpc.Rule {
	return xrpc.Required(func(_ context.Context, c *xrpc.Caller) error {
		if c.Kind != xrpc.KindAdmin && !s.isModeratorCaller(c) {
			return xrpc.AuthRequired("")
		}
		return nil
	})
}

func (s *Server) isModeratorCaller(c *xrpc.Caller) bool {
	service := credentialOf(c).service
	return c.Kind == xrpc.KindService && service != nil && s.isModerator(service.Issuer)
}

// optionalAccess is for methods that everybody may call, and where a caller with an
// account, or the administrator, may see more.
func (s *Server) optionalAccess(r accessRule) xrpc.Rule {
	check := s.check(r)
	return xrpc.Optional(func(ctx context.Context, c *xrpc.Caller) error {
		if c.Kind == xrpc.KindAdmin {
			return nil
		}
		return check(ctx, c)
	})
}

// anyReader is for the sync methods by which an account that is taken down can
// leave.
func (s *Server) anyReader() xrpc.Rule {
	return s.optionalAccess(accessRule{scopes: standardAccess, takendown: true, oauthAny: true})
}

// activeReader is for the other sync methods.
func (s *Server) activeReader() xrpc.Rule {
	return s.optionalAccess(accessRule{scopes: standardAccess, oauthAny: true})
}

// serviceOrCheck is for methods that also take a service token of an account
// here.
func (s *Server) serviceOrCheck(r accessRule) xrpc.Check {
	check := s.check(r)
	return func(ctx context.Context, c *xrpc.Caller) error {
		if c.Kind != xrpc.KindService {
			return check(ctx, c)
		}
		account, err := s.accountOf(ctx, c)
		refused, ok := errors.AsType[*xrpc.Error](err)
		switch {
		case ok:
			return xrpc.NewError(http.StatusUnauthorized, refused.Name, refused.Message)
		case err == nil && account.TakedownRef != "":
			return errAccountTakedown()
		}
		return err
	}
}

// optionalService is for methods that take a service token or nothing.
func (s *Server) optionalService() xrpc.Rule {
	return xrpc.Optional(func(_ context.Context, c *xrpc.Caller) error {
		if credentialOf(c).service == nil {
			return xrpc.AuthRequired("Invalid authorization header")
		}
		return nil
	})
}

// moderatorOr is for methods that the moderation service and the administrator
// may call, too.
func (s *Server) moderatorOr(r accessRule) xrpc.Rule {
	check := s.check(r)
	return xrpc.Required(func(ctx context.Context, c *xrpc.Caller) error {
		if c.Kind == xrpc.KindAdmin || s.isModeratorCaller(c) {
			return nil
		}
		return check(ctx, c)
	})
}

// uploadRule is for uploadBlob, which also works while an account is
// deactivated. OAuth callers need a scope for the type that they name.
func (s *Server) uploadRule() xrpc.Rule {
	check := s.serviceOrCheck(accessRule{scopes: standardAccess, oauthAny: true})
	return xrpc.Required(func(ctx context.Context, c *xrpc.Caller) error {
		if c.Kind == xrpc.KindOAuth {
			name := mediaType(xrpc.RequestFrom(ctx).Header.Get("Content-Type"))
			if err := requireScope(c, scope.Blob{MimeType: name}); err != nil {
				s.noteActing(ctx, c, err)
				return err
			}
		}
		return check(ctx, c)
	})
}

// importRule is for importRepo.
func (s *Server) importRule() xrpc.Rule {
	return s.access(accessRule{oauth: scope.Account{Attr: "repo", Action: scope.Manage}})
}

// allowWrites checks the scope for a write and takes its points from the rate
// limits of the account.
func (s *Server) allowWrites(ctx context.Context, b *Batch, action Action, collection string) error {
	if err := s.allowScope(ctx, b, collection, action); err != nil {
		return err
	}
	return s.takeWritePoints(ctx, pointsOf(action))
}
