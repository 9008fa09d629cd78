package pds

import (
	"context"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/xrpc"
)

type describeServerOutput struct {
	DID                  syntax.DID    `json:"did"`
	AvailableUserDomains []string      `json:"availableUserDomains"`
	InviteCodeRequired   bool          `json:"inviteCodeRequired"`
	BlobUploadLimit      int64         `json:"blobUploadLimit"` // bytes
	Links                serverLinks   `json:"links"`
	Contact              serverContact `json:"contact"`
}

type serverLinks struct {
	PrivacyPolicy  string `json:"privacyPolicy,omitempty"`
	TermsOfService string `json:"termsOfService,omitempty"`
}

type serverContact struct {
	Email string `json:"email,omitempty"`
}

func (s *Server) describeServer() xrpc.Method {
	out := &describeServerOutput{
		DID:                  s.cfg.ServiceDID,
		AvailableUserDomains: s.cfg.HandleDomains,
		InviteCodeRequired:   s.cfg.InviteRequired,
		BlobUploadLimit:      s.cfg.Limits.BlobBytes,
		Links:                serverLinks{s.cfg.Info.PrivacyPolicy, s.cfg.Info.TermsOfService},
		Contact:              serverContact{s.cfg.Info.Contact},
	}
	return xrpc.Query("com.atproto.server.describeServer", xrpc.Public(),
		func(context.Context, *xrpc.None) (*describeServerOutput, error) { return out, nil })
}
