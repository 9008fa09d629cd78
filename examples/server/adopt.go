package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/adopt"
	"github.com/pdskit/pdskit/storage/blobs"
	"github.com/pdskit/pdskit/storage/sqlite"
)

const (
	// adoptionFile holds the report of an adoption, in the data directory.
	adoptionFile = "adoption.json"

	// adoptionTemp is the folder of a data directory for copies of databases.
	adoptionTemp = "adopting"
)

// adoptFlags are the flags of the command "adopt".
type adoptFlags struct {
	from, blobs, tempBlobs string
	dryRun                 bool
	only                   []syntax.DID
}

func (f *adoptFlags) register(flags *flag.FlagSet) {
	flags.StringVar(&f.from, "from", "", "data directory of the reference server")
	flags.StringVar(&f.blobs, "blobs", "", "its folder of blobs")
	flags.StringVar(&f.tempBlobs, "temp-blobs", "", "its folder of uploads that are not posted yet")
	flags.BoolVar(&f.dryRun, "dry-run", false, "verify, and write nothing")
	flags.Func("account", "adopt this account alone; may be repeated", func(text string) error {
		did, err := syntax.ParseDID(text)
		f.only = append(f.only, did)
		return err
	})
}

// source is what the flags name.
func (f *adoptFlags) source() adopt.Source {
	src := adopt.SourceIn(f.from)
	if f.blobs != "" {
		src = src.WithBlobs(f.blobs)
	}
	if f.tempBlobs != "" {
		src.TempBlobs = f.tempBlobs
	}
	return src
}

// adopt is the command "adopt". The mode file says until the end that this is
// not complete.
func (a *admin) adopt(ctx context.Context, _ []string) (err error) {
	f, set := &a.adoption, a.set
	switch {
	case f.from == "":
		return usageError("adopt needs -from DIR, the data directory of the reference server")
	case set.development:
		return errors.New("adopting needs the configuration of the server that is to be: the names of the reference server," +
			" with the same secrets and another PDS_DATA_DIRECTORY")
	}
	src := f.source()
	for _, dirs := range [][2]string{{set.dataDir, f.from}, {set.blobDir, src.Blobs}, {set.blobDir, f.from}, {set.dataDir, src.Blobs}} {
		if err := apart(dirs[0], dirs[1]); err != nil {
			return err
		}
	}
	opts := adopt.Options{
		From: src, DryRun: f.dryRun, Only: f.only, EventAge: max(adopt.DefaultEventAge, set.backfill), Progress: a.adoptProgress,
	}
	plc, err := identity.NewPLCClient(set.plcURL, identity.NewClient(newTransport(set), identity.ClientLimits{MaxBody: identity.MaxPLCBody}))
	if err != nil {
		return err
	}
	if opts.Directory, err = newResolver(set, newTransport(set), plc); err != nil {
		return err
	}
	if f.dryRun {
		report, err := adopt.Run(ctx, opts)
		if err != nil {
			return err
		}
		return a.reportAdoption(report)
	}
	if err := claimAdoption(set, len(f.only) > 0); err != nil {
		return err
	}
	report, err := a.adoptInto(ctx, opts)
	if err != nil {
		return fmt.Errorf("%w\nWhat is adopted stays: give the same command again to go on", err)
	}
	text, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return err
	}
	if err := writeNew(filepath.Join(set.dataDir, adoptionFile), append(text, '\n')); err != nil {
		return err
	}
	if err := writeNew(filepath.Join(set.dataDir, modeFile), []byte(set.mode()+"\n")); err != nil {
		return err
	}
	return a.reportAdoption(report)
}

// adoptInto opens the stores, which no server may have open, and adopts.
func (a *admin) adoptInto(ctx context.Context, opts adopt.Options) (report *adopt.Report, err error) {
	set := a.set
	master, _, err := pds.LoadMasterKey(filepath.Join(set.dataDir, masterKeyFile))
	if err != nil {
		return nil, err
	}
	if opts.Keys, err = pds.SealedKeys(master); err != nil {
		return nil, err
	}
	if opts.Blobs, err = blobs.NewDisk(set.blobDir, blobs.DiskOptions{}); err != nil {
		return nil, err
	}
	store, err := sqlite.Open(filepath.Join(set.dataDir, "pds.db"), sqlite.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	opts.Store = store
	opts.Temp = filepath.Join(set.dataDir, adoptionTemp)
	// An earlier run may have left copies.
	if err := errors.Join(os.RemoveAll(opts.Temp), os.Mkdir(opts.Temp, 0o700)); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(opts.Temp)) }()
	return adopt.Run(ctx, opts)
}

