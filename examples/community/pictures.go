package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
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
// picture says where it belongs.

var pictureTypes = []string{"image/png", "image/jpeg", "image/gif", "image/webp"}

// folderOf is where the pictures of a community are.
func folderOf(community syntax.DID) string {
	return strings.NewReplacer(":", "_", ".", "-").Replace(string(community)) + "/"
}

// fileOf is the key of a picture in a room.
func fileOf(community syntax.DID, room, id string) string {
	return folderOf(community) + room + "/" + id
}

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
		id := strings.ToLower(rand.Text())
		c.out = object{"id": id}
		c.then = func() error {
			_, err := a.pictures.Put(ctx, fileOf(c.community, c.id, id), bytes.NewReader(data))
			return err
		}
		until := c.Now().Add(unsentPicture)
		return errors.Join(c.PutJSONUntil(unsentKey(c.community, c.id, id), c.who, until), c.dropPicture(id, until))
	})
}

// usePicture keeps a picture that the caller has uploaded, for one message: it goes
// with that.
func (c *call) usePicture(id string) error {
	k := unsentKey(c.community, c.id, id)
	by, _, err := get[syntax.DID](c.State, k)
	if err == nil && by != c.who {
		err = errPictureNotFound
	}
	return errors.Join(err, c.Delete(k), c.CancelJob(jobDropPicture, fileOf(c.community, c.id, id)))
}

// getPicture sends a picture to those who see its room.
func (a *app) getPicture(ctx context.Context, in *input) (*xrpc.Body, error) {
	if _, err := a.run(ctx, a.srv.View, call{community: in.Community, id: in.Room}, nil); err != nil {
		return nil, err
	}
	r, err := a.pictures.Open(ctx, fileOf(in.Community, in.Room, in.Picture), 0, maxPictureBytes)
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

func (c *call) dropPicture(id string, due time.Time) error {
	return c.Schedule(pds.Job{Kind: jobDropPicture, Name: fileOf(c.community, c.id, id), Due: due})
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
