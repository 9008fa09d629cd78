package pds

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/ipfs/go-cid"

	"github.com/pdskit/pdskit/repo"
)

// importSpool keeps the blocks of an imported CAR on disk, so that they can be
// read in the order of the tree whatever order they come in. In memory it has
// sixteen bytes for each block.
type importSpool struct {
	file *os.File
	end  int64
	tail []byte // what was added but not yet written

	// at maps the first eight bytes of a block's hash to its place: 40 bits
	// of offset, 24 bits of length. Two blocks with the same eight bytes do
	// not happen by chance; a reader checks what it gets, so that somebody
	// who makes it happen only spoils their own import.
	at map[uint64]uint64
}

const (
	spoolLengthBits  = 24
	maxSpoolBytes    = 1 << 40
	maxSpoolBlock    = 1<<spoolLengthBits - 1
	spoolWriteBuffer = 256 << 10
)

func newImportSpool() (*importSpool, error) {
	f, err := os.CreateTemp("", "pdskit-import-*")
	if err != nil {
		return nil, err
	}
	// Where the system allows it, the file is gone with its last user, even
	// after a crash; elsewhere Close removes it.
	_ = os.Remove(f.Name())
	return &importSpool{file: f, at: map[uint64]uint64{}, tail: make([]byte, 0, spoolWriteBuffer)}, nil
}

func (s *importSpool) Close() error {
	err := s.file.Close()
	if e := os.Remove(s.file.Name()); e != nil && !errors.Is(e, os.ErrNotExist) {
		err = errors.Join(err, e)
	}
	return err
}

func spoolKey(c cid.Cid) uint64 {
	h := c.Hash()
	return binary.BigEndian.Uint64(h[len(h)-8:])
}

// add appends a block.
func (s *importSpool) add(b repo.Block) error {
	key := spoolKey(b.CID)
	if _, there := s.at[key]; there {
		return nil
	}
	if len(b.Data) > maxSpoolBlock || s.end > maxSpoolBytes {
		return fmt.Errorf("pds: a block of %d bytes at %d does not fit the spool", len(b.Data), s.end)
	}
	if len(s.tail)+len(b.Data) > spoolWriteBuffer {
		if err := s.flush(); err != nil {
			return err
		}
	}
	s.at[key] = uint64(s.end)<<spoolLengthBits | uint64(len(b.Data))
	s.tail = append(s.tail, b.Data...)
	s.end += int64(len(b.Data))
	return nil
}

func (s *importSpool) flush() error {
	_, err := s.file.WriteAt(s.tail, s.end-int64(len(s.tail)))
	s.tail = s.tail[:0]
	return err
}

// block returns a block in memory of its own, or repo.ErrBlockNotFound. It does
// not check the hash.
func (s *importSpool) block(c cid.Cid) ([]byte, error) {
	place, ok := s.at[spoolKey(c)]
	if !ok {
		return nil, repo.ErrBlockNotFound
	}
	out := make([]byte, place&maxSpoolBlock)
	offset := int64(place >> spoolLengthBits)
	if start := s.end - int64(len(s.tail)); offset >= start {
		copy(out, s.tail[offset-start:])
		return out, nil
	}
	if _, err := s.file.ReadAt(out, offset); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return out, nil
}
