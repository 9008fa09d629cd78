package sqlite

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pdskit/pdskit/storage"
)

const (
	// DefaultReadConns is the default of [Options.ReadConns].
	DefaultReadConns = 8

	// How long a statement waits for a lock that a foreign program holds.
	busyTimeout = 5 * time.Second

	// Page caches in KiB.
	writerCache = 16 << 10
	readerCache = 2 << 10
)

// ErrPoisoned matches the error of every method after a COMMIT or an fsync
// failed for another reason than a full disk. Close the store and open it again.
var ErrPoisoned = errors.New("sqlite: a commit failed and its fate is unknown until the store is reopened")

// Options are the options of a Store. The zero value is ready to use.
type Options struct {
	// Clock is the store's clock. nil is the computer's clock.
	Clock storage.Clock

	// Logger receives what has no caller: failed checkpoints, and the stacks
	// of panics in closures. nil discards it.
	Logger *slog.Logger

	// ReadConns is how many Views may run at a time; further ones wait. Each
	// takes up to 2 MiB of page cache. Zero means DefaultReadConns.
	ReadConns int
}

// Store is a [storage.Store] in one SQLite file. Its methods may be called
// concurrently.
type Store struct {
	path   string
	temp   string   // folder to remove at Close; empty unless in memory
	lock   *os.File // nil in memory
	guard  *storage.Guard
	log    *slog.Logger
	writer *writer

	queue   chan *request
	readers *readers
	quit    chan struct{}
	close   sync.Once
	closed  error // of Close

	expired, collected atomic.Int64 // documents and rows that Maintain has removed

	failure  atomic.Pointer[error] // why the store is poisoned
	full     atomic.Pointer[error] // why there is no writing for the moment
	accounts accountCache
	watchers watchers
	check    *checkpointer
}

var _ storage.Store = (*Store)(nil)

// Open opens the database file, which it creates if there is none, in a folder
// that must exist, and takes exclusive ownership of it until Close. Generations
// that were not published are dropped. The error is a [*LockedError] if another
// Store has the file.
func Open(path string, opts Options) (*Store, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real // so that two names of one file share a lock
	}
	held, err := lock(path)
	if err != nil {
		return nil, err
	}
	if err := makePrivate(path); err != nil {
		held.Close()
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	s, err := open(path, "FULL", opts)
	if err != nil {
		held.Close()
		return nil, err
	}
	s.lock = held
	return s, nil
}

