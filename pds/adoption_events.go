package pds

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/repo"
	"github.com/pdskit/pdskit/storage"
)

// AdoptedEvent is an entry of another server's log.
type AdoptedEvent struct {
	Seq  int64
	Time time.Time
	DID  syntax.DID
	Kind EventKind

	// Body is the DAG-CBOR map of the event as it is sent, of whose "seq" and
	// "time" nothing need be there.
	Body []byte
}

// LastSeq is the number of the last event of the log that is here. What is not
// above it needs no adopting.
func (a *Adoption) LastSeq(ctx context.Context) (seq int64, err error) {
	if a.cfg.VerifyOnly {
		return 0, nil
	}
	err = a.cfg.Store.View(ctx, func(tx storage.Tx) error {
		seq, err = tx.LastSeq()
		return err
	})
	return seq, err
}

// BeginLog says that the events up to a number are not taken over: who asks for
// them later hears that they are gone. Call it before Events.
func (a *Adoption) BeginLog(ctx context.Context, leftOut int64) error {
	if a.cfg.VerifyOnly || leftOut <= 0 {
		return nil
	}
	return a.cfg.Store.Update(ctx, func(tx storage.Tx) error {
		_, doc, err := prunedTo(tx)
		if err != nil {
			return err
		}
		doc.Value = formatSeq(leftOut)
		_, err = tx.PutDoc(doc)
		return err
	})
}

// Events adopts the next entries of the log, with the numbers that they have.
// Those that are malformed are left out; faults names them, by the same index,
// and is nil otherwise. Numbers must rise, also from call to call.
func (a *Adoption) Events(ctx context.Context, list []AdoptedEvent) (faults []*AdoptionFault, err error) {
	faults = make([]*AdoptionFault, len(list))
	var batch []storage.Event
	size := 0
	flush := func() error {
		if len(batch) == 0 || a.cfg.VerifyOnly {
			batch, size = nil, 0
			return nil
		}
		err := a.cfg.Store.Update(ctx, func(tx storage.Tx) error {
			loader, ok := storage.TxAs[storage.EventLoader](tx)
			if !ok {
				return errNoEventLoader
			}
			for _, e := range batch {
				if err := loader.LoadEvent(e); err != nil {
					return err
				}
			}
			return nil
		})
		batch, size = nil, 0
		return err
	}
	for i := range list {
		e, err := list[i].stored()
		if err != nil {
			faults[i] = newFault(FaultEvent, "event %d of %s: %v", list[i].Seq, list[i].DID, err)
			continue
		}
		if batch, size = append(batch, e), size+len(e.Body); len(batch) >= stageRows || size >= stageBytes {
			if err := flush(); err != nil {
				return nil, err
			}
		}
	}
	return faults, flush()
}

var errNoEventLoader = errors.New("pds: the store cannot take over numbers of events: it is no storage.EventLoader")

// EndLog ends the log of the other server, whose last number was last: the next
// event gets a number above it and above the time in microseconds. Call it when
// everything else is done.
func (a *Adoption) EndLog(ctx context.Context, last int64) error {
	if a.cfg.VerifyOnly {
		return nil
	}
	return a.cfg.Store.Update(ctx, func(tx storage.Tx) error {
		loader, ok := storage.TxAs[storage.EventLoader](tx)
		if !ok {
			return errNoEventLoader
		}
		return loader.RaiseSeq(max(last, a.clock.Now().UnixMicro()))
	})
}

// stored returns the event as our log holds it, if observers can read it.
func (e *AdoptedEvent) stored() (out storage.Event, err error) {
	if !slices.Contains([]EventKind{EventCommit, EventSync, EventIdentity, EventAccount}, e.Kind) {
		return out, fmt.Errorf("the kind %q is unknown", e.Kind)
	}
	value, err := repo.DecodeCBOR(e.Body)
	if err != nil {
		return out, err
	}
	fields, ok := value.(map[string]any)
	if !ok {
		return out, errEventBody
	}
	name := "did"
	if e.Kind == EventCommit {
		name = "repo"
	}
	if fields[name] != string(e.DID) {
		return out, fmt.Errorf("it is of %v", fields[name])
	}
	out = storage.Event{Seq: e.Seq, Time: e.Time, DID: e.DID, Kind: string(e.Kind)}
	if out.Body, err = encodeEventFields(fields, len(e.Body)); err != nil {
		return out, err
	}
	check := out
	check.Body = bytes.Clone(out.Body) // decodeEvent uses it up
	_, err = decodeEvent(check)
	return out, err
}

// encodeEventFields returns the body of an event with these fields, and holes
// for number and time.
func encodeEventFields(fields map[string]any, sizeHint int) ([]byte, error) {
	names := maps.Clone(fields)
	names["seq"], names["time"] = nil, nil
	keys := slices.SortedFunc(maps.Keys(names), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
	})
	e := newEventEncoder(len(keys), sizeHint+64)
	for _, key := range keys {
		switch key {
		case "seq":
			e.seq()
		case "time":
			e.time()
		default:
			e.text(key)
			var err error
			if e.buf, err = repo.AppendCBOR(e.buf, fields[key]); err != nil {
				return nil, err
			}
		}
	}
	return e.done(), nil
}
