package pds

import (
	"context"

	"github.com/pdskit/pdskit/xrpc"
)

// getAuthorFeed shows the caller's newest profile at once, and, in the caller's
// own feed, the newest posts.
func (s *Server) getAuthorFeed() xrpc.Method {
	return s.mergedView("app.bsky.feed.getAuthorFeed", func(ctx context.Context, m *merger, answer jsonObject) (bool, error) {
		authors, err := m.mergeAuthors(answer)
		if err != nil {
			return false, err
		}
		_, items, err := feedOf(answer)
		if err != nil || !m.isOwnFeed(items) {
			return authors, err
		}
		posts, err := m.mergePosts(ctx, answer, m.passesFilter)
		return authors || posts, err
	})
}

// passesFilter reports whether the filter of the request lets a post of the
// account into the account's own feed.
func (m *merger) passesFilter(rec *localRecord) bool {
	reply := rec.post.Reply
	embed := readEmbed(rec.post.Embed)
	media := embed.Type
	if embed.Type == embedWithMedia && embed.Media != nil {
		media = embed.Media.Type
	}
	switch m.param("filter") {
	case "posts_no_replies":
		return reply == nil
	case "posts_and_author_threads":
		return reply == nil || m.isOwn(reply.Root.URI) && m.isOwn(reply.Parent.URI)
	case "posts_with_media":
		return media == embedImages || media == embedVideo
	case "posts_with_video":
		return media == embedVideo
	}
	return true
}
