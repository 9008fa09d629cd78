package pds

import (
	"context"

	"github.com/pdskit/pdskit/identity"
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
			out := &recommendedCredentials{
				VerificationMethods: map[string]string{identity.KeyAtproto: a.KeyID},
				RotationKeys:        s.cfg.Registry.RotationKeys(""),
				Services: map[string]identity.Service{
					identity.ServicePDS: {Type: identity.ServicePDSType, Endpoint: s.public.String()},
				},
			}
			if a.Handle != "" {
				out.AlsoKnownAs = []string{"at://" + a.Handle.String()}
			}
			return out, nil
		})
}
