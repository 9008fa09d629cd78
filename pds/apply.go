package pds

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"github.com/pdskit/pdskit/oauth/scope"
	"github.com/pdskit/pdskit/repo"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// Action is what an [Op] does.
type Action string

// The actions of an Op.
const (
	Create Action = "create" // the record must not exist
	Update Action = "update" // the record must exist
	Put    Action = "put"    // create or update
	Delete Action = "delete" // the record must exist
)

// Validation says how a record is checked against the lexicon of its
// collection.
type Validation int

const (
	// ValidateKnown checks records whose lexicon is known and lets others
	// pass as unknown. It is the default.
	ValidateKnown Validation = iota

	// ValidateRequired also refuses records whose lexicon is not known.
	ValidateRequired

	// ValidateNone checks nothing but the data model.
	ValidateNone
)

// Op is one write of a [Batch].
type Op struct {
	Action     Action
	Collection syntax.NSID
	RKey       syntax.RecordKey // empty with Create: a new TID

	// Record is the value to write; nil with Delete. Make it by
	// repo.RecordFromJSON or repo.RecordFromValue with the collection.
	Record *repo.Record

	// SwapRecord, if not nil, must be the CID of the stored record.
	// cid.Undef: there must be none.
	SwapRecord *cid.Cid
}

// Batch is a set of writes to one repository, done in one commit or not at all.
type Batch struct {
	// Account is whose repository is written.
	Account syntax.DID

	// Actor is who writes: Account itself, or somebody who acts for it. It is
	// required; there is no implicit root.
	Actor syntax.DID

	// Client names the application, for the private metadata of events.
	Client string

	// Ops are applied in order, so that a later one sees the effect of an
	// earlier one. The commit has one operation for each record that differs
	// in the end. At most Limits.Writes.
	Ops []Op

	// SwapCommit, if defined, must be the CID of the current commit.
	SwapCommit cid.Cid

	Validate Validation

	lexiconsUntil time.Duration // by the clock's Elapsed; zero: none was waited for yet

	dedupe  bool       // createRecord: replace records with the same backlink
	grant   *scope.Set // what the actor may do for Account; nil: the account's own caller
	lenient bool       // deleteRecord: a record that is not there is no error
	legacy  bool       // putRecord: upgrade legacy blobs of profiles
}

// Result is what a Batch did.
type Result struct {
	// Commit is empty if nothing changed: no commit was made then.
	Commit storage.Head

	// Ops has one entry for each Op of the batch.
	Ops []OpResult
}

// OpResult is what one Op did.
type OpResult struct {
	Action     Action // create, update or delete, never put
	URI        syntax.ATURI
	CID        cid.Cid // of the record; Undef after a delete
	Validation string  // "valid", "unknown", or "" if nothing was validated
}

// Apply writes to a repository on behalf of code in this process. It is what
// the com.atproto.repo methods call, too.
//
// It returns when the commit is durable. Errors that a client would see are of
// type *[xrpc.Error], such as InvalidRequest, InvalidSwap, BlobNotFound,
// AccountNotFound, AccountTakedown and AccountDeactivated, and nothing was
// written; so it is for a batch without Account or Actor, which is a mistake of
// the program and no *xrpc.Error. After any other error the fate of the batch
// is unknown. Apply may be called concurrently;
// the writes of one account run one after another. A part of the server that
// is called during a write, such as [Keys], cannot write to the same account:
// its Apply fails.
func (s *Server) Apply(ctx context.Context, b Batch) (*Result, error) {
	if b.Account == "" || b.Actor == "" {
		return nil, errors.New("pds: a Batch needs Account and Actor")
	}
	if len(b.Ops) > s.cfg.Limits.Writes {
		return nil, xrpc.InvalidRequest("Too many writes. Max: %d", s.cfg.Limits.Writes)
	}
	ops, err := s.prepare(ctx, &b)
	if err != nil {
		return nil, err
	}
	var res *Result
	err = s.pipeline(ctx, b.Account, func(ctx context.Context, w *writer) (*pending, error) {
		res = &Result{Ops: make([]OpResult, 0, len(ops))}
		return w.applyBatch(ctx, &b, ops, res)
	})
	if errors.Is(err, errBlobGone) {
		err = errBlobNotFound()
	}
	if err != nil {
		if c := xrpc.CallerFrom(ctx); c != nil && b.Actor != b.Account {
			s.noteRefusal(ctx, b.Account, c, xrpc.MethodFrom(ctx), err)
		}
		return nil, err
	}
	return res, nil
}

