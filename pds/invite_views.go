package pds

import (
	"errors"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/storage"
)

// maxInviteUses is how many uses of a code are listed.
const maxInviteUses = 1000

// Invite is an invite code, as com.atproto.server.defs#inviteCode has it.
type Invite struct {
	Code       string           `json:"code"`
	Available  int              `json:"available"` // how often it may be used in all
	Disabled   bool             `json:"disabled"`
	ForAccount string           `json:"forAccount"` // DID of who may give it away, or "admin"
	CreatedBy  string           `json:"createdBy"`  // the same of who made it
	CreatedAt  string           `json:"createdAt"`  // RFC 3339
	Uses       []InvitedAccount `json:"uses"`       // at most 1,000

	open bool // it can be used again, if it is not disabled
}

// InvitedAccount is an account that was made with an [Invite].
type InvitedAccount struct {
	UsedBy syntax.DID `json:"usedBy"`
	UsedAt string     `json:"usedAt"` // RFC 3339
}

// viewInvite returns a code as methods show it.
func viewInvite(tx storage.Docs, code string) (*Invite, error) {
	_, inv, err := getInvite(tx, code)
	if err != nil {
		return nil, err
	}
	uses, err := tx.ScanDocs(docInviteUse, storage.Scan{From: code + "/", To: code + "0", Limit: maxInviteUses})
	if err != nil {
		return nil, err
	}
	v := &Invite{
		Code: code, Available: inv.Uses, Disabled: inv.Disabled, ForAccount: inv.ForAccount,
		CreatedBy: inv.CreatedBy, CreatedAt: formatTime(inv.CreatedAt), Uses: make([]InvitedAccount, 0, len(uses)),
		open: inv.Used < inv.Uses,
	}
	for _, d := range uses {
		v.Uses = append(v.Uses, InvitedAccount{syntax.DID(strings.TrimPrefix(d.Key, code+"/")), string(d.Value)})
	}
	return v, nil
}

// accountInviteDocs returns the docAccountInvite documents of an account. The
// key is read by accountInviteCode.
func accountInviteDocs(tx storage.Docs, account string) ([]storage.Doc, error) {
	return tx.ScanDocs(docAccountInvite, storage.Scan{From: account + "/", To: account + "0", Limit: maxAccountInvites})
}

func accountInviteCode(d storage.Doc) string {
	return d.Key[strings.LastIndexByte(d.Key, '/')+1:]
}

// accountInvites returns the codes of an account.
func accountInvites(tx storage.Docs, account string) ([]*Invite, error) {
	docs, err := accountInviteDocs(tx, account)
	if err != nil {
		return nil, err
	}
	out := make([]*Invite, 0, len(docs))
	for _, d := range docs {
		v, err := viewInvite(tx, accountInviteCode(d))
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// invitedBy returns the code that an account came with, or nil.
func invitedBy(tx storage.Docs, did syntax.DID) (*Invite, error) {
	d, err := tx.GetDoc(docInvitedBy, string(did))
	if err == nil {
		var v *Invite
		if v, err = viewInvite(tx, string(d.Value)); err == nil {
			return v, nil
		}
	}
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil
	}
	return nil, err
}
