package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
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
// one would make it public. They have a store of their own, in which the name of a
// picture says where it belongs and who has uploaded it.

var pictureTypes = []string{"image/png", "image/jpeg", "image/gif", "image/webp"}

// folderOf is where the pictures of a community are.
func folderOf(community syntax.DID) string {
	return strings.NewReplacer(":", "_", ".", "-").Replace(string(community)) + "/"
}

// pictureOf begins the ids of the pictures that somebody has uploaded.
func pictureOf(did syntax.DID) string { return fmt.Sprintf("%x-", sha256.Sum256([]byte(did)))[32:] }

// uploadPicture takes a picture for a private room. If it is not sent in time, it goes.
func (a *app) uploadPicture(ctx context.Context, up *xrpc.Upload) (*any, error) {
	query := xrpc.RequestFrom(ctx).URL.Query()
	data, err := io.ReadAll(up.Reader)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(pictureTypes, http.DetectContentType(data)) {
		return nil, xrpc.InvalidRequest("A picture is one of %v", pictureTypes)
	}
	begin := call{community: syntax.DID(query.Get("community")), id: query.Get("room")}
	return a.run(ctx, a.srv.Update, begin, func(c *call) error {
		if c.room == nil || !c.room.Private {
			return errPublicRoom
		}
		id := pictureOf(c.who) + strings.ToLower(rand.Text())
		c.out = object{"id": id}
		c.then = func() error {
			_, err := a.pictures.Put(ctx, c.picture(id), bytes.NewReader(data))
			return err
		}
		return c.dropPicture(id, unsentPicture)
	})
}

// picture is the key of a picture in the room that the call is about.
func (c *call) picture(id string) string { return folderOf(c.community) + c.id + "/" + id }

// usePicture keeps a picture that the caller has uploaded.
func (c *call) usePicture(id string) error {
	if !strings.HasPrefix(id, pictureOf(c.who)) {
		return errPictureNotFound
	}
	return c.CancelJob(jobDropPicture, c.picture(id))
}

// getPicture sends a picture to those who see its room.
func (a *app) getPicture(ctx context.Context, in *input) (*xrpc.Body, error) {
	key := ""
	_, err := a.run(ctx, a.srv.View, call{community: in.Community, id: in.Room}, func(c *call) error {
		key = c.picture(in.Picture)
		return nil
	})
	if err != nil {
		return nil, err
	}
	r, err := a.pictures.Open(ctx, key, 0, maxPictureBytes)
	if err != nil {
		return nil, errPictureNotFound.WithCause(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	return &xrpc.Body{ContentType: http.DetectContentType(data), Length: int64(len(data)), Reader: bytes.NewReader(data)}, err
}

// jobDropPicture deletes a picture: with its message, or if it was not sent. Its
// name is the picture's key.
const jobDropPicture = namespace + "drop"

func (c *call) dropPicture(id string, wait time.Duration) error {
	return c.Schedule(pds.Job{Kind: jobDropPicture, Name: c.picture(id), Due: c.Now().Add(wait)})
}

// forgetPictures is an observer that deletes the pictures of deleted communities.
func (a *app) forgetPictures(ctx context.Context, ev *pds.Event) error {
	if ev.Kind != pds.EventAccount || ev.Status != "deleted" {
		return nil
	}
	return a.deletePictures(ctx, folderOf(ev.Account))
}

// deletePictures deletes all whose keys begin with a folder's name.
func (a *app) deletePictures(ctx context.Context, folder string) error {
	for {
		files, err := a.pictures.List(ctx, folder, 1)
		if err != nil || len(files) == 0 || !strings.HasPrefix(files[0].Key, folder) {
			return err
		}
		if err := a.pictures.Delete(ctx, files[0].Key); err != nil {
			return err
		}
	}
}
