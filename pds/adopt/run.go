package adopt

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	atid "github.com/bluesky-social/indigo/atproto/identity"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/storage"
)

// DefaultEventAge is the default of [Options.EventAge].
const DefaultEventAge = 3 * 24 * time.Hour

// Options say what is adopted and where to.
type Options struct {
	// From is the source.
	From Source

	// Store, Blobs and Keys are those of the server that is to be. No server
	// uses them meanwhile. Required, unless DryRun is set.
	Store storage.Store
	Blobs storage.BlobStore
	Keys  pds.Keys

	// Limits are those of the server, see pds.AdoptionConfig.
	Limits pds.Limits

	// DryRun reads and verifies everything and writes nothing.
	DryRun bool

	// Only, if not empty, are the accounts that are adopted; nothing but
	// accounts is.
	Only []syntax.DID

	// Directory resolves the identity of an active account whose head is
	// signed by another key than its own: the reference server leaves
	// repositories like that which were imported and not written to since. If
	// the document names the account's key, the head gets a new signature.
	// nil leaves such accounts out.
	Directory atid.Directory

	// EventAge is how old an event of the log may be to be taken over. Zero:
	// DefaultEventAge.
	EventAge time.Duration

	// Temp is the folder for copies of databases that have a write-ahead log.
	// Empty: that of the system.
	Temp string

	// Progress is called after each account. May be nil.
	Progress func(Progress)
}

// Progress says how far a run has come.
type Progress struct {
	Done, Total int // accounts
	DID         syntax.DID
	Counts      *pds.AdoptedCounts // nil: the account was here already, or left out
}

// Finding is something wrong with the source.
type Finding struct {
	DID    syntax.DID            `json:"did,omitempty"` // empty: no account
	Kind   pds.AdoptionFaultKind `json:"kind"`
	Detail string                `json:"detail"`

	// LeftOut says that the account has not been adopted because of it.
	LeftOut bool `json:"leftOut,omitempty"`
}

// FindingVerification is the kind of a Finding that is our own fault: what was
// written does not agree with what was read.
const FindingVerification pds.AdoptionFaultKind = "verification"

// Report says what a run has done.
type Report struct {
	Accounts  int   `json:"accounts"` // of the source
	Adopted   int   `json:"adopted"`  // or verified, in a dry run
	Already   int   `json:"already"`  // that were here before
	LeftOut   int   `json:"leftOut"`
	Records   int64 `json:"records"`
	Blobs     int64 `json:"blobs"`
	BlobBytes int64 `json:"blobBytes"`
	Missing   int64 `json:"missingBlobs"` // that the source did not claim to have
	Invites   int   `json:"invites"`
	Reserved  int   `json:"reservedKeys"`
	Events    int   `json:"events"`
	LastSeq   int64 `json:"lastSeq"` // of the source

	Findings []Finding `json:"findings"` // what is wrong
	Notes    []string  `json:"notes"`    // what is worth knowing
}

// run is one run.
type run struct {
	opts     Options
	source   *reader
	adoption *pds.Adoption
	report   *Report
	announce map[syntax.DID]bool // accounts of which an event was left out
	log      logState
}

// Run adopts the source. An error means that it did not come to its end: the
// source cannot be read at all or is in use, a store has failed, or ctx has
// ended. Call it again with the same options to go on. What is wrong with single
// accounts is in the report.
//
// Run trusts the clock, as a new store does.
func Run(ctx context.Context, opts Options) (report *Report, err error) {
	if opts.EventAge == 0 {
		opts.EventAge = DefaultEventAge
	}
	r := &run{opts: opts, report: &Report{Findings: []Finding{}, Notes: []string{}}, announce: map[syntax.DID]bool{}}
	r.adoption, err = pds.NewAdoption(pds.AdoptionConfig{
		Store: opts.Store, Blobs: opts.Blobs, Keys: opts.Keys, Limits: opts.Limits, VerifyOnly: opts.DryRun,
	})
	if err != nil {
		return nil, err
	}
	if !opts.DryRun {
		if g, ok := storage.GuardOf(opts.Store); ok {
			g.Accept() // the old numbers are no times
		}
	}
	if r.source, err = opts.From.open(ctx, opts.Temp); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.source.Close()) }()
	return r.report, r.all(ctx)
}

