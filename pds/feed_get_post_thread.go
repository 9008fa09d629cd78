package pds

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/xrpc"
)

const (
	getPostThreadNSID = "app.bsky.feed.getPostThread"
	threadPostType    = "app.bsky.feed.defs#threadViewPost"
)

// getPostThread shows the caller's newest replies at once, and a thread around
// the caller's newest post although the app view has not heard of it.
func (s *Server) getPostThread() xrpc.Method {
	merge := func(ctx context.Context, m *merger, answer jsonObject) (bool, error) {
		thread, changed, err := m.mergeReplies(ctx, answer["thread"])
		if changed {
			answer["thread"] = thread
		}
		return changed, err
	}
	return xrpc.QueryBody(getPostThreadNSID, s.callRule(getPostThreadNSID), func(ctx context.Context, _ *xrpc.None) (*xrpc.Body, error) {
		call, err := s.viewCall(ctx, getPostThreadNSID)
		if err != nil {
			return nil, err
		}
		resp, err := s.send(ctx, call)
		if err != nil {
			if body := s.missingThread(ctx, call, err); body != nil {
				return body, nil
			}
			return nil, err
		}
		if call.verb == http.MethodHead {
			return passBody(resp), nil
		}
		return s.mergeAnswer(ctx, call, resp, merge), nil
	})
}

// threadPost is a post in a thread.
type threadPost struct {
	Type string `json:"$type"`
	Post struct {
		URI    string     `json:"uri"`
		Record postRecord `json:"record"`
	} `json:"post"`
	Replies []json.RawMessage `json:"replies"`
}

// mergeReplies puts local replies into a thread.
func (m *merger) mergeReplies(ctx context.Context, text json.RawMessage) (thread json.RawMessage, changed bool, err error) {
	var top threadPost
	if err := json.Unmarshal(text, &top); err != nil {
		return nil, false, err
	}
	if top.Type != threadPostType {
		return text, false, nil
	}
	root := top.Post.URI
	if reply := top.Post.Record.Reply; reply != nil {
		root = reply.Root.URI
	}
	for i := range m.posts {
		rec := &m.posts[i]
		if reply := rec.post.Reply; reply == nil || reply.Root.URI != root && reply.Root.URI != top.Post.URI {
			continue
		}
		next, found, err := m.insertReply(ctx, text, rec, 0)
		if err != nil {
			return nil, false, err
		}
		if found {
			text, changed = next, true
		}
	}
	return text, changed, nil
}

// maxThreadDepth is how deep below a post its replies are looked at. The app
// view answers with less.
const maxThreadDepth = 100

// insertReply puts a local reply below its parent in a thread.
func (m *merger) insertReply(ctx context.Context, text json.RawMessage, rec *localRecord, depth int) (json.RawMessage, bool, error) {
	var node threadPost
	if depth > maxThreadDepth || json.Unmarshal(text, &node) != nil || node.Type != threadPostType {
		return text, false, nil
	}
	done := false
	if node.Post.URI == rec.post.Reply.Parent.URI {
		if slices.ContainsFunc(node.Replies, func(reply json.RawMessage) bool { return uriInThread(reply) == rec.uri }) {
			return text, false, nil
		}
		view, err := m.viewThreadPost(ctx, rec)
		if err != nil {
			return nil, false, err
		}
		node.Replies, done = slices.Insert(node.Replies, 0, view), true
	}
	for i := 0; i < len(node.Replies) && !done; i++ {
		next, found, err := m.insertReply(ctx, node.Replies[i], rec, depth+1)
		if err != nil {
			return nil, false, err
		}
		node.Replies[i], done = next, found
	}
	if !done {
		return text, false, nil
	}
	var whole jsonObject
	err := json.Unmarshal(text, &whole)
	if err != nil {
		return nil, false, err
	}
	if whole["replies"], err = encodeJSON(node.Replies); err != nil {
		return nil, false, err
	}
	text, err = encodeJSON(whole)
	return text, err == nil, err
}

func uriInThread(text json.RawMessage) string {
	var node threadPost
	if json.Unmarshal(text, &node) != nil {
		return ""
	}
	return node.Post.URI
}