func errInvalidSwap(what string, want, got cid.Cid) *xrpc.Error {
	text := "none"
	if got.Defined() {
		text = got.String()
	}
	expected := "none"
	if want.Defined() {
		expected = want.String()
	}
	return xrpc.NewError(http.StatusBadRequest, "InvalidSwap", fmt.Sprintf("%s was at %s, not at %s", what, text, expected))
}

func errBlobNotFound() *xrpc.Error {
	return xrpc.NewError(http.StatusBadRequest, "BlobNotFound", "Could not find blob")
}

// preparedOp is an Op that has passed all checks that need no stored state.
type preparedOp struct {
	Op
	path       storage.RecordPath
	key        string // path as text, which is its key in the tree
	validation string
	backlink   string
	blobs      []cid.Cid
}

// maxBatchBlobs is how many blobs the records of one batch refer to, so that a
// commit stays within storage.MaxTxRows.
const maxBatchBlobs = 1000

// prepare checks a batch and fills in its record keys. It runs before the
// account's lane is entered.
func (s *Server) prepare(ctx context.Context, b *Batch) ([]preparedOp, error) {
	out := make([]preparedOp, len(b.Ops))
	blobs := 0
	for i, op := range b.Ops {
		p := &out[i]
		switch op.Action {
		case Create:
			if op.RKey == "" {
				op.RKey = syntax.RecordKey(s.nextTID())
			}
		case Update, Put, Delete:
		default:
			return nil, xrpc.InvalidRequest("Invalid action %q", op.Action)
		}
		p.Op = op
		p.path = storage.RecordPath{Collection: op.Collection, RKey: op.RKey}
		p.key = p.path.String()
		if err := repo.CheckPath(p.key); err != nil {
			return nil, xrpc.InvalidRequest(err.Error()).WithCause(err)
		}
		if op.Action == Delete {
			continue
		}
		if op.Record == nil {
			return nil, xrpc.InvalidRequest("A record is required")
		}
		if err := s.checkRecord(ctx, b, p); err != nil {
			return nil, err
		}
		if blobs += len(p.blobs); blobs > maxBatchBlobs {
			return nil, xrpc.InvalidRequest("Too many blobs. Max: %d", maxBatchBlobs)
		}
	}
	return out, nil
}

// checkRecord validates the record of a create, update or put.
func (s *Server) checkRecord(ctx context.Context, b *Batch, p *preparedOp) error {
	rec := p.Record
	if rec.Type != string(p.Collection) {
		return xrpc.InvalidRequest("Invalid $type: expected %s, got %s", p.Collection, rec.Type)
	}
	if b.legacy && p.Collection == "app.bsky.actor.profile" {
		upgraded, err := s.upgradeProfileBlobs(ctx, b.Account, rec)
		if err != nil {
			return err
		}
		rec, p.Record = upgraded, upgraded
	}
	for _, ref := range rec.Blobs {
		if ref.Legacy {
			return xrpc.InvalidRequest("Legacy blob ref at " + p.key)
		}
	}
	catalog := s.catalogOf(ctx, b, p.Collection)
	if err := checkRecordKey(catalog, p.path); err != nil {
		return err
	}
	if b.Validate != ValidateNone {
		known, err := catalog.ValidateRecord(rec.Value, string(p.Collection), 0)
		if err != nil {
			return xrpc.InvalidRequest("Invalid %s record: %v", p.Collection, err).WithCause(err)
		}
		p.validation = "valid"
		if !known {
			if b.Validate == ValidateRequired || s.cfg.Lexicons == LexiconsRequired {
				return xrpc.InvalidRequest("Unknown lexicon type: " + string(p.Collection))
			}
			p.validation = "unknown"
		}
	}
	p.backlink = backlinkOf(p.Collection, rec.Value)
	p.blobs = blobCIDs(rec)
	return nil
}

