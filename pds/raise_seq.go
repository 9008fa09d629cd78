package pds

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

const (
	// maxSeqRequest is the size of a request to raise the numbers.
	maxSeqRequest = 1 << 10

	// seqBound is above all numbers of events: consumers read them as JSON
	// numbers.
	seqBound = 1 << 53
)

// RaiseSeq makes the numbers of events go on above a number, and returns the
// last one that is taken then. It cannot be undone. A server needs it only if
// consumers hold cursors above its own numbers, which follow the clock: after
// it took the place of one that numbered otherwise, or whose clock was ahead.
// It does nothing if the numbers are above already. The store must be a
// [storage.EventLoader].
func (s *Server) RaiseSeq(ctx context.Context, above int64) (last int64, err error) {
	err = s.store.Update(ctx, func(tx storage.Tx) error {
		loader, ok := storage.TxAs[storage.EventLoader](tx)
		if !ok {
			return errNoEventLoader
		}
		if err := loader.RaiseSeq(above); err != nil {
			return err
		}
		last, err = tx.LastSeq()
		return err
	})
	return last, err
}

// serveSeq shows an administrator the last number of an event.
func (s *Server) serveSeq(w http.ResponseWriter, r *http.Request) error {
	last, err := s.firehose.lastSeq(r.Context())
	if err == nil {
		writeJSON(w, http.StatusOK, map[string]int64{"last": last})
	}
	return err
}

// serveRaiseSeq answers POST /admin/seq with a number.
func (s *Server) serveRaiseSeq(w http.ResponseWriter, r *http.Request) error {
	var in struct{ Above int64 }
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxSeqRequest)).Decode(&in); err != nil || in.Above <= 0 {
		return xrpc.InvalidRequest("The body must be JSON with a number, above")
	}
	if in.Above >= seqBound-1 {
		return xrpc.InvalidRequest("Numbers of events are below 2^53, which is %d", int64(seqBound))
	}
	entry := AuditEntry{Actor: adminUser, Client: r.UserAgent(), Action: "seq raise", Detail: fmt.Sprintf("above %d", in.Above)}
	var last int64
	err := s.Audit(r.Context(), entry, func(ctx context.Context) (err error) {
		last, err = s.RaiseSeq(ctx, in.Above)
		return err
	})
	if err == nil {
		writeJSON(w, http.StatusOK, map[string]int64{"last": last})
	}
	return err
}