// viewThreadPost returns a local post as part of a thread.
func (m *merger) viewThreadPost(ctx context.Context, rec *localRecord) (json.RawMessage, error) {
	post, err := m.viewPost(ctx, rec)
	if err != nil {
		return nil, err
	}
	return encodeJSON(map[string]any{"$type": threadPostType, "post": post})
}

// isOwn reports whether an AT URI is in the account's repository.
func (m *merger) isOwn(uri string) bool {
	u, err := syntax.ParseATURI(uri)
	return err == nil && m.requesterIs(u.Authority().String())
}

// missingThread makes the thread around a local post that the app view does not
// know, as its error says. It returns nil if that is not what the error is about,
// or if something fails.
func (s *Server) missingThread(ctx context.Context, call *serviceCall, failure error) *xrpc.Body {
	e, ok := errors.AsType[*xrpc.Error](failure)
	if !ok || e.Name != "NotFound" || e.Header.Get(headerRepoRev) == "" || call.verb == http.MethodHead {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, mergeTime)
	defer cancel()
	m, err := s.newMerger(ctx, call, e.Header.Get(headerRepoRev))
	if m == nil {
		s.logUnmerged(ctx, call, err)
		return nil
	}
	text, err := m.localThread(ctx)
	if text == nil {
		s.logUnmerged(ctx, call, err)
		return nil
	}
	h := http.Header{}
	passHeaders(h, e.Header, []string{headerRepoRev, "Atproto-Content-Labelers"})
	h.Set(headerUpstreamLag, strconv.FormatInt(m.lag(), 10))
	return &xrpc.Body{
		ContentType: "application/json; charset=utf-8", Header: h, Length: int64(len(text)),
		Write: func(w io.Writer) error {
			_, err := w.Write(text)
			return err
		},
	}
}

// localThread makes the answer for a local post: what else is local below and
// above it, and the rest above it as the app view knows it.
func (m *merger) localThread(ctx context.Context) ([]byte, error) {
	uri, err := syntax.ParseATURI(m.param("uri"))
	if err != nil || !m.requesterIs(uri.Authority().String()) {
		return nil, nil
	}
	rec := m.findPost("at://" + string(m.call.account.DID) + "/" + uri.Path())
	if rec == nil {
		return nil, nil
	}
	thread, err := m.viewThreadPost(ctx, rec)
	if err != nil {
		return nil, err
	}
	if thread, _, err = m.mergeReplies(ctx, thread); err != nil {
		return nil, err
	}
	parent, err := m.parentOf(ctx, rec, 0)
	if err != nil {
		return nil, err
	}
	if parent != nil {
		var whole jsonObject
		if err := json.Unmarshal(thread, &whole); err != nil {
			return nil, err
		}
		whole["parent"] = parent
		if thread, err = encodeJSON(whole); err != nil {
			return nil, err
		}
	}
	text, err := encodeJSON(jsonObject{"thread": thread})
	if err != nil {
		return nil, err
	}
	if err := m.s.cfg.Catalog.ValidateOutput(getPostThreadNSID, text); err != nil {
		return nil, err
	}
	return text, nil
}

// parentOf returns what is above a local post, or nil. Without what the app view
// says of it the thread is still worth showing.
func (m *merger) parentOf(ctx context.Context, rec *localRecord, depth int) (json.RawMessage, error) {
	height := 80 // as the lexicon has it
	if n, err := strconv.Atoi(m.param("parentHeight")); err == nil {
		height = n
	}
	if rec.post.Reply == nil || depth >= height || depth > maxLocalRecords {
		return nil, nil
	}
	uri := rec.post.Reply.Parent.URI
	if local := m.findPost(uri); local != nil {
		view, err := m.viewThreadPost(ctx, local)
		if err != nil {
			return nil, err
		}
		above, err := m.parentOf(ctx, local, depth+1)
		if err != nil || above == nil {
			return view, err
		}
		var whole jsonObject
		if err := json.Unmarshal(view, &whole); err != nil {
			return nil, err
		}
		whole["parent"] = above
		return encodeJSON(whole)
	}
	var out struct {
		Thread json.RawMessage `json:"thread"`
	}
	err := m.ask(ctx, getPostThreadNSID, map[string][]string{
		"uri": {uri}, "parentHeight": {strconv.Itoa(height - depth)}, "depth": {"0"},
	}, &out)
	if err != nil {
		return nil, nil
	}
	return out.Thread, nil
}
