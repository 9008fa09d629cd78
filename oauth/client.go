package oauth

import (
	"context"
	"errors"
	"net/http"

	"github.com/pdskit/pdskit/oauth/internal/clients"
)

// client is a client and what the embedder thinks of it.
type client struct {
	*clients.Client
	trust Trust
}

// client returns the client with an ID. Errors are of type *Error, or those of
// ctx.
func (s *Server) client(ctx context.Context, id string) (*client, error) {
	if id == "" {
		return nil, errorf(codeInvalidRequest, "client_id is missing")
	}
	found, err := s.clients.Client(ctx, id)
	if err != nil {
		return nil, s.clientError(ctx, err)
	}
	m := found.Metadata
	c := &client{Client: found}
	c.trust = s.cfg.ClientPolicy(ctx, ClientInfo{
		ID:           id,
		Loopback:     found.Class == clients.Loopback,
		Confidential: found.Confidential(),
		Name:         m.ClientName,
		URL:          m.ClientURI,
		LogoURL:      m.LogoURI,
		TermsURL:     m.TosURI,
		PolicyURL:    m.PolicyURI,
	})
	switch {
	case c.trust == Denied:
		return nil, errorf(codeUnauthorizedClient, "this client is not welcome here")
	case c.trust != Trusted && c.trust != FirstParty, found.Class == clients.Loopback:
		c.trust = Untrusted // anybody can be a loopback client
	}
	return c, nil
}

// clientError turns an error of package clients into one for the client.
func (s *Server) clientError(ctx context.Context, err error) error {
	bad, ok := errors.AsType[*clients.Error](err)
	if !ok {
		return err
	}
	s.cfg.Logger.DebugContext(ctx, "oauth: a client was refused", "error", err)
	e := &Error{Code: bad.Code, Description: bad.Description}
	if e.Code == codeUnavailable {
		e.Status = http.StatusServiceUnavailable
	}
	return e
}

// trusted reports whether a client may authorize without showing itself: it has
// proved who it is, or the embedder trusts it.
func (c *client) trusted() bool { return c.Confidential() || c.trust != Untrusted }

// longLived reports whether the sessions of a client have the lifetimes of
// confidential clients.
func (c *client) longLived() bool { return c.Confidential() || c.trust == FirstParty }
