package pds

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// docReservedKey is the kind of the documents that hold reserved signing keys:
// by the DID they are reserved for, or by the key itself, as a did:key.
const docReservedKey = "reserved-key"

// reservedKeyDoc is a reserved signing key as stored.
type reservedKeyDoc struct {
	Key string `json:"key"` // did:key
	Ref []byte `json:"ref"` // see Keys
}

type reserveSigningKeyInput struct {
	DID syntax.DID `json:"did"`
}

type reserveSigningKeyOutput struct {
	SigningKey string `json:"signingKey"`
}

func (s *Server) reserveSigningKey() xrpc.Method {
	return xrpc.Procedure("com.atproto.server.reserveSigningKey", xrpc.Public(),
		func(ctx context.Context, in *reserveSigningKeyInput) (*reserveSigningKeyOutput, error) {
			var reserved *reservedKeyDoc
			err := s.store.View(ctx, func(tx storage.Tx) (err error) {
				reserved, err = s.reservedFor(tx, in.DID)
				return err
			})
			if err != nil {
				return nil, err
			}
			if reserved == nil {
				if reserved, err = s.reserveKey(ctx, in.DID); err != nil {
					return nil, err
				}
			}
			return &reserveSigningKeyOutput{reserved.Key}, nil
		}).WithLimits(limitByIP(50, day))
}

// reservedFor returns the key that is reserved for a DID, or nil if there is
// none but room for one.
func (s *Server) reservedFor(tx storage.Docs, did syntax.DID) (*reservedKeyDoc, error) {
	if did != "" {
		d, err := getReservedKey(tx, string(did))
		if !errors.Is(err, storage.ErrNotFound) {
			return d, err
		}
	}
	docs, err := tx.ScanDocs(docReservedKey, storage.Scan{Limit: s.cfg.Limits.ReservedKeys})
	if err != nil {
		return nil, err
	}
	if len(docs) >= s.cfg.Limits.ReservedKeys {
		return nil, xrpc.NewError(http.StatusServiceUnavailable, "NotEnoughResources", "Too many signing keys are reserved")
	}
	return nil, nil
}

func getReservedKey(tx storage.Docs, key string) (*reservedKeyDoc, error) {
	d, err := tx.GetDoc(docReservedKey, key)
	if err != nil {
		return nil, err
	}
	r := new(reservedKeyDoc)
	return r, json.Unmarshal(d.Value, r)
}

// reserveKey makes a key and reserves it, unless somebody was faster.
func (s *Server) reserveKey(ctx context.Context, did syntax.DID) (*reservedKeyDoc, error) {
	key, ref, err := s.cfg.Keys.Generate(ctx)
	if err != nil {
		return nil, err
	}
	id, err := keyIDOf(key)
	if err != nil {
		return nil, err
	}
	made := reservedKeyDoc{id, ref}
	value, err := json.Marshal(made)
	if err != nil {
		return nil, err
	}
	name := string(did)
	if name == "" {
		name = id
	}
	var reserved *reservedKeyDoc
	err = s.store.Update(ctx, func(tx storage.Tx) (err error) {
		if reserved, err = s.reservedFor(tx, did); err != nil || reserved != nil {
			return err
		}
		reserved = &made
		_, err = tx.PutDoc(storage.Doc{
			Kind: docReservedKey, Key: name, Expires: s.clock.Now().Add(s.cfg.Limits.ReservedKey), Value: value,
		})
		return err
	})
	return reserved, err
}

// reservedKey returns the signing key that is reserved for a DID, or
// storage.ErrNotFound.
func (s *Server) reservedKey(ctx context.Context, did syntax.DID) (atcrypto.PrivateKey, []byte, error) {
	var reserved *reservedKeyDoc
	err := s.store.View(ctx, func(tx storage.Tx) (err error) {
		reserved, err = getReservedKey(tx, string(did))
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	key, err := s.cfg.Keys.Open(ctx, reserved.Ref)
	return key, reserved.Ref, err
}

// dropReservedKey forgets the reservation for a DID.
func (s *Server) dropReservedKey(tx storage.Docs, did syntax.DID) error {
	return tx.DeleteDoc(docReservedKey, string(did))
}
