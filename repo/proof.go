package repo

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"
)

// Limits of a proof.
const (
	// MaxProofBytes is the longest CAR that [VerifyProof] reads: a record, and
	// the nodes above it.
	MaxProofBytes = 4 << 20
	// MaxProofBlocks is how many blocks such a CAR may have.
	MaxProofBlocks = 1024
)

// ErrInvalidProof says that a CAR does not prove what is at a path.
var ErrInvalidProof = errors.New("invalid proof")

// VerifyProof reads the CAR with which com.atproto.sync.getRecord answers, and
// returns the record at a path, or nil if the CAR proves that there is none. The
// commit must be of the repository and be signed with the key. How old it is
// remains unknown. Errors match [ErrInvalidProof], and what is wrong below it.
func VerifyProof(car []byte, did syntax.DID, key atcrypto.PublicKey, path string) (record []byte, err error) {
	record, err = verifyProof(car, did, key, path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalidProof, err)
	}
	return record, nil
}

func verifyProof(car []byte, did syntax.DID, key atcrypto.PublicKey, path string) ([]byte, error) {
	if len(car) > MaxProofBytes {
		return nil, ErrTooLarge
	}
	root, blocks, err := proofBlocks(car)
	if err != nil {
		return nil, err
	}
	head, ok := blocks[root]
	if !ok {
		return nil, fmt.Errorf("%w: commit", ErrBlockNotFound)
	}
	commit, err := ParseCommit(head)
	if err != nil {
		return nil, err
	}
	if commit.DID != did {
		return nil, fmt.Errorf("%w: of %s", ErrInvalidCommit, commit.DID)
	}
	if err := commit.Verify(key); err != nil {
		return nil, err
	}
	value, err := LoadTree(commit.Data, func(c cid.Cid) ([]byte, error) {
		if data, ok := blocks[c]; ok {
			return data, nil
		}
		return nil, ErrBlockNotFound
	}).Get(path)
	if err != nil || !value.Defined() {
		return nil, err
	}
	record, ok := blocks[value]
	if !ok {
		return nil, fmt.Errorf("%w: record", ErrBlockNotFound)
	}
	return record, nil
}

// proofBlocks reads the blocks of a CAR with one root.
func proofBlocks(car []byte) (root cid.Cid, blocks map[cid.Cid][]byte, err error) {
	r, err := NewCARReader(bytes.NewReader(car), CARLimits{MaxBytes: MaxProofBytes, MaxBlocks: MaxProofBlocks})
	if err != nil {
		return cid.Undef, nil, err
	}
	if len(r.Roots()) != 1 {
		return cid.Undef, nil, fmt.Errorf("%w: %d roots", ErrInvalidCAR, len(r.Roots()))
	}
	blocks = make(map[cid.Cid][]byte)
	for {
		b, err := r.Next()
		if err == io.EOF {
			return r.Roots()[0], blocks, nil
		}
		if err != nil {
			return cid.Undef, nil, err
		}
		blocks[b.CID] = bytes.Clone(b.Data) // the reader's memory is used again
	}
}