func (r *run) all(ctx context.Context) (err error) {
	if r.log, err = r.source.readLog(ctx, time.Now().Add(-r.opts.EventAge)); err != nil {
		return err
	}
	r.report.LastSeq = r.log.last
	rows, err := r.source.list(ctx)
	if err != nil {
		return err
	}
	if len(r.opts.Only) > 0 {
		return r.some(ctx, rows)
	}
	r.report.Accounts = len(rows)
	if err := r.copyEvents(ctx, r.log); err != nil {
		return err
	}
	known := make(map[string]bool, len(rows))
	for i := range rows {
		known[rows[i].did] = true
		if err := r.account(ctx, &rows[i], i, len(rows)); err != nil {
			return err
		}
	}
	strays, err := r.source.strays(known)
	if err != nil {
		return fmt.Errorf("adopt: %w", err)
	}
	for _, did := range strays {
		r.note("%s has a directory and no row in the database of accounts: it was deleted, or never made, and is left out", did)
	}
	if err := r.invites(ctx); err != nil {
		return err
	}
	if err := r.reservedKeys(ctx); err != nil {
		return err
	}
	return r.adoption.EndLog(ctx, r.log.last)
}

// some adopts the accounts that were named.
func (r *run) some(ctx context.Context, rows []accountRow) error {
	r.report.Accounts = len(r.opts.Only)
	for i, did := range r.opts.Only {
		at := slices.IndexFunc(rows, func(row accountRow) bool { return row.did == string(did) })
		if at < 0 {
			r.find(did, faultf(pds.FaultAccount, "the source has no such account"), true)
			continue
		}
		if err := r.account(ctx, &rows[at], i, len(r.opts.Only)); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) note(format string, args ...any) {
	r.report.Notes = append(r.report.Notes, fmt.Sprintf(format, args...))
}

func (r *run) find(did syntax.DID, f *pds.AdoptionFault, leftOut bool) {
	r.report.Findings = append(r.report.Findings, Finding{DID: did, Kind: f.Kind, Detail: f.Detail, LeftOut: leftOut})
	if leftOut {
		r.report.LeftOut++
	}
}

// account adopts one account, unless it is here.
func (r *run) account(ctx context.Context, row *accountRow, i, total int) error {
	did := syntax.DID(row.did)
	progress := Progress{Done: i + 1, Total: total, DID: did}
	there, err := r.adoption.Has(ctx, did)
	if err != nil {
		return err
	}
	if there {
		r.report.Already++
	} else {
		progress.Counts, err = r.adopt(ctx, row)
		if fault, ok := errors.AsType[*pds.AdoptionFault](err); ok {
			progress.Counts, err = nil, nil
			r.find(did, fault, true)
		}
		if err != nil {
			return fmt.Errorf("account %s: %w", did, err)
		}
	}
	if r.opts.Progress != nil {
		r.opts.Progress(progress)
	}
	return nil
}

// adopt adopts an account and verifies the result.
func (r *run) adopt(ctx context.Context, row *accountRow) (counts *pds.AdoptedCounts, err error) {
	in := &pds.AdoptedAccount{}
	if err := r.source.describe(ctx, row, in); err != nil {
		return nil, err
	}
	a, err := r.source.openActor(ctx, in)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	rev, told, err := r.source.lastTold(ctx, in.DID)
	if err != nil {
		return nil, err
	}
	// The reference server stores events and repositories apart, and a crash
	// between the two leaves one of them behind.
	in.Repo.Announce = rev != "" && rev != in.Repo.Rev || r.announce[in.DID]
	in.Repo.Rev = max(in.Repo.Rev, rev)
	in.Arriving = !told && r.log.first <= 1 && !in.DeactivatedAt.IsZero()
	in.Repo.Foreign = func(ctx context.Context, key atcrypto.PublicKey) error {
		if !in.DeactivatedAt.IsZero() {
			return nil // activation compares the key with the document's
		}
		return r.namesKey(ctx, in.DID, key)
	}
	counts, err = r.adoption.Account(ctx, in)
	if err != nil {
		return nil, err
	}
	r.count(in, a, counts)
	return counts, r.verify(ctx, in.DID, counts)
}

// namesKey returns nil if an account's DID document names a signing key.
func (r *run) namesKey(ctx context.Context, did syntax.DID, key atcrypto.PublicKey) error {
	if r.opts.Directory == nil {
		return faultf(pds.FaultKey, "the head is not signed by the account's key %s, and nobody was asked for its DID document", key.DIDKey())
	}
	id, err := r.opts.Directory.LookupDID(ctx, did)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return faultf(pds.FaultKey, "the head is not signed by the account's key %s, and its DID document cannot be had: %v", key.DIDKey(), err)
	}
	named, err := id.PublicKey()
	if err != nil || !named.Equal(key) {
		return faultf(pds.FaultKey, "the head is not signed by the key %s, and the DID document names another one too", key.DIDKey())
	}
	return nil
}

