package repo

import (
	"fmt"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"
)

// CommitVersion is the version of the repository format.
const CommitVersion = 3

// Names of the fields of a commit, in the order of their encoding.
const (
	fieldDID     = "did"
	fieldRev     = "rev"
	fieldSig     = "sig"
	fieldData    = "data"
	fieldPrev    = "prev"
	fieldVersion = "version"
)

// Commit is the signed head of a repository.
type Commit struct {
	DID     syntax.DID
	Version int64   // CommitVersion
	Data    cid.Cid // root of the tree
	Rev     syntax.TID
	Prev    *cid.Cid // nil in this version of the format; kept when it is there
	Sig     []byte   // over UnsignedBytes
}

// UnsignedBytes returns the encoding of the commit without its signature: what
// is signed. The fields must be valid.
func (c *Commit) UnsignedBytes() []byte { return c.encode(false) }

func (c *Commit) encode(signed bool) []byte {
	fields := uint64(5)
	if signed {
		fields++
	}
	b := make([]byte, 0, 256)
	b = appendHead(b, cborMap, fields)
	b = appendText(appendText(b, fieldDID), string(c.DID))
	b = appendText(appendText(b, fieldRev), string(c.Rev))
	if signed {
		b = appendByteString(appendText(b, fieldSig), c.Sig)
	}
	b = appendLink(appendText(b, fieldData), c.Data.KeyString())
	b = appendLinkOrNull(appendText(b, fieldPrev), c.Prev)
	return appendInt(appendText(b, fieldVersion), c.Version)
}

// check reports what is wrong with the fields, the signature apart.
func (c *Commit) check() error {
	if c.Version != CommitVersion {
		return fmt.Errorf("%w: version %d", ErrInvalidCommit, c.Version)
	}
	if _, err := syntax.ParseDID(string(c.DID)); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalidCommit, err)
	}
	if _, err := syntax.ParseTID(string(c.Rev)); err != nil {
		return fmt.Errorf("%w: rev: %w", ErrInvalidCommit, err)
	}
	if key := c.Data.KeyString(); !isPlainCID(key) || key[1] != codecCBOR {
		return fmt.Errorf("%w: data is no link to a node", ErrInvalidCommit)
	}
	if c.Prev != nil && !isPlainCID(c.Prev.KeyString()) {
		return fmt.Errorf("%w: prev is no link to a commit", ErrInvalidCommit)
	}
	return nil
}

// Sign checks the fields, with a Version of zero standing for [CommitVersion],
// and sets Sig.
func (c *Commit) Sign(key atcrypto.PrivateKey) error {
	if c.Version == 0 {
		c.Version = CommitVersion
	}
	if err := c.check(); err != nil {
		return err
	}
	sig, err := key.HashAndSign(c.UnsignedBytes())
	if err != nil {
		return fmt.Errorf("sign commit: %w", err)
	}
	c.Sig = sig
	return nil
}

// Block returns the signed commit as a block.
func (c *Commit) Block() (Block, error) {
	if err := c.check(); err != nil {
		return Block{}, err
	}
	if len(c.Sig) == 0 {
		return Block{}, fmt.Errorf("%w: not signed", ErrInvalidSignature)
	}
	data := c.encode(true)
	if len(data) > MaxCommitBytes {
		return Block{}, fmt.Errorf("%w: %d bytes", ErrInvalidCommit, len(data))
	}
	return Block{CID: CIDOf(data), Data: data}, nil
}

// Verify reports an error that matches [ErrInvalidSignature] unless the commit
// carries a signature of the key's owner.
func (c *Commit) Verify(pub atcrypto.PublicKey) error {
	if len(c.Sig) == 0 {
		return fmt.Errorf("%w: not signed", ErrInvalidSignature)
	}
	if err := pub.HashAndVerify(c.UnsignedBytes(), c.Sig); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalidSignature, err)
	}
	return nil
}

// ParseCommit reads a signed commit of version 3: exactly the six fields, in
// canonical encoding, with valid identifiers. It does not verify the signature.
// Errors match [ErrInvalidCommit].
func ParseCommit(data []byte) (*Commit, error) {
	if len(data) > MaxCommitBytes {
		return nil, fmt.Errorf("%w: %d bytes", ErrInvalidCommit, len(data))
	}
	c, err := parseCommit(data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalidCommit, err)
	}
	return c, c.check()
}

func parseCommit(data []byte) (*Commit, error) {
	p := nodeParser{r: cborReader{data: data}}
	var c Commit
	if err := p.expect("\xa6"); err != nil {
		return nil, err
	}
	did, err := p.field(fieldDID, cborText)
	if err != nil {
		return nil, err
	}
	rev, err := p.field(fieldRev, cborText)
	if err != nil {
		return nil, err
	}
	sig, err := p.field(fieldSig, cborBytes)
	if err != nil {
		return nil, err
	}
	if len(sig) == 0 {
		return nil, fmt.Errorf("empty signature")
	}
	root, err := p.linkField(fieldData)
	if err != nil {
		return nil, err
	}
	if root == nil {
		return nil, fmt.Errorf("data is null")
	}
	if c.Prev, err = p.linkField(fieldPrev); err != nil {
		return nil, err
	}
	if err := p.expect(string(appendText(nil, fieldVersion))); err != nil {
		return nil, err
	}
	start := p.r.pos
	major, version, err := p.r.head()
	if err != nil {
		return nil, err
	}
	if major != cborUint || version > MaxInteger {
		return nil, p.r.fail(start, ErrInteger, "version")
	}
	if p.r.left() > 0 {
		return nil, p.r.fail(p.r.pos, ErrSyntax, "bytes behind the commit")
	}
	c.DID, c.Rev, c.Data, c.Version = syntax.DID(did), syntax.TID(rev), *root, int64(version)
	c.Sig = append([]byte(nil), sig...)
	return &c, nil
}

// field reads a field that holds a string of the given major type.
func (p *nodeParser) field(name string, want byte) ([]byte, error) {
	if err := p.expect(string(appendText(nil, name))); err != nil {
		return nil, err
	}
	start := p.r.pos
	major, n, err := p.r.head()
	if err != nil {
		return nil, err
	}
	if major != want {
		return nil, p.r.fail(start, ErrSyntax, name)
	}
	if want == cborText {
		return p.r.text(start, n)
	}
	return p.r.take(start, n)
}

// linkField reads a field that holds a link or null.
func (p *nodeParser) linkField(name string) (*cid.Cid, error) {
	if err := p.expect(string(appendText(nil, name))); err != nil {
		return nil, err
	}
	return p.linkOrNull()
}
