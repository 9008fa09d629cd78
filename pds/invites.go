package pds

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// Kinds of the documents that hold invite codes. They have no owner: who used
// a code stays known when accounts are deleted.
const (
	docInvite        = "invite"         // by code: an invite
	docInviteUse     = "invite-use"     // by "code/DID": when it was used
	docAccountInvite = "account-invite" // by "account/code": who made it
	docInvitedBy     = "invited-by"     // by DID: the code that the account came with
	docInviteRecent  = "invite-recent"  // by "time/code", see recentKey
	docInviteUsage   = "invite-usage"   // by "uses/time/code", see usageKey
)

// inviteRows is how many documents a new code is.
const inviteRows = 4

// maxAccountInvites is how many codes an account may have, used ones included.
const maxAccountInvites = 5000

// maxInviteCode is the length of the longest code, in bytes.
const maxInviteCode = 256

// inviteByAdmin is the owner and maker of codes that belong to no account.
const inviteByAdmin = "admin"

// invite is an invite code as stored.
type invite struct {
	Uses       int       `json:"uses"` // how often it may be used
	Used       int       `json:"used"`
	Disabled   bool      `json:"disabled,omitempty"`
	ForAccount string    `json:"forAccount"`
	CreatedBy  string    `json:"createdBy"`
	CreatedAt  time.Time `json:"createdAt"`
}

func errInvalidInvite(message string) *xrpc.Error {
	return xrpc.NewError(http.StatusBadRequest, "InvalidInviteCode", message)
}

// recentKey orders codes by age.
func (inv *invite) recentKey(code string) string { return formatTime(inv.CreatedAt) + "/" + code }

// usageKey orders codes by how often they were used, then by age.
func (inv *invite) usageKey(code string) string {
	return fmt.Sprintf("%010d/%s", inv.Used, inv.recentKey(code))
}

func errInviteUnavailable() *xrpc.Error {
	return errInvalidInvite("Provided invite code not available")
}

// newInviteCode returns a code that begins with the server's name.
func (s *Server) newInviteCode() string {
	return strings.ReplaceAll(s.public.Hostname(), ".", "-") + "-" + randomPair()
}

// putInvite stores a new code.
func putInvite(tx storage.Docs, code string, inv invite) error {
	value, err := json.Marshal(inv)
	if err != nil {
		return err
	}
	for _, d := range [inviteRows]storage.Doc{
		{Kind: docInvite, Key: code, Value: value},
		{Kind: docAccountInvite, Key: inv.ForAccount + "/" + code, Value: []byte(inv.CreatedBy)},
		{Kind: docInviteRecent, Key: inv.recentKey(code)},
		{Kind: docInviteUsage, Key: inv.usageKey(code)},
	} {
		if _, err := tx.PutDoc(d); err != nil {
			return err
		}
	}
	return nil
}

func getInvite(tx storage.Docs, code string) (storage.Doc, invite, error) {
	var inv invite
	if code == "" || len(code) > maxInviteCode {
		return storage.Doc{}, inv, storage.ErrNotFound
	}
	d, err := tx.GetDoc(docInvite, code)
	if err == nil {
		err = json.Unmarshal(d.Value, &inv)
	}
	return d, inv, err
}

// usableInvite returns a code that can be used now, or the client's error for
// one that is unknown, disabled, used up or of an account that is taken down.
func usableInvite(tx storage.Tx, code string) (storage.Doc, invite, error) {
	d, inv, err := getInvite(tx, code)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return d, inv, errInviteUnavailable()
	case err != nil:
		return d, inv, err
	case inv.Disabled || inv.Used >= inv.Uses:
		return d, inv, errInviteUnavailable()
	case inv.ForAccount == inviteByAdmin:
		return d, inv, nil
	}
	owner, err := tx.Account(syntax.DID(inv.ForAccount))
	if errors.Is(err, storage.ErrNotFound) {
		return d, inv, nil
	}
	if err == nil && owner.TakedownRef != "" {
		err = errInviteUnavailable()
	}
	return d, inv, err
}

// useInvite counts a use of a code by a new account.
func useInvite(tx storage.Tx, code string, did syntax.DID, now time.Time) error {
	d, inv, err := usableInvite(tx, code)
	if err != nil {
		return err
	}
	if err := countInvite(tx, d, inv, inv.Used+1); err != nil {
		return err
	}
	return noteInviteUse(tx, code, did, now)
}

// noteInviteUse remembers who has used a code.
func noteInviteUse(tx storage.Tx, code string, did syntax.DID, at time.Time) error {
	if err := overwriteDoc(tx, docInviteUse, code+"/"+string(did), []byte(formatTime(at))); err != nil {
		return err
	}
	return overwriteDoc(tx, docInvitedBy, string(did), []byte(code))
}

// overwriteDoc stores a document whatever is there: the DID may have been here
// before.
func overwriteDoc(tx storage.Docs, kind, key string, value []byte) error {
	old, err := tx.GetDoc(kind, key)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	_, err = tx.PutDoc(storage.Doc{Kind: kind, Key: key, Version: old.Version, Value: value})
	return err
}

// returnInvite takes back the use of a code by an account that came to nothing.
func returnInvite(tx storage.Tx, code string, did syntax.DID) error {
	d, inv, err := getInvite(tx, code)
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := countInvite(tx, d, inv, max(inv.Used-1, 0)); err != nil {
		return err
	}
	if err := tx.DeleteDoc(docInvitedBy, string(did)); err != nil {
		return err
	}
	return tx.DeleteDoc(docInviteUse, code+"/"+string(did))
}

// countInvite sets how often a code was used.
func countInvite(tx storage.Docs, d storage.Doc, inv invite, used int) error {
	if err := tx.DeleteDoc(docInviteUsage, inv.usageKey(d.Key)); err != nil {
		return err
	}
	inv.Used = used
	if _, err := tx.PutDoc(storage.Doc{Kind: docInviteUsage, Key: inv.usageKey(d.Key)}); err != nil {
		return err
	}
	return replaceInvite(tx, d, inv)
}

func replaceInvite(tx storage.Docs, d storage.Doc, inv invite) (err error) {
	if d.Value, err = json.Marshal(inv); err != nil {
		return err
	}
	_, err = tx.PutDoc(d)
	return err
}
