package main

import (
	"context"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/xrpc"
)

// input is the input, or the parameters, of all methods: the lexicons say which of
// its fields each has.
type input struct {
	Community syntax.DID   `json:"community"`
	Title     string       `json:"title"`
	Code      string       `json:"code"`
	Role      role         `json:"role"`
	Uses      int          `json:"uses"`
	Hours     int          `json:"hours"`
	Member    syntax.DID   `json:"member"`
	Reason    string       `json:"reason"`
	Room      string       `json:"room"`
	Name      string       `json:"name"`
	Add       []syntax.DID `json:"add"`
	Remove    []syntax.DID `json:"remove"`
	Number    int64        `json:"number"`
	ID        string       `json:"id"`
	Text      string       `json:"text"`
	Reply     string       `json:"reply"`
	Picture   string       `json:"picture"`
	Alt       string       `json:"alt"`
	Emoji     string       `json:"emoji"`
	Undo      bool         `json:"undo"`
	Before    int64        `json:"before"`
	Limit     int          `json:"limit"`
	Cursor    string       `json:"cursor"`
	Banned    bool         `json:"banned"`
	Refused   bool         `json:"refused"`
}

// object is an answer, or a part of one.
type object map[string]any

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
	in        *input
	out       any          // the answer
	then      func() error // what comes after the transaction
}

// query is a method for members that reads.
func (a *app) query(name string, fn func(*call) error) xrpc.Method {
	return xrpc.Query(namespace+name, a.srv.OwnMethodRule(), func(ctx context.Context, in *input) (*any, error) {
		return a.run(ctx, a.srv.View, call{community: in.Community, id: in.Room, in: in}, fn)
	})
}

// procedure is a method for members that writes, in one transaction.
func (a *app) procedure(name string, fn func(*call) error) xrpc.Method {
	return xrpc.Procedure(namespace+name, a.srv.OwnMethodRule(), func(ctx context.Context, in *input) (*any, error) {
		return a.run(ctx, a.srv.Update, call{community: in.Community, id: in.Room, in: in}, fn)
	})
}

// run runs a method, which may begin anew if the transaction does. Without fn it
// finds out whether the caller may call it.
func (a *app) run(ctx context.Context, transaction func(context.Context, func(*pds.State) error) error, begin call, fn func(*call) error) (*any, error) {
	var c call
	err := transaction(ctx, func(st *pds.State) error {
		c = begin
		c.State, c.app, c.ctx, c.who, c.out = st, a, ctx, xrpc.CallerFrom(ctx).Actor, object{}
		if err := c.enter(); err != nil || fn == nil {
			return err
		}
		return fn(&c)
	})
	if err == nil && c.then != nil {
		err = c.then()
	}
	return &c.out, err
}

// enter finds out whether the caller is a member whose role has the method that is
// called, and sees the room. To others a private room is not there.
func (c *call) enter() error {
	m, found, err := get[standing](c.State, memberKey(c.community, c.who))
	switch c.role = m.Role; {
	case err != nil:
		return err
	case !found:
		return errNotAMember
	case !c.app.allows(c.role, xrpc.MethodFrom(c.ctx)):
		return errRoleTooLow
	case c.id == "":
		return nil
	}
	r, found, err := get[room](c.State, roomKey(c.community, c.id))
	if err == nil && (!found || !r.seenBy(c.who)) {
		err = errRoomNotFound
	}
	c.room = &r
	return err
}

// Errors of several methods.
var (
	errNotAMember      = xrpc.NewError(403, "NotAMember", "This is no member of the community")
	errRoleTooLow      = xrpc.NewError(403, "RoleTooLow", "Your role in this community does not allow this")
	errNotWritable     = xrpc.NewError(403, "NotWritable", "Members do not write this into the community's repository")
	errTooMany         = xrpc.NewError(400, "TooMany", "There cannot be as many")
	errRoomNotFound    = xrpc.NewError(404, "RoomNotFound", "There is no such room")
	errMessageNotFound = xrpc.NewError(404, "MessageNotFound", "There is no such message")
	errPictureNotFound = xrpc.NewError(404, "PictureNotFound", "There is no such picture")
	errInviteNotFound  = xrpc.NewError(404, "InviteNotFound", "This invite is used up, too old, or there never was one")
	errPublicRoom      = xrpc.NewError(400, "PublicRoom", "What is said in public rooms is written by createRecord, putRecord and deleteRecord")
)
