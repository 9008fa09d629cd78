package pds

import (
	"context"
	"maps"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

type recommendedCredentials struct {
	AlsoKnownAs         []string                    `json:"alsoKnownAs,omitempty"`
	VerificationMethods map[string]string           `json:"verificationMethods"`
	RotationKeys        []string                    `json:"rotationKeys"`
	Services            map[string]identity.Service `json:"services"`
}

// getRecommendedDidCredentials says what an identity must hold to belong to an
// account here.
func (s *Server) getRecommendedDidCredentials() xrpc.Method {
	return xrpc.Query("com.atproto.identity.getRecommendedDidCredentials",
		s.access(accessRule{scopes: standardAccess, oauthAny: true}),
		func(ctx context.Context, _ *xrpc.None) (*recommendedCredentials, error) {
			a, err := s.accountByIdentifier(ctx, xrpc.CallerFrom(ctx).Account.String())
			if err != nil {
				return nil, err
			}
			return s.recommendCredentials(ctx, &a)
		})
}

// recommendCredentials returns the credentials of an account here. Clients hand
// them to signPlcOperation as they are, which replaces whole fields: so the keys
// and services of a did:plc that are not a PDS's, those of a labeler for one,
// are among them.
func (s *Server) recommendCredentials(ctx context.Context, a *storage.Account) (*recommendedCredentials, error) {
	out := &recommendedCredentials{
		VerificationMethods: map[string]string{},
		RotationKeys:        s.cfg.Registry.RotationKeys(""),
		Services:            map[string]identity.Service{},
	}
	if a.DID.Method() == "plc" {
		op, err := s.lastOperation(ctx, a.DID)
		if err != nil {
			return nil, err
		}
		maps.Copy(out.VerificationMethods, op.VerificationMethods)
		maps.Copy(out.Services, op.Services)
	}
	out.VerificationMethods[identity.KeyAtproto] = a.KeyID
	out.Services[identity.ServicePDS] = identity.Service{Type: identity.ServicePDSType, Endpoint: s.public.String()}
	if a.Handle != "" {
		out.AlsoKnownAs = []string{"at://" + a.Handle.String()}
	}
	return out, nil
}
