package main

import (
	"archive/zip"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// exportAccount writes an archive of an account into a file, whole or not at
// all.
func (a *admin) exportAccount(ctx context.Context, args []string) error {
	d, err := a.find(ctx, args[0])
	if err != nil {
		return err
	}
	name := cmp.Or(string(d.Handle), strings.ReplaceAll(string(d.DID), ":", "-")) + ".zip"
	to := name
	if len(args) > 1 {
		to = args[1]
	}
	if to, err = freeName(to, name); err != nil {
		return err
	}
	patient := *a
	patient.client = &http.Client{} // it takes as long as it takes
	body, err := patient.send(ctx, http.MethodGet, "/admin/export", url.Values{"account": {string(d.DID)}}, nil)
	if err != nil {
		return err
	}
	defer body.Close()
	f, err := os.CreateTemp(filepath.Dir(to), ".export-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	size, err := io.Copy(f, body)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("the export was cut off: %w", err)
	}
	archive, err := zip.OpenReader(f.Name())
	if err != nil {
		return fmt.Errorf("the export was cut off: %w", err)
	}
	files := len(archive.File)
	if err := archive.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), to); err != nil {
		return err
	}
	out := map[string]any{"did": d.DID, "file": to, "bytes": size, "files": files}
	return a.print(out, []string{"DID", string(d.DID)}, []string{"archive", to}, []string{"files", strconv.Itoa(files)}, []string{"bytes", strconv.FormatInt(size, 10)})
}

// freeName returns the name of a file that is not there yet: name, below to if
// that is a folder.
func freeName(to, name string) (string, error) {
	if info, err := os.Stat(to); err == nil && info.IsDir() {
		to = filepath.Join(to, name)
	}
	_, err := os.Lstat(to)
	switch {
	case err == nil:
		return "", fmt.Errorf("%s is there already: nothing is overwritten, choose another name", to)
	case !errors.Is(err, fs.ErrNotExist):
		return "", err
	}
	return to, nil
}
