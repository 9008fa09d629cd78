package adopt

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/pds"
)

// Source says where the reference server keeps its data.
type Source struct {
	AccountDB   string // PDS_ACCOUNT_DB_LOCATION
	SequencerDB string // PDS_SEQUENCER_DB_LOCATION
	Actors      string // PDS_ACTOR_STORE_DIRECTORY
	Blobs       string // PDS_BLOBSTORE_DISK_LOCATION
	TempBlobs   string // PDS_BLOBSTORE_DISK_TMP_LOCATION
	Quarantine  string // below Blobs: "quarantine"
}

// SourceIn returns where everything is by default in a data directory. Blobs
// are in "blocks", where the reference's installer puts them, or in "blobs".
func SourceIn(dir string) Source {
	s := Source{
		AccountDB:   filepath.Join(dir, "account.sqlite"),
		SequencerDB: filepath.Join(dir, "sequencer.sqlite"),
		Actors:      filepath.Join(dir, "actors"),
	}
	blobs := filepath.Join(dir, "blocks")
	if _, err := os.Stat(blobs); errors.Is(err, fs.ErrNotExist) {
		blobs = filepath.Join(dir, "blobs")
	}
	return s.WithBlobs(blobs)
}

// WithBlobs returns the source with its blobs below another directory.
func (s Source) WithBlobs(dir string) Source {
	s.Blobs, s.TempBlobs, s.Quarantine = dir, filepath.Join(dir, "tempt"), filepath.Join(dir, "quarantine")
	return s
}

// ErrInUse says that a server still has the source open.
var ErrInUse = errors.New("adopt: the source is in use: stop its server first")

// reader reads a source.
type reader struct {
	Source
	temp      string
	accounts  *database
	sequencer *database
}

// open opens the databases that all accounts share.
func (s Source) open(ctx context.Context, temp string) (_ *reader, err error) {
	r := &reader{Source: s, temp: temp}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}()
	for _, path := range []string{s.AccountDB, s.SequencerDB} {
		pid, err := inUse(path)
		if err != nil {
			return nil, fmt.Errorf("adopt: %w", err)
		}
		if pid != 0 {
			return nil, fmt.Errorf("%w (process %d has %s open)", ErrInUse, pid, path)
		}
	}
	for _, dir := range []string{s.Actors, s.Blobs} {
		info, err := os.Stat(dir)
		if err == nil && !info.IsDir() {
			err = fmt.Errorf("%s is no directory", dir)
		}
		if err != nil {
			return nil, fmt.Errorf("adopt: %w", err)
		}
	}
	if r.accounts, err = openDatabase(ctx, s.AccountDB, temp); err != nil {
		return nil, fmt.Errorf("adopt: %w", err)
	}
	if r.sequencer, err = openDatabase(ctx, s.SequencerDB, temp); err != nil {
		return nil, fmt.Errorf("adopt: %w", err)
	}
	return r, nil
}

// Close closes what open has opened.
func (r *reader) Close() error {
	var errs []error
	for _, db := range []*database{r.accounts, r.sequencer} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}

// accountRow is what the account database says of an account.
type accountRow struct {
	did                                          string
	createdAt                                    string
	handle, takedown, deactivatedAt, deleteAfter sql.NullString
	email, passwordHash, emailConfirmedAt        sql.NullString
	invitesDisabled                              sql.NullInt64
}

// list returns the rows of all accounts, in order of creation.
func (r *reader) list(ctx context.Context) ([]accountRow, error) {
	rows, err := r.accounts.QueryContext(ctx, `SELECT actor.did, actor.createdAt, handle, takedownRef, deactivatedAt, deleteAfter,
			email, passwordScrypt, emailConfirmedAt, invitesDisabled
		FROM actor LEFT JOIN account ON account.did = actor.did ORDER BY actor.createdAt, actor.did`)
	if err != nil {
		return nil, fmt.Errorf("adopt: %s is not a database of the reference server, or of one that is too old"+
			" (start a current one once, which brings it up to date): %w", r.AccountDB, err)
	}
	defer rows.Close()
	var list []accountRow
	for rows.Next() {
		var a accountRow
		err := rows.Scan(&a.did, &a.createdAt, &a.handle, &a.takedown, &a.deactivatedAt, &a.deleteAfter,
			&a.email, &a.passwordHash, &a.emailConfirmedAt, &a.invitesDisabled)
		if err != nil {
			return nil, fmt.Errorf("adopt: %s: %w", r.AccountDB, err)
		}
		list = append(list, a)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("adopt: %s: %w", r.AccountDB, err)
	}
	return list, nil
}

