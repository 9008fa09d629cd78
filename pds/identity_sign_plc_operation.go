package pds

import (
	"context"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/xrpc"
)

// signPlcOperationInput holds the fields of the next operation. One that is
// absent stays as it is; one that is given replaces the whole of it.
type signPlcOperationInput struct {
	Token               string                      `json:"token"`
	RotationKeys        []string                    `json:"rotationKeys"`
	AlsoKnownAs         []string                    `json:"alsoKnownAs"`
	VerificationMethods map[string]string           `json:"verificationMethods"`
	Services            map[string]identity.Service `json:"services"`
}

type plcOperationOutput struct {
	Operation *identity.Operation `json:"operation"`
}

// signPlcOperation signs an operation and gives it to the account, which may
// submit it, here or elsewhere, or not.
func (s *Server) signPlcOperation() xrpc.Method {
	return xrpc.Procedure("com.atproto.identity.signPlcOperation", s.plcRule(),
		func(ctx context.Context, in *signPlcOperationInput) (*plcOperationOutput, error) {
			did := xrpc.CallerFrom(ctx).Account
			if err := needsPLC(did); err != nil {
				return nil, err
			}
			if in.Token == "" {
				return nil, xrpc.InvalidRequest("email confirmation token required to sign PLC operations")
			}
			// The code is used up only when there is something to give for it.
			if err := s.useMailToken(ctx, mailPLCOperation, did, in.Token, checkMailToken); err != nil {
				return nil, err
			}
			reg, cancel := context.WithTimeout(ctx, registryTimeout)
			defer cancel()
			op, err := s.cfg.Registry.Sign(reg, did, in.apply)
			if err != nil {
				return nil, plcFailure(err)
			}
			if err := s.useMailToken(ctx, mailPLCOperation, did, in.Token, takeMailToken); err != nil {
				return nil, err
			}
			return &plcOperationOutput{op}, nil
		})
}

func (in *signPlcOperationInput) apply(op *identity.Operation) error {
	if in.RotationKeys != nil {
		op.RotationKeys = in.RotationKeys
	}
	if in.AlsoKnownAs != nil {
		op.AlsoKnownAs = in.AlsoKnownAs
	}
	if in.VerificationMethods != nil {
		op.VerificationMethods = in.VerificationMethods
	}
	if in.Services != nil {
		op.Services = in.Services
	}
	return nil
}

// needsPLC returns the client's error for a DID that has no PLC operations.
func needsPLC(did syntax.DID) error {
	if did.Method() != "plc" {
		return xrpc.InvalidRequest("Only a did:plc has PLC operations, not a did:%s", did.Method())
	}
	return nil
}
