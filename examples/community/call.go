package main

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/oauth/scope"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// params are those of all queries, and input the inputs of all procedures for
// members. The lexicons say which fields each method has.
type params struct {
	Community syntax.DID `json:"community"`
	Room      string     `json:"room,omitempty"`
	Picture   string     `json:"picture,omitempty"`
	Before    int64      `json:"before,omitempty"`
	Limit     int        `json:"limit,omitempty"`
	Cursor    string     `json:"cursor,omitempty"`
	Banned    bool       `json:"banned,omitempty"`
	Refused   bool       `json:"refused,omitempty"`
}

type input struct {
	Community syntax.DID   `json:"community"`
	Room      string       `json:"room"`
	Member    syntax.DID   `json:"member"`
	Role      role         `json:"role"`
	Reason    string       `json:"reason"`
	Uses      int          `json:"uses"`
	Hours     int          `json:"hours"`
	Name      string       `json:"name"`
	Add       []syntax.DID `json:"add"`
	Remove    []syntax.DID `json:"remove"`
	ID        string       `json:"id"`
	Number    int64        `json:"number"`
	Text      string       `json:"text"`
	Reply     string       `json:"reply"`
	Picture   *picture     `json:"picture"`
	Emoji     string       `json:"emoji"`
	Undo      bool         `json:"undo"`
}

// call is one call of a method by a member whose role has it, in a transaction.
type call struct {
	*pds.State
	app       *app
	ctx       context.Context
	community syntax.DID
	who       syntax.DID
	role      role
	id        string // of the room, if the call is about one
	room      *room  // that the member sees
	query     *params
	in        *input
	then      func() error // is done after the transaction
}

type none struct{}

// query is a method that reads.
func query[O any](a *app, name string, fn func(*call) (*O, error)) xrpc.Method {
	return xrpc.Query(namespace+name, a.srv.OwnMethodRule(), func(ctx context.Context, p *params) (out *O, err error) {
		var c *call
		err = a.srv.View(ctx, func(st *pds.State) (err error) {
			if c, err = a.enter(ctx, st, p.Community, p.Room); err == nil {
				c.query = p
				out, err = fn(c)
			}
			return err
		})
		return out, c.finish(err)
	})
}

// procedure is a method that writes, in one transaction.
func procedure[O any](a *app, name string, fn func(*call) (*O, error)) xrpc.Method {
	return xrpc.Procedure(namespace+name, a.srv.OwnMethodRule(), func(ctx context.Context, in *input) (out *O, err error) {
		var c *call
		err = a.srv.Update(ctx, func(st *pds.State) (err error) {
			if c, err = a.enter(ctx, st, in.Community, in.Room); err == nil {
				c.in = in
				out, err = fn(c)
			}
			return err
		})
		return out, c.finish(err)
	})
}

// finish does what comes after a transaction that had no error.
func (c *call) finish(err error) error {
	if err != nil || c.then == nil {
		return err
	}
	return c.then()
}

// enter begins a call: it finds out whether the caller is a member whose role has
// the method that is called, and sees the room. To others a private room is not
// there.
func (a *app) enter(ctx context.Context, st *pds.State, community syntax.DID, roomID string) (*call, error) {
	c := &call{State: st, app: a, ctx: ctx, community: community, who: xrpc.CallerFrom(ctx).Actor, id: roomID}
	m, found, err := get[membership](st, memberKey(community, c.who))
	switch c.role = m.Role; {
	case err != nil:
		return nil, err
	case !found:
		return nil, errNotAMember
	case !a.grants[c.role].Allows(scope.RPC{Method: xrpc.MethodFrom(ctx), Audience: a.audience()}):
		return nil, errRoleTooLow
	}
	if roomID != "" {
		r, found, err := get[room](st, roomKey(community, roomID))
		if err == nil && (!found || !r.seenBy(c.who)) {
			err = errRoomNotFound
		}
		c.room = &r
		return c, err
	}
	return c, nil
}

// The errors of the methods.
var (
	errNotAMember       = xrpc.NewError(403, "NotAMember", "This is no member of the community")
	errRoleTooLow       = xrpc.NewError(403, "RoleTooLow", "Your role in this community does not allow this")
	errBanned           = xrpc.NewError(403, "Banned", "You are banned from this community")
	errAlreadyAMember   = xrpc.NewError(409, "AlreadyAMember", "You are a member of this community")
	errInviteNotFound   = xrpc.NewError(404, "InviteNotFound", "This invite is used up, too old, or there never was one")
	errRoomNotFound     = xrpc.NewError(404, "RoomNotFound", "There is no such room")
	errMessageNotFound  = xrpc.NewError(404, "MessageNotFound", "There is no such message")
	errPictureNotFound  = xrpc.NewError(404, "PictureNotFound", "There is no such picture")
	errEmptyMessage     = xrpc.NewError(400, "EmptyMessage", "A message has a text or a picture")
	errTooManyRooms     = xrpc.NewError(400, "TooMany", "This community has too many rooms")
	errTooManyMembers   = xrpc.NewError(400, "TooMany", "This room has too many members")
	errTooManyGroups    = xrpc.NewError(400, "TooMany", "You are a member of too many communities")
	errPublicRoom       = xrpc.NewError(400, "PublicRoom", "The room is public: what is said there is written by createRecord, putRecord and deleteRecord")
	errOwnerStays       = xrpc.NewError(400, "OwnerStays", "Make somebody else the owner first")
	errFounderElsewhere = xrpc.NewError(403, "AccountElsewhere", "Communities are founded by accounts of this server")
	errNotWritable      = xrpc.NewError(403, "NotWritable", "Members do not write this into the community's repository")
)

// get reads a document. The zero value stands for one that is not there.
func get[T any](st *pds.State, k pds.DocumentKey) (v T, found bool, err error) {
	d, err := st.Get(k)
	if errors.Is(err, storage.ErrNotFound) {
		return v, false, nil
	}
	if err == nil {
		err = d.JSON(&v)
	}
	return v, err == nil, err
}

// putUntil stores a document with an end.
func putUntil(st *pds.State, k pds.DocumentKey, end time.Time, v any) error {
	value, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return st.Put(pds.Document{DocumentKey: k, Value: value, Expires: end})
}

// scan reads the documents of a community whose key begins with a prefix.
func scan[T any](st *pds.State, k pds.DocumentKey, limit int) (map[string]T, error) {
	docs, err := st.Scan(k.Kind, k.Owner, storage.Scan{From: k.Key, To: k.Key + "\x7f", Limit: limit})
	out := make(map[string]T, len(docs))
	for _, d := range docs {
		var v T
		if err := d.JSON(&v); err != nil {
			return nil, err
		}
		out[d.Key[len(k.Key):]] = v
	}
	return out, err
}

func now() string { return time.Now().UTC().Format("2006-01-02T15:04:05.000Z") }