// backlinkOf returns what a record points at, for the collections in which
// creating a second record with the same target replaces the first.
func backlinkOf(collection syntax.NSID, v map[string]any) string {
	switch collection {
	case "app.bsky.graph.follow", "app.bsky.graph.block":
		subject, _ := v["subject"].(string)
		return subject
	case "app.bsky.feed.like", "app.bsky.feed.repost":
		subject, _ := v["subject"].(map[string]any)
		uri, _ := subject["uri"].(string)
		return uri
	}
	return ""
}

// maxBacklinks is how many older records one createRecord replaces.
const maxBacklinks = 100

// applyBatch does a prepared batch in the account's lane.
func (w *writer) applyBatch(ctx context.Context, b *Batch, ops []preparedOp, res *Result) (*pending, error) {
	if err := mayWrite(&w.account); err != nil {
		return nil, err
	}
	if len(ops) == 0 && b.SwapCommit.Defined() && b.SwapCommit != w.head.CID {
		return nil, errInvalidSwap("Commit", b.SwapCommit, w.head.CID)
	}
	ch := &change{
		records: make(map[string]storage.Record, len(ops)),
		overlay: make(map[string]cid.Cid, len(ops)),
		cause:   cause{b.Actor, b.Client},
		act:     w.s.newAct(ctx, b.Account, cause{b.Actor, b.Client}),
	}
	asks := w.s.cfg.Policy != nil && len(ops) > 0
	if asks {
		ch.asked = &Write{Account: w.did, Actor: b.Actor, Client: b.Client, Ops: []WriteOp{}}
	}
	plan := func(storage.Tx) error { return w.plan(b, ops, ch, res) }
	var err error
	if len(ops) > 4 || asks {
		// One View for all, of a state that has every commit before this one.
		if err := w.drain(); err != nil {
			return nil, err
		}
		err = w.view(ctx, plan)
	} else {
		err = plan(nil)
	}
	if errors.Is(err, storage.ErrNotFound) {
		// A block or record that the head names is gone: it has moved.
		return nil, fmt.Errorf("%w: %w", storage.ErrConflict, err)
	}
	if err == nil && asks {
		err = w.askAboutWrites(ctx, b, ch)
	}
	if err != nil {
		return nil, err
	}
	w.dropUnwrittenBlobs(ch)
	if ch.act != nil {
		ch.act.writesOf(res.Ops)
	}
	if len(ch.writes) == 0 {
		return ch.withoutCommit(), nil
	}
	p, err := w.commit(ctx, ch)
	if p != nil {
		res.Commit = w.head
	}
	return p, err
}

// askAboutWrites asks the policy about planned writes and plans those that it
// adds.
func (w *writer) askAboutWrites(ctx context.Context, b *Batch, ch *change) (err error) {
	asked := ch.asked
	if ch.state, err = w.s.askPolicy(ctx, asked); err != nil {
		return err
	}
	added, err := w.s.prepareAdded(ctx, b, asked)
	if err != nil || len(added) == 0 {
		return err
	}
	more := Batch{Account: b.Account, Actor: b.Actor, Client: b.Client}
	ch.asked = nil // it is not asked about its own writes
	return w.view(ctx, func(storage.Tx) error { return w.plan(&more, added, ch, new(Result)) })
}

