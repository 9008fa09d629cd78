package repo

import (
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"

	"github.com/ipfs/go-cid"
)

// The binary form of nearly every CID in atproto: version 1, codec, sha2-256,
// 32 bytes of hash.
const (
	cidVersion  = 0x01
	codecRaw    = 0x55
	codecCBOR   = 0x71
	hashSHA256  = 0x12
	hashLength  = sha256.Size
	cidPrefix   = 4
	plainCIDLen = cidPrefix + hashLength
	plainCIDStr = 1 + (plainCIDLen*8+4)/5 // "b" and base32
)

// base32Lower is the alphabet of the multibase prefix "b".
var base32Lower = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// Block is a block of a repository: a commit, a node of the tree or a record.
type Block struct {
	CID  cid.Cid
	Data []byte
}

// BlockSource returns the block with the given CID, or an error that matches
// [ErrBlockNotFound]. The caller does not change the returned bytes and does
// not keep them. A source need not check hashes; this package does.
type BlockSource func(c cid.Cid) ([]byte, error)

// CIDOf returns the CID of a DAG-CBOR block: version 1, sha2-256.
func CIDOf(data []byte) cid.Cid { return plainCID(codecCBOR, sha256.Sum256(data)) }

// RawCID returns the CID of a blob from the sha2-256 hash of its bytes.
func RawCID(sum [32]byte) cid.Cid { return plainCID(codecRaw, sum) }

func plainCID(codec byte, sum [hashLength]byte) cid.Cid {
	var b [plainCIDLen]byte
	b[0], b[1], b[2], b[3] = cidVersion, codec, hashSHA256, hashLength
	copy(b[cidPrefix:], sum[:])
	c, err := cid.Cast(b[:])
	if err != nil { // the form is fixed above
		return cid.Undef
	}
	return c
}

// isPlainCID reports whether b is a version 1 CID with a sha2-256 hash and one
// of the two codecs of atproto.
func isPlainCID[T []byte | string](b T) bool {
	return len(b) == plainCIDLen && b[0] == cidVersion && (b[1] == codecCBOR || b[1] == codecRaw) &&
		b[2] == hashSHA256 && b[3] == hashLength
}

// parseCID reads a CID from its string form as it stands in JSON.
func parseCID(s string) (cid.Cid, error) {
	if len(s) == plainCIDStr && s[0] == 'b' {
		var b [plainCIDLen]byte
		if decodeBase32CID(&b, s[1:]) && isPlainCID(b[:]) {
			return cid.Cast(b[:])
		}
	}
	c, err := cid.Decode(s)
	if err != nil {
		return cid.Undef, err
	}
	if c.ByteLen() > MaxCIDBytes {
		return cid.Undef, fmt.Errorf("CID of %d bytes", c.ByteLen())
	}
	if s[0] == 'b' && c.String() != s {
		return cid.Undef, errors.New("trailing bits are not zero")
	}
	return c, nil
}

// decodeBase32CID decodes the 58 characters of a plain CID. It reports false
// for a foreign character and for trailing bits that are not zero.
func decodeBase32CID(dst *[plainCIDLen]byte, s string) bool {
	var acc uint32
	var bits, n int
	for i := 0; i < len(s); i++ {
		var v byte
		switch ch := s[i]; {
		case 'a' <= ch && ch <= 'z':
			v = ch - 'a'
		case '2' <= ch && ch <= '7':
			v = ch - '2' + 26
		default:
			return false
		}
		acc = acc<<5 | uint32(v)
		bits += 5
		if bits >= 8 {
			bits -= 8
			if n == len(dst) {
				return false
			}
			dst[n] = byte(acc >> bits)
			n++
			acc &= 1<<bits - 1
		}
	}
	return n == len(dst) && acc == 0
}

// castCID reads the binary form of a CID, which must be all of b.
func castCID(b []byte) (cid.Cid, error) {
	if len(b) > MaxCIDBytes {
		return cid.Undef, fmt.Errorf("CID of %d bytes", len(b))
	}
	return cid.Cast(b)
}

// appendCIDString appends the string form of a binary CID.
func appendCIDString(dst, b []byte) ([]byte, error) {
	if isPlainCID(b) {
		return base32Lower.AppendEncode(append(dst, 'b'), b), nil
	}
	c, err := castCID(b)
	if err != nil {
		return dst, err
	}
	return append(dst, c.String()...), nil
}

// checkBlock reports an error unless data is the DAG-CBOR block that c names.
func checkBlock(c cid.Cid, data []byte) error {
	key := c.KeyString()
	if !isPlainCID(key) || key[1] != codecCBOR {
		return fmt.Errorf("%w: %s is no DAG-CBOR block with sha2-256", ErrInvalidTree, c)
	}
	sum := sha256.Sum256(data)
	if key[cidPrefix:] != string(sum[:]) {
		return fmt.Errorf("%w: %s", ErrHashMismatch, c)
	}
	return nil
}
