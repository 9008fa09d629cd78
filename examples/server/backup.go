package main

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/backup"
	"github.com/pdskit/pdskit/storage/blobs"
	"github.com/pdskit/pdskit/storage/sqlite"
	"github.com/pdskit/pdskit/xrpc"
)

const (
	// proofFile is the file by which somebody who asks the server for a backup
	// shows that the folder is theirs to write to: the administrator's password
	// alone does not let the server write into the file system.
	proofFile  = ".backup-asked-for"
	proofBytes = 64

	masterKeyFile = "master.key"
	envCopy       = "pds.env" // the -env-file, in a backup
)

// backupRoute makes backups for the command "backup".
type backupRoute struct {
	srv   *pds.Server
	set   *settings
	store *sqlite.Store
	blobs storage.BlobStore

	running sync.Mutex // held while a backup is made
}

type backupRequest struct {
	Dir   string `json:"dir"`
	Proof string `json:"proof"`
}

func (b *backupRoute) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var in backupRequest
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&in)
	if err != nil {
		err = xrpc.InvalidRequest("The body must be JSON with dir and proof")
	}
	var made *backup.Manifest
	if err == nil {
		made, err = b.make(r, in)
	}
	if err != nil {
		if xrpc.ErrorName(err) == "InternalServerError" {
			// The administrator is the one who can mend it.
			err = xrpc.NewError(http.StatusInternalServerError, "BackupFailed", err.Error())
		}
		xrpc.WriteError(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(made) // the backup is made, whoever waits for it
}

func (b *backupRoute) make(r *http.Request, in backupRequest) (made *backup.Manifest, err error) {
	if !b.running.TryLock() {
		return nil, xrpc.InvalidRequest("A backup is being made already")
	}
	defer b.running.Unlock()
	if err := checkProof(in); err != nil {
		return nil, err
	}
	entry := pds.AuditEntry{Actor: "admin", Client: r.UserAgent(), Action: "backup", Detail: in.Dir}
	err = b.srv.Audit(r.Context(), entry, func(ctx context.Context) error {
		made, err = backup.Create(ctx, in.Dir, backupSource(b.set, b.store, b.blobs, b.srv.KeepBlobs))
		return err
	})
	return made, err
}

// checkProof accepts a folder in which whoever asks has written, and removes
// what they wrote.
func checkProof(in backupRequest) error {
	if !filepath.IsAbs(in.Dir) || in.Proof == "" || len(in.Proof) > proofBytes {
		return xrpc.InvalidRequest("The parameters are an absolute path and what stands in a file %s there", proofFile)
	}
	file := filepath.Join(in.Dir, proofFile)
	f, err := os.Open(file)
	if err != nil {
		return xrpc.InvalidRequest("The server cannot read %s: run the command on its machine, as its user (%v)", file, errors.Unwrap(err))
	}
	found, err := io.ReadAll(io.LimitReader(f, proofBytes+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(found, []byte(in.Proof)) != 1 {
		return xrpc.InvalidRequest("The file %s in the folder is another one", proofFile)
	}
	return os.Remove(file)
}

// backupSource says what belongs to a backup.
func backupSource(set *settings, store *sqlite.Store, from storage.BlobStore, keep func() func()) backup.Source {
	files := map[string]string{
		masterKeyFile: filepath.Join(set.dataDir, masterKeyFile),
		modeFile:      filepath.Join(set.dataDir, modeFile),
	}
	if set.development {
		files[secretsFile] = filepath.Join(set.dataDir, secretsFile)
	}
	if set.envFile != "" {
		files[envCopy] = set.envFile
	}
	return backup.Source{Database: store, Blobs: from, Keep: keep, Files: files, Server: set.publicURL()}
}

// backup makes a backup: by the running server, or, if none runs, directly.
func (a *admin) backup(ctx context.Context, args []string) error {
	dir, err := filepath.Abs(args[0])
	if err != nil {
		return err
	}
	if !exists(a.set.dataDir, "pds.db") {
		return fmt.Errorf("there is no pds.db in %s", a.set.dataDir)
	}
	made := new(backup.Manifest)
	store, err := sqlite.Open(filepath.Join(a.set.dataDir, "pds.db"), sqlite.Options{})
	var locked *sqlite.LockedError
	switch {
	case errors.As(err, &locked):
		err = a.askForBackup(ctx, dir, made)
	case err == nil:
		made, err = a.backupStopped(ctx, dir, store)
	}
	if err != nil {
		return err
	}
	rows := [][]string{
		{"backup", dir}, {"database", strconv.FormatInt(made.DatabaseBytes, 10) + " bytes"},
		{"blobs", fmt.Sprintf("%d, %d bytes", made.Blobs, made.BlobBytes)}, {"files", strings.Join(made.Files, ", ")},
	}
	if a.set.envFile == "" && !a.set.development {
		rows = append(rows, []string{"not in it", "the PDS_* variables: keep a copy of them, above all of the rotation key"})
	}
	return a.print(made, rows...)
}

// askForBackup has the running server make a backup.
func (a *admin) askForBackup(ctx context.Context, dir string, made *backup.Manifest) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		return errors.Join(fmt.Errorf("%s must be empty or new", dir), err)
	}
	in := backupRequest{Dir: dir, Proof: rand.Text()}
	file := filepath.Join(dir, proofFile)
	if err := writeNew(file, []byte(in.Proof)); err != nil {
		return err
	}
	patient := *a
	patient.client = &http.Client{} // it takes as long as it takes
	err := patient.call(ctx, http.MethodPost, "/admin/backup", nil, in, made)
	if err != nil {
		_ = os.Remove(file) // it may be gone: the server removes it first
	}
	return err
}

// backupStopped makes a backup of a data directory that no server uses.
func (a *admin) backupStopped(ctx context.Context, dir string, store *sqlite.Store) (made *backup.Manifest, err error) {
	defer func() { err = errors.Join(err, store.Close()) }()
	disk, err := blobs.NewDisk(a.set.blobDir, blobs.DiskOptions{})
	if err != nil {
		return nil, err
	}
	return backup.Create(ctx, dir, backupSource(a.set, store, disk, nil))
}