// makePrivate creates the file, if there is none, so that only its owner may
// read it: it holds hashes of passwords and e-mail addresses. SQLite gives the
// files beside it the same mode.
func makePrivate(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// OpenMemory opens an empty store in a temporary folder, which Close removes.
// Nothing is synced: it is for tests and for data that may be lost.
func OpenMemory(opts Options) (*Store, error) {
	dir, err := os.MkdirTemp("", "pdskit-")
	if err != nil {
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	path := filepath.Join(dir, "memory.db")
	var s *Store
	file, err := emptyFile()
	if err == nil {
		err = os.WriteFile(path, file, 0o600)
	}
	if err == nil {
		s, err = open(path, "OFF", opts)
	}
	if err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("sqlite: %w", err)
	}
	s.temp = dir
	return s, nil
}

// emptyFile returns the file of a database that holds nothing but the schema.
// It is made once, because to make it takes longer than all else in OpenMemory.
var emptyFile = sync.OnceValues(func() (file []byte, err error) {
	dir, err := os.MkdirTemp("", "pdskit-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "empty.db")
	s, err := open(path, "OFF", Options{})
	if err != nil {
		return nil, err
	}
	if err := s.Close(); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

func open(path, synchronous string, opts Options) (*Store, error) {
	if opts.ReadConns < 0 {
		return nil, fmt.Errorf("sqlite: Options.ReadConns is %d", opts.ReadConns)
	}
	if opts.ReadConns == 0 {
		opts.ReadConns = DefaultReadConns
	}
	if opts.Clock == nil {
		opts.Clock = storage.SystemClock()
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	c, err := connect(path,
		fmt.Sprintf("busy_timeout=%d", busyTimeout.Milliseconds()),
		"synchronous="+synchronous,
		"journal_mode=WAL",
		"fullfsync=1",
		"wal_autocheckpoint=0",
		"temp_store=MEMORY",
		fmt.Sprintf("cache_size=-%d", writerCache),
	)
	if err != nil {
		return nil, fmt.Errorf("sqlite: open %s: %w", path, err)
	}
	s := &Store{
		path:    path,
		log:     opts.Logger,
		queue:   make(chan *request, maxBatch),
		readers: newReaders(path, opts.ReadConns),
		quit:    make(chan struct{}),
	}
	last, err := prepareFile(c)
	if err == nil && synchronous != "OFF" {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		c.close()
		return nil, fmt.Errorf("sqlite: open %s: %w", path, err)
	}
	var highest time.Time
	if last > 0 {
		highest = time.UnixMicro(last)
	}
	s.guard = storage.NewGuard(opts.Clock, highest)
	s.check = newCheckpointer(s, synchronous)
	s.writer = newWriter(s, c, last)
	go s.writer.loop()
	return s, nil
}

// integer runs a query for one number.
func (c *conn) integer(sql string) (int64, error) {
	r, err := c.query(sql)
	if err != nil {
		return 0, err
	}
	var n int64
	if r.next() {
		n = r.int(0)
	}
	return n, r.close()
}

// Guard returns the clock by which the store numbers events, expires
// documents and abandons generations, see [storage.GuardOf].
func (s *Store) Guard() *storage.Guard { return s.guard }

// usable returns why no transaction can begin, if so.
func (s *Store) usable() error {
	select {
	case <-s.quit:
		return storage.ErrClosed
	default:
	}
	if p := s.failure.Load(); p != nil {
		return *p
	}
	return nil
}

// writable returns why no transaction can begin that writes, if so.
func (s *Store) writable() error {
	if err := s.usable(); err != nil {
		return err
	}
	if p := s.full.Load(); p != nil {
		return *p
	}
	return nil
}

// poison makes every later call fail with the first cause.
func (s *Store) poison(cause error) error {
	err := fmt.Errorf("%w: %w", ErrPoisoned, cause)
	if s.failure.CompareAndSwap(nil, &err) {
		s.log.Error("the store is poisoned", "path", s.path, "error", cause)
	}
	return *s.failure.Load()
}

// View implements [storage.Store].
func (s *Store) View(ctx context.Context, fn func(storage.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.usable(); err != nil {
		return err
	}
	c, err := s.readers.take(ctx, s.quit)
	if err != nil {
		return err
	}
	snapshot, version, err := c.snapshot()
	if err != nil {
		c.close()
		s.readers.put(nil)
		return fmt.Errorf("sqlite: begin: %w", err)
	}
	t := &tx{ctx: ctx, s: s, c: c, accountsVersion: version}
	defer func() {
		t.end()
		if snapshot.close() != nil {
			c.close()
			c = nil
		}
		s.readers.put(c)
	}()
	return fn(t)
}

// Watch implements [storage.Store].
func (s *Store) Watch(ctx context.Context) <-chan struct{} { return s.watchers.add(ctx) }

// Close implements [storage.Store].
func (s *Store) Close() error {
	s.close.Do(func() {
		close(s.quit)
		<-s.writer.stopped
		s.check.stop()
		s.readers.close()
		s.watchers.close()
		s.closed = s.writer.c.close()
		if s.lock != nil {
			s.closed = errors.Join(s.closed, s.lock.Close())
		}
		if s.temp != "" {
			s.closed = errors.Join(s.closed, os.RemoveAll(s.temp))
		}
	})
	return s.closed
}
