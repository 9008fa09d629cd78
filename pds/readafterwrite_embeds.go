package pds

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/pdskit/pdskit/xrpc"
)

// Types of embeds, whose views are named by "#view" after them.
const (
	embedImages    = "app.bsky.embed.images"
	embedExternal  = "app.bsky.embed.external"
	embedRecord    = "app.bsky.embed.record"
	embedWithMedia = "app.bsky.embed.recordWithMedia"
	embedVideo     = "app.bsky.embed.video"
)

// postEmbed is the embed of a post, of whatever type.
type postEmbed struct {
	Type   string `json:"$type"`
	Images []struct {
		Image       blobRef         `json:"image"`
		Alt         string          `json:"alt"`
		AspectRatio json.RawMessage `json:"aspectRatio"`
	} `json:"images"`
	External struct {
		URI         string   `json:"uri"`
		Title       string   `json:"title"`
		Description string   `json:"description"`
		Thumb       *blobRef `json:"thumb"`
	} `json:"external"`
	Record json.RawMessage `json:"record"` // strongRef, or an embed of that
	Media  *postEmbed      `json:"media"`
}

func readEmbed(text json.RawMessage) (e postEmbed) {
	if len(text) == 0 || json.Unmarshal(text, &e) != nil {
		return postEmbed{} // not one of those that are known
	}
	return e
}

// viewEmbed returns the view of an embed, nil if it is none or of a type whose
// view only the app view can make.
func (m *merger) viewEmbed(ctx context.Context, text json.RawMessage) (json.RawMessage, error) {
	e := readEmbed(text)
	switch e.Type {
	case embedImages, embedExternal:
		return m.viewMedia(&e)
	case embedRecord:
		return m.viewQuote(ctx, e.Record)
	case embedWithMedia:
		if e.Media == nil || e.Media.Type != embedImages && e.Media.Type != embedExternal {
			return nil, nil
		}
		media, err := m.viewMedia(e.Media)
		if err != nil {
			return nil, err
		}
		var inner postEmbed
		if err := json.Unmarshal(e.Record, &inner); err != nil {
			return nil, err
		}
		quote, err := m.viewQuote(ctx, inner.Record)
		if err != nil {
			return nil, err
		}
		return encodeJSON(map[string]any{"$type": embedWithMedia + "#view", "media": media, "record": quote})
	}
	return nil, nil
}

// viewMedia returns the view of images or of a link.
func (m *merger) viewMedia(e *postEmbed) (json.RawMessage, error) {
	if e.Type == embedExternal {
		external := map[string]any{"uri": e.External.URI, "title": e.External.Title, "description": e.External.Description}
		if thumb := e.External.Thumb; thumb != nil && thumb.Ref.Link != "" {
			external["thumb"] = m.imageURL(imageThumbnail, thumb.Ref.Link)
		}
		return encodeJSON(map[string]any{"$type": embedExternal + "#view", "external": external})
	}
	images := make([]map[string]any, len(e.Images))
	for i, img := range e.Images {
		cid := img.Image.Ref.Link
		images[i] = map[string]any{"thumb": m.imageURL(imageThumbnail, cid), "fullsize": m.imageURL(imageFull, cid), "alt": img.Alt}
		if len(img.AspectRatio) > 0 {
			images[i]["aspectRatio"] = img.AspectRatio
		}
	}
	return encodeJSON(map[string]any{"$type": embedImages + "#view", "images": images})
}

// viewQuote returns the view of a quoted record.
func (m *merger) viewQuote(ctx context.Context, ref json.RawMessage) (json.RawMessage, error) {
	var strong struct {
		URI string `json:"uri"`
	}
	if err := json.Unmarshal(ref, &strong); err != nil {
		return nil, err
	}
	record, err := m.viewQuoted(ctx, strong.URI)
	if refused, ok := errors.AsType[*xrpc.Error](err); ok && refused.Status < 500 {
		record, err = nil, nil // the app view does not have it
	}
	if err != nil {
		return nil, err
	}
	if record == nil {
		record = map[string]any{"$type": embedRecord + "#viewNotFound", "uri": strong.URI, "notFound": true}
	}
	return encodeJSON(map[string]any{"$type": embedRecord + "#view", "record": record})
}

// viewQuoted asks the app view for a quoted record, and returns nil if there is
// none, or none of a type that is known here.
func (m *merger) viewQuoted(ctx context.Context, uri string) (any, error) {
	typed := func(name string, view jsonObject) (any, error) {
		if view == nil {
			return nil, nil
		}
		text, err := encodeJSON(name)
		view["$type"] = text
		return view, err
	}
	switch collectionOf(uri) {
	case postCollection:
		return m.viewQuotedPost(ctx, uri)
	case "app.bsky.feed.generator":
		var out struct{ View jsonObject }
		if err := m.ask(ctx, "app.bsky.feed.getFeedGenerator", map[string][]string{"feed": {uri}}, &out); err != nil {
			return nil, err
		}
		return typed("app.bsky.feed.defs#generatorView", out.View)
	case "app.bsky.graph.list":
		var out struct{ List jsonObject }
		if err := m.ask(ctx, "app.bsky.graph.getList", map[string][]string{"list": {uri}, "limit": {"1"}}, &out); err != nil {
			return nil, err
		}
		return typed("app.bsky.graph.defs#listView", out.List)
	}
	return nil, nil
}

func (m *merger) viewQuotedPost(ctx context.Context, uri string) (any, error) {
	var out struct{ Posts []jsonObject }
	if err := m.ask(ctx, "app.bsky.feed.getPosts", map[string][]string{"uris": {uri}}, &out); err != nil {
		return nil, err
	}
	if len(out.Posts) == 0 {
		return nil, nil
	}
	post := out.Posts[0]
	view := map[string]any{"$type": embedRecord + "#viewRecord", "value": post["record"]}
	for _, name := range []string{"uri", "cid", "author", "labels", "indexedAt"} {
		if post[name] != nil {
			view[name] = post[name]
		}
	}
	if embed := post["embed"]; embed != nil {
		view["embeds"] = []json.RawMessage{embed}
	}
	return view, nil
}
