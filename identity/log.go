package identity

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// RecoveryWindow is how long after an operation a more powerful rotation key
// may still nullify it. An operation exactly that old can be nullified.
const RecoveryWindow = 72 * time.Hour

// MaxLogEntries is the longest log that is verified or parsed. A directory
// takes at most 100 operations a week, so this is decades of them.
const MaxLogEntries = 100_000

var (
	// ErrInvalidLog says that a log contradicts itself or its DID.
	ErrInvalidLog = errors.New("identity: invalid PLC log")
	// ErrMisordered says that an operation's prev is no operation that can be
	// followed.
	ErrMisordered = errors.New("identity: PLC operation does not follow the log")
	// ErrLateRecovery says that a recovery came after the RecoveryWindow.
	ErrLateRecovery = errors.New("identity: PLC recovery after the 72 hour window")
	// ErrGenesisHash says that a genesis operation creates another DID.
	ErrGenesisHash = errors.New("identity: genesis operation makes another DID")
)

// LogEntry is one operation in the audit log of a directory.
type LogEntry struct {
	DID       syntax.DID
	Operation Operation
	// CID is that of the operation, as text.
	CID string
	// Nullified is true if a later recovery has cut the operation off.
	Nullified bool
	// CreatedAt is when the directory took it, to the millisecond.
	CreatedAt time.Time
}

type logEntryJSON struct {
	DID       syntax.DID `json:"did"`
	Operation Operation  `json:"operation"`
	CID       string     `json:"cid"`
	Nullified bool       `json:"nullified"`
	CreatedAt string     `json:"createdAt"`
}

const plcTimeFormat = "2006-01-02T15:04:05.000Z"

// MarshalJSON writes the entry as a directory's audit log shows it.
func (e LogEntry) MarshalJSON() ([]byte, error) {
	return json.Marshal(logEntryJSON{e.DID, e.Operation, e.CID, e.Nullified, e.CreatedAt.UTC().Format(plcTimeFormat)})
}

// UnmarshalJSON reads an entry of an audit log; the operation is parsed
// strictly.
func (e *LogEntry) UnmarshalJSON(data []byte) error {
	var raw logEntryJSON
	if err := json.Unmarshal(data, &raw); err != nil {
		return err
	}
	at, err := time.Parse(time.RFC3339Nano, raw.CreatedAt)
	if err != nil {
		return fmt.Errorf("%w: createdAt: %w", ErrInvalidLog, err)
	}
	*e = LogEntry{raw.DID, raw.Operation, raw.CID, raw.Nullified, at.UTC()}
	return nil
}

// State is what a did:plc identity is after an operation.
type State struct {
	DID                 syntax.DID         `json:"did"`
	VerificationMethods map[string]string  `json:"verificationMethods"`
	RotationKeys        []string           `json:"rotationKeys"`
	AlsoKnownAs         []string           `json:"alsoKnownAs"`
	Services            map[string]Service `json:"services"`
	// Tombstoned is true if the identity has ended; the other fields are empty.
	Tombstoned bool `json:"-"`
	// Head is the CID of the newest valid operation; empty if unknown.
	Head string `json:"-"`
}

// stateOf returns the state that op brings about.
func stateOf(did syntax.DID, op *Operation, head string) *State {
	if op.Type == TypeTombstone {
		return &State{DID: did, Tombstoned: true, Head: head}
	}
	n := op.Normalize()
	return &State{
		DID: did, Head: head,
		VerificationMethods: n.VerificationMethods, RotationKeys: n.RotationKeys,
		AlsoKnownAs: n.AlsoKnownAs, Services: n.Services,
	}
}

