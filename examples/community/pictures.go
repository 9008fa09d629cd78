package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/xrpc"
)

// The pictures of private rooms are no blobs of the account: a record that names
// one would make it public. They have a store of their own.

// upload is the document of a picture.
type upload struct {
	Room string     `json:"room"`
	By   syntax.DID `json:"by"`
	Type string     `json:"type"`
	Size int64      `json:"size"`
	Used bool       `json:"used"` // in a message
}

var pictureTypes = []string{"image/png", "image/jpeg", "image/gif", "image/webp"}

func pictureKey(community syntax.DID, id string) pds.DocumentKey {
	return pds.DocumentKey{Kind: namespace + "picture", Owner: community, Key: id}
}

// folderOf is where the pictures of a community are.
func folderOf(community syntax.DID) string {
	return strings.NewReplacer(":", "_", ".", "-").Replace(string(community)) + "/"
}

// uploadPicture takes a picture for a private room.
func (a *app) uploadPicture(ctx context.Context, up *xrpc.Upload) (*idOutput, error) {
	query := xrpc.RequestFrom(ctx).URL.Query()
	did, id := syntax.DID(query.Get("community")), strings.ToLower(rand.Text())
	data, err := io.ReadAll(up.Reader)
	if err != nil {
		return nil, err
	}
	kind := http.DetectContentType(data)
	if !slices.Contains(pictureTypes, kind) {
		return nil, xrpc.InvalidRequest("A picture is one of %v", pictureTypes)
	}
	err = a.srv.Update(ctx, func(st *pds.State) error {
		c, err := a.enter(ctx, st, did, query.Get("room"))
		if err != nil {
			return err
		}
		if c.room == nil || !c.room.Private {
			return errPublicRoom
		}
		u := upload{Room: c.id, By: c.who, Type: kind, Size: int64(len(data))}
		return first(st.PutJSON(pictureKey(did, id), u), dropPicture(st, did, id, unsentPicture))
	})
	if err == nil {
		_, err = a.pictures.Put(ctx, folderOf(did)+id, bytes.NewReader(data))
	}
	return &idOutput{id}, err
}

// usePicture puts a picture that the caller has uploaded into a message.
func (c *call) usePicture(id string) error {
	u, _, err := get[upload](c.State, pictureKey(c.community, id))
	if err == nil && (u.Room != c.id || u.By != c.who || u.Used) {
		err = errPictureNotFound
	}
	u.Used = true
	return first(err, c.PutJSON(pictureKey(c.community, id), u), c.CancelJob(jobDropPicture, string(c.community)+"/"+id))
}

// getPicture sends a picture to those who see its room.
func (a *app) getPicture(ctx context.Context, p *params) (*xrpc.Body, error) {
	var u upload
	err := a.srv.View(ctx, func(st *pds.State) error {
		_, err := a.enter(ctx, st, p.Community, p.Room)
		if err != nil {
			return err
		}
		u, _, err = get[upload](st, pictureKey(p.Community, p.Picture))
		if err == nil && (p.Room == "" || u.Room != p.Room) {
			err = errPictureNotFound
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	r, err := a.pictures.Open(ctx, folderOf(p.Community)+p.Picture, 0, -1)
	return &xrpc.Body{ContentType: u.Type, Length: u.Size, Reader: r, Header: http.Header{"X-Content-Type-Options": {"nosniff"}}}, err
}

// jobDropPicture deletes a picture: with its message, or if it was not sent in time.
const (
	jobDropPicture = namespace + "drop"
	unsentPicture  = time.Hour
)

type dropped struct {
	Community syntax.DID `json:"community"`
	ID        string     `json:"id"`
}

func dropPicture(st *pds.State, community syntax.DID, id string, wait time.Duration) error {
	data, err := json.Marshal(dropped{community, id})
	return first(err, st.Schedule(pds.Job{
		Kind: jobDropPicture, Name: string(community) + "/" + id, Due: time.Now().Add(wait), Data: data,
	}))
}

func (a *app) dropPicture(ctx context.Context, j pds.Job) error {
	var p dropped
	if err := json.Unmarshal(j.Data, &p); err != nil {
		return err
	}
	err := a.srv.Update(ctx, func(st *pds.State) error { return st.Delete(pictureKey(p.Community, p.ID)) })
	return first(err, a.pictures.Delete(ctx, folderOf(p.Community)+p.ID))
}

// forgetPictures is an observer that deletes the pictures of deleted communities.
func (a *app) forgetPictures(ctx context.Context, ev *pds.Event) error {
	if ev.Kind != pds.EventAccount || ev.Status != "deleted" {
		return nil
	}
	folder := folderOf(ev.Account)
	for {
		files, err := a.pictures.List(ctx, folder, 100)
		for _, f := range files {
			if !strings.HasPrefix(f.Key, folder) {
				return err
			}
			err = first(err, a.pictures.Delete(ctx, f.Key))
		}
		if err != nil || len(files) == 0 {
			return err
		}
	}
}
