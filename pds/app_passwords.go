package pds

import (
	"crypto/sha256"
	"encoding/json"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// docAppPassword is the kind of the documents that hold app passwords, by
// DID/name.
const docAppPassword = "app-password"

// Limits of app passwords.
const (
	maxAppPasswords    = 100 // of one account
	maxAppPasswordName = 256 // bytes
)

// appPassword is a password for one application, which can do less than the
// account's own and can be revoked alone.
type appPassword struct {
	Hash       string    `json:"hash"`
	Privileged bool      `json:"privileged,omitempty"`
	CreatedAt  time.Time `json:"createdAt"`

	name    string // the part of the document's key after the DID
	version int64  // of the document
}

func appPasswordKey(did syntax.DID, name string) string { return string(did) + "/" + name }

// appPasswordSalt is the salt of all app passwords of an account. Since they
// share it, one hash is enough to compare a password with all of them. What
// keeps them apart is that they are random.
func appPasswordSalt(did syntax.DID) []byte {
	sum := sha256.Sum256([]byte(did))
	return sum[:argonSalt]
}

// newAppPassword returns a random password "xxxx-xxxx-xxxx-xxxx" of 80 bits.
func newAppPassword() string {
	c := randomCode(16)
	return c[:4] + "-" + c[4:8] + "-" + c[8:12] + "-" + c[12:]
}

// isAppPassword reports whether a password looks like an app password.
func isAppPassword(password string) bool {
	if len(password) != 19 {
		return false
	}
	for i := range len(password) {
		c := password[i]
		switch {
		case i%5 == 4 && c != '-':
			return false
		case i%5 != 4 && (c < 'a' || c > 'z') && (c < '2' || c > '7'):
			return false
		}
	}
	return true
}

// listAppPasswords returns the app passwords of an account, by name.
func listAppPasswords(tx storage.Docs, did syntax.DID) ([]appPassword, error) {
	docs, err := tx.ScanOwner(did, docAppPassword)
	if err != nil {
		return nil, err
	}
	list := make([]appPassword, len(docs))
	for i, d := range docs {
		if err := json.Unmarshal(d.Value, &list[i]); err != nil {
			return nil, err
		}
		list[i].name, list[i].version = strings.TrimPrefix(d.Key, string(did)+"/"), d.Version
	}
	return list, nil
}

func checkAppPasswordName(name string) error {
	if name == "" || len(name) > maxAppPasswordName {
		return xrpc.InvalidRequest("The name of an app password must have 1 to %d bytes", maxAppPasswordName).WithCause(errAppPasswordName)
	}
	return nil
}
