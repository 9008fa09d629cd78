package pds

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/storage"
)

// hashBlob reads bytes to the end, as storing them would.
func hashBlob(r io.Reader) (info storage.BlobInfo, err error) {
	sum := sha256.New()
	info.Size, err = io.Copy(sum, r)
	info.SHA256 = [sha256.Size]byte(sum.Sum(nil))
	return info, err
}

// documents makes the documents of an account. What is malformed is left out.
func (w *adoptedWriter) documents() ([]storage.Doc, error) {
	var docs []storage.Doc
	add := func(kind, key string, value any) error {
		data, err := json.Marshal(value)
		docs = append(docs, storage.Doc{Kind: kind, Key: key, Value: data})
		return err
	}
	did := string(w.in.DID)
	if len(w.in.Preferences) > 0 {
		if err := w.addPreferences(add); err != nil {
			return nil, err
		}
	}
	for _, p := range w.in.AppPasswords {
		if checkAppPasswordName(p.Name) != nil {
			w.counts.fault(FaultDocument, "the name of the app password %.300q is too long", p.Name)
			continue
		}
		err := add(docAppPassword, appPasswordKey(w.in.DID, p.Name), appPassword{Hash: p.Hash, Privileged: p.Privileged, CreatedAt: p.CreatedAt})
		if err != nil {
			return nil, err
		}
	}
	for _, s := range w.newestSessions() {
		if err := add(docSession, s.TokenID, session{App: s.AppPassword, Privileged: s.Privileged}); err != nil {
			return nil, err
		}
		docs[len(docs)-1].Expires = s.Expires
	}
	for _, t := range w.in.MailTokens {
		purpose := mailPurpose(t.Purpose)
		if !slices.Contains(mailPurposes(), purpose) {
			continue
		}
		made, err := mailTokenDocs(purpose, w.in.DID, t.Token, t.Requested)
		if err != nil {
			return nil, err
		}
		docs = append(docs, made...)
	}
	if w.in.Arriving {
		docs = append(docs, storage.Doc{Kind: docMigration, Key: did})
	}
	if w.a.cfg.VerifyOnly {
		return docs, nil
	}
	ref, err := w.a.cfg.Keys.Import(w.ctx, w.in.Key)
	docs = append(docs, storage.Doc{Kind: docSigningKey, Key: did, Value: ref})
	return docs, err
}

// addPreferences makes the document of the preferences that are well formed.
func (w *adoptedWriter) addPreferences(add func(kind, key string, value any) error) error {
	var good []json.RawMessage
	for _, text := range w.in.Preferences {
		if _, err := readPreferences([]json.RawMessage{text}); err != nil {
			w.counts.fault(FaultDocument, "a preference is malformed: %.100s", text)
			continue
		}
		good = append(good, text)
	}
	return add(docPreferences, string(w.in.DID), good)
}

// newestSessions returns the sessions that have not ended, as many as an
// account may have.
func (w *adoptedWriter) newestSessions() []AdoptedSession {
	var list []AdoptedSession
	for _, s := range w.in.Sessions {
		_, number := sessionID(s.TokenID)
		switch {
		case !w.a.clock.Now().Before(s.Expires): // over
		case s.TokenID == "" || len(s.TokenID) > maxSessionID || number != 0:
			w.counts.fault(FaultDocument, "the id of a refresh token is malformed: %.100q", s.TokenID)
		default:
			list = append(list, s)
		}
	}
	slices.SortFunc(list, func(a, b AdoptedSession) int { return b.Expires.Compare(a.Expires) })
	n := min(len(list), w.a.cfg.Limits.Sessions)
	w.counts.LeftOut += int64(len(list) - n)
	return list[:n]
}

// putDocs stores documents of the account, over those of an earlier attempt.
func (w *adoptedWriter) putDocs(docs []storage.Doc) error {
	for len(docs) > 0 {
		n, size := 0, 0
		for n < len(docs) && n < stageRows && size < stageBytes {
			size += len(docs[n].Value)
			n++
		}
		err := w.a.cfg.Store.Update(w.ctx, func(tx storage.Tx) error {
			for _, d := range docs[:n] {
				old, err := tx.GetDoc(d.Kind, d.Key)
				if err != nil && !errors.Is(err, storage.ErrNotFound) {
					return err
				}
				d.Owner, d.Version = w.in.DID, old.Version
				if _, err := tx.PutDoc(d); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		docs = docs[n:]
	}
	return nil
}

// MaxReservedKeys is how many reserved keys the server may have.
func (a *Adoption) MaxReservedKeys() int { return a.cfg.Limits.ReservedKeys }

// ReservedKey adopts a signing key that is reserved, for a DID or, without one,
// for whoever names it. It keeps its reservation for Limits.ReservedKey from
// now on.
func (a *Adoption) ReservedKey(ctx context.Context, did syntax.DID, key atcrypto.PrivateKeyExportable) error {
	id, err := keyIDOf(key)
	if err != nil {
		return newFault(FaultDocument, "a reserved key is malformed: %v", err)
	}
	if a.cfg.VerifyOnly {
		return nil
	}
	ref, err := a.cfg.Keys.Import(ctx, key)
	if err != nil {
		return err
	}
	value, err := json.Marshal(reservedKeyDoc{Key: id, Ref: ref})
	if err != nil {
		return err
	}
	name := string(did)
	if name == "" {
		name = id
	}
	return a.cfg.Store.Update(ctx, func(tx storage.Tx) error {
		d, err := tx.GetDoc(docReservedKey, name)
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return err
		}
		d.Kind, d.Key, d.Value, d.Expires = docReservedKey, name, value, a.clock.Now().Add(a.cfg.Limits.ReservedKey)
		_, err = tx.PutDoc(d)
		return err
	})
}

// AdoptedInvite is an invite code with its uses.
type AdoptedInvite struct {
	Code       string
	Uses       int // how often it may be used, those of Used included
	Disabled   bool
	ForAccount string // a DID, or "admin"
	CreatedBy  string
	CreatedAt  time.Time
	Used       []AdoptedInviteUse
}

// AdoptedInviteUse is one use of an invite code.
type AdoptedInviteUse struct {
	By syntax.DID
	At time.Time
}

// Invite adopts an invite code; one that is here already is left as it is.
func (a *Adoption) Invite(ctx context.Context, in *AdoptedInvite) error {
	if in.Code == "" || len(in.Code) > maxInviteCode || len(in.ForAccount) > maxInviteCode || strings.ContainsRune(in.Code, '/') {
		return newFault(FaultDocument, "the invite code %.300q is malformed", in.Code)
	}
	if a.cfg.VerifyOnly {
		return nil
	}
	store := a.cfg.Store
	err := store.View(ctx, func(tx storage.Tx) error {
		_, _, err := getInvite(tx, in.Code)
		return err
	})
	if !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	// The code comes last, as the sign that its uses are here.
	for uses := in.Used; len(uses) > 0; {
		n := min(len(uses), stageRows)
		err := store.Update(ctx, func(tx storage.Tx) error {
			for _, u := range uses[:n] {
				if err := noteInviteUse(tx, in.Code, u.By, u.At); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		uses = uses[n:]
	}
	return store.Update(ctx, func(tx storage.Tx) error {
		return putInvite(tx, in.Code, invite{
			Uses: in.Uses, Used: len(in.Used), Disabled: in.Disabled,
			ForAccount: in.ForAccount, CreatedBy: in.CreatedBy, CreatedAt: in.CreatedAt,
		})
	})
}
