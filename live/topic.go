package live

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/storage"
)

// MaxTopicName is the length of a topic's name in bytes.
const MaxTopicName = 256

// Kinds of documents.
const (
	docTopic = "live-topic" // by name
	docEntry = "live-entry" // by epoch and sequence number
	docGone  = "live-gone"  // by epoch: deleted topics whose entries are still there
)

// Topic describes a durable topic, when it is created.
type Topic struct {
	// Name is any text of 1 to MaxTopicName bytes, unique in the store, such as
	// "com.example.chat/room/3jui7kd54zh2y". Programs that share a store begin
	// their names with an NSID of their own. The name stands in the log when
	// something fails, and in events: what nobody may know does not belong there.
	Name string

	// Owner, if not empty, is the account that the topic belongs to: topic and
	// messages leave with it.
	Owner syntax.DID

	// Keep says which messages stay.
	Keep Retention
}

// Retention says how long the entries of a topic are kept. A zero field is no
// bound. Entries outside of the bounds are removed by [Hub.Maintain] some time
// later, the oldest first; what is left of a topic has no holes.
type Retention struct {
	Count int64         // the newest this many entries
	Age   time.Duration // entries younger than this
}

// Info is a topic as it is stored.
type Info struct {
	Topic
	Created time.Time

	// First and Last are the sequence numbers of the entries that are there.
	// An empty topic has a First of Last + 1, a new one 1 and 0.
	First, Last int64

	epoch string      // names the topic's life, and so its entries
	life  string      // the same for cursors, see Hub.VoidCursors
	at    int64       // time of the last entry, Unix milliseconds
	doc   storage.Doc // as read
}

// Cursor returns the position after an entry: a subscriber who begins there
// gets those above it. Info.Last gives the end of the topic, 0 its beginning.
func (i *Info) Cursor(seq int64) string { return cursor{i.life, seq}.String() }

// storedTopic is the value of a topic's document.
type storedTopic struct {
	Epoch   string `json:"epoch"`
	Life    string `json:"life,omitempty"` // empty: the epoch
	First   int64  `json:"first"`
	Last    int64  `json:"last"`
	Created int64  `json:"created"`      // Unix milliseconds, like the next
	At      int64  `json:"at,omitempty"` // of the last entry
	Count   int64  `json:"count,omitempty"`
	Age     int64  `json:"age,omitempty"` // milliseconds
}

// Create makes a topic, as part of the transaction tx. It returns an error
// that matches [ErrExists] if there is one, [ErrInvalid] if t is malformed, or
// storage.ErrNotFound if the owner is no account. A topic that has the name of
// a deleted one has nothing in common with it.
func Create(tx storage.Docs, now time.Time, t Topic) error {
	if err := t.check(); err != nil {
		return err
	}
	if _, err := tx.GetDoc(docTopic, t.Name); err == nil {
		return fmt.Errorf("topic %q: %w", t.Name, ErrExists)
	} else if !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	epoch := newEpoch()
	info := Info{
		Topic: t, Created: now, First: 1, epoch: epoch, life: epoch,
		doc: storage.Doc{Kind: docTopic, Key: t.Name, Owner: t.Owner},
	}
	return info.put(tx)
}

// SetRetention changes how long the entries of a topic are kept, as part of
// the transaction tx.
func SetRetention(tx storage.Docs, name string, keep Retention) error {
	if err := keep.check(); err != nil {
		return err
	}
	info, err := Lookup(tx, name)
	if err != nil {
		return err
	}
	info.Keep = keep
	return info.put(tx)
}

// Delete removes a topic with its entries, as part of the transaction tx; one
// that is not there is no error. The entries cannot be reached any more and
// are collected later by [Hub.Maintain]. Subscriptions end with [ErrDeleted]
// when the hub is woken.
func Delete(tx storage.Docs, name string) error {
	info, err := Lookup(tx, name)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Last >= info.First {
		value, err := json.Marshal(goneTopic{Next: info.First, Last: info.Last})
		if err != nil {
			return err
		}
		if _, err := tx.PutDoc(storage.Doc{Kind: docGone, Key: info.epoch, Owner: info.Owner, Value: value}); err != nil {
			return err
		}
	}
	return tx.DeleteDoc(docTopic, name)
}

// Lookup returns a topic, or an error that matches [ErrNotFound].
func Lookup(tx storage.Docs, name string) (Info, error) {
	if err := checkName(name); err != nil {
		return Info{}, err
	}
	d, err := tx.GetDoc(docTopic, name)
	if errors.Is(err, storage.ErrNotFound) {
		return Info{}, fmt.Errorf("topic %q: %w", name, ErrNotFound)
	}
	if err != nil {
		return Info{}, err
	}
	return decodeTopic(d)
}

func decodeTopic(d storage.Doc) (Info, error) {
	var s storedTopic
	if err := json.Unmarshal(d.Value, &s); err != nil {
		return Info{}, fmt.Errorf("live: topic %q: %w", d.Key, err)
	}
	d.Value = nil
	return Info{
		Topic: Topic{
			Name: d.Key, Owner: d.Owner,
			Keep: Retention{Count: s.Count, Age: time.Duration(s.Age) * time.Millisecond},
		},
		Created: time.UnixMilli(s.Created).UTC(), First: s.First, Last: s.Last,
		epoch: s.Epoch, life: cmp.Or(s.Life, s.Epoch), at: s.At, doc: d,
	}, nil
}

// put stores the topic, and notes its new version.
func (i *Info) put(tx storage.Docs) (err error) {
	life := i.life
	if life == i.epoch {
		life = ""
	}
	i.doc.Value, err = json.Marshal(storedTopic{
		Epoch: i.epoch, Life: life, First: i.First, Last: i.Last, Created: i.Created.UnixMilli(), At: i.at,
		Count: i.Keep.Count, Age: i.Keep.Age.Milliseconds(),
	})
	if err == nil {
		i.doc.Version, err = tx.PutDoc(i.doc)
	}
	return err
}

func (t *Topic) check() error {
	if err := checkName(t.Name); err != nil {
		return err
	}
	return t.Keep.check()
}

func (r Retention) check() error {
	if r.Count < 0 || r.Age < 0 || r.Age != 0 && r.Age < time.Second {
		return fmt.Errorf("%w: a retention of %d entries, %v (at least a second)", ErrInvalid, r.Count, r.Age)
	}
	return nil
}

func checkName(name string) error {
	if name == "" || len(name) > MaxTopicName || !utf8.ValidString(name) {
		return fmt.Errorf("%w: the name of a topic is text of 1 to %d bytes", ErrInvalid, MaxTopicName)
	}
	return nil
}
