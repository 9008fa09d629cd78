package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/storage"
)

// key names a document of a community.
func key(kind string, community syntax.DID, parts ...string) pds.DocumentKey {
	return pds.DocumentKey{Kind: namespace + kind, Owner: community, Key: strings.Join(parts, "/")}
}

// The documents. All but one belong to a community and leave with it.
func communityKey(c syntax.DID) pds.DocumentKey             { return key("community", c) }
func memberKey(c, did syntax.DID) pds.DocumentKey           { return key("member", c, string(did)) }
func banKey(c, did syntax.DID) pds.DocumentKey              { return key("ban", c, string(did)) }
func roomKey(c syntax.DID, id string) pds.DocumentKey       { return key("room", c, id) }
func messageKey(c syntax.DID, r, id string) pds.DocumentKey { return key("message", c, r, id) }

// readKey is how many messages of a room somebody has read.
func readKey(c, did syntax.DID, r string) pds.DocumentKey { return key("read", c, string(did), r) }

// inviteKey is an invite, under the hash of its code.
func inviteKey(c syntax.DID, code string) pds.DocumentKey {
	return key("invite", c, fmt.Sprintf("%x", sha256.Sum256([]byte(code))))
}

// memberOfKey finds the communities of somebody. It belongs to nobody, so it may
// be left of a community that is gone.
func memberOfKey(did, c syntax.DID) pds.DocumentKey {
	return key("member-of", "", string(did), string(c))
}

// get reads a document. The zero value stands for one that is not there.
func get[T any](st *pds.State, k pds.DocumentKey) (v T, found bool, err error) {
	found, err = st.GetJSON(k, &v)
	return v, found, err
}

// scan reads the documents of a community whose key begins with a prefix.
func scan[T any](st *pds.State, k pds.DocumentKey, limit int) (map[string]T, error) {
	docs, err := st.Scan(k.Kind, k.Owner, storage.Scan{From: k.Key, To: k.Key + "\x7f", Limit: limit})
	out := make(map[string]T, len(docs))
	for _, d := range docs {
		var v T
		err = errors.Join(err, d.JSON(&v))
		out[d.Key[len(k.Key):]] = v
	}
	return out, err
}
