package pds

import (
	"context"

	"github.com/pdskit/pdskit/xrpc"
)

// getTimeline shows the caller's newest posts at once.
func (s *Server) getTimeline() xrpc.Method {
	return s.mergedView("app.bsky.feed.getTimeline", func(ctx context.Context, m *merger, answer jsonObject) (bool, error) {
		return m.mergePosts(ctx, answer, nil)
	})
}
