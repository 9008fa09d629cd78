package pds

import (
	"context"
	"encoding/json"

	atid "github.com/bluesky-social/indigo/atproto/identity"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/xrpc"
)

type identityInput struct {
	Identifier string `json:"identifier"`
}

// identityInfo is com.atproto.identity.defs#identityInfo.
type identityInfo struct {
	DID    syntax.DID      `json:"did"`
	Handle syntax.Handle   `json:"handle"` // handle.invalid unless it leads back to the DID
	DidDoc json.RawMessage `json:"didDoc"`
}

func (s *Server) resolveIdentity() xrpc.Method {
	return xrpc.Query("com.atproto.identity.resolveIdentity", xrpc.Public(),
		func(ctx context.Context, p *identityInput) (*identityInfo, error) {
			return s.identityInfo(ctx, p.Identifier, s.cfg.Directory.LookupDID)
		})
}

// refreshIdentity makes the directory forget what it has cached. Since that
// costs requests to other servers, it needs a caller.
func (s *Server) refreshIdentity() xrpc.Method {
	return xrpc.Procedure("com.atproto.identity.refreshIdentity",
		s.access(accessRule{scopes: standardAccess, oauthAny: true}),
		func(ctx context.Context, in *identityInput) (*identityInfo, error) {
			return s.identityInfo(ctx, in.Identifier, s.cfg.Directory.Refresh)
		}).WithLimits(refreshIdentityLimits()...)
}

// identityInfo describes an identity, looking its DID up by lookup.
func (s *Server) identityInfo(ctx context.Context, identifier string, lookup func(context.Context, syntax.DID) (*atid.Identity, error)) (*identityInfo, error) {
	id, err := syntax.ParseAtIdentifier(identifier)
	if err != nil {
		return nil, xrpc.InvalidRequest("identifier must be a handle or DID").WithCause(err)
	}
	did, err := id.AsDID()
	if err != nil {
		h, err := id.AsHandle()
		if err != nil {
			return nil, err
		}
		h = h.Normalize()
		if did, err = s.didOfLocalHandle(ctx, h); err != nil {
			return nil, err
		}
		if did == "" {
			if did, err = s.resolveForeignHandle(ctx, h); err != nil {
				return nil, resolutionError(ctx, err)
			}
		}
	}
	found, err := lookup(ctx, did)
	if err != nil {
		return nil, resolutionError(ctx, err)
	}
	doc, err := s.cfg.Directory.ResolveDIDRaw(ctx, did)
	if err != nil {
		return nil, resolutionError(ctx, err)
	}
	handle, err := s.verifiedHandle(ctx, found)
	if err != nil {
		return nil, err
	}
	if !id.IsDID() && handle.String() != id.Normalize().String() {
		// The handle points at the DID, which does not point back.
		handle = syntax.HandleInvalid
	}
	return &identityInfo{DID: did, Handle: handle, DidDoc: doc}, nil
}

// verifiedHandle returns the handle of an identity if it leads back to it. What
// is said of this server's own domains elsewhere does not count.
func (s *Server) verifiedHandle(ctx context.Context, id *atid.Identity) (syntax.Handle, error) {
	declared, err := id.DeclaredHandle()
	if err != nil || !s.ownHandle(declared) {
		return id.Handle, nil
	}
	did, err := s.didOfLocalHandle(ctx, declared)
	switch {
	case isRefusal(err), err == nil && did != id.DID:
		return syntax.HandleInvalid, nil
	case err != nil:
		return "", err
	}
	return declared, nil
}
