package jobs

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/storage"
)

// Kinds of documents. Each job has one with what it is, under "kind/name", and
// one by which it is found: under "kind/due/name" while it waits or is leased,
// or under "kind/name" when it was given up.
const (
	docJob  = "job"
	docDue  = "job-due"
	docDead = "job-dead"
)

// maxMillis has as many digits as times have in keys.
const maxMillis = 9_999_999_999_999

// stored is the value of a job's document.
type stored struct {
	Due      int64           `json:"due"` // Unix milliseconds; end of the lease while there is one
	Until    int64           `json:"until,omitempty"`
	Data     json.RawMessage `json:"data,omitempty"`
	Attempts int             `json:"attempts,omitempty"` // begun ones
	Leased   bool            `json:"leased,omitempty"`
	Dead     bool            `json:"dead,omitempty"`
	Error    string          `json:"error,omitempty"` // of the last attempt
}

// entry is a job as stored.
type entry struct {
	kind, name string
	job        storage.Doc
	stored
}

// millis is a time in a key: Unix milliseconds, zero for the zero time.
func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return min(max(t.UnixMilli(), 1), maxMillis)
}

func timeOf(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

func jobKey(kind, name string) string { return kind + "/" + name }

func dueKey(kind string, due int64, name string) string {
	return fmt.Sprintf("%s/%013d/%s", kind, due, name)
}

// index is the document by which the job is found.
func (e *entry) index() storage.Doc {
	if e.Dead {
		return storage.Doc{Kind: docDead, Key: e.job.Key}
	}
	return storage.Doc{Kind: docDue, Key: dueKey(e.kind, e.Due, e.name)}
}

func (e *entry) dropIndex(tx storage.Docs) error {
	i := e.index()
	return tx.DeleteDoc(i.Kind, i.Key)
}

// get returns a job, or storage.ErrNotFound.
func get(tx storage.Docs, kind, name string) (entry, error) {
	d, err := tx.GetDoc(docJob, jobKey(kind, name))
	if err != nil {
		return entry{}, err
	}
	return decode(d)
}

func decode(d storage.Doc) (entry, error) {
	e := entry{job: d}
	e.kind, e.name, _ = strings.Cut(d.Key, "/")
	if err := json.Unmarshal(d.Value, &e.stored); err != nil {
		return entry{}, fmt.Errorf("jobs: document %q: %w", d.Key, err)
	}
	return e, nil
}

// put stores a job whose old index document, if any, has been dropped.
func (e *entry) put(tx storage.Docs) error {
	var err error
	if e.job.Value, err = json.Marshal(e.stored); err != nil {
		return err
	}
	if e.job.Version, err = tx.PutDoc(e.job); err != nil {
		return err
	}
	i := e.index()
	i.Owner, i.Expires = e.job.Owner, e.job.Expires
	_, err = tx.PutDoc(i)
	return err
}

// move changes a stored job and its place.
func (e *entry) move(tx storage.Docs, change func(*entry)) error {
	if err := e.dropIndex(tx); err != nil {
		return err
	}
	change(e)
	return e.put(tx)
}

func (e *entry) delete(tx storage.Docs) error {
	if err := e.dropIndex(tx); err != nil {
		return err
	}
	return tx.DeleteDoc(docJob, e.job.Key)
}

// expired reports whether the job's time is over.
func (e *entry) expired(now time.Time) bool { return e.Until != 0 && now.UnixMilli() > e.Until }

// toJob is the job as a handler or an operator sees it.
func (e *entry) toJob() Job {
	return Job{
		Kind: e.kind, Name: e.name, Owner: syntax.DID(e.job.Owner),
		Due: timeOf(e.Due), Until: timeOf(e.Until), Data: e.Data, Attempt: e.Attempts,
	}
}
