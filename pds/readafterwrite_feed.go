package pds

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// feedItem is what has to be known of a post in a feed.
type feedItem struct {
	Post struct {
		URI       string `json:"uri"`
		IndexedAt string `json:"indexedAt"`
		Author    struct {
			DID string `json:"did"`
		} `json:"author"`
	} `json:"post"`
	Reason *struct {
		Type string `json:"$type"`
		By   struct {
			DID string `json:"did"`
		} `json:"by"`
	} `json:"reason"`

	at time.Time // IndexedAt
}

// feedOf reads the feed of an answer.
func feedOf(answer jsonObject) (texts []json.RawMessage, items []feedItem, err error) {
	if err := json.Unmarshal(answer["feed"], &texts); err != nil {
		return nil, nil, err
	}
	items = make([]feedItem, len(texts))
	for i, text := range texts {
		if err := json.Unmarshal(text, &items[i]); err != nil {
			return nil, nil, err
		}
		at, err := syntax.ParseDatetimeLenient(items[i].Post.IndexedAt)
		if err != nil {
			return nil, nil, err
		}
		items[i].at = at.Time()
	}
	return texts, items, nil
}

// mergePosts puts the local posts that are wanted into the feed of an answer, by
// their time. Those that are older than everything in it belong to a later page.
func (m *merger) mergePosts(ctx context.Context, answer jsonObject, want func(*localRecord) bool) (changed bool, err error) {
	if m.param("cursor") != "" {
		return false, nil // new posts are on the first page
	}
	texts, items, err := feedOf(answer)
	if err != nil {
		return false, err
	}
	var last time.Time
	if len(items) > 0 {
		last = items[len(items)-1].at
	}
	for i := len(m.posts) - 1; i >= 0; i-- { // newest first
		rec := &m.posts[i]
		known := slices.ContainsFunc(items, func(item feedItem) bool { return item.Post.URI == rec.uri })
		if known || !rec.indexedAt.After(last) || want != nil && !want(rec) {
			continue
		}
		post, err := m.viewPost(ctx, rec)
		if err != nil {
			return false, err
		}
		text, err := encodeJSON(jsonObject{"post": post})
		if err != nil {
			return false, err
		}
		at := slices.IndexFunc(items, func(item feedItem) bool { return item.at.Before(rec.indexedAt) })
		if at < 0 {
			at = len(items)
		}
		texts = slices.Insert(texts, at, text)
		item := feedItem{at: rec.indexedAt}
		item.Post.URI = rec.uri
		items = slices.Insert(items, at, item)
		changed = true
	}
	if changed {
		answer["feed"], err = encodeJSON(texts)
	}
	return changed, err
}

// mergeAuthors puts the local profile into the account's posts in a feed.
func (m *merger) mergeAuthors(answer jsonObject) (changed bool, err error) {
	if m.profile == nil {
		return false, nil
	}
	texts, items, err := feedOf(answer)
	if err != nil {
		return false, err
	}
	for i, item := range items {
		if item.Post.Author.DID != string(m.call.account.DID) {
			continue
		}
		if texts[i], err = m.updateAuthor(texts[i]); err != nil {
			return false, err
		}
		changed = true
	}
	if changed {
		answer["feed"], err = encodeJSON(texts)
	}
	return changed, err
}

// updateAuthor puts the local profile into a post of a feed.
func (m *merger) updateAuthor(text json.RawMessage) (json.RawMessage, error) {
	var item, post, author jsonObject
	if err := json.Unmarshal(text, &item); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(item["post"], &post); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(post["author"], &author); err != nil {
		return nil, err
	}
	err := m.updateView(author, false)
	if err != nil {
		return nil, err
	}
	if post["author"], err = encodeJSON(author); err != nil {
		return nil, err
	}
	if item["post"], err = encodeJSON(post); err != nil {
		return nil, err
	}
	return encodeJSON(item)
}

// isOwnFeed reports whether a feed is that of the account.
func (m *merger) isOwnFeed(items []feedItem) bool {
	if len(items) == 0 {
		return m.requesterIs(m.param("actor"))
	}
	first := items[0]
	if first.Reason != nil && first.Reason.By.DID != "" {
		return first.Reason.By.DID == string(m.call.account.DID)
	}
	return first.Post.Author.DID == string(m.call.account.DID)
}