// parseTime reads a time as the reference server writes it; none is zero.
func parseTime(text sql.NullString) (time.Time, error) {
	if text.String == "" {
		return time.Time{}, nil
	}
	t, err := syntax.ParseDatetimeLenient(text.String)
	if err != nil {
		return time.Time{}, err
	}
	return t.Time(), nil
}

// describe fills in what the account database says of an account.
func (r *reader) describe(ctx context.Context, row *accountRow, out *pds.AdoptedAccount) error {
	*out = pds.AdoptedAccount{
		DID: syntax.DID(row.did), Handle: syntax.Handle(row.handle.String), Email: row.email.String,
		PasswordHash: row.passwordHash.String, TakedownRef: row.takedown.String, InvitesDisabled: row.invitesDisabled.Int64 != 0,
	}
	for _, f := range []struct {
		to   *time.Time
		text sql.NullString
	}{
		{&out.CreatedAt, sql.NullString{String: row.createdAt}}, {&out.DeactivatedAt, row.deactivatedAt},
		{&out.DeleteAfter, row.deleteAfter}, {&out.EmailConfirmedAt, row.emailConfirmedAt},
	} {
		var err error
		if *f.to, err = parseTime(f.text); err != nil {
			return faultf(pds.FaultAccount, "a time of the account is malformed: %v", err)
		}
	}
	privileged := map[string]bool{}
	err := each(ctx, r.accounts, func(scan func(...any) error) error {
		var p pds.AdoptedAppPassword
		var created string
		if err := scan(&p.Name, &p.Hash, &created, &p.Privileged); err != nil {
			return err
		}
		privileged[p.Name] = p.Privileged
		var err error
		p.CreatedAt, err = parseTime(sql.NullString{String: created})
		out.AppPasswords = append(out.AppPasswords, p)
		return err
	}, "SELECT name, passwordScrypt, createdAt, privileged FROM app_password WHERE did = ?", row.did)
	if err != nil {
		return err
	}
	err = each(ctx, r.accounts, func(scan func(...any) error) error {
		var s pds.AdoptedSession
		var expires string
		var app sql.NullString
		if err := scan(&s.TokenID, &expires, &app); err != nil {
			return err
		}
		s.AppPassword, s.Privileged = app.String, privileged[app.String]
		var err error
		s.Expires, err = parseTime(sql.NullString{String: expires})
		out.Sessions = append(out.Sessions, s)
		return err
	}, "SELECT id, expiresAt, appPasswordName FROM refresh_token WHERE did = ?", row.did)
	if err != nil {
		return err
	}
	return each(ctx, r.accounts, func(scan func(...any) error) error {
		var t pds.AdoptedMailToken
		var requested string
		if err := scan(&t.Purpose, &t.Token, &requested); err != nil {
			return err
		}
		var err error
		t.Requested, err = parseTime(sql.NullString{String: requested})
		out.MailTokens = append(out.MailTokens, t)
		return err
	}, "SELECT purpose, token, requestedAt FROM email_token WHERE did = ?", row.did)
}

// each runs a query and calls fn for every row. What goes wrong is a fault of
// the source, unless it is that ctx has ended.
func each(ctx context.Context, db *database, fn func(scan func(...any) error) error, query string, args ...any) error {
	err := func() error {
		rows, err := db.QueryContext(ctx, query, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			if err := fn(rows.Scan); err != nil {
				return err
			}
		}
		return rows.Err()
	}()
	return sourceFault(ctx, err)
}

// sourceFault makes an error of reading an account's data its fault.
func sourceFault(ctx context.Context, err error) error {
	if _, fault := errors.AsType[*pds.AdoptionFault](err); err == nil || fault {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return faultf(pds.FaultAccount, "its data cannot be read: %v", err)
}

func faultf(kind pds.AdoptionFaultKind, format string, args ...any) *pds.AdoptionFault {
	return &pds.AdoptionFault{Kind: kind, Detail: fmt.Sprintf(format, args...)}
}

// actorDir is the directory of an account.
func (s *Source) actorDir(did string) string {
	sum := sha256.Sum256([]byte(did))
	return filepath.Join(s.Actors, hex.EncodeToString(sum[:1]), did)
}

// strays returns the directories of accounts that no row belongs to.
func (s *Source) strays(known map[string]bool) ([]string, error) {
	groups, err := os.ReadDir(s.Actors)
	if err != nil {
		return nil, err
	}
	var strays []string
	for _, g := range groups {
		if !g.IsDir() || len(g.Name()) != 2 {
			continue
		}
		entries, err := os.ReadDir(filepath.Join(s.Actors, g.Name()))
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), "did:") && !known[e.Name()] {
				strays = append(strays, e.Name())
			}
		}
	}
	return strays, nil
}
