package main

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/oauth/scope"
	"github.com/pdskit/pdskit/pds"
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

var _ pds.GroupLister = (*app)(nil)
