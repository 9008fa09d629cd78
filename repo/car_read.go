package repo

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/ipfs/go-cid"
)

// Defaults of [CARLimits].
const (
	DefaultCARHeader = 4 << 10  // bytes
	DefaultCARBlock  = 2 << 20  // bytes
	DefaultCARBytes  = 2 << 30  // bytes
	DefaultCARBlocks = 16 << 20 // blocks
)

// carBuffer is the size of the reader's buffer.
const carBuffer = 64 << 10

// CARLimits bounds what a [CARReader] reads. Zero stands for the default of a
// field; there is no way to have no limit.
type CARLimits struct {
	MaxHeader int   // bytes of the header; default DefaultCARHeader
	MaxBlock  int   // bytes of one block without its CID; default DefaultCARBlock
	MaxBytes  int64 // bytes of the whole file; default DefaultCARBytes
	MaxBlocks int64 // number of blocks; default DefaultCARBlocks
}

// withDefaults fills in what is zero.
func (l CARLimits) withDefaults() CARLimits {
	if l.MaxHeader <= 0 {
		l.MaxHeader = DefaultCARHeader
	}
	if l.MaxBlock <= 0 {
		l.MaxBlock = DefaultCARBlock
	}
	if l.MaxBytes <= 0 {
		l.MaxBytes = DefaultCARBytes
	}
	if l.MaxBlocks <= 0 {
		l.MaxBlocks = DefaultCARBlocks
	}
	return l
}

// CARReader reads a CAR file, version 1, block by block. It holds one block in
// memory, checks the hash of each, and takes only the CIDs of atproto: version
// 1, DAG-CBOR or raw, sha2-256. Errors match [ErrInvalidCAR], and also
// [ErrTooLarge] where a limit is passed, [ErrHashMismatch] where a block is not
// what it claims to be, or the error of the underlying reader.
type CARReader struct {
	r      *bufio.Reader
	lim    CARLimits
	roots  []cid.Cid
	buf    []byte // of the current block, CID included
	bytes  int64  // read so far
	blocks int64
	err    error // ends all reading
}

// NewCARReader reads the header of a CAR file.
func NewCARReader(r io.Reader, lim CARLimits) (*CARReader, error) {
	cr := &CARReader{r: bufio.NewReaderSize(r, carBuffer), lim: lim.withDefaults()}
	if err := cr.header(); err != nil {
		return nil, carError(err)
	}
	return cr, nil
}

// Roots returns the roots that the header names; there may be none.
func (cr *CARReader) Roots() []cid.Cid { return cr.roots }

// Next returns the next block, or io.EOF, as it is, behind the last one. Its
// Data is valid until the next call. After an error every call returns it.
func (cr *CARReader) Next() (Block, error) {
	if cr.err != nil {
		return Block{}, cr.err
	}
	b, err := cr.next()
	if err != nil {
		if err != io.EOF {
			err = carError(err)
		}
		cr.err = err
	}
	return b, err
}

func carError(err error) error { return fmt.Errorf("%w: %w", ErrInvalidCAR, err) }

func (cr *CARReader) header() error {
	size, err := cr.length()
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	if err != nil {
		return err
	}
	if size > uint64(cr.lim.MaxHeader) {
		return fmt.Errorf("%w: header of %d bytes", ErrTooLarge, size)
	}
	if err := cr.fill(int(size)); err != nil {
		return err
	}
	p := nodeParser{r: cborReader{data: cr.buf}}
	if err := p.expect("\xa2" + string(appendText(nil, carRoots))); err != nil {
		return err
	}
	start := p.r.pos
	major, arg, err := p.r.head()
	if err != nil {
		return err
	}
	if major != cborArray {
		return p.r.fail(start, ErrSyntax, "roots are no array")
	}
	n, err := p.r.count(start, arg, 1)
	if err != nil {
		return err
	}
	for range n {
		c, err := p.linkOrNull()
		if err != nil {
			return err
		}
		if c == nil {
			return errors.New("root is null")
		}
		cr.roots = append(cr.roots, *c)
	}
	if err := p.expect(string(appendInt(appendText(nil, carVersion), 1))); err != nil {
		return fmt.Errorf("version: %w", err)
	}
	if p.r.left() > 0 {
		return errors.New("bytes behind the header")
	}
	return nil
}

func (cr *CARReader) next() (Block, error) {
	size, err := cr.length()
	if err != nil {
		return Block{}, err
	}
	if size <= plainCIDLen {
		return Block{}, fmt.Errorf("section of %d bytes", size)
	}
	if size-plainCIDLen > uint64(cr.lim.MaxBlock) {
		return Block{}, fmt.Errorf("%w: block of %d bytes", ErrTooLarge, size-plainCIDLen)
	}
	if cr.blocks++; cr.blocks > cr.lim.MaxBlocks {
		return Block{}, fmt.Errorf("%w: more than %d blocks", ErrTooLarge, cr.lim.MaxBlocks)
	}
	if err := cr.fill(int(size)); err != nil {
		return Block{}, err
	}
	name, data := cr.buf[:plainCIDLen], cr.buf[plainCIDLen:]
	if !isPlainCID(name) {
		return Block{}, fmt.Errorf("block %d has no CID of atproto", cr.blocks)
	}
	sum := sha256.Sum256(data)
	if string(sum[:]) != string(name[cidPrefix:]) {
		return Block{}, fmt.Errorf("%w: block %d", ErrHashMismatch, cr.blocks)
	}
	c, err := cid.Cast(name)
	return Block{CID: c, Data: data}, err
}

// length reads the length of the next section, in its shortest form. It returns
// io.EOF at the end of the file.
func (cr *CARReader) length() (uint64, error) {
	var v uint64
	for shift := 0; ; shift += 7 {
		b, err := cr.r.ReadByte()
		if err != nil {
			if err == io.EOF && shift > 0 {
				err = io.ErrUnexpectedEOF
			}
			return 0, err
		}
		if err := cr.count(1); err != nil {
			return 0, err
		}
		if shift == 63 || (b == 0 && shift > 0) {
			return 0, errors.New("bad length")
		}
		v |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return v, nil
		}
	}
}

// count adds to the number of bytes read.
func (cr *CARReader) count(n int64) error {
	if cr.bytes += n; cr.bytes > cr.lim.MaxBytes {
		return fmt.Errorf("%w: more than %d bytes", ErrTooLarge, cr.lim.MaxBytes)
	}
	return nil
}

// fill reads n bytes into buf. It reads in steps, so that a length alone does
// not make it allocate.
func (cr *CARReader) fill(n int) error {
	if err := cr.count(int64(n)); err != nil {
		return err
	}
	cr.buf = cr.buf[:0]
	for have := 0; have < n; {
		upTo := n
		if n > cap(cr.buf) {
			upTo = min(n, max(2*have, carBuffer))
		}
		if upTo > cap(cr.buf) {
			grown := make([]byte, upTo)
			copy(grown, cr.buf[:have])
			cr.buf = grown
		}
		cr.buf = cr.buf[:upTo]
		if _, err := io.ReadFull(cr.r, cr.buf[have:]); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		have = upTo
	}
	return nil
}
