package pds

import (
	"context"
	"encoding/json"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/xrpc"
)

func (s *Server) registerPush() xrpc.Method {
	return s.pushMethod("app.bsky.notification.registerPush", accessRule{scopes: standardAccess, signupQueued: true, oauthAny: true})
}

func (s *Server) unregisterPush() xrpc.Method {
	return s.pushMethod("app.bsky.notification.unregisterPush", accessRule{scopes: standardAccess, oauthAny: true})
}

// pushMethod passes its input on to the notification service that it names.
func (s *Server) pushMethod(nsid string, rule accessRule) xrpc.Method {
	return xrpc.Procedure(nsid, s.access(rule),
		func(ctx context.Context, in *json.RawMessage) (*xrpc.None, error) {
			var service struct {
				DID syntax.DID `json:"serviceDid"`
			}
			if err := json.Unmarshal(*in, &service); err != nil {
				return nil, err
			}
			to := upstream{did: service.DID, service: notifService}
			caller := xrpc.CallerFrom(ctx)
			if err := mayCall(caller, to.audience(), nsid); err != nil {
				return nil, err
			}
			account, err := s.accountOf(ctx, caller)
			if err != nil {
				return nil, err
			}
			if to.did == s.cfg.AppView.DID {
				to.url = s.cfg.AppView.URL
			}
			if err := s.resolve(ctx, &to); err != nil {
				return nil, errNoNotifications(to.did).WithCause(err)
			}
			if s.isSelf(&to) {
				return nil, errNoNotifications(to.did)
			}
			_, err = s.callJSON(ctx, to, account, nsid, nil, in)
			return nil, err
		})
}

func errNoNotifications(did syntax.DID) *xrpc.Error {
	return xrpc.InvalidRequest("invalid notification service details in did document: %s", did)
}
