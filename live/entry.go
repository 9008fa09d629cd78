package live

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/pdskit/pdskit/internal/strictjson"
	"github.com/pdskit/pdskit/storage"
)

// MaxMessageBytes is the size of a message's data.
const MaxMessageBytes = 64 << 10

// Entry is one place in the sequence of a topic: a message, or the notice that
// one was redacted. As JSON its fields have the names of [Event.AppendJSON].
type Entry struct {
	Seq int64 `json:"seq"` // 1 for the first of a topic, without holes

	// Time is when it was published, to the millisecond. It never goes back
	// within a topic.
	Time time.Time `json:"time"`

	// Data is what was published: a JSON object of atproto's data model, so
	// without fractions. Nil for a redacted message and for a notice. It must
	// not be changed.
	Data json.RawMessage `json:"data,omitempty"`

	// Redacted says that the message's data is gone.
	Redacted bool `json:"redacted,omitempty"`

	// Redacts, if not zero, is the number of the message that this notice is
	// about.
	Redacts int64 `json:"redacts,omitempty"`
}

// storedEntry is the value of an entry's document.
type storedEntry struct {
	Time     int64           `json:"t"` // Unix milliseconds
	Data     json.RawMessage `json:"d,omitempty"`
	Redacted bool            `json:"r,omitempty"`
	Redacts  int64           `json:"n,omitempty"`
}

// Append publishes a message on a topic, as part of the transaction tx, and
// returns its entry. data is what [EncodeData] returned. When the transaction
// has been committed, call [Hub.Wake]. It returns an error that matches
// [ErrNotFound] if there is no such topic.
func Append(tx storage.Docs, now time.Time, topic string, data json.RawMessage) (Entry, error) {
	data, err := checkData(data, MaxMessageBytes)
	if err != nil {
		return Entry{}, err
	}
	info, err := Lookup(tx, topic)
	if err != nil {
		return Entry{}, err
	}
	return info.append(tx, now, Entry{Data: data})
}

// append stores an entry at the end of the topic.
func (i *Info) append(tx storage.Docs, now time.Time, e Entry) (Entry, error) {
	i.Last++
	i.at = max(i.at, now.UnixMilli())
	e.Seq, e.Time = i.Last, time.UnixMilli(i.at).UTC()
	if err := e.put(tx, i, 0); err != nil {
		return Entry{}, err
	}
	return e, i.put(tx)
}

// Redact removes the data of a message for good, as part of the transaction
// tx: the message stays as an empty entry with its number, and a notice is
// appended, by which subscribers learn of it, those who come back later
// included. A message that has been redacted stays as it is. It returns an
// error that matches [ErrNotFound] if there is no such topic or message.
func Redact(tx storage.Docs, now time.Time, topic string, seq int64) error {
	info, err := Lookup(tx, topic)
	if err != nil {
		return err
	}
	d, err := tx.GetDoc(docEntry, entryKey(info.epoch, seq))
	if errors.Is(err, storage.ErrNotFound) || err == nil && (seq < info.First || seq > info.Last) {
		return fmt.Errorf("entry %d of topic %q: %w", seq, topic, ErrNotFound)
	}
	if err != nil {
		return err
	}
	e, err := decodeEntry(d)
	switch {
	case err != nil:
		return err
	case e.Redacts != 0:
		return fmt.Errorf("entry %d of topic %q is no message: %w", seq, topic, ErrNotFound)
	case e.Redacted:
		return nil
	}
	e.Data, e.Redacted = nil, true
	if err := e.put(tx, &info, d.Version); err != nil {
		return err
	}
	_, err = info.append(tx, now, Entry{Redacts: seq})
	return err
}

// entryKey orders entries by their numbers.
func entryKey(epoch string, seq int64) string { return fmt.Sprintf("%s/%016d", epoch, seq) }

func (e *Entry) put(tx storage.Docs, i *Info, version int64) error {
	// By hand, so that the data is stored as it is.
	value := fmt.Appendf(nil, `{"t":%d`, e.Time.UnixMilli())
	switch {
	case e.Redacts != 0:
		value = fmt.Appendf(value, `,"n":%d`, e.Redacts)
	case e.Redacted:
		value = append(value, `,"r":true`...)
	default:
		value = append(append(value, `,"d":`...), e.Data...)
	}
	value = append(value, '}')
	_, err := tx.PutDoc(storage.Doc{
		Kind: docEntry, Key: entryKey(i.epoch, e.Seq), Owner: i.Owner, Version: version, Value: value,
	})
	return err
}

func decodeEntry(d storage.Doc) (Entry, error) {
	var s storedEntry
	_, number, _ := strings.Cut(d.Key, "/")
	seq, err := strconv.ParseInt(number, 10, 64)
	if err == nil {
		err = json.Unmarshal(d.Value, &s)
	}
	if err != nil {
		return Entry{}, fmt.Errorf("live: entry %q: %w", d.Key, err)
	}
	return Entry{Seq: seq, Time: time.UnixMilli(s.Time).UTC(), Data: s.Data, Redacted: s.Redacted, Redacts: s.Redacts}, nil
}

// EncodeData encodes the data of a message or a signal by encoding/json; a
// json.RawMessage is taken as it is. It returns an error that matches
// [ErrInvalid] if that gives no object of atproto's data model, or more than
// MaxMessageBytes.
func EncodeData(data any) (json.RawMessage, error) { return encodeData(data, MaxMessageBytes) }

func encodeData(data any, limit int) (json.RawMessage, error) {
	text, ok := data.(json.RawMessage)
	if !ok {
		var buf bytes.Buffer
		enc := json.NewEncoder(&buf)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(data); err != nil {
			return nil, fmt.Errorf("%w data: %w", ErrInvalid, err)
		}
		text = buf.Bytes()
	}
	text, err := checkData(text, limit)
	return bytes.Clone(text), err
}

// checkData returns the data as it is stored. It may be a part of text.
func checkData(text json.RawMessage, limit int) (json.RawMessage, error) {
	plain := bytes.TrimSpace(text)
	if len(plain) <= limit { // before all else
		var err error
		if plain, err = strictjson.Check(plain); err != nil {
			return nil, fmt.Errorf("%w data: %w", ErrInvalid, err)
		}
		if plain[0] != '{' {
			return nil, fmt.Errorf("%w: data must be an object", ErrInvalid)
		}
	}
	if len(plain) > limit { // integers in plain form can be longer
		return nil, fmt.Errorf("%w: %d bytes of data, at most %d are allowed", ErrInvalid, len(plain), limit)
	}
	return plain, nil
}
