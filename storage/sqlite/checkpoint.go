package sqlite

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	modernc "modernc.org/sqlite"
)

const (
	// A checkpoint begins in the background after so many bytes of the log.
	checkpointBytes = 24 << 20

	// The log is begun anew, if no reader is in the way, from this size on.
	restartBytes = 48 << 20

	// The log is truncated above this size, waiting for readers.
	maxLogBytes = 128 << 20

	// How long a truncation waits for readers, and the pause between tries.
	truncateWait  = 250 * time.Millisecond
	truncatePause = time.Second

	// What a closure is taken to add to the log besides its data.
	closureOverhead = 32 << 10
)

// Result codes of SQLite without their extension.
const (
	codeBusy   = 5
	codeLocked = 6
	codeFull   = 13
)

// checkpointer moves the log into the database file. The copying is done by a
// connection of its own, beside writers and readers. Only the rest, and the
// new beginning of the log, is done by the writer between two batches.
type checkpointer struct {
	s           *Store
	synchronous string
	kick        chan struct{} // to the goroutine: copy
	ready       chan struct{} // to the writer: look at the size of the log
	stopping    chan struct{}
	wg          sync.WaitGroup
	pinned      atomic.Int32 // backups that run: to wait for them would be in vain

	// Used by the writer alone.
	bytes int // written since the last kick
	due   bool
	tried time.Time // the last truncation
}

func newCheckpointer(s *Store, synchronous string) *checkpointer {
	k := &checkpointer{
		s:           s,
		synchronous: synchronous,
		kick:        make(chan struct{}, 1),
		ready:       make(chan struct{}, 1),
		stopping:    make(chan struct{}),
	}
	k.wg.Go(k.run)
	return k
}

func (k *checkpointer) stop() {
	close(k.stopping)
	k.wg.Wait()
}

// run copies whenever it is kicked.
func (k *checkpointer) run() {
	var c *conn
	defer func() {
		if c != nil {
			c.close()
		}
	}()
	for {
		select {
		case <-k.stopping:
			return
		case <-k.kick:
		}
		var err error
		if c == nil {
			c, err = connect(k.s.path, "busy_timeout=0", "synchronous="+k.synchronous, "fullfsync=1")
		}
		if err == nil {
			_, _, err = checkpoint(c, "PASSIVE")
		}
		k.report(err)
		select {
		case k.ready <- struct{}{}:
		default:
		}
	}
}

// wrote tells of a batch.
func (k *checkpointer) wrote(closures, bytes int) {
	k.bytes += 2*bytes + closures*closureOverhead
	if k.bytes < checkpointBytes {
		return
	}
	k.bytes = 0
	k.now()
}

// now begins a checkpoint in the background.
func (k *checkpointer) now() {
	select {
	case k.kick <- struct{}{}:
	default:
	}
}

// between is called by the writer, with its connection, outside transactions.
// After a background checkpoint it begins the log anew if it has grown long.
func (k *checkpointer) between(c *conn) {
	select {
	case <-k.ready:
		k.due = true
	default:
	}
	if !k.due || k.s.failure.Load() != nil {
		return
	}
	k.due = false
	info, err := os.Stat(k.s.path + "-wal")
	if err != nil || info.Size() < restartBytes {
		return
	}
	if info.Size() > maxLogBytes && k.pinned.Load() == 0 && time.Since(k.tried) >= truncatePause {
		k.tried = time.Now()
		err = withTimeout(c, truncateWait, "TRUNCATE")
	} else {
		err = withTimeout(c, 0, "RESTART")
	}
	k.report(err)
}

// withTimeout runs a checkpoint that waits so long for readers.
func withTimeout(c *conn, wait time.Duration, mode string) error {
	if err := c.script(fmt.Sprintf("PRAGMA busy_timeout=%d", wait.Milliseconds())); err != nil {
		return err
	}
	_, _, err := checkpoint(c, mode)
	return errors.Join(err, c.script(fmt.Sprintf("PRAGMA busy_timeout=%d", busyTimeout.Milliseconds())))
}

// checkpoint runs one and returns how many pages the log holds and how many
// of them are in the database file.
func checkpoint(c *conn, mode string) (log, done int64, err error) {
	r, err := c.query("PRAGMA wal_checkpoint(" + mode + ")")
	if err != nil {
		return 0, 0, err
	}
	if r.next() {
		log, done = r.int(1), r.int(2)
	}
	return log, done, r.close()
}

// report judges the error of a checkpoint. A reader in the way or a full disk
// leave the log as it is: nothing is lost, the next try may do better. Other
// failures may have lost what an fsync was to save.
func (k *checkpointer) report(err error) {
	if err == nil {
		return
	}
	if e, ok := errors.AsType[*modernc.Error](err); ok && (e.Code()&0xff == codeBusy || e.Code()&0xff == codeLocked) {
		return
	}
	if full, _ := outOfRoom(err); full {
		k.s.log.Warn("checkpoint: no room on the disk", "path", k.s.path, "error", err)
		return
	}
	_ = k.s.poison(fmt.Errorf("checkpoint: %w", err)) // it is in the log, and every call returns it from now on
}
