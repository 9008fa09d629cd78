package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/oauth/scope"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// role is what a member is. Its name is in the member's document; what it means is
// a set of scopes. So records, uploads and methods are governed in one language,
// and so is an app by which a member signs in as the community.
type role string

const (
	guest     role = "guest"
	member    role = "member"
	moderator role = "moderator"
	owner     role = "owner"
)

// ranks are the roles from the lowest to the highest. Each has the rights of those
// before it, too.
var ranks = []role{guest, member, moderator, owner}

var roleScopes = map[role]string{
	member: "repo:dev.pdskit.community.message repo:dev.pdskit.community.reaction?action=create&action=delete " +
		"blob?accept=image/png&accept=image/jpeg&accept=image/gif&accept=image/webp",
	moderator: "repo:dev.pdskit.community.room?action=create&action=update",
	owner:     "repo:dev.pdskit.community.profile?action=create&action=update",
}

var roleMethods = map[role]string{
	guest:     "getCommunity listMembers getHistory getPicture watch markRead leaveCommunity",
	member:    "createRoom changeRoom sendMessage editMessage deleteMessage reactTo uploadPicture",
	moderator: "createInvite banMember unbanMember listActs",
	owner:     "setRole deleteCommunity",
}

func (r role) rank() int { return slices.Index(ranks, r) }

// scopes writes down what the role may do.
func (r role) scopes(audience string) string {
	var all []string
	for _, lower := range ranks[:r.rank()+1] {
		all = append(all, strings.Fields(roleScopes[lower])...)
		for method := range strings.FieldsSeq(roleMethods[lower]) {
			all = append(all, scope.RPC{Method: namespace + method, Audience: audience}.String())
		}
	}
	return strings.Join(all, " ")
}

// standing is the document of a member, or of a ban.
type standing struct {
	Role   role       `json:"role,omitempty"`
	Since  time.Time  `json:"since"`
	By     syntax.DID `json:"by,omitempty"` // who has banned
	Reason string     `json:"reason,omitempty"`
}

// Grant implements [pds.Delegation]: what a member may do to the repository.
func (a *app) Grant(_ context.Context, st *pds.State, community, actor syntax.DID) (*scope.Set, error) {
	m, _, err := get[standing](st, memberKey(community, actor))
	return a.grants[m.Role], err
}

// Groups implements [pds.GroupLister]: members may sign in as a community.
func (a *app) Groups(_ context.Context, st *pds.State, actor syntax.DID) ([]syntax.DID, error) {
	found, err := scan[object](st, memberOfKey(actor, ""), maxMemberships)
	var list []syntax.DID
	for _, key := range slices.Sorted(maps.Keys(found)) {
		list = append(list, syntax.DID(key))
	}
	return list, err
}

// invite is the document of an invite, under the hash of its code.
type invite struct {
	Role  role       `json:"role"`
	Left  int        `json:"left"`
	By    syntax.DID `json:"by"`
	Until time.Time  `json:"until"`
}

// createInvite makes an invite for a role below that of the caller.
func (c *call) createInvite() error {
	life := cmp.Or(time.Duration(c.in.Hours)*time.Hour, inviteLife)
	inv := invite{cmp.Or(c.in.Role, member), cmp.Or(c.in.Uses, 1), c.who, c.Now().Add(life)}
	if inv.Role.rank() >= c.role.rank() {
		return errRoleTooLow
	}
	code := rand.Text()
	c.out = object{"code": code}
	return c.PutJSONUntil(inviteKey(c.community, code), inv, inv.Until)
}

// invitation returns an invite that somebody may accept, and what that leads to.
// It is good as long as who has made it could still make it.
func (a *app) invitation(st *pds.State, in *input, who syntax.DID) (inv invite, to *communityView, err error) {
	inv, _, err = get[invite](st, inviteKey(in.Community, in.Code))
	by, _, byErr := get[standing](st, memberKey(in.Community, inv.By))
	_, banned, banErr := get[standing](st, banKey(in.Community, who))
	_, already, memberErr := get[standing](st, memberKey(in.Community, who))
	doc, _, docErr := get[community](st, communityKey(in.Community))
	switch err = errors.Join(err, byErr, banErr, memberErr, docErr); {
	case err != nil:
	case banned:
		err = xrpc.NewError(403, "Banned", "You are banned from this community")
	case already:
		err = xrpc.NewError(409, "AlreadyAMember", "You are a member of this community")
	case !a.allows(by.Role, namespace+"createInvite") || inv.Role.rank() >= by.Role.rank():
		err = errInviteNotFound
	}
	return inv, &communityView{in.Community, doc, inv.Role}, err
}

// getInvite shows what accepting an invite leads to.
func (a *app) getInvite(ctx context.Context, in *input) (to *communityView, err error) {
	err = a.srv.View(ctx, func(st *pds.State) error {
		_, to, err = a.invitation(st, in, xrpc.CallerFrom(ctx).Actor)
		return err
	})
	return to, err
}

// acceptInvite makes the caller a member. Of several who accept the last use of an
// invite one wins: the others run again, and do not find it.
func (a *app) acceptInvite(ctx context.Context, in *input) (to *communityView, err error) {
	who := xrpc.CallerFrom(ctx).Actor
	err = a.srv.Update(ctx, func(st *pds.State) error {
		inv, view, err := a.invitation(st, in, who)
		if err != nil {
			return err
		}
		to = view
		k := inviteKey(in.Community, in.Code)
		if inv.Left--; inv.Left > 0 {
			err = st.PutJSONUntil(k, inv, inv.Until)
		} else {
			err = st.Delete(k)
		}
		return errors.Join(err, a.admit(ctx, st, in.Community, who, inv.Role))
	})
	return to, err
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
			err = errors.Join(err, c.keepRoom(id, r))
		}
	}
	return errors.Join(err,
		c.Delete(memberKey(c.community, did)),
		c.Delete(memberOfKey(did, c.community)),
		c.Recheck(did),
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
	err = errors.Join(err, c.PutJSON(memberKey(c.community, c.in.Member), m), notice(c.State, c.community))
	if m.Role == owner {
		err = errors.Join(err, c.PutJSON(memberKey(c.community, c.who), standing{Role: moderator, Since: c.Now().UTC()}))
	}
	return err
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

// listMembers lists members, or for those who may ban who is banned.
func (c *call) listMembers() error {
	kind := memberKey("", "").Kind
	if c.in.Banned {
		kind = banKey("", "").Kind
		if !c.app.allows(c.role, namespace+"banMember") {
			return errRoleTooLow
		}
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
