package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// invite is the document of an invite, under the hash of its code.
type invite struct {
	Role role       `json:"role"`
	Left int        `json:"left"`
	By   syntax.DID `json:"by"`
}

// createInvite makes an invite for a role below that of the caller.
func (c *call) createInvite() error {
	inv := invite{cmp.Or(c.in.Role, member), cmp.Or(c.in.Uses, 1), c.who}
	if inv.Role.rank() >= c.role.rank() {
		return errRoleTooLow
	}
	code, life := rand.Text(), cmp.Or(time.Duration(c.in.Hours)*time.Hour, inviteLife)
	c.out = object{"code": code}
	return c.PutJSONUntil(inviteKey(c.community, code), inv, c.Now().Add(life))
}

// acceptInvite makes the caller a member, if who has made the invite still could. Of several who accept the last use of an
// invite at the same time one wins: the others run again, and do not find it.
func (a *app) acceptInvite(ctx context.Context, in *input) (out *communityView, err error) {
	who := xrpc.CallerFrom(ctx).Actor
	err = a.srv.Update(ctx, func(st *pds.State) error {
		_, banned, banErr := get[standing](st, banKey(in.Community, who))
		_, already, memberErr := get[standing](st, memberKey(in.Community, who))
		k := inviteKey(in.Community, in.Code)
		d, err := st.Get(k)
		switch {
		case errors.Join(banErr, memberErr) != nil:
			return errors.Join(banErr, memberErr)
		case banned:
			return xrpc.NewError(403, "Banned", "You are banned from this community")
		case already:
			return xrpc.NewError(409, "AlreadyAMember", "You are a member of this community")
		case errors.Is(err, storage.ErrNotFound):
			return errInviteNotFound
		}
		var inv invite
		if err = errors.Join(err, d.JSON(&inv)); err != nil {
			return err
		}
		by, _, err := get[standing](st, memberKey(in.Community, inv.By))
		if err != nil || by.Role.rank() < moderator.rank() || inv.Role.rank() >= by.Role.rank() {
			return cmp.Or[error](err, errInviteNotFound)
		}
		if inv.Left--; inv.Left > 0 {
			err = st.PutJSONUntil(k, inv, d.Expires)
		} else {
			err = st.Delete(k)
		}
		doc, _, docErr := get[community](st, communityKey(in.Community))
		out = &communityView{in.Community, doc, inv.Role}
		return errors.Join(err, docErr, a.admit(ctx, st, in.Community, who, inv.Role))
	})
	return out, err
}

// admit makes somebody a member.
func (a *app) admit(ctx context.Context, st *pds.State, community, did syntax.DID, r role) error {
	others, err := a.Groups(ctx, st, did)
	if len(others) >= maxMemberships {
		return errTooMany
	}
	return errors.Join(err,
		st.PutJSON(memberKey(community, did), standing{Role: r, Since: st.Now().UTC()}),
		st.PutJSON(memberOfKey(did, community), object{}),
		notice(st, community),
	)
}

// dismiss ends a membership with all that hangs on it, and cuts the streams of the
// former member. Sessions as the community end as well, see Grant.
func (c *call) dismiss(did syntax.DID) error {
	rooms, err := scan[*room](c.State, roomKey(c.community, ""), maxRooms)
	for id, r := range rooms {
		err = errors.Join(err, c.Delete(readKey(c.community, did, id)))
		if r.without(did) {
			err = errors.Join(err, c.PutJSON(roomKey(c.community, id), r))
		}
	}
	return errors.Join(err,
		c.Delete(memberKey(c.community, did)),
		c.Delete(memberOfKey(did, c.community)),
		c.Recheck(did),
		tidy(c.State, c.community),
		notice(c.State, c.community),
	)
}

// leaveCommunity ends the caller's own membership.
func (c *call) leaveCommunity() error {
	if c.role == owner {
		return xrpc.NewError(400, "OwnerStays", "Make somebody else the owner first")
	}
	return c.dismiss(c.who)
}

// below returns a member whose role is below that of the caller.
func (c *call) below(did syntax.DID) (standing, error) {
	m, found, err := get[standing](c.State, memberKey(c.community, did))
	switch {
	case err == nil && !found:
		err = errNotAMember
	case err == nil && m.Role.rank() >= c.role.rank():
		err = errRoleTooLow
	}
	return m, err
}

// setRole changes the role of another member. It counts at the member's next
// request. Who makes somebody else the owner is a moderator from then on.
func (c *call) setRole() error {
	m, err := c.below(c.in.Member)
	m.Role = c.in.Role
	err = errors.Join(err, c.PutJSON(memberKey(c.community, c.in.Member), m))
	if m.Role == owner {
		doc, _, getErr := get[community](c.State, communityKey(c.community))
		doc.Owner = c.in.Member
		err = errors.Join(err, getErr, c.PutJSON(communityKey(c.community), doc), c.PutJSON(memberKey(c.community, c.who), standing{Role: moderator, Since: c.Now().UTC()}))
	}
	return errors.Join(err, notice(c.State, c.community))
}

// banMember ends a membership, and refuses further invites.
func (c *call) banMember() error {
	_, err := c.below(c.in.Member)
	if err = errors.Join(err, c.PutJSON(banKey(c.community, c.in.Member), standing{Since: c.Now().UTC(), By: c.who, Reason: c.in.Reason})); err != nil {
		return err
	}
	return c.dismiss(c.in.Member)
}

// unbanMember lets somebody accept invites again.
func (c *call) unbanMember() error { return c.Delete(banKey(c.community, c.in.Member)) }

type memberView struct {
	Member syntax.DID `json:"member"`
	standing
}

// listMembers lists members, or who is banned.
func (c *call) listMembers() error {
	kind := memberKey("", "").Kind
	if c.in.Banned {
		kind = banKey("", "").Kind
	}
	docs, err := c.Scan(kind, c.community, storage.Scan{From: c.in.Cursor, Limit: c.in.Limit + 1})
	list := make([]memberView, len(docs))
	for i, d := range docs {
		list[i].Member = syntax.DID(d.Key)
		err = errors.Join(err, d.JSON(&list[i]))
	}
	c.out = object{"members": list}
	if n := c.in.Limit; len(docs) > n { // the next page begins with the last one
		c.out = object{"members": list[:n], "cursor": docs[n].Key}
	}
	return err
}
