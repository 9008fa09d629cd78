package pds

import (
	"context"

	"github.com/pdskit/pdskit/xrpc"
)

type getHeadOutput struct {
	Root string `json:"root"`
}

// getHead is the deprecated form of getLatestCommit.
func (s *Server) getHead() xrpc.Method {
	return xrpc.Query("com.atproto.sync.getHead", s.activeReader(),
		func(ctx context.Context, p *didParams) (*getHeadOutput, error) {
			head, err := s.viewHead(ctx, p.DID)
			if err != nil {
				return nil, err
			}
			return &getHeadOutput{head.CID.String()}, nil
		})
}
