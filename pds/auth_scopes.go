package pds

import (
	"context"
	"fmt"
	"net/http"

	"github.com/pdskit/pdskit/oauth/scope"
	"github.com/pdskit/pdskit/xrpc"
)

// grantedScopes is what the Detail of an OAuth caller may have if it knows the
// scopes in a form that need not be parsed again for each question.
type grantedScopes interface{ GrantedScopes() *scope.Set }

// granted returns what an OAuth caller may do. Scopes that are unknown grant
// nothing, and neither do those that are too many to be read.
func granted(c *xrpc.Caller) *scope.Set {
	if detail, ok := c.Detail.(grantedScopes); ok {
		return detail.GrantedScopes()
	}
	set, err := scope.ParseGranted(c.Scopes...)
	if err != nil {
		return nil
	}
	return set
}

func errScopeMissing(text string) *xrpc.Error {
	return xrpc.NewError(http.StatusForbidden, "ScopeMissingError", fmt.Sprintf("Missing required scope %q", text))
}

// requireScope checks that a caller may do all of some things. Only OAuth
// callers have their scopes looked at; what sessions may do is up to the
// method's rule.
func requireScope(c *xrpc.Caller, permissions ...scope.Permission) error {
	if c.OriginKind() != xrpc.KindOAuth {
		return nil
	}
	if missing := granted(c).Missing(permissions...); missing != "" {
		return errScopeMissing(missing)
	}
	return nil
}

// requireRPC checks that a caller may call a method of another service through
// this one.
func requireRPC(c *xrpc.Caller, method, aud string) error {
	return requireScope(c, scope.RPC{Method: method, Audience: aud})
}

// allowScope checks that the caller of a batch may do something to records of a
// collection.
func (s *Server) allowScope(ctx context.Context, b *Batch, collection string, actions ...Action) error {
	allow, err := s.writeScopes(ctx, b)
	if err != nil {
		return err
	}
	for _, action := range actions {
		if err := allow(collection, action); err != nil {
			return err
		}
	}
	return nil
}

// writeScopes returns the check of allowScope for many writes of one caller.
func (s *Server) writeScopes(ctx context.Context, b *Batch) (func(collection string, action Action) error, error) {
	c := xrpc.CallerFrom(ctx)
	if c == nil {
		return nil, xrpc.AuthMissing()
	}
	set := b.grant
	if set == nil && c.OriginKind() != xrpc.KindOAuth {
		return func(string, Action) error { return nil }, nil
	}
	if set == nil {
		set = granted(c)
	}
	return func(collection string, action Action) error {
		err := requireIn(set, scope.Repo{Collection: collection, Action: scope.Action(action)})
		if err != nil && b.Actor != b.Account {
			s.noteRefusal(ctx, b.Account, c, xrpc.MethodFrom(ctx), err)
		}
		return err
	}, nil
}
