package main

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/live"
	"github.com/pdskit/pdskit/pds"
)

// room is the document of a room. A public room is a record as well, whose key is
// the id of the room.
type room struct {
	Name    string       `json:"name"`
	Private bool         `json:"private,omitempty"`
	Members []syntax.DID `json:"members,omitempty"` // of a private room
	Count   int64        `json:"count"`             // messages that were ever sent
}

// seenBy reports whether a member of the community sees the room.
func (r *room) seenBy(did syntax.DID) bool { return !r.Private || slices.Contains(r.Members, did) }

// without takes somebody out of the room, and reports whether that changed it.
func (r *room) without(did syntax.DID) bool {
	before := len(r.Members)
	r.Members = slices.DeleteFunc(r.Members, func(m syntax.DID) bool { return m == did })
	return len(r.Members) < before
}

// roomTopic is the log of a room, public or private.
func roomTopic(community syntax.DID, id string) string {
	return namespace + "room/" + string(community) + "/" + id
}

// addRoom makes a room with its log.
func addRoom(st *pds.State, community syntax.DID, id string, r *room) error {
	rooms, err := scan[*room](st, roomKey(community, ""), maxRooms)
	if len(rooms) >= maxRooms || rooms[id] != nil {
		return errTooMany
	}
	return errors.Join(err,
		st.PutJSON(roomKey(community, id), r),
		st.CreateTopic(live.Topic{Name: roomTopic(community, id), Owner: community}),
		notice(st, community),
	)
}

// createRoom makes a private room. Public ones are made by createRecord.
func (c *call) createRoom() error {
	c.id, c.room = string(c.app.ids.Next()), &room{Name: c.in.Name, Private: true}
	c.out = object{"id": c.id}
	return errors.Join(c.addToRoom(append(c.in.Add, c.who)), addRoom(c.State, c.community, c.id, c.room))
}

// addToRoom lets members of the community into a private room.
func (c *call) addToRoom(list []syntax.DID) error {
	for _, did := range list {
		if _, found, err := get[standing](c.State, memberKey(c.community, did)); err != nil || !found {
			return cmp.Or[error](err, errNotAMember)
		}
		if !c.room.seenBy(did) {
			c.room.Members = append(c.room.Members, did)
		}
	}
	if len(c.room.Members) > maxParticipants {
		return errTooMany
	}
	return nil
}

// changeRoom lets who is in a private room add and remove others, or leave.
func (c *call) changeRoom() error {
	if !c.room.Private {
		return errPublicRoom
	}
	var err error
	for _, did := range c.in.Remove {
		c.room.without(did)
		err = errors.Join(err, c.Recheck(did))
	}
	return errors.Join(err, c.addToRoom(c.in.Add), c.keepRoom(c.id, c.room), notice(c.State, c.community))
}

// keepRoom stores a private room that somebody has left. The last one takes it along,
// with all that was said there.
func (c *call) keepRoom(id string, r *room) error {
	err := c.PutJSON(roomKey(c.community, id), r)
	if len(r.Members) == 0 {
		err = errors.Join(err, c.Schedule(pds.Job{Kind: jobClear, Name: string(c.community) + "/" + id, Due: c.Now()}))
	}
	return err
}

// jobClear deletes a room that nobody sees any more. Its name is community/room.
const jobClear = namespace + "clear"

func (a *app) clear(ctx context.Context, j pds.Job) error {
	name, id, _ := strings.Cut(j.Name, "/")
	community := syntax.DID(name)
	if err := a.deletePictures(ctx, folderOf(community)+id+"/"); err != nil {
		return err
	}
	return a.srv.Update(ctx, func(st *pds.State) error {
		page, err := scan[message](st, messageKey(community, id, ""), clearedAtOnce)
		for m := range page {
			err = errors.Join(err, st.Delete(messageKey(community, id, m)))
		}
		if len(page) == clearedAtOnce {
			return errors.Join(err, st.Schedule(pds.Job{Kind: j.Kind, Name: j.Name, Due: st.Now()}))
		}
		return errors.Join(err, st.Delete(roomKey(community, id)), st.DeleteTopic(roomTopic(community, id)))
	})
}

type roomView struct {
	Room string `json:"room"`
	room
	Read   int64  `json:"read"`
	Cursor string `json:"cursor"`
}

// rooms lists the rooms that the member sees, the oldest first: how much of each
// the member has read, and the cursor of its end.
func (c *call) rooms() ([]roomView, error) {
	rooms, err := scan[*room](c.State, roomKey(c.community, ""), maxRooms)
	if err != nil {
		return nil, err
	}
	read, err := scan[int64](c.State, readKey(c.community, c.who, ""), maxRooms)
	views := []roomView{}
	for _, id := range slices.Sorted(maps.Keys(rooms)) {
		if r := rooms[id]; r.seenBy(c.who) {
			topic, topicErr := c.Topic(roomTopic(c.community, id))
			err = errors.Join(err, topicErr)
			views = append(views, roomView{id, *r, read[id], topic.Cursor(topic.Last)})
		}
	}
	return views, err
}

// markRead notes the number of the newest message that the caller has read.
func (c *call) markRead() error {
	k := readKey(c.community, c.who, c.id)
	old, _, err := get[int64](c.State, k)
	if err != nil || c.in.Number <= old || c.in.Number > c.room.Count {
		return err
	}
	return c.PutJSON(k, c.in.Number)
}
