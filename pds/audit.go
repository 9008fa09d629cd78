package pds

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// AuditEntry is an action of administration or moderation, as the audit log
// remembers it. Texts longer than [MaxAuditText] are cut. No entry holds a
// password, a code or the text of a mail.
type AuditEntry struct {
	// Number rises by one with each entry; numbers are given by the server.
	Number int64 `json:"number"`

	// Time is when the action began; set by the server.
	Time time.Time `json:"time"`

	// Actor is who acts: "admin" for whoever has the administrator's password,
	// the issuer of a service token, or the DID of another caller.
	Actor string `json:"actor"`

	// Client is the program that was used, as it names itself in User-Agent.
	Client string `json:"client,omitempty"`

	// Address is the client's address, if it is known.
	Address string `json:"address,omitempty"`

	// Action is what is done: the NSID of a method, or a name of one's own.
	Action string `json:"action"`

	// Subject is what it is done to: a DID or a handle, an AT URI with a CID,
	// the DID and CID of a blob.
	Subject string `json:"subject,omitempty"`

	// Detail says more, such as a new handle or the reference of a takedown.
	Detail string `json:"detail,omitempty"`

	// Result is "ok", or the name of the error; empty while the action runs
	// and for one that was cut off.
	Result string `json:"result,omitempty"`
}

// MaxAuditText is the length of the longest text of an AuditEntry, in bytes.
const MaxAuditText = 1000

// cutText cuts a text that is too long for an entry.
func cutText(text string) string {
	if len(text) > MaxAuditText {
		return strings.ToValidUTF8(text[:MaxAuditText], "")
	}
	return text
}

// docAudit is the kind of the numbered documents that hold the audit log, each
// with an AuditEntry.
const docAudit = "audit"

// Audit runs an action under an entry of the audit log: the entry is durable
// before the action begins, and gets its result afterwards. Without that entry
// nothing is done. Programs use it for administration methods of their own; the
// server does for its own. Actor, Client, Address and Action default to those
// of the request that ctx belongs to. It returns the action's error.
func (s *Server) Audit(ctx context.Context, e AuditEntry, action func(ctx context.Context) error) error {
	if err := s.beginAudit(ctx, &e); err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	err := action(ctx)
	e.Result = "ok"
	if err != nil {
		e.Result = xrpc.ErrorName(err) // the message may quote what was sent
	}
	ended := s.store.Update(context.WithoutCancel(ctx), func(tx storage.Tx) error {
		d, err := tx.GetDoc(docAudit, numberedKey(e.Number))
		if errors.Is(err, storage.ErrNotFound) {
			return nil // as many others have begun meanwhile as are remembered
		}
		if err != nil {
			return err
		}
		return putAudit(tx, d, &e)
	})
	if ended != nil {
		s.log.ErrorContext(ctx, "an audited action ends without its result",
			"number", e.Number, "action", e.Action, "result", e.Result, "error", ended)
	}
	return err
}

// beginAudit completes an entry and stores it, in place of the oldest one if
// there are enough.
func (s *Server) beginAudit(ctx context.Context, e *AuditEntry) error {
	if c := xrpc.CallerFrom(ctx); c != nil && e.Actor == "" {
		e.Actor = auditActor(c)
	}
	if r := xrpc.RequestFrom(ctx); r != nil && e.Client == "" {
		e.Client = r.UserAgent()
	}
	if ip := xrpc.ClientIP(ctx); ip.IsValid() && e.Address == "" {
		e.Address = ip.String()
	}
	if e.Action == "" {
		e.Action = xrpc.MethodFrom(ctx)
	}
	for _, text := range []*string{&e.Actor, &e.Client, &e.Address, &e.Action, &e.Subject, &e.Detail} {
		*text = cutText(*text)
	}
	e.Time, e.Result = s.clock.Now().UTC().Truncate(time.Millisecond), ""
	return s.store.Update(ctx, func(tx storage.Tx) (err error) {
		if e.Number, err = nextNumber(tx, docAudit, s.cfg.Limits.AuditEntries); err != nil {
			return err
		}
		return putAudit(tx, storage.Doc{
			Kind: docAudit, Key: numberedKey(e.Number), Expires: s.clock.Latest().Add(s.cfg.Limits.AuditAge),
		}, e)
	})
}

func putAudit(tx storage.Docs, d storage.Doc, e *AuditEntry) (err error) {
	if d.Value, err = json.Marshal(e); err != nil {
		return err
	}
	_, err = tx.PutDoc(d)
	return err
}

// auditActor names a caller.
func auditActor(c *xrpc.Caller) string {
	switch service := credentialOf(c).service; {
	case c.Kind == xrpc.KindAdmin:
		return adminUser
	case service != nil:
		return service.Issuer
	}
	return string(c.Actor)
}

// MaxAuditList is how many entries AuditLog returns at most.
const MaxAuditList = 1000

// AuditLog returns up to limit entries, at most [MaxAuditList], with numbers
// below before, newest first. Zero stands for the end of the log, and for the
// highest limit. The log keeps Limits.AuditEntries of them for Limits.AuditAge.
func (s *Server) AuditLog(ctx context.Context, before int64, limit int) ([]AuditEntry, error) {
	entries := []AuditEntry{}
	err := s.store.View(ctx, func(tx storage.Tx) error {
		docs, err := scanNumbered(tx, docAudit, before, limit)
		if err != nil {
			return err
		}
		for _, d := range docs {
			var e AuditEntry
			if err := json.Unmarshal(d.Value, &e); err != nil {
				return fmt.Errorf("audit entry %s: %w", d.Key, err)
			}
			entries = append(entries, e)
		}
		return nil
	})
	return entries, err
}

// serveAudit answers GET /admin/audit, with parameters before and limit as of
// AuditLog.
func (s *Server) serveAudit(w http.ResponseWriter, r *http.Request) error {
	var numbers [2]int64
	for i, name := range []string{"before", "limit"} {
		text := r.URL.Query().Get(name)
		if text == "" {
			continue
		}
		n, err := strconv.ParseInt(text, 10, 32<<(1-i)) // limit is an int
		if err != nil || n < 1 {
			return xrpc.InvalidRequest("%s must be a number above zero", name)
		}
		numbers[i] = n
	}
	entries, err := s.AuditLog(r.Context(), numbers[0], int(numbers[1]))
	if err == nil {
		writeJSON(w, http.StatusOK, map[string]any{"entries": entries})
	}
	return err
}

// described is a pointer to an input that says what it is about, in words that
// may be kept.
type described[I any] interface {
	*I
	describe() (subject, detail string)
}

// audited puts an administration method's handler under an entry of the audit
// log.
func audited[I any, P described[I], O any](s *Server, handler func(context.Context, P) (*O, error)) func(context.Context, *I) (*O, error) {
	return func(ctx context.Context, in *I) (out *O, err error) {
		subject, detail := P(in).describe()
		err = s.Audit(ctx, AuditEntry{Subject: subject, Detail: detail}, func(ctx context.Context) (err error) {
			out, err = handler(ctx, in)
			return err
		})
		return out, err
	}
}
