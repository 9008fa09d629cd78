package pds

import (
	"strings"
	"sync"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/repo"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
	"github.com/pdskit/pdskit/xrpc/lexicons"
)

// checkRecordKey compares a record key with the key type of its collection's
// schema, if that is known.
func checkRecordKey(catalog *lexicons.Catalog, path storage.RecordPath) error {
	if _, err := catalog.CheckRecordKey(string(path.Collection), string(path.RKey)); err != nil {
		return xrpc.InvalidRequest("Invalid record key for %s: %v", path.Collection, err).WithCause(err)
	}
	if hasExplicitSlur(string(path.RKey)) {
		return xrpc.InvalidRequest("Unacceptable slur in record key")
	}
	return nil
}

// tidClock makes record keys that rise, also when the clock steps back.
type tidClock struct {
	mu   sync.Mutex // guards following field
	last syntax.TID
}

func (c *tidClock) next(now time.Time, clockID uint) syntax.TID {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = repo.NextRev(c.last, now, clockID)
	return c.last
}

// nextTID returns a key for a new record.
func (s *Server) nextTID() syntax.TID { return s.tids.next(s.clock.Now(), s.clockID) }

// cutPath splits "collection/rkey".
func cutPath(path string) (collection, rkey string, ok bool) { return strings.Cut(path, "/") }
