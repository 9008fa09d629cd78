package pds

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/bluesky-social/indigo/atproto/atdata"
	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"github.com/pdskit/pdskit/repo"
	"github.com/pdskit/pdskit/storage"
)

// EventKind says what an [Event] is about.
type EventKind string

// The kinds of events, as in com.atproto.sync.subscribeRepos.
const (
	EventCommit   EventKind = eventCommit   // records changed: Event.Commit
	EventSync     EventKind = eventSync     // the repository was replaced as a whole
	EventIdentity EventKind = eventIdentity // handle, key or document changed
	EventAccount  EventKind = eventAccount  // the account's status changed
)

// Event is an entry of the server's log, as an observer sees it: what goes out
// on the firehose, and who caused it, which does not.
type Event struct {
	// Seq is the number that the event has on the firehose. It rises from
	// event to event, with gaps.
	Seq  int64
	Time time.Time

	Account syntax.DID
	Kind    EventKind

	// Actor is who caused the event: the account itself, or who acted for it;
	// empty for the administrator and for the server's own work. Client is the
	// application, if it is known. Both are private.
	Actor  syntax.DID
	Client string

	// Commit is set for EventCommit.
	Commit *CommitEvent

	// Active and Status are set for EventAccount: the Status of an account that
	// is not active is "deactivated", "takendown" or "deleted".
	Active bool
	Status string

	// Handle is set for EventIdentity, if the account has one.
	Handle syntax.Handle

	// Gap says that events between the one that the observer saw before and
	// this one are gone: it was away for longer than Limits.EventAge.
	Gap bool
}

// CommitEvent is a commit to a repository.
type CommitEvent struct {
	CID cid.Cid
	Rev syntax.TID
	Ops []CommitOp // one for each record that changed, by path
}

// CommitOp is what a commit did to one record.
type CommitOp struct {
	Action     Action // Create, Update or Delete
	Collection syntax.NSID
	RKey       syntax.RecordKey
	CID        cid.Cid      // of the new version; Undef with Delete
	Prev       cid.Cid      // of the version before; Undef with Create
	Record     *repo.Record // the new version; nil with Delete
}

// URI returns the record's address in the account's repository.
func (o *CommitOp) URI(account syntax.DID) syntax.ATURI {
	return recordURI(account, o.Collection, o.RKey)
}

func recordURI(account syntax.DID, collection syntax.NSID, rkey syntax.RecordKey) syntax.ATURI {
	return syntax.ATURI("at://" + string(account) + "/" + string(collection) + "/" + string(rkey))
}

// decodeEvent reads a stored event, whose body is then no longer to be used.
func decodeEvent(stored storage.Event) (*Event, error) {
	ev := &Event{
		Seq: stored.Seq, Time: stored.Time, Account: stored.DID, Kind: EventKind(stored.Kind),
		Actor: stored.Actor, Client: stored.Client,
	}
	frame, err := eventFrame(&stored)
	if err != nil {
		return nil, err
	}
	value, err := repo.DecodeCBOR(bytes.TrimPrefix(frame, eventHeader(stored.Kind)))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errEventBody, err)
	}
	m, ok := value.(map[string]any)
	if !ok {
		return nil, errEventBody
	}
	switch ev.Kind {
	case EventCommit:
		ev.Commit, err = decodeCommit(m)
	case EventIdentity:
		handle, _ := m["handle"].(string)
		ev.Handle = syntax.Handle(handle)
	case EventAccount:
		ev.Active, _ = m["active"].(bool)
		ev.Status, _ = m["status"].(string)
	}
	return ev, err
}

func decodeCommit(m map[string]any) (*CommitEvent, error) {
	car, _ := m["blocks"].(atdata.Bytes)
	blocks, err := blocksOf(car)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errEventBody, err)
	}
	rev, _ := m["rev"].(string)
	out := &CommitEvent{CID: linkOf(m["commit"]), Rev: syntax.TID(rev)}
	ops, _ := m["ops"].([]any)
	for _, o := range ops {
		fields, _ := o.(map[string]any)
		action, _ := fields["action"].(string)
		text, _ := fields["path"].(string)
		path, err := splitPath(text)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errEventBody, err)
		}
		op := CommitOp{
			Action: Action(action), Collection: path.Collection, RKey: path.RKey,
			CID: linkOf(fields["cid"]), Prev: linkOf(fields["prev"]),
		}
		if op.CID.Defined() {
			if op.Record, err = repo.RecordFromCBOR(blocks[op.CID]); err != nil {
				return nil, fmt.Errorf("%w: %w", errEventBody, err)
			}
		}
		out.Ops = append(out.Ops, op)
	}
	return out, nil
}

func linkOf(v any) cid.Cid {
	link, _ := v.(atdata.CIDLink)
	return link.CID()
}

// blocksOf reads a whole CAR.
func blocksOf(car []byte) (map[cid.Cid][]byte, error) {
	r, err := repo.NewCARReader(bytes.NewReader(car), repo.CARLimits{})
	if err != nil {
		return nil, err
	}
	out := map[cid.Cid][]byte{}
	for {
		b, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		out[b.CID] = bytes.Clone(b.Data)
	}
}
