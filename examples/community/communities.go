package main

import (
	"context"
	"errors"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/live"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/xrpc"
)

// community is the document of a community, beside its account.
type community struct {
	Handle syntax.Handle `json:"handle"`
	Title  string        `json:"title"`
}

// noticeTopic tells the members of a community that something about it has
// changed. Its signals say who is there.
func noticeTopic(did syntax.DID) string { return namespace + "notices/" + string(did) }

// notice makes clients ask for the community again.
func notice(st *pds.State, did syntax.DID) error {
	return st.Publish(noticeTopic(did), map[string]string{"type": "changed"})
}

type communityView struct {
	Community syntax.DID `json:"community"`
	community
	Role role `json:"role"`
}

// createCommunity makes the account of a community, which has no credentials, and
// the caller its owner, who then writes its profile. Founders have accounts here. What
// a crash has left, the administrator deletes: no account that is there is taken over.
func (a *app) createCommunity(ctx context.Context, in *input) (*communityView, error) {
	founder, handle := xrpc.CallerFrom(ctx).Actor, in.Name+a.domain
	if _, err := a.srv.Account(ctx, string(founder)); err != nil {
		return nil, xrpc.NewError(403, "AccountElsewhere", "Communities are founded by accounts of this server")
	}
	account, err := a.srv.CreateAccount(ctx, pds.NewAccount{Handle: handle})
	if err != nil {
		return nil, err
	}
	did, doc := account.DID, community{account.Handle, in.Title}
	err = a.srv.Update(ctx, func(st *pds.State) error {
		topic := live.Topic{Name: noticeTopic(did), Owner: did, Keep: live.Retention{Count: 100}}
		return errors.Join(
			st.PutJSON(communityKey(did), doc),
			st.CreateTopic(topic),
			a.admit(ctx, st, did, founder, owner),
		)
	})
	if err != nil {
		err = errors.Join(err, a.srv.DeleteAccount(context.WithoutCancel(ctx), did, pds.By{Actor: founder}))
	}
	return &communityView{did, doc, owner}, err
}

// listCommunities lists the communities of the caller.
func (a *app) listCommunities(ctx context.Context, _ *xrpc.None) (*object, error) {
	who, views := xrpc.CallerFrom(ctx).Actor, []communityView{}
	err := a.srv.View(ctx, func(st *pds.State) error {
		list, err := a.Groups(ctx, st, who)
		for _, did := range list {
			m, _, memberErr := get[standing](st, memberKey(did, who))
			doc, found, docErr := get[community](st, communityKey(did))
			if err = errors.Join(err, memberErr, docErr); found { // it may be gone
				views = append(views, communityView{did, doc, m.Role})
			}
		}
		return err
	})
	return &object{"communities": views}, err
}

// getCommunity shows the community and the rooms that the member sees.
func (c *call) getCommunity() error {
	doc, _, err := get[community](c.State, communityKey(c.community))
	rooms, roomsErr := c.rooms()
	c.out = struct {
		communityView
		Rooms []roomView `json:"rooms"`
	}{communityView{c.community, doc, c.role}, rooms}
	return errors.Join(err, roomsErr)
}

// deleteCommunity deletes the account with its repository, documents and topics.
func (c *call) deleteCommunity() error {
	c.then = func() error { return c.app.srv.DeleteAccount(c.ctx, c.community, pds.By{Actor: c.who}) }
	return nil
}

// listActs tells who did what to the public side of the community.
func (c *call) listActs() error {
	c.then = func() error {
		acts, err := c.app.srv.Acts(c.ctx, c.community, pds.ActQuery{Before: c.in.Before, Refused: c.in.Refused, Limit: c.in.Limit})
		c.out = object{"acts": append([]pds.Act{}, acts...)} // never null
		return err
	}
	return nil
}
