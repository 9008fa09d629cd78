package pds

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// Act is what somebody did, or tried to do, for an account that is not the own.
type Act struct {
	Number  int64      `json:"number"` // rises by one with each act of an account
	Time    time.Time  `json:"time"`
	Account syntax.DID `json:"account"`
	Actor   syntax.DID `json:"actor"`
	Client  string     `json:"client,omitempty"`

	// Method is the NSID that was called, empty for code in the process.
	Method string `json:"method,omitempty"`

	// Writes are what was done to records, without the records themselves.
	Writes []ActWrite `json:"writes,omitempty"`

	// Change is what else was done: a [StatusAction], or one of the constants
	// below.
	Change string `json:"change,omitempty"`

	// Refused is the name of the error for an act that was refused.
	Refused string `json:"refused,omitempty"`
}

// What an [Act] changes besides records and the status of the account.
const (
	ChangeUpload      = "upload"      // a blob was stored
	ChangeImport      = "import"      // the whole repository was replaced
	ChangeIdentity    = "identity"    // the document of the DID was changed
	ChangePreferences = "preferences" // of apps
)

// ActWrite is one write of an [Act].
type ActWrite struct {
	Action Action       `json:"action"`
	URI    syntax.ATURI `json:"uri"`
	CID    string       `json:"cid,omitempty"`
}

// ActQuery selects acts, newest first.
type ActQuery struct {
	Refused bool  // those that were refused, instead of those that were done
	Before  int64 // only those with a smaller Number; zero: from the newest
	Limit   int   // at most 1,000; zero: 100
}

// Kinds of the documents that hold acts: by "account/number" an Act, and under
// "account/last" the last number that was given.
const (
	docAct     = "act"
	docRefusal = "act-refusal"
	actLast    = "last"
)

func actKey(account syntax.DID, number int64) string {
	return fmt.Sprintf("%s/%019d", account, number)
}

// Acts lists what was done for an account by others, or what they tried. Acts
// are remembered for Limits.ActAge, the newest Limits.ActEntries of each
// account, and leave with it; of what was refused not more than 60 in a minute for
// each account, so that nobody can fill its log by trying.
func (s *Server) Acts(ctx context.Context, account syntax.DID, q ActQuery) ([]Act, error) {
	kind := docAct
	if q.Refused {
		kind = docRefusal
	}
	scan := storage.Scan{From: string(account) + "/", To: string(account) + "/" + actLast, Reverse: true, Limit: pageLimit(q.Limit)}
	if q.Before > 0 {
		scan.To = actKey(account, q.Before)
	}
	var out []Act
	err := s.store.View(ctx, func(tx storage.Tx) error {
		docs, err := tx.ScanDocs(kind, scan)
		if err != nil {
			return err
		}
		out = make([]Act, len(docs))
		for i, d := range docs {
			if err := json.Unmarshal(d.Value, &out[i]); err != nil {
				return err
			}
		}
		return nil
	})
	return out, err
}

// putAct stores an act in place of the oldest one if there are enough.
func (s *Server) putAct(tx storage.Docs, kind string, a Act) error {
	last, err := tx.GetDoc(kind, string(a.Account)+"/"+actLast)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	a.Number = 1
	if err == nil {
		number, err := strconv.ParseInt(string(last.Value), 10, 64)
		if err != nil {
			return err
		}
		a.Number = number + 1
	}
	last.Kind, last.Key, last.Owner = kind, string(a.Account)+"/"+actLast, a.Account
	last.Value = strconv.AppendInt(nil, a.Number, 10)
	if _, err := tx.PutDoc(last); err != nil {
		return err
	}
	if err := tx.DeleteDoc(kind, actKey(a.Account, a.Number-int64(s.cfg.Limits.ActEntries))); err != nil {
		return err
	}
	value, err := json.Marshal(a)
	if err != nil {
		return err
	}
	_, err = tx.PutDoc(storage.Doc{
		Kind: kind, Key: actKey(a.Account, a.Number), Owner: a.Account, Value: value,
		Expires: s.clock.Latest().Add(s.cfg.Limits.ActAge),
	})
	return err
}

// newAct describes what somebody does for another account, or returns nil for
// what an account, the administrator or the server does.
func (s *Server) newAct(ctx context.Context, account syntax.DID, by cause) *Act {
	if by.actor == account || by.actor == "" {
		return nil
	}
	return &Act{
		Time: s.clock.Now().UTC().Truncate(time.Millisecond), Account: account, Actor: by.actor,
		Client: cutText(by.client), Method: xrpc.MethodFrom(ctx),
	}
}

// noteChange remembers a change that is none of records, as part of its
// transaction, if somebody makes it for another account.
func (s *Server) noteChange(ctx context.Context, tx storage.Docs, account syntax.DID, by cause, change string) error {
	act := s.newAct(ctx, account, by)
	if act == nil {
		return nil
	}
	act.Change = change
	return s.putAct(tx, docAct, *act)
}

// writesOf lists what a batch did.
func (a *Act) writesOf(ops []OpResult) {
	a.Writes = make([]ActWrite, 0, len(ops))
	for _, op := range ops {
		w := ActWrite{Action: op.Action, URI: op.URI}
		if op.CID.Defined() {
			w.CID = op.CID.String()
		}
		a.Writes = append(a.Writes, w)
	}
}

// refusalLimit is how many refusals are remembered for one account in a time.
var refusalLimit = xrpc.Limit{Points: 60, Window: time.Minute}

// noteActing is noteRefusal for a session as another account; other callers are
// passed over.
func (s *Server) noteActing(ctx context.Context, c *xrpc.Caller, cause error) {
	if c.OriginKind() == xrpc.KindOAuth && c.Actor != c.Account {
		s.noteRefusal(ctx, c.Account, c, xrpc.MethodFrom(ctx), cause)
	}
}

// noteRefusal remembers that somebody was not allowed to act for an account.
func (s *Server) noteRefusal(ctx context.Context, account syntax.DID, c *xrpc.Caller, nsid string, cause error) {
	if !isRefusal(cause) {
		return // nobody has decided anything
	}
	if state, err := s.seldom.Take(ctx, "act-refusal", string(account), 1, refusalLimit); err == nil && !state.Allowed {
		return
	}
	act := Act{
		Time: s.clock.Now().UTC().Truncate(time.Millisecond), Account: account, Actor: c.Actor,
		Client: cutText(c.Client), Method: nsid, Refused: xrpc.ErrorName(cause),
	}
	err := s.store.Update(context.WithoutCancel(ctx), func(tx storage.Tx) error { return s.putAct(tx, docRefusal, act) })
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		s.log.WarnContext(ctx, "a refusal was not remembered", "did", account, "error", err)
	}
}
