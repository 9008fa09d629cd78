package live

import (
	"encoding/json"
	"strconv"
	"sync"
)

// Kind is what an [Event] tells.
type Kind string

// The kinds of events.
const (
	// KindMessage: a message; redacted already if Entry.Redacted is set.
	KindMessage Kind = "message"

	// KindRedaction: the message Entry.Redacts was redacted.
	KindRedaction Kind = "redaction"

	// KindGap: entries are left out, see Gap.
	KindGap Kind = "gap"

	// KindSignal: a signal was set, changed, or is gone.
	KindSignal Kind = "signal"

	// KindSignalsReset: changes of signals were missed. All earlier signals of
	// the topic are void; the current ones follow.
	KindSignalsReset Kind = "signalsReset"
)

// Gap says which entries a subscriber is not sent: because it has fallen too
// far behind, or because they are not kept any longer. Those that are there
// can be read by [Hub.Page].
type Gap struct {
	From, To int64 // the first and the last, both inclusive

	// Reset says that the subscriber's cursor did not belong to this topic (it
	// was deleted and made again, or the store is an older copy, see
	// [Hub.VoidCursors]): whatever the
	// subscriber has of it is void. From and To are what there is; To is one
	// less than From if the topic is empty.
	Reset bool
}

// Signal is the last value of something ephemeral, such as who is typing.
type Signal struct {
	Key  string
	Data json.RawMessage // a JSON object; nil if it is gone
	Gone bool
}

// Event is what a subscriber is sent. Events are shared by all subscribers and
// must not be changed.
type Event struct {
	Kind  Kind
	Topic string

	// Cursor is the position after this event, to resume from; empty for
	// signals, which do not change it.
	Cursor string

	Entry  *Entry  // of a message or redaction
	Gap    *Gap    // of a gap
	Signal *Signal // of a signal

	mu    sync.Mutex // guards following field
	forms []form
}

// form is an encoded event.
type form struct {
	name string
	data []byte
}

// maxForms is how many forms of an event are kept: two protocols of one
// method. Others are made for each subscriber.
const maxForms = 2

// Encoded returns the event in a form, which encode makes once for all
// subscribers. The name tells forms apart: say, the protocol and the method.
// The result is shared and must not be changed.
func (e *Event) Encoded(name string, encode func(*Event) ([]byte, error)) ([]byte, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, f := range e.forms {
		if f.name == name {
			return f.data, nil
		}
	}
	data, err := encode(e)
	if err == nil && len(e.forms) < maxForms {
		e.forms = append(e.forms, form{name, data})
	}
	return data, err
}

// JSON returns the event as an object without its kind, see [Event.AppendJSON].
// It is encoded once for all subscribers and must not be changed.
func (e *Event) JSON() []byte {
	data, _ := e.Encoded("", func(e *Event) ([]byte, error) { return e.AppendJSON(nil) })
	return data
}

// AppendJSON appends the event as a JSON object, without its kind, to dst and
// returns it. The error is always nil.
//
//	message       {"topic", "cursor", "seq", "time", "data"}, or "redacted": true in place of data
//	redaction     {"topic", "cursor", "seq", "time", "redacts"}
//	gap           {"topic", "cursor", "from", "to"}, and "reset": true
//	signal        {"topic", "key", "data"}, or "gone": true in place of data
//	signalsReset  {"topic"}
func (e *Event) AppendJSON(dst []byte) ([]byte, error) {
	dst = appendText(append(dst, `{"topic":`...), e.Topic)
	if e.Cursor != "" {
		dst = appendText(append(dst, `,"cursor":`...), e.Cursor)
	}
	if n := e.Entry; n != nil {
		dst = appendNumber(dst, "seq", n.Seq)
		dst = append(n.Time.UTC().AppendFormat(append(dst, `,"time":"`...), timeFormat), '"')
		switch {
		case n.Redacts != 0:
			dst = appendNumber(dst, "redacts", n.Redacts)
		case n.Redacted:
			dst = append(dst, `,"redacted":true`...)
		default:
			dst = append(append(dst, `,"data":`...), n.Data...)
		}
	}
	if g := e.Gap; g != nil {
		dst = appendNumber(appendNumber(dst, "from", g.From), "to", g.To)
		if g.Reset {
			dst = append(dst, `,"reset":true`...)
		}
	}
	if s := e.Signal; s != nil {
		dst = appendText(append(dst, `,"key":`...), s.Key)
		if s.Gone {
			dst = append(dst, `,"gone":true`...)
		} else {
			dst = append(append(dst, `,"data":`...), s.Data...)
		}
	}
	return append(dst, '}'), nil
}

func appendText(dst []byte, s string) []byte {
	text, _ := json.Marshal(s) // a string always can be
	return append(dst, text...)
}

func appendNumber(dst []byte, name string, n int64) []byte {
	dst = append(append(append(dst, `,"`...), name...), `":`...)
	return strconv.AppendInt(dst, n, 10)
}

// timeFormat is that of atproto's datetime, to the millisecond.
const timeFormat = "2006-01-02T15:04:05.000Z"

// eventOverhead is about what an event takes in memory besides its data, which
// is there once as such and once in each form.
const eventOverhead = 512

// size is the most that an event with so much data takes in memory.
func eventSize(data int) int { return eventOverhead + (1+maxForms)*data }

// entryEvent is the event that tells of an entry.
func (i *Info) entryEvent(e Entry) *Event {
	kind := KindMessage
	if e.Redacts != 0 {
		kind = KindRedaction
	}
	return &Event{Kind: kind, Topic: i.Name, Cursor: i.Cursor(e.Seq), Entry: &e}
}
