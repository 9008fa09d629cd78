package pds

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/repo"
	"github.com/pdskit/pdskit/storage"
)

// Collections and types of app.bsky that are merged.
const (
	postCollection    = "app.bsky.feed.post"
	profileCollection = "app.bsky.actor.profile"
)

// merger knows what was written here since the rev of an answer.
type merger struct {
	s       *Server
	call    *serviceCall // whose answer it is
	profile *localRecord // changed since; may be nil
	posts   []localRecord
	calls   int // questions to the app view so far

	author json.RawMessage // see viewAuthor
}

// localRecord is a record that the app view does not know yet.
type localRecord struct {
	uri, cid  string
	indexedAt time.Time
	value     json.RawMessage
	post      postRecord // of a post
}

// postRecord is what has to be known of a post.
type postRecord struct {
	Reply *struct {
		Root   struct{ URI string } `json:"root"`
		Parent struct{ URI string } `json:"parent"`
	} `json:"reply"`
	Embed json.RawMessage `json:"embed"`
}

// newMerger reads the records that were written after a rev: posts and the
// profile among the oldest maxLocalRecords. It returns nil if there is none, and
// also if nothing here is as old as the rev: then the repository came here a
// moment ago, and its revs say nothing about what the app view knows.
func (s *Server) newMerger(ctx context.Context, call *serviceCall, rev string) (*merger, error) {
	since, err := syntax.ParseTID(rev)
	if err != nil {
		return nil, err
	}
	did := call.account.DID
	var list []storage.Record
	err = s.store.View(ctx, func(tx storage.Tx) error {
		list = nil
		head, err := tx.Head(did)
		if errors.Is(err, storage.ErrNotFound) || err == nil && head.Rev <= since {
			return nil
		}
		if err != nil {
			return err
		}
		oldest, err := tx.ListRecordsSince(did, "", 1)
		if err != nil || len(oldest) == 0 || oldest[0].Rev > since {
			return err
		}
		list, err = tx.ListRecordsSince(did, since, maxLocalRecords)
		return err
	})
	if err != nil {
		return nil, err
	}
	m := &merger{s: s, call: call}
	for i := range list {
		if err := m.add(&list[i]); err != nil {
			return nil, err
		}
	}
	if m.profile == nil && len(m.posts) == 0 {
		return nil, nil
	}
	return m, nil
}

// add takes a record of the repository if it is of interest.
func (m *merger) add(rec *storage.Record) error {
	isProfile := rec.Collection == profileCollection && rec.RKey == "self"
	if rec.TakedownRef != "" || !isProfile && rec.Collection != postCollection {
		return nil
	}
	value, err := repo.CBORToJSON(nil, rec.Value)
	if err != nil {
		return err
	}
	view := viewRecord(m.call.account.DID, rec)
	local := localRecord{uri: view.uri, cid: view.cid, indexedAt: revTime(rec.Rev), value: value}
	if isProfile {
		m.profile = &local
		return nil
	}
	if err := json.Unmarshal(value, &local.post); err != nil {
		return nil // not a post, whatever it says: it was written without validation
	}
	m.posts = append(m.posts, local)
	return nil
}

// records returns everything that the app view does not know.
func (m *merger) records() []localRecord {
	if m.profile == nil {
		return m.posts
	}
	return append([]localRecord{*m.profile}, m.posts...)
}

// findPost returns a local post.
func (m *merger) findPost(uri string) *localRecord {
	for i := range m.posts {
		if m.posts[i].uri == uri {
			return &m.posts[i]
		}
	}
	return nil
}

// profileRecord is what views show of a profile.
type profileRecord struct {
	DisplayName *string  `json:"displayName"`
	Description *string  `json:"description"`
	Pronouns    *string  `json:"pronouns"`
	Website     *string  `json:"website"`
	Avatar      *blobRef `json:"avatar"`
	Banner      *blobRef `json:"banner"`
}

type blobRef struct {
	Ref struct {
		Link string `json:"$link"`
	} `json:"ref"`
}

