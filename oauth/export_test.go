package oauth

import (
	"context"
	"net/url"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/storage"
)

// TestDevice is the device on which Authorize signs in.
const TestDevice = "dev-of-the-tests"

// Open opens a pushed request as a browser does.
func (s *Server) Open(ctx context.Context, clientID, requestURI, device string) error {
	_, _, err := s.openRequest(ctx, clientID, requestURI, device)
	return err
}

// Authorize grants a pushed request, as the pages do when somebody has signed in
// and agreed. It returns what the client gets, and where.
func (s *Server) Authorize(ctx context.Context, clientID, requestURI string, account, actor syntax.DID, granted []string) (location string, answer url.Values, err error) {
	req, _, err := s.openRequest(ctx, clientID, requestURI, TestDevice)
	if err != nil {
		return "", nil, err
	}
	to, err := s.grantRequest(ctx, req, TestDevice, account, actor, granted, func(docs storage.Docs) error { return nil })
	if err != nil {
		return "", nil, err
	}
	return to.location(), to.Params, nil
}

// Authorizer opens a request and returns a function that grants it, for tests of
// what happens between the two.
func (s *Server) Authorizer(ctx context.Context, clientID, requestURI string, account syntax.DID, granted []string) (func() (url.Values, error), error) {
	req, _, err := s.openRequest(ctx, clientID, requestURI, TestDevice)
	if err != nil {
		return nil, err
	}
	return func() (url.Values, error) {
		to, err := s.grantRequest(ctx, req, TestDevice, account, account, granted, nil)
		return to.Params, err
	}, nil
}

// Deny refuses a pushed request.
func (s *Server) Deny(ctx context.Context, clientID, requestURI, code, description string) (url.Values, error) {
	req, _, err := s.openRequest(ctx, clientID, requestURI, TestDevice)
	if err != nil {
		return nil, err
	}
	to, err := s.denyRequest(ctx, req, code, description)
	return to.Params, err
}

// Errors of Authorize.
var (
	ErrRequestGone = errRequestGone
	ErrDeactivated = errDeactivated
	ErrTakenDown   = errTakenDown
	ErrEnded       = errEnded
)

// ParseForm and ParseJSON are the parsers of bodies, for fuzzing.
func ParseForm(body []byte) (map[string]string, error) { return parsed(parseForm(body)) }

func ParseJSON(body []byte) (map[string]string, error) { return parsed(parseJSON(body)) }

func parsed(f form, err error) (map[string]string, error) {
	if err == nil {
		err = f.check()
	}
	return f, err
}

// ParseRefreshToken is the parser of refresh tokens.
func (s *Server) ParseRefreshToken(token string) (session string, turn uint32, ok bool) {
	return s.parseRefreshToken(token)
}
