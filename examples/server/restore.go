package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/backup"
	"github.com/pdskit/pdskit/storage/blobs"
	"github.com/pdskit/pdskit/storage/sqlite"
)

// restoredFile marks data that was restored and has not been served since. It
// holds the manifest of the backup.
const restoredFile = "restored.json"

// restorePage is how many accounts are listed at a time.
const restorePage = 200

// restored is what the command "restore" prints.
type restored struct {
	*backup.Manifest
	Accounts int                 `json:"accounts"`
	Lost     []string            `json:"lostBlobs"` // keys; damaged in the backup
	Damaged  []*pds.AccountCheck `json:"damaged"`
}

// restoreBackup puts a backup into the data directory. The mode file says
// until the end that this is not complete.
func (a *admin) restoreBackup(ctx context.Context, args []string) error {
	set := a.set
	m, err := backup.Read(args[0])
	if err != nil {
		return err
	}
	for _, dir := range []string{set.dataDir, set.blobDir} {
		if err := checkUnused(dir); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(set.dataDir, 0o700); err != nil {
		return err
	}
	mode := filepath.Join(set.dataDir, modeFile)
	if err := writeNew(mode, []byte(modeRestoring+"\n")); err != nil {
		return err
	}
	disk, err := blobs.NewDisk(set.blobDir, blobs.DiskOptions{})
	if err != nil {
		return err
	}
	to := backup.Target{Database: filepath.Join(set.dataDir, "pds.db"), Blobs: disk, Files: map[string]string{
		masterKeyFile: filepath.Join(set.dataDir, masterKeyFile),
		modeFile:      filepath.Join(set.dataDir, restoredFile+"."+modeFile),
	}}
	if slices.Contains(m.Files, secretsFile) {
		to.Files[secretsFile] = filepath.Join(set.dataDir, secretsFile)
	}
	out := &restored{Lost: []string{}, Damaged: []*pds.AccountCheck{}}
	var lost []string
	if out.Manifest, lost, err = backup.Restore(ctx, args[0], to); err != nil {
		return err
	}
	out.Lost = append(out.Lost, lost...)
	if err := out.verify(ctx, to.Database, disk); err != nil {
		return err
	}
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if err := writeNew(filepath.Join(set.dataDir, restoredFile), append(text, '\n')); err != nil {
		return err
	}
	if err := os.Rename(to.Files[modeFile], mode); err != nil {
		return err
	}
	return a.reportRestored(out)
}

func (a *admin) reportRestored(out *restored) error {
	rows := [][]string{
		{"restored", a.set.dataDir}, {"as it was at", out.Begun.Format(time.RFC3339)},
		{"accounts", strconv.Itoa(out.Accounts)}, {"blobs", strconv.FormatInt(out.Blobs-int64(len(out.Lost)), 10)},
	}
	for _, key := range out.Lost {
		rows = append(rows, []string{"damaged in the backup", "blob " + key})
	}
	for _, c := range out.Damaged {
		rows = append(rows, []string{"damaged", string(c.DID) + ": " + c.Faults[0]})
	}
	rows = append(rows, []string{"next", "start the server: it tells the network the state of every repository"})
	if err := a.print(out, rows...); err != nil {
		return err
	}
	if len(out.Lost)+len(out.Damaged) > 0 {
		return errors.New("the restore is complete, but not all of the backup was sound")
	}
	return nil
}

// verify reads all that was restored but the bytes of blobs, whose hashes have
// been compared already.
func (out *restored) verify(ctx context.Context, database string, bytes storage.BlobStore) (err error) {
	store, err := sqlite.Open(database, sqlite.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if err := store.Check(ctx); err != nil {
		return err
	}
	for after := (storage.AccountCursor{}); ; {
		var page []storage.Account
		err := store.View(ctx, func(tx storage.Tx) (err error) {
			page, err = tx.ListAccounts(after, restorePage)
			return err
		})
		if err != nil || len(page) == 0 {
			return err
		}
		for i := range page {
			after = page[i].Cursor()
			c, err := pds.CheckAccount(ctx, store, bytes, page[i].DID, false)
			if err != nil {
				return err
			}
			out.Accounts++
			if len(c.Faults) > 0 {
				out.Damaged = append(out.Damaged, c)
			}
		}
	}
}

// checkUnused refuses a folder that holds anything but what a file system puts
// into its root.
func checkUnused(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if e.Name() != "lost+found" {
			return fmt.Errorf("%s is not empty (it holds %s): a backup is restored into an empty or new directory", dir, e.Name())
		}
	}
	return err
}

// afterRestore prepares data that was restored for being served. It is older
// than what the network has seen, and may be older than the store's clock
// allows without being told.
func afterRestore(ctx context.Context, set *settings, store *sqlite.Store, srv *pds.Server, log *slog.Logger) error {
	file := filepath.Join(set.dataDir, restoredFile)
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var m backup.Manifest
	if err := cmp.Or(err, json.Unmarshal(text, &m)); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if now := time.Now(); now.Before(m.Ended) {
		return fmt.Errorf("the clock says %s, but the backup that was restored is of %s: correct the clock, since event numbers follow it",
			now.UTC().Format(time.RFC3339), m.Ended.Format(time.RFC3339))
	}
	store.Guard().Accept()
	if err := srv.AnnounceRepos(ctx); err != nil {
		return fmt.Errorf("announcing repositories after the restore: %w", err)
	}
	log.Info("restored data: all repositories are being announced", "backup", m.Begun)
	return os.Remove(file)
}
