package live_test

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/pdskit/pdskit/live"
	"github.com/pdskit/pdskit/storage"
)

// TestOneEncoding: all subscribers get the same event, and each form of it is
// made once.
func TestOneEncoding(t *testing.T) {
	w := newWorld(t, live.Limits{})
	a, b := w.subscribe(live.Public(), live.Options{}), w.subscribe(live.Public(), live.Options{})
	w.publish(1)
	ea, eb := take(t, a, 1)[0], take(t, b, 1)[0]
	if ea != eb {
		t.Fatal("two subscribers got two events")
	}
	made := 0
	encode := func(*live.Event) ([]byte, error) {
		made++
		return []byte("form"), nil
	}
	for range 3 {
		for _, form := range []string{"x", "y"} {
			if data, err := ea.Encoded(form, encode); err != nil || string(data) != "form" {
				t.Fatalf("%s, %v", data, err)
			}
		}
	}
	if made != 2 {
		t.Errorf("encoded %d times", made)
	}
	failed := errors.New("no")
	c := &live.Event{Kind: live.KindSignalsReset, Topic: "t"}
	if _, err := c.Encoded("x", func(*live.Event) ([]byte, error) { return nil, failed }); !errors.Is(err, failed) {
		t.Errorf("error %v", err)
	}
	if string(c.JSON()) != `{"topic":"t"}` {
		t.Errorf("after a failure: %s", c.JSON())
	}
}

func TestEventJSON(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 5_000_000, time.UTC)
	for want, ev := range map[string]*live.Event{
		`{"topic":"a\"b","cursor":"c","seq":1,"time":"2026-03-01T12:00:00.005Z","data":{"x":"\u2028<"}}`: {
			Kind: live.KindMessage, Topic: `a"b`, Cursor: "c", Entry: &live.Entry{Seq: 1, Time: at, Data: json.RawMessage(`{"x":"\u2028<"}`)},
		},
		`{"topic":"t","cursor":"c","seq":1,"time":"2026-03-01T12:00:00.005Z","redacted":true}`: {
			Kind: live.KindMessage, Topic: "t", Cursor: "c", Entry: &live.Entry{Seq: 1, Time: at, Redacted: true},
		},
		`{"topic":"t","cursor":"c","seq":2,"time":"2026-03-01T12:00:00.005Z","redacts":1}`: {
			Kind: live.KindRedaction, Topic: "t", Cursor: "c", Entry: &live.Entry{Seq: 2, Time: at, Redacts: 1},
		},
		`{"topic":"t","cursor":"c","from":2,"to":5}`:              {Kind: live.KindGap, Topic: "t", Cursor: "c", Gap: &live.Gap{From: 2, To: 5}},
		`{"topic":"t","cursor":"c","from":1,"to":0,"reset":true}`: {Kind: live.KindGap, Topic: "t", Cursor: "c", Gap: &live.Gap{From: 1, Reset: true}},
		`{"topic":"t","key":"k","data":{}}`:                       {Kind: live.KindSignal, Topic: "t", Signal: &live.Signal{Key: "k", Data: json.RawMessage(`{}`)}},
		`{"topic":"t","key":"k","gone":true}`:                     {Kind: live.KindSignal, Topic: "t", Signal: &live.Signal{Key: "k", Gone: true}},
		`{"topic":"t"}`:                                           {Kind: live.KindSignalsReset, Topic: "t"},
	} {
		if got := string(ev.JSON()); got != want || !json.Valid(ev.JSON()) {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func FuzzCursor(f *testing.F) {
	for _, s := range []string{"", "-", "AAAAAAAAAAAAAAAA-1", "AAAAAAAAAAAAAAAA-01", "ABCDEFGHIJ234567-9223372036854775807", "ABCDEFGHIJ234567-9223372036854775808"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		again, err := live.ParseCursor(text)
		if err == nil && again != text {
			t.Errorf("%q passed as %q", text, again)
		}
		if err != nil && !errors.Is(err, live.ErrCursor) {
			t.Errorf("%q: %v", text, err)
		}
	})
}

// FuzzStored reads what a store might hold: there may be errors, but no panics.
func FuzzStored(f *testing.F) {
	f.Add("AAAAAAAAAAAAAAAA/0000000000000001", []byte(`{"t":1,"d":{}}`))
	f.Add("x", []byte(`{"epoch":"a","first":1,"last":-5}`))
	f.Fuzz(func(_ *testing.T, key string, value []byte) {
		live.DecodeStored(storage.Doc{Key: key, Value: value})
	})
}

func FuzzData(f *testing.F) {
	f.Add([]byte(`{"a":1.0}`))
	f.Add([]byte(` {"a":"\u0000"} `))
	f.Fuzz(func(t *testing.T, text []byte) {
		before := slices.Clone(text)
		data, err := live.EncodeData(json.RawMessage(text))
		if !slices.Equal(before, text) {
			t.Error("the input was changed")
		}
		if err != nil {
			if !errors.Is(err, live.ErrInvalid) {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		again, err := live.EncodeData(data)
		if err != nil || string(again) != string(data) || len(data) > live.MaxMessageBytes || data[0] != '{' || !json.Valid(data) {
			t.Errorf("%q gives %q, then %q, %v", text, data, again, err)
		}
	})
}
