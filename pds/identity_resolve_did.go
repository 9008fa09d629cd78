package pds

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	atid "github.com/bluesky-social/indigo/atproto/identity"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/xrpc"
)

type resolveDidParams struct {
	DID syntax.DID `json:"did"`
}

type resolveDidOutput struct {
	DidDoc json.RawMessage `json:"didDoc"`
}

func (s *Server) resolveDid() xrpc.Method {
	return xrpc.Query("com.atproto.identity.resolveDid", xrpc.Public(),
		func(ctx context.Context, p *resolveDidParams) (*resolveDidOutput, error) {
			doc, err := s.cfg.Directory.ResolveDIDRaw(ctx, p.DID)
			if err != nil {
				return nil, resolutionError(ctx, err)
			}
			return &resolveDidOutput{doc}, nil
		})
}

// plcTombstoned begins what a PLC directory says of an identity that has ended.
// The status is the same as for one that never was.
const plcTombstoned = "DID not available"

// resolutionError turns an error of the directory into the client's. What a
// stranger's server does wrong is never an error of this one; nobody is said
// not to exist because the PLC directory does not answer.
func resolutionError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	answer, answered := errors.AsType[*identity.PLCError](err)
	switch {
	case answered && (answer.Status == http.StatusGone || strings.HasPrefix(answer.Message, plcTombstoned)):
		return xrpc.NewError(http.StatusBadRequest, "DidDeactivated", "The DID is deactivated").WithCause(err)
	case errors.Is(err, identity.ErrPLCUnavailable):
		return plcFailure(err)
	case errors.Is(err, atid.ErrHandleNotFound), errors.Is(err, atid.ErrHandleResolutionFailed),
		errors.Is(err, atid.ErrHandleReservedTLD):
		return xrpc.NewError(http.StatusBadRequest, "HandleNotFound", "Unable to resolve handle").WithCause(err)
	}
	return xrpc.NewError(http.StatusBadRequest, "DidNotFound", "Unable to resolve DID").WithCause(err)
}
