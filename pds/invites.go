package pds

import (
	"encoding/json"
	"errors"
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
	docAccountInvite = "account-invite" // by "account/code": nothing
)

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
	if _, err := tx.PutDoc(storage.Doc{Kind: docInvite, Key: code, Value: value}); err != nil {
		return err
	}
	_, err = tx.PutDoc(storage.Doc{Kind: docAccountInvite, Key: inv.ForAccount + "/" + code})
	return err
}

func getInvite(tx storage.Docs, code string) (storage.Doc, invite, error) {
	var inv invite
	if code == "" || len(code) > 256 {
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
	inv.Used++
	if err := replaceInvite(tx, d, inv); err != nil {
		return err
	}
	key := code + "/" + string(did)
	old, err := tx.GetDoc(docInviteUse, key) // the DID was here before
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	_, err = tx.PutDoc(storage.Doc{
		Kind: docInviteUse, Key: key, Version: old.Version, Value: []byte(formatTime(now)),
	})
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
	if inv.Used > 0 {
		inv.Used--
	}
	if err := replaceInvite(tx, d, inv); err != nil {
		return err
	}
	return tx.DeleteDoc(docInviteUse, code+"/"+string(did))
}

func replaceInvite(tx storage.Docs, d storage.Doc, inv invite) (err error) {
	if d.Value, err = json.Marshal(inv); err != nil {
		return err
	}
	_, err = tx.PutDoc(d)
	return err
}
