package pds

import (
	"context"
	"slices"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/identity"
)

// lastOperation returns the current state of a did:plc as an operation. An
// error is the client's.
func (s *Server) lastOperation(ctx context.Context, did syntax.DID) (*identity.Operation, error) {
	ctx, cancel := context.WithTimeout(ctx, registryTimeout)
	defer cancel()
	var last *identity.Operation
	err := s.cfg.Registry.Update(ctx, did, func(op *identity.Operation) error {
		last = op.Normalize() // a copy; op stays as it is, so nothing is submitted
		return nil
	})
	if err != nil {
		return nil, plcFailure(err)
	}
	return last, nil
}

// serverKey is the rotation key that this server signs with, as a did:key.
func (s *Server) serverKey() string {
	keys := s.cfg.Registry.RotationKeys("")
	if len(keys) == 0 {
		return ""
	}
	return keys[len(keys)-1]
}

// hasServerKey reports whether this server may sign the next operation.
func (s *Server) hasServerKey(op *identity.Operation) bool {
	key := s.serverKey()
	return key != "" && slices.Contains(op.RotationKeys, key)
}

// isPublicURL reports whether an endpoint is this server's.
func (s *Server) isPublicURL(endpoint string) bool {
	return strings.TrimSuffix(endpoint, "/") == s.public.String()
}