// Sizes of images, as the app view's image server calls them.
const (
	imageAvatar    = "avatar"
	imageBanner    = "banner"
	imageThumbnail = "feed_thumbnail"
	imageFull      = "feed_fullsize"
)

// imageURL returns where an image of the account is: at the app view's image
// server, if the configuration has one, else here.
func (m *merger) imageURL(size, cid string) string {
	did := string(m.call.account.DID)
	if p := m.s.cfg.ImageURLPattern; p != "" {
		return fmt.Sprintf(p, size, did, cid)
	}
	return m.s.public.String() + "/xrpc/com.atproto.sync.getBlob?did=" + did + "&cid=" + cid
}

// updateView puts the local profile into a view of the account: what all views
// have, and, of a detailed one, the rest.
func (m *merger) updateView(view jsonObject, detailed bool) error {
	var rec profileRecord
	if err := json.Unmarshal(m.profile.value, &rec); err != nil {
		return err
	}
	image := func(size string, ref *blobRef) *string {
		if ref == nil || ref.Ref.Link == "" {
			return nil
		}
		return new(m.imageURL(size, ref.Ref.Link))
	}
	fields := map[string]*string{
		"displayName": rec.DisplayName, "pronouns": rec.Pronouns, "avatar": image(imageAvatar, rec.Avatar),
	}
	if detailed {
		fields["description"], fields["website"] = rec.Description, rec.Website
		fields["banner"] = image(imageBanner, rec.Banner)
	}
	for name, value := range fields {
		if value == nil {
			delete(view, name)
			continue
		}
		text, err := encodeJSON(*value)
		if err != nil {
			return err
		}
		view[name] = text
	}
	return nil
}

// viewAuthor returns the account as the author of a post.
func (m *merger) viewAuthor(ctx context.Context) (json.RawMessage, error) {
	if m.author != nil {
		return m.author, nil
	}
	a := m.call.account
	view := jsonObject{}
	for name, value := range map[string]string{"did": string(a.DID), "handle": handleOf(a)} {
		text, err := encodeJSON(value)
		if err != nil {
			return nil, err
		}
		view[name] = text
	}
	var rec storage.Record
	err := m.s.store.View(ctx, func(tx storage.Tx) (err error) {
		rec, err = tx.Record(a.DID, profileCollection, "self")
		return err
	})
	switch {
	case errors.Is(err, storage.ErrNotFound):
	case err != nil:
		return nil, err
	case rec.TakedownRef == "":
		value, err := repo.CBORToJSON(nil, rec.Value)
		if err != nil {
			return nil, err
		}
		current := *m
		current.profile = &localRecord{value: value}
		if err := current.updateView(view, false); err != nil {
			return nil, err
		}
	}
	m.author, err = encodeJSON(view)
	return m.author, err
}

// viewPost returns a local post as the app view would show it.
func (m *merger) viewPost(ctx context.Context, rec *localRecord) (json.RawMessage, error) {
	author, err := m.viewAuthor(ctx)
	if err != nil {
		return nil, err
	}
	embed, err := m.viewEmbed(ctx, rec.post.Embed)
	if err != nil {
		return nil, err
	}
	return encodeJSON(struct {
		URI       string          `json:"uri"`
		CID       string          `json:"cid"`
		Author    json.RawMessage `json:"author"`
		Record    json.RawMessage `json:"record"`
		Embed     json.RawMessage `json:"embed,omitempty"`
		Replies   int             `json:"replyCount"`
		Reposts   int             `json:"repostCount"`
		Likes     int             `json:"likeCount"`
		Quotes    int             `json:"quoteCount"`
		IndexedAt string          `json:"indexedAt"`
	}{
		URI: rec.uri, CID: rec.cid, Author: author, Record: rec.value, Embed: embed,
		IndexedAt: rec.indexedAt.Format(syntax.AtprotoDatetimeLayout),
	})
}

// collectionOf returns the collection that an AT URI names, or nothing.
func collectionOf(uri string) string {
	u, err := syntax.ParseATURI(strings.TrimSpace(uri))
	if err != nil {
		return ""
	}
	return u.Collection().String()
}