// count adds an account to the report.
func (r *run) count(in *pds.AdoptedAccount, a *actor, c *pds.AdoptedCounts) {
	r.report.Adopted++
	r.report.Records += c.Records
	r.report.Blobs += c.Blobs
	r.report.BlobBytes += c.BlobBytes
	r.report.Missing += c.Missing
	for _, f := range c.Faults {
		r.find(in.DID, f, false)
	}
	if c.Resigned {
		r.note("%s: the repository has a new signed head", in.DID)
	}
	if c.LeftOut > 0 {
		r.note("%s: %d uploads that nothing refers to, or sessions above the limit, were left out", in.DID, c.LeftOut)
	}
	if in.Repo.Announce {
		r.note("%s: the log did not tell the newest state of the repository; it is announced anew", in.DID)
	}
	if extra := a.indexed - a.found; extra > 0 || a.differs > 0 {
		r.note("%s: the index of records lacked %d and had %d too many; the signed tree counts", in.DID, a.differs, extra)
	}
}

// verify reads what was written of an account.
func (r *run) verify(ctx context.Context, did syntax.DID, c *pds.AdoptedCounts) error {
	if r.opts.DryRun {
		return nil
	}
	check, err := pds.CheckAccount(ctx, r.opts.Store, r.opts.Blobs, did, false)
	if err != nil {
		return err
	}
	for _, f := range check.Faults {
		r.find(did, faultf(FindingVerification, "%s", f), false)
	}
	if check.Records != c.Records {
		r.find(did, faultf(FindingVerification, "%d records were read, and %d are stored", c.Records, check.Records), false)
	}
	return nil
}

// invites adopts the invite codes.
func (r *run) invites(ctx context.Context) error {
	var codes []pds.AdoptedInvite
	err := each(ctx, r.source.accounts, func(scan func(...any) error) error {
		var in pds.AdoptedInvite
		var created string
		var disabled sql.NullBool
		err := scan(&in.Code, &in.Uses, &disabled, &in.ForAccount, &in.CreatedBy, &created)
		if err == nil {
			in.CreatedAt, err = parseTime(sql.NullString{String: created})
		}
		in.Disabled = disabled.Bool
		codes = append(codes, in)
		return err
	}, "SELECT code, availableUses, disabled, forAccount, createdBy, createdAt FROM invite_code ORDER BY createdAt, code")
	if err != nil {
		return fmt.Errorf("adopt: %s: %w", r.source.AccountDB, err)
	}
	for i := range codes {
		in := &codes[i]
		err := each(ctx, r.source.accounts, func(scan func(...any) error) error {
			var u pds.AdoptedInviteUse
			var at string
			err := scan(&u.By, &at)
			if err == nil {
				u.At, err = parseTime(sql.NullString{String: at})
			}
			in.Used = append(in.Used, u)
			return err
		}, "SELECT usedBy, usedAt FROM invite_code_use WHERE code = ? ORDER BY usedAt", in.Code)
		if err == nil {
			err = r.adoption.Invite(ctx, in)
		}
		if fault, ok := errors.AsType[*pds.AdoptionFault](err); ok {
			r.find("", fault, false)
			continue
		}
		if err != nil {
			return err
		}
		r.report.Invites++
	}
	return nil
}

// reservedKeys adopts the newest keys that are reserved.
func (r *run) reservedKeys(ctx context.Context) error {
	dir := filepath.Join(r.source.Actors, "reserved_keys")
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("adopt: %w", err)
	}
	type reserved struct {
		name string
		at   time.Time
	}
	var list []reserved
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			list = append(list, reserved{e.Name(), info.ModTime()})
		}
	}
	slices.SortFunc(list, func(a, b reserved) int { return b.at.Compare(a.at) })
	if n := r.adoption.MaxReservedKeys(); len(list) > n {
		r.note("of %d reserved signing keys the newest %d are taken over", len(list), n)
		list = list[:n]
	}
	for _, one := range list {
		key, err := readKey(filepath.Join(dir, one.name))
		if err != nil {
			r.find("", faultf(pds.FaultDocument, "the reserved key %s cannot be read: %v", one.name, err), false)
			continue
		}
		did := syntax.DID(one.name)
		if strings.HasPrefix(one.name, "did:key:") {
			did = ""
		}
		if err := r.adoption.ReservedKey(ctx, did, key); err != nil {
			return err
		}
		r.report.Reserved++
	}
	return nil
}
