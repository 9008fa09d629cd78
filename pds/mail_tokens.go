package pds

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// Codes that are sent by mail, one for each account and purpose. Only their
// hashes are stored.

const (
	// mailTokenTTL is how long a code works.
	mailTokenTTL = 15 * time.Minute

	// mailTokenMemory is how long a code is remembered after it was made, so
	// that a late user hears that it has expired.
	mailTokenMemory = 24 * time.Hour

	// mailTokenTries is how many wrong tries end a code.
	mailTokenTries = 10
)

// docMailToken is the kind of the documents that hold codes: under
// "purpose/DID" a mailToken, and under "purpose/#hash" the DID.
const docMailToken = "mail-token"

// mailPurpose is what a code is good for.
type mailPurpose string

const (
	mailConfirmEmail  mailPurpose = "confirm_email"
	mailUpdateEmail   mailPurpose = "update_email"
	mailResetPassword mailPurpose = "reset_password"
	mailDeleteAccount mailPurpose = "delete_account"
	mailPLCOperation  mailPurpose = "plc_operation"
)

func mailPurposes() []mailPurpose {
	return []mailPurpose{mailConfirmEmail, mailUpdateEmail, mailResetPassword, mailDeleteAccount, mailPLCOperation}
}

type mailToken struct {
	Hash   string    `json:"hash"`
	Issued time.Time `json:"issued"`
	Tries  int       `json:"tries,omitempty"`
}

func errMailTokenInvalid() *xrpc.Error {
	return xrpc.NewError(http.StatusBadRequest, "InvalidToken", "Token is invalid")
}

func errMailTokenExpired() *xrpc.Error {
	return xrpc.NewError(http.StatusBadRequest, "ExpiredToken", "Token is expired")
}

// randomCode returns n random characters of lower-case base32, 5 bits each.
func randomCode(n int) string {
	raw := make([]byte, (n*5+7)/8)
	_, _ = rand.Read(raw) // never fails
	return strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(raw))[:n]
}

// randomPair returns a code "xxxxx-xxxxx" of 50 random bits.
func randomPair() string {
	c := randomCode(10)
	return c[:5] + "-" + c[5:]
}

func mailTokenKey(purpose mailPurpose, did syntax.DID) string {
	return string(purpose) + "/" + string(did)
}

func mailTokenHash(purpose mailPurpose, token string) string {
	sum := sha256.Sum256([]byte(string(purpose) + "\x00" + strings.ToUpper(strings.TrimSpace(token))))
	return hex.EncodeToString(sum[:])
}

func mailHashKey(purpose mailPurpose, hash string) string { return string(purpose) + "/#" + hash }

// putMailToken stores a code in place of the account's earlier one.
func putMailToken(tx storage.Docs, purpose mailPurpose, did syntax.DID, token string, now time.Time) error {
	if err := dropMailToken(tx, purpose, did); err != nil {
		return err
	}
	docs, err := mailTokenDocs(purpose, did, token, now)
	if err != nil {
		return err
	}
	for _, d := range docs {
		if _, err := tx.PutDoc(d); err != nil {
			return err
		}
	}
	return nil
}

// mailTokenDocs returns the documents of a code.
func mailTokenDocs(purpose mailPurpose, did syntax.DID, token string, issued time.Time) ([]storage.Doc, error) {
	t := mailToken{Hash: mailTokenHash(purpose, token), Issued: issued}
	value, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	docs := []storage.Doc{
		{Key: mailTokenKey(purpose, did), Value: value},
		{Key: mailHashKey(purpose, t.Hash), Value: []byte(did)},
	}
	for i := range docs {
		docs[i].Kind, docs[i].Owner, docs[i].Expires = docMailToken, did, issued.Add(mailTokenMemory)
	}
	return docs, nil
}

func dropMailToken(tx storage.Docs, purpose mailPurpose, did syntax.DID) error {
	d, t, err := getMailToken(tx, purpose, did)
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := tx.DeleteDoc(docMailToken, mailHashKey(purpose, t.Hash)); err != nil {
		return err
	}
	return tx.DeleteDoc(docMailToken, d.Key)
}

// dropMailTokens ends all codes of an account.
func dropMailTokens(tx storage.Docs, did syntax.DID) error {
	for _, p := range mailPurposes() {
		if err := dropMailToken(tx, p, did); err != nil {
			return err
		}
	}
	return nil
}

func getMailToken(tx storage.Docs, purpose mailPurpose, did syntax.DID) (storage.Doc, mailToken, error) {
	var t mailToken
	d, err := tx.GetDoc(docMailToken, mailTokenKey(purpose, did))
	if err == nil {
		err = json.Unmarshal(d.Value, &t)
	}
	return d, t, err
}

// mailTokenUse is checkMailToken or takeMailToken.
type mailTokenUse func(tx storage.Docs, purpose mailPurpose, did syntax.DID, token string, now time.Time) (refused *xrpc.Error, err error)

// checkMailToken returns nil if token is the account's code and has not
// expired. Otherwise refused is the error for the client; the transaction must
// be committed all the same, since a wrong try has been counted.
func checkMailToken(tx storage.Docs, purpose mailPurpose, did syntax.DID, token string, now time.Time) (refused *xrpc.Error, err error) {
	d, t, err := getMailToken(tx, purpose, did)
	if errors.Is(err, storage.ErrNotFound) {
		return errMailTokenInvalid(), nil
	}
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare([]byte(t.Hash), []byte(mailTokenHash(purpose, token))) == 0 {
		if t.Tries++; t.Tries >= mailTokenTries {
			return errMailTokenInvalid(), dropMailToken(tx, purpose, did)
		}
		if d.Value, err = json.Marshal(t); err != nil {
			return nil, err
		}
		_, err = tx.PutDoc(d)
		return errMailTokenInvalid(), err
	}
	if now.Sub(t.Issued) > mailTokenTTL {
		return errMailTokenExpired(), nil
	}
	return nil, nil
}

// takeMailToken is checkMailToken for a code that is used up by this
// transaction.
func takeMailToken(tx storage.Docs, purpose mailPurpose, did syntax.DID, token string, now time.Time) (refused *xrpc.Error, err error) {
	refused, err = checkMailToken(tx, purpose, did, token, now)
	if refused != nil || err != nil {
		return refused, err
	}
	return nil, dropMailToken(tx, purpose, did)
}

// findMailToken returns whose code a token is, for the methods that are given
// nothing else, or storage.ErrNotFound.
func findMailToken(tx storage.Docs, purpose mailPurpose, token string) (syntax.DID, error) {
	d, err := tx.GetDoc(docMailToken, mailHashKey(purpose, mailTokenHash(purpose, token)))
	return syntax.DID(d.Value), err
}

// useMailToken checks or takes an account's code in an Update of its own. It
// returns the error for the client.
func (s *Server) useMailToken(ctx context.Context, purpose mailPurpose, did syntax.DID, token string, use mailTokenUse) error {
	var refused *xrpc.Error
	err := s.store.Update(ctx, func(tx storage.Tx) (err error) {
		refused, err = use(tx, purpose, did, token, s.clock.Latest())
		return err
	})
	if err == nil && refused != nil {
		err = refused
	}
	return err
}

// spendMailToken takes an account's code in the Update that does what it is
// good for. Its error must end that; wrong tries are counted by useMailToken,
// which comes first.
func (s *Server) spendMailToken(tx storage.Docs, purpose mailPurpose, did syntax.DID, token string) error {
	refused, err := takeMailToken(tx, purpose, did, token, s.clock.Latest())
	if err == nil && refused != nil {
		err = refused
	}
	return err
}
