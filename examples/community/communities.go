package main

import (
	"context"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/live"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/repo"
	"github.com/pdskit/pdskit/xrpc"
)

// community is the document of a community, beside its account.
type community struct {
	Handle syntax.Handle `json:"handle"`
	Owner  syntax.DID    `json:"owner"`
	Title  string        `json:"title"`
}

func communityKey(did syntax.DID) pds.DocumentKey {
	return pds.DocumentKey{Kind: namespace + "community", Owner: did}
}

// noticeTopic tells the members of a community that something about it has
// changed. Its signals say who is there.
func noticeTopic(did syntax.DID) string { return namespace + "notices/" + string(did) }

// notice makes clients ask for the community again.
func notice(st *pds.State, did syntax.DID) error {
	return st.Publish(noticeTopic(did), map[string]string{"type": "changed"})
}

type createCommunityInput struct {
	Name        string `json:"name"`
	Title       string `json:"title"`
	Description string `json:"description"`
}

type communityView struct {
	Community syntax.DID `json:"community"`
	community
	Role role `json:"role"`
}

// createCommunity makes the account of a community, which has no credentials, and
// the caller its owner. Founders have accounts here.
func (a *app) createCommunity(ctx context.Context, in *createCommunityInput) (*communityView, error) {
	founder, handle := xrpc.CallerFrom(ctx).Actor, in.Name+a.domain
	if _, err := a.srv.Account(ctx, string(founder)); err != nil {
		return nil, errFounderElsewhere
	}
	// What a crash leaves is removed by a job.
	err := a.srv.Schedule(ctx, pds.Job{Kind: jobSettle, Name: handle, Due: time.Now().Add(time.Minute)})
	if err != nil {
		return nil, err
	}
	account, err := a.srv.CreateAccount(ctx, pds.NewAccount{Handle: handle})
	if err != nil {
		return nil, err
	}
	did := account.DID
	profile, err := repo.RecordFromValue(map[string]any{"title": in.Title, "description": in.Description}, colProfile)
	if err != nil {
		return nil, err
	}
	_, err = a.srv.Apply(ctx, pds.Batch{Account: did, Actor: did, Ops: []pds.Op{
		{Action: pds.Create, Collection: colProfile, RKey: "self", Record: profile},
	}})
	if err != nil {
		return nil, err
	}
	doc := community{account.Handle, founder, in.Title}
	err = a.srv.Update(ctx, func(st *pds.State) error {
		topic := live.Topic{Name: noticeTopic(did), Owner: did, Keep: live.Retention{Count: keptNotices}}
		return first(
			st.PutJSON(communityKey(did), doc),
			st.CreateTopic(topic),
			st.CancelJob(jobSettle, handle),
			admit(st, did, founder, owner),
		)
	})
	return &communityView{did, doc, owner}, err
}

// jobSettle removes the account of a community that was never completed. Its name
// is the handle.
const jobSettle = namespace + "settle"

func (a *app) settle(ctx context.Context, j pds.Job) error {
	account, err := a.srv.Account(ctx, j.Name)
	if xrpc.ErrorName(err) == "AccountNotFound" {
		return nil
	}
	complete := account.PasswordHash != "" // somebody's own account
	err = first(err, a.srv.View(ctx, func(st *pds.State) error {
		_, found, err := get[community](st, communityKey(account.DID))
		complete = complete || found
		return err
	}))
	if err != nil || complete {
		return err
	}
	return a.srv.DeleteAccount(ctx, account.DID, pds.By{})
}

type listCommunitiesOutput struct {
	Communities []communityView `json:"communities"`
}

// listCommunities lists the communities of the caller.
func (a *app) listCommunities(ctx context.Context, _ *xrpc.None) (*listCommunitiesOutput, error) {
	out := &listCommunitiesOutput{[]communityView{}}
	who := xrpc.CallerFrom(ctx).Actor
	err := a.srv.View(ctx, func(st *pds.State) error {
		list, err := communitiesOf(st, who)
		for _, did := range list {
			m, _, memberErr := get[membership](st, memberKey(did, who))
			doc, found, docErr := get[community](st, communityKey(did))
			if err = first(err, memberErr, docErr); found { // it may be gone
				out.Communities = append(out.Communities, communityView{did, doc, m.Role})
			}
		}
		return err
	})
	return out, err
}

type getCommunityOutput struct {
	communityView
	Rooms []roomView `json:"rooms"`
}

// getCommunity shows the community and the rooms that the member sees.
func (c *call) getCommunity() (*getCommunityOutput, error) {
	doc, _, err := get[community](c.State, communityKey(c.community))
	rooms, roomsErr := c.rooms()
	return &getCommunityOutput{communityView{c.community, doc, c.role}, rooms}, first(err, roomsErr)
}

// deleteCommunity deletes the account with its repository, documents and topics.
func (c *call) deleteCommunity() (*none, error) {
	c.then = func() error { return c.app.srv.DeleteAccount(c.ctx, c.community, pds.By{Actor: c.who}) }
	return &none{}, nil
}

type listActsOutput struct {
	Acts []pds.Act `json:"acts"`
}

// listActs tells who did what to the public side of the community.
func (c *call) listActs() (*listActsOutput, error) {
	out := new(listActsOutput)
	c.then = func() error {
		acts, err := c.app.srv.Acts(c.ctx, c.community, pds.ActQuery{Before: c.query.Before, Refused: c.query.Refused, Limit: c.query.Limit})
		out.Acts = append([]pds.Act{}, acts...) // never null
		return err
	}
	return out, nil
}