// plan turns prepared writes into a change of the tree, against the current
// state.
func (w *writer) plan(b *Batch, ops []preparedOp, ch *change, res *Result) error {
	tree, err := w.currentTree()
	if err != nil {
		return err
	}
	for i := range ops {
		op := &ops[i]
		current, written := ch.overlay[op.key]
		if !written {
			if current, err = tree.Get(op.key); err != nil {
				return err
			}
		}
		result := op.result(w.did, current)
		res.Ops = append(res.Ops, result)
		if needed, err := w.checkOp(b, op, result.Action, current); err != nil {
			return err
		} else if !needed {
			continue
		}
		if err := w.planOp(b, op, result.Action, current, ch); err != nil {
			return err
		}
	}
	return nil
}

// result is what a write comes to where a record has the given CID, or none.
func (op *preparedOp) result(did syntax.DID, current cid.Cid) OpResult {
	out := OpResult{Action: op.Action, Validation: op.validation, URI: syntax.ATURI("at://" + string(did) + "/" + op.key)}
	if op.Action != Delete {
		out.CID = op.Record.CID
	}
	if op.Action == Put {
		out.Action = Create
		if current.Defined() {
			out.Action = Update
		}
	}
	return out
}

// checkOp checks what the caller of a write expects, and reports whether there
// is anything to do.
func (w *writer) checkOp(b *Batch, op *preparedOp, action Action, current cid.Cid) (needed bool, err error) {
	if op.Action == Put && current.Defined() && current == op.Record.CID {
		return false, nil // the same again succeeds, before any comparison, so that retries do
	}
	if op.Action == Delete && !current.Defined() && b.lenient {
		return false, nil
	}
	if b.SwapCommit.Defined() && b.SwapCommit != w.head.CID {
		return false, errInvalidSwap("Commit", b.SwapCommit, w.head.CID)
	}
	if op.SwapRecord != nil && *op.SwapRecord != current {
		return false, errInvalidSwap("Record", *op.SwapRecord, current)
	}
	switch {
	case action == Create && current.Defined():
		return false, xrpc.InvalidRequest("A record exists already at " + op.key)
	case action != Create && !current.Defined():
		return false, xrpc.InvalidRequest("Could not find record " + op.key)
	}
	return true, nil
}

// planOp adds a write that has been checked to a change.
func (w *writer) planOp(b *Batch, op *preparedOp, action Action, current cid.Cid, ch *change) error {
	if current.Defined() {
		if err := w.forgetBlobs(ch, op.path); err != nil {
			return err
		}
	}
	if ch.asked != nil {
		if err := w.noteWrite(ch, op, action); err != nil {
			return err
		}
	}
	if op.Action == Delete {
		ch.overlay[op.key] = cid.Undef
		ch.writes = append(ch.writes, repo.Write{Path: op.key})
		return nil
	}
	if err := w.checkBlobs(op, b); err != nil {
		return err
	}
	ch.newBlobs = append(ch.newBlobs, op.blobs...)
	if b.dedupe && op.backlink != "" {
		if err := w.replaceBacklinks(ch, op); err != nil {
			return err
		}
	}
	ch.overlay[op.key] = op.Record.CID
	ch.writes = append(ch.writes, repo.Write{Path: op.key, CID: op.Record.CID})
	ch.records[op.key] = storage.Record{
		RecordPath: op.path, CID: op.Record.CID, Author: b.Actor, Value: op.Record.CBOR,
		Backlink: op.backlink, Blobs: op.blobs,
	}
	return nil
}

// noteWrite adds one planned write, with the record that it replaces, to what
// the policy is asked about.
func (w *writer) noteWrite(ch *change, op *preparedOp, action Action) error {
	out := WriteOp{Action: action, Collection: op.path.Collection, RKey: op.path.RKey, Record: op.Record}
	if action != Create {
		old, written := ch.records[op.key]
		if !written {
			err := w.view(w.ctx, func(tx storage.Tx) (err error) {
				old, err = tx.Record(w.did, op.path.Collection, op.path.RKey)
				return err
			})
			if err != nil {
				return err
			}
		}
		previous, err := repo.RecordFromCBOR(old.Value)
		if err != nil {
			return err
		}
		out.Previous, out.PreviousAuthor = previous, old.Author
	}
	ch.asked.Ops = append(ch.asked.Ops, out)
	return nil
}
