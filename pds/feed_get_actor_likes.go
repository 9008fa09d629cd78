package pds

import (
	"context"

	"github.com/pdskit/pdskit/xrpc"
)

// getActorLikes shows the caller's newest profile at once.
func (s *Server) getActorLikes() xrpc.Method {
	return s.mergedView("app.bsky.feed.getActorLikes", func(_ context.Context, m *merger, answer jsonObject) (bool, error) {
		return m.mergeAuthors(answer)
	})
}
