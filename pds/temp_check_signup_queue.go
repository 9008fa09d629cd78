package pds

import (
	"context"

	"github.com/pdskit/pdskit/xrpc"
)

type checkSignupQueueOutput struct {
	Activated bool `json:"activated"`
}

// checkSignupQueue tells clients that nobody has to wait: there is no queue.
func (s *Server) checkSignupQueue() xrpc.Method {
	return xrpc.Query("com.atproto.temp.checkSignupQueue", s.access(accessRule{scopes: standardAccess, signupQueued: true}),
		func(context.Context, *xrpc.None) (*checkSignupQueueOutput, error) {
			return &checkSignupQueueOutput{true}, nil
		})
}
