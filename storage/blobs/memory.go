package blobs

import (
	"bytes"
	"context"
	"io"
	"sync"
	"time"

	"github.com/pdskit/pdskit/storage"
)

// Memory is a [storage.BlobStore] that forgets everything with the process.
// Its methods may be called concurrently. A blob that is deleted stays
// readable for those who have it open.
type Memory struct {
	clock storage.Clock // fixed at creation

	mu    sync.RWMutex // guards following field
	blobs map[string]memoryBlob
}

type memoryBlob struct {
	data     []byte // never changed
	modified time.Time
}

var _ storage.BlobStore = (*Memory)(nil)

// NewMemory returns an empty store. The clock says when a blob was stored;
// nil means [storage.SystemClock].
func NewMemory(clock storage.Clock) *Memory {
	if clock == nil {
		clock = storage.SystemClock()
	}
	return &Memory{clock: clock, blobs: make(map[string]memoryBlob)}
}

// Put stores what r yields, see [storage.BlobStore]. It looks at ctx before
// each read of r.
func (m *Memory) Put(ctx context.Context, key string, r io.Reader) (storage.BlobInfo, error) {
	if err := CheckKey(key); err != nil {
		return storage.BlobInfo{}, err
	}
	if _, ok := m.get(key); ok {
		return storage.BlobInfo{}, errExists(key)
	}
	var buf bytes.Buffer
	info, err := copyHashed(ctx, &buf, r)
	if err != nil {
		return storage.BlobInfo{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.blobs[key]; ok {
		return storage.BlobInfo{}, errExists(key)
	}
	m.blobs[key] = memoryBlob{bytes.Clone(buf.Bytes()), m.clock.Now()}
	return info, nil
}

// Open returns a range of a blob, see [storage.BlobStore]. A negative offset
// gives an error that matches [ErrOffset].
func (m *Memory) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if err := checkOpen(ctx, key, offset); err != nil {
		return nil, err
	}
	blob, ok := m.get(key)
	if !ok {
		return nil, errNotFound(key)
	}
	data := blob.data[min(offset, int64(len(blob.data))):]
	if length >= 0 {
		data = data[:min(length, int64(len(data)))]
	}
	return memoryReader{bytes.NewReader(data)}, nil
}

// memoryReader is a bytes.Reader, with its WriteTo, that can be closed.
type memoryReader struct{ *bytes.Reader }

func (memoryReader) Close() error { return nil }

// Delete forgets a blob, see [storage.BlobStore].
func (m *Memory) Delete(ctx context.Context, key string) error {
	if err := checkOpen(ctx, key, 0); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.blobs, key)
	return nil
}

// List returns stored keys in byte order, see [storage.BlobStore]. A call
// looks at every key that is stored.
func (m *Memory) List(ctx context.Context, after string, limit int) ([]storage.BlobFile, error) {
	if err := ctx.Err(); err != nil || limit <= 0 {
		return nil, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	found := smallest{after: after, limit: limit}
	for key := range m.blobs {
		found.add(key)
	}
	var files []storage.BlobFile
	for _, key := range found.sorted() {
		blob := m.blobs[key]
		files = append(files, storage.BlobFile{Key: key, Size: int64(len(blob.data)), Modified: blob.modified})
	}
	return files, nil
}

func (m *Memory) get(key string) (memoryBlob, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	blob, ok := m.blobs[key]
	return blob, ok
}

// checkOpen checks the arguments that the methods share.
func checkOpen(ctx context.Context, key string, offset int64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if offset < 0 {
		return ErrOffset
	}
	return CheckKey(key)
}
