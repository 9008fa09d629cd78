package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
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

func inviteKey(community syntax.DID, code string) pds.DocumentKey {
	sum := sha256.Sum256([]byte(code))
	return pds.DocumentKey{Kind: namespace + "invite", Owner: community, Key: hex.EncodeToString(sum[:])}
}

type codeOutput struct {
	Code string `json:"code"`
}

// createInvite makes an invite for a role below that of the caller.
func (c *call) createInvite() (*codeOutput, error) {
	inv := invite{cmp.Or(c.in.Role, member), cmp.Or(c.in.Uses, 1), c.who}
	if inv.Role.rank() >= c.role.rank() {
		return nil, errRoleTooLow
	}
	code, life := rand.Text(), cmp.Or(time.Duration(c.in.Hours)*time.Hour, inviteLife)
	return &codeOutput{code}, putUntil(c.State, inviteKey(c.community, code), time.Now().Add(life), inv)
}

type acceptInviteInput struct {
	Community syntax.DID `json:"community"`
	Code      string     `json:"code"`
}

// acceptInvite makes the caller a member. Of several who accept the last use of an
// invite at the same time one wins: the others run again, and do not find it.
func (a *app) acceptInvite(ctx context.Context, in *acceptInviteInput) (out *communityView, err error) {
	who := xrpc.CallerFrom(ctx).Actor
	err = a.srv.Update(ctx, func(st *pds.State) error {
		_, banned, banErr := get[ban](st, banKey(in.Community, who))
		_, already, memberErr := get[membership](st, memberKey(in.Community, who))
		k := inviteKey(in.Community, in.Code)
		inv, found, invErr := get[invite](st, k)
		switch err := first(banErr, memberErr, invErr); {
		case err != nil:
			return err
		case banned:
			return errBanned
		case already:
			return errAlreadyAMember
		case !found:
			return errInviteNotFound
		}
		if inv.Left--; inv.Left > 0 {
			d, err := st.Get(k)
			err = first(err, putUntil(st, k, d.Expires, inv))
			if err != nil {
				return err
			}
		} else if err := st.Delete(k); err != nil {
			return err
		}
		doc, _, err := get[community](st, communityKey(in.Community))
		out = &communityView{in.Community, doc, inv.Role}
		return first(err, admit(st, in.Community, who, inv.Role))
	})
	return out, err
}

// first returns the first error that is one.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// admit makes somebody a member.
func admit(st *pds.State, community, did syntax.DID, r role) error {
	others, err := communitiesOf(st, did)
	if len(others) >= maxMemberships {
		return errTooManyGroups
	}
	return first(err,
		st.PutJSON(memberKey(community, did), membership{r, now()}),
		st.PutJSON(memberOfKey(did, community), none{}),
		notice(st, community),
	)
}

// dismiss ends a membership with all that hangs on it, and cuts the streams of the
// former member. Sessions as the community end as well, see Grant.
func (c *call) dismiss(did syntax.DID) (*none, error) {
	rooms, err := listRooms(c.State, c.community)
	for id, r := range rooms {
		err = first(err, c.Delete(readKey(c.community, did, id)))
		if r.without(did) {
			err = first(err, c.PutJSON(roomKey(c.community, id), r))
		}
	}
	return &none{}, first(err,
		c.Delete(memberKey(c.community, did)),
		c.Delete(memberOfKey(did, c.community)),
		c.Recheck(did),
		notice(c.State, c.community),
	)
}

// leaveCommunity ends the caller's own membership.
func (c *call) leaveCommunity() (*none, error) {
	if c.role == owner {
		return nil, errOwnerStays
	}
	return c.dismiss(c.who)
}

// below returns a member whose role is below that of the caller.
func (c *call) below(did syntax.DID) (membership, error) {
	m, found, err := get[membership](c.State, memberKey(c.community, did))
	if err == nil && !found {
		err = errNotAMember
	}
	if err == nil && m.Role.rank() >= c.role.rank() {
		err = errRoleTooLow
	}
	return m, err
}

// setRole changes the role of another member. It counts at the member's next
// request. Who makes somebody else the owner is a moderator from then on.
func (c *call) setRole() (*none, error) {
	m, err := c.below(c.in.Member)
	m.Role = c.in.Role
	err = first(err, c.PutJSON(memberKey(c.community, c.in.Member), m))
	if m.Role == owner {
		doc, _, getErr := get[community](c.State, communityKey(c.community))
		doc.Owner = c.in.Member
		err = first(err, getErr, c.PutJSON(communityKey(c.community), doc), c.PutJSON(memberKey(c.community, c.who), membership{moderator, now()}))
	}
	return &none{}, first(err, notice(c.State, c.community))
}

// ban is the document of a ban.
type ban struct {
	By     syntax.DID `json:"by"`
	Reason string     `json:"reason,omitempty"`
	At     string     `json:"at"`
}

func banKey(community, did syntax.DID) pds.DocumentKey {
	return pds.DocumentKey{Kind: namespace + "ban", Owner: community, Key: string(did)}
}

// banMember ends a membership, and refuses further invites.
func (c *call) banMember() (*none, error) {
	_, err := c.below(c.in.Member)
	if err = first(err, c.PutJSON(banKey(c.community, c.in.Member), ban{c.who, c.in.Reason, now()})); err != nil {
		return nil, err
	}
	return c.dismiss(c.in.Member)
}

// unbanMember lets somebody accept invites again.
func (c *call) unbanMember() (*none, error) {
	return &none{}, c.Delete(banKey(c.community, c.in.Member))
}

// memberView is the document of a member, or of a ban.
type memberView struct {
	Member syntax.DID `json:"member"`
	Role   role       `json:"role,omitempty"`
	Joined string     `json:"joined,omitempty"`
	By     syntax.DID `json:"by,omitempty"`
	Reason string     `json:"reason,omitempty"`
	At     string     `json:"at,omitempty"`
}

type listMembersOutput struct {
	Members []memberView `json:"members"`
	Cursor  string       `json:"cursor,omitempty"`
}

// listMembers lists members, or who is banned.
func (c *call) listMembers() (*listMembersOutput, error) {
	kind := memberKey("", "").Kind
	if c.query.Banned {
		kind = banKey("", "").Kind
	}
	docs, err := c.Scan(kind, c.community, storage.Scan{From: c.query.Cursor, Limit: c.query.Limit + 1})
	out := &listMembersOutput{Members: make([]memberView, len(docs))}
	for i, d := range docs {
		out.Members[i].Member = syntax.DID(d.Key)
		err = first(err, d.JSON(&out.Members[i]))
	}
	if n := c.query.Limit; len(docs) > n { // the next page begins with the last one
		out.Members, out.Cursor = out.Members[:n], docs[n].Key
	}
	return out, err
}
