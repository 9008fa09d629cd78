package repo

import (
	"encoding/binary"
	"io"

	"github.com/ipfs/go-cid"
)

// CARWriter writes a CAR file, version 1. It makes two writes per block and
// does not buffer: put a bufio.Writer below it for many small blocks.
type CARWriter struct {
	w   io.Writer
	buf []byte
}

// NewCARWriter writes the header of a CAR file with the given roots, of which
// there may be none, and returns a writer for the blocks.
func NewCARWriter(w io.Writer, roots ...cid.Cid) (*CARWriter, error) {
	cw := &CARWriter{w: w, buf: make([]byte, 0, 128)}
	cw.buf = appendCARHeader(cw.buf, roots...)
	_, err := w.Write(cw.buf)
	return cw, err
}

// WriteBlock writes one block. It does not check its hash.
func (cw *CARWriter) WriteBlock(b Block) error {
	cw.buf = appendCARSection(cw.buf[:0], b)
	if _, err := cw.w.Write(cw.buf); err != nil {
		return err
	}
	_, err := cw.w.Write(b.Data)
	return err
}

// EncodeCAR returns a CAR file with one root, or none if it is cid.Undef.
func EncodeCAR(root cid.Cid, blocks []Block) []byte {
	size := 64 + root.ByteLen()
	for _, b := range blocks {
		size += binary.MaxVarintLen32 + b.CID.ByteLen() + len(b.Data)
	}
	dst := make([]byte, 0, size)
	if root.Defined() {
		dst = appendCARHeader(dst, root)
	} else {
		dst = appendCARHeader(dst)
	}
	for _, b := range blocks {
		dst = append(appendCARSection(dst, b), b.Data...)
	}
	return dst
}

// Fields of the header of a CAR file.
const (
	carRoots   = "roots"
	carVersion = "version"
)

// appendCARHeader appends the header with its length.
func appendCARHeader(dst []byte, roots ...cid.Cid) []byte {
	var room [128]byte
	h := appendHead(room[:0], cborMap, 2)
	h = appendHead(appendText(h, carRoots), cborArray, uint64(len(roots)))
	for _, c := range roots {
		h = appendLink(h, c.KeyString())
	}
	h = appendInt(appendText(h, carVersion), 1)
	return append(binary.AppendUvarint(dst, uint64(len(h))), h...)
}

// appendCARSection appends what stands in front of the data of a block.
func appendCARSection(dst []byte, b Block) []byte {
	dst = binary.AppendUvarint(dst, uint64(b.CID.ByteLen()+len(b.Data)))
	return append(dst, b.CID.KeyString()...)
}