// claimAdoption marks the data directory, which must be new, empty or that of
// an adoption that was interrupted. Single accounts are adopted into data that
// is complete, too.
func claimAdoption(set *settings, single bool) error {
	file := filepath.Join(set.dataDir, modeFile)
	found, err := os.ReadFile(file)
	mode := strings.TrimSpace(string(found))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		for _, dir := range []string{set.dataDir, set.blobDir} {
			if err := checkUnused(dir); err != nil {
				return err
			}
		}
		if err := os.MkdirAll(set.dataDir, 0o700); err != nil {
			return err
		}
		return writeNew(file, []byte(modeAdopting+"\n"))
	case err != nil:
		return err
	case mode == modeAdopting:
		return nil
	case mode == set.mode() && exists(set.dataDir, adoptionFile) && single:
		return nil
	case mode == set.mode() && exists(set.dataDir, adoptionFile):
		return fmt.Errorf("the adoption into %s is complete; -account DID adopts an account that was left out", set.dataDir)
	}
	return fmt.Errorf("%s holds the data of a server: a server is adopted into an empty or new directory", set.dataDir)
}

// apart refuses two directories of which one is, or lies in, the other.
func apart(ours, theirs string) error {
	var paths [2]string
	for i, dir := range []string{ours, theirs} {
		path, err := filepath.Abs(dir)
		if err != nil {
			return err
		}
		if real, err := filepath.EvalSymlinks(path); err == nil {
			path = real
		}
		paths[i] = path
	}
	for i, path := range paths {
		if rel, err := filepath.Rel(paths[1-i], path); err == nil && filepath.IsLocal(rel) {
			return fmt.Errorf("the new data in %s and the old in %s must be apart: choose another PDS_DATA_DIRECTORY,"+
				" or another PDS_BLOBSTORE_DISK_LOCATION", ours, theirs)
		}
	}
	return nil
}

// adoptProgress shows one account.
func (a *admin) adoptProgress(p adopt.Progress) {
	if a.json {
		return
	}
	text := "is here, or is left out"
	if p.Counts != nil {
		text = fmt.Sprintf("%d records, %d blobs", p.Counts.Records, p.Counts.Blobs)
	}
	fmt.Fprintf(a.out, "%d/%d %s  %s\n", p.Done, p.Total, p.DID, text)
}

func (a *admin) reportAdoption(report *adopt.Report) error {
	verb, next := "adopted", "start the server in the place of the old one, and see \"server doctor all\""
	if a.adoption.dryRun {
		verb, next = "verified", "stop the old server and adopt without -dry-run"
	}
	n := func(v int64) string { return strconv.FormatInt(v, 10) }
	rows := [][]string{
		{"accounts", n(int64(report.Accounts))}, {verb, n(int64(report.Adopted))}, {"here before", n(int64(report.Already))},
		{"left out", n(int64(report.LeftOut))}, {"records", n(report.Records)}, {"blobs", n(report.Blobs)},
		{"bytes of blobs", n(report.BlobBytes)}, {"invite codes", n(int64(report.Invites))},
		{"reserved keys", n(int64(report.Reserved))}, {"events", n(int64(report.Events))}, {"last event", n(report.LastSeq)},
	}
	for _, text := range report.Notes {
		rows = append(rows, []string{"note", text})
	}
	for _, f := range report.Findings {
		what := "wrong"
		if f.LeftOut {
			what = "left out"
		}
		rows = append(rows, []string{what, strings.TrimSpace(fmt.Sprintf("%s %s: %s", f.DID, f.Kind, f.Detail))})
	}
	if err := a.print(report, append(rows, []string{"next", next})...); err != nil {
		return err
	}
	if len(report.Findings) > 0 {
		return errors.New("all that is sound has been " + verb + ", but not all of the source is")
	}
	return nil
}
