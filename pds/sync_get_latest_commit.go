package pds

import (
	"context"

	"github.com/pdskit/pdskit/xrpc"
)

func (s *Server) getLatestCommit() xrpc.Method {
	return xrpc.Query("com.atproto.sync.getLatestCommit", s.activeReader(),
		func(ctx context.Context, p *didParams) (*commitInfo, error) {
			head, err := s.viewHead(ctx, p.DID)
			if err != nil {
				return nil, err
			}
			return &commitInfo{head.CID.String(), string(head.Rev)}, nil
		})
}
