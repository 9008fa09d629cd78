package pds

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/oauth/scope"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

type submitPlcOperationInput struct {
	Operation json.RawMessage `json:"operation"`
}

// submitPlcOperation passes an operation on to the PLC directory, after a look
// at whether the account could be served here with it.
func (s *Server) submitPlcOperation() xrpc.Method {
	return xrpc.Procedure("com.atproto.identity.submitPlcOperation",
		s.access(accessRule{scopes: standardAccess, oauth: scope.Identity{Attr: "*"}}),
		func(ctx context.Context, in *submitPlcOperationInput) (*xrpc.None, error) {
			c := xrpc.CallerFrom(ctx)
			if err := needsPLC(c.Account); err != nil {
				return nil, err
			}
			op, err := identity.ParseOperation(in.Operation)
			if err != nil || op.Type != identity.TypeOperation || op.Sig == "" {
				return nil, xrpc.InvalidRequest("Invalid operation").WithCause(err)
			}
			a, err := s.accountByIdentifier(ctx, c.Account.String())
			if err != nil {
				return nil, err
			}
			if err := s.checkOperation(op, &a); err != nil {
				return nil, err
			}
			reg, cancel := context.WithTimeout(ctx, registryTimeout)
			defer cancel()
			if err := s.cfg.Registry.Submit(reg, a.DID, op); err != nil {
				return nil, plcFailure(err)
			}
			return &xrpc.None{}, s.announceIdentity(context.WithoutCancel(ctx), &a, causeOf(c))
		})
}

// checkOperation returns the client's error for an operation that would take
// an account away from this server or make it unusable here.
func (s *Server) checkOperation(op *identity.Operation, a *storage.Account) error {
	service := op.Services[identity.ServicePDS]
	switch {
	case !s.hasServerKey(op):
		return xrpc.InvalidRequest("Rotation keys do not include server's rotation key")
	case service.Type != identity.ServicePDSType:
		return xrpc.InvalidRequest("Incorrect type on atproto_pds service")
	case !s.isPublicURL(service.Endpoint):
		return xrpc.InvalidRequest("Incorrect endpoint on atproto_pds service")
	case op.VerificationMethods[identity.KeyAtproto] != a.KeyID:
		return xrpc.InvalidRequest("Incorrect signing key")
	case a.Handle != "" && !slices.Equal(op.AlsoKnownAs[:min(len(op.AlsoKnownAs), 1)], []string{"at://" + a.Handle.String()}):
		return xrpc.InvalidRequest("Incorrect handle in alsoKnownAs")
	}
	return nil
}

// announceIdentity tells the network, and the server's own directory, that the
// identity of an account has changed.
func (s *Server) announceIdentity(ctx context.Context, a *storage.Account, by cause) error {
	s.forgetIdentity(ctx, a.DID, a.Handle)
	_, err := s.changeAccount(ctx, a.DID,
		func(tx storage.Tx, _ *storage.Account) error { return s.noteChange(ctx, tx, a.DID, by, ChangeIdentity) },
		func(_ storage.Tx, a *storage.Account) ([]storage.Event, error) {
			return []storage.Event{by.event(a.DID, eventIdentity, encodeIdentity(a.DID, a.Handle))}, nil
		})
	return err
}