// VerifyLog replays the audit log of did, oldest entry first, by the rules that
// a directory applies: the genesis hashes to the DID and signs itself, each
// operation follows an earlier one and is signed by a rotation key of that one,
// and a fork nullifies what came after only with a more powerful key and within
// RecoveryWindow. CIDs and nullified flags must agree with the replay. It
// returns the state after the last valid operation. Errors match ErrInvalidLog
// and, where it applies, ErrInvalidSignature, ErrMisordered, ErrLateRecovery,
// ErrGenesisHash or ErrUnsigned.
func VerifyLog(did syntax.DID, entries []LogEntry) (*State, error) {
	if len(entries) == 0 {
		return nil, fmt.Errorf("%w: empty", ErrInvalidLog)
	}
	if len(entries) > MaxLogEntries {
		return nil, fmt.Errorf("%w: more than %d entries", ErrInvalidLog, MaxLogEntries)
	}
	var c chain
	for i := range entries {
		e := &entries[i]
		if e.DID != did {
			return nil, fmt.Errorf("%w: entry %d is of %q", ErrInvalidLog, i, e.DID)
		}
		if i > 0 && e.CreatedAt.Before(entries[i-1].CreatedAt) {
			return nil, fmt.Errorf("%w: entry %d is older than the one before", ErrInvalidLog, i)
		}
		step, err := c.next(did, &e.Operation, e.CreatedAt)
		if err != nil {
			return nil, fmt.Errorf("%w: entry %d: %w", ErrInvalidLog, i, err)
		}
		if step.cid != e.CID {
			return nil, fmt.Errorf("%w: entry %d: CID is %s", ErrInvalidLog, i, step.cid)
		}
		c.apply(step, i)
	}
	active := make(map[int]bool, len(c.links))
	for _, l := range c.links {
		active[l.index] = true
	}
	for i := range entries {
		if entries[i].Nullified == active[i] {
			return nil, fmt.Errorf("%w: entry %d: nullified is %t", ErrInvalidLog, i, entries[i].Nullified)
		}
	}
	last := c.head()
	return stateOf(did, last.op, last.cid), nil
}

// chain is the valid part of one log, in order. The zero chain is an empty log.
type chain struct {
	links []link
}

// link is one valid operation.
type link struct {
	op     *Operation
	cid    string
	keys   []string // rotation keys in force after op; nil after a tombstone
	signer int      // which key of the link before signed op
	at     time.Time
	index  int // position in the log, nullified entries counted
}

// step is an operation found valid: it would follow the first keep links.
type step struct {
	link
	keep int
}

// next checks op as the next operation at the given time, without applying it.
func (c *chain) next(did syntax.DID, op *Operation, at time.Time) (step, error) {
	id, err := op.CID()
	if err != nil {
		return step{}, err
	}
	s := step{link: link{op: op, cid: id.String(), at: at}}
	if op.Type != TypeTombstone {
		s.keys = op.Normalize().RotationKeys
	}
	if len(c.links) == 0 {
		made, err := op.DID()
		if err != nil {
			return step{}, fmt.Errorf("%w: %w", ErrMisordered, err)
		}
		if made != did {
			return step{}, fmt.Errorf("%w: %s", ErrGenesisHash, made)
		}
		s.signer, err = op.Verify(s.keys)
		return s, err
	}
	// A legacy create has no prev, so it can only come first.
	if op.Prev == nil {
		return step{}, fmt.Errorf("%w: no prev", ErrMisordered)
	}
	pos := len(c.links) - 1 // almost always the last one
	for pos >= 0 && c.links[pos].cid != *op.Prev {
		pos--
	}
	if pos < 0 {
		return step{}, fmt.Errorf("%w: prev is not in the log", ErrMisordered)
	}
	prev := c.links[pos]
	if prev.op.Type == TypeTombstone {
		return step{}, fmt.Errorf("%w: prev is a tombstone", ErrMisordered)
	}
	s.keep = pos + 1
	keys := prev.keys
	if s.keep < len(c.links) {
		// A fork: only keys above the one that signed the first operation to
		// be nullified count.
		keys = keys[:c.links[s.keep].signer]
	}
	if s.signer, err = op.Verify(keys); err != nil {
		return step{}, err
	}
	if s.keep < len(c.links) {
		if age := at.Sub(c.links[s.keep].at); age > RecoveryWindow {
			return step{}, fmt.Errorf("%w: %s later", ErrLateRecovery, age)
		}
	}
	return s, nil
}

// apply makes a step the head and returns the log positions it nullified.
func (c *chain) apply(s step, index int) []int {
	var nullified []int
	for _, l := range c.links[s.keep:] {
		nullified = append(nullified, l.index)
	}
	s.index = index
	c.links = append(c.links[:s.keep], s.link)
	return nullified
}

// head returns the newest link; the chain must not be empty.
func (c *chain) head() link { return c.links[len(c.links)-1] }
