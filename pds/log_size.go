package pds

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/pdskit/pdskit/storage"
)

// How many bytes the log of events has is nothing that a store knows. It is
// counted here, each event once, some time after it was written, and kept in
// a document as a list of parts of the log. The oldest parts go when there is
// too much.

const (
	// sizeKey names the document with the logSize.
	sizeKey = "size"

	// sizeParts is how many parts the log has when it is full: so exact is the
	// limit.
	sizeParts = 64

	// sizePage is how many bytes of events one step of the counting reads.
	sizePage = 4 << 20

	// eventRow is about what an event takes besides its body.
	eventRow = 150
)

// logPart is a part of the log: the events after the part before it.
type logPart struct {
	UpTo  int64 `json:"upTo"`  // number of its last event
	Bytes int64 `json:"bytes"` // hidden events included, which are pruned with the others
}

// logSize is what has been counted so far, oldest part first.
type logSize struct {
	Parts []logPart `json:"parts"`
}

func readLogSize(tx storage.Docs) (size logSize, doc storage.Doc, err error) {
	doc, err = tx.GetDoc(firehoseDocs, sizeKey)
	if errors.Is(err, storage.ErrNotFound) {
		return size, storage.Doc{Kind: firehoseDocs, Key: sizeKey}, nil
	}
	if err == nil {
		err = json.Unmarshal(doc.Value, &size)
	}
	return size, doc, err
}

// counted is the number of the last event that has been counted.
func (l *logSize) counted() int64 {
	if n := len(l.Parts); n > 0 {
		return l.Parts[n-1].UpTo
	}
	return 0
}

// add counts events, in parts of at most so many bytes and one event.
func (l *logSize) add(events []storage.Event, partBytes int64) {
	for i := range events {
		n := len(l.Parts)
		if n == 0 || l.Parts[n-1].Bytes >= partBytes {
			l.Parts = append(l.Parts, logPart{})
			n++
		}
		l.Parts[n-1].UpTo = events[i].Seq
		l.Parts[n-1].Bytes += int64(len(events[i].Body)) + eventRow
	}
}

// drop forgets the parts that are pruned as a whole, but for the last one,
// which says how far the counting has come.
func (l *logSize) drop(pruned int64) {
	for len(l.Parts) > 1 && l.Parts[0].UpTo <= pruned {
		l.Parts = l.Parts[1:]
	}
}

// excess returns the number up to which events have to go, so that no more than
// limit bytes are left; zero if nothing has to.
func (l *logSize) excess(limit int64) (upTo int64) {
	var total int64
	for _, p := range l.Parts {
		total += p.Bytes
	}
	for i := 0; total > limit && i < len(l.Parts)-1; i++ { // never all
		upTo = l.Parts[i].UpTo
		total -= l.Parts[i].Bytes
	}
	return upTo
}

// fullPage reports whether there may be more events to count at once.
func fullPage(events []storage.Event) bool {
	total := 0
	for i := range events {
		total += len(events[i].Body)
	}
	return len(events) == pruneChunk || total > sizePage/2
}

// measureLog counts the events that have been written since it was called the
// last time.
func (s *Server) measureLog(ctx context.Context) (more bool, err error) {
	var size logSize
	var doc storage.Doc
	var events []storage.Event
	err = s.store.View(ctx, func(tx storage.Tx) error {
		pruned, _, err := prunedTo(tx)
		if err != nil {
			return err
		}
		if size, doc, err = readLogSize(tx); err != nil {
			return err
		}
		size.drop(pruned)
		events, err = tx.ListEvents(size.counted(), pruneChunk, sizePage)
		return err
	})
	if err != nil || len(events) == 0 {
		return false, err
	}
	size.add(events, s.cfg.Limits.EventLogBytes/sizeParts)
	if doc.Value, err = json.Marshal(size); err != nil {
		return false, err
	}
	err = s.store.Update(ctx, func(tx storage.Tx) error {
		_, err := tx.PutDoc(doc)
		return err
	})
	if errors.Is(err, storage.ErrConflict) {
		return false, nil // another process counts
	}
	return err == nil && fullPage(events), err
}
