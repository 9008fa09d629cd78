package main

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
)

// Files of a data directory, besides those of the store.
const (
	modeFile    = "mode" // for which mode the directory was made
	secretsFile = "secrets.json"
)

const (
	modeDevelopment = "development"
	modeProduction  = "production"
	modeRestoring   = "restoring" // a restore began and has not ended
	modeAdopting    = "adopting"  // the same of an adoption
)

// devSecrets are made once in development mode and kept with the data.
type devSecrets struct {
	JWTSecret     string `json:"jwtSecret"`
	AdminPassword string `json:"adminPassword"`
	RotationKey   string `json:"plcRotationKeyHex"`
}

// prepareData makes the data directory ready and fills in the secrets of
// development mode. It returns what it made, for people.
func prepareData(set *settings) (made []string, err error) {
	if _, err := os.Stat(set.dataDir); errors.Is(err, fs.ErrNotExist) {
		made = append(made, set.dataDir)
	}
	if err := os.MkdirAll(set.dataDir, 0o700); err != nil {
		return nil, err
	}
	if err := claimMode(set); err != nil {
		return nil, err
	}
	if !set.development {
		return made, nil
	}
	file := filepath.Join(set.dataDir, secretsFile)
	fresh, err := loadDevSecrets(set, file)
	if fresh {
		made = append(made, file)
	}
	return made, err
}

// mode is the mode for which this configuration makes data.
func (s *settings) mode() string {
	if s.development {
		return modeDevelopment
	}
	return modeProduction
}

// claimMode refuses data of the other mode: a development server would serve
// real accounts without protection, a production one would trust identities
// that nobody else knows.
func claimMode(set *settings) error {
	mode := set.mode()
	file := filepath.Join(set.dataDir, modeFile)
	found, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if exists(set.dataDir, "pds.db") {
			return fmt.Errorf("%s holds a database but no file %q: it was not made by this server", set.dataDir, modeFile)
		}
		if exists(set.dataDir, "account.sqlite") {
			return fmt.Errorf("%s holds the data of the reference server: choose another PDS_DATA_DIRECTORY, and take it over by \"server adopt\"", set.dataDir)
		}
		return writeNew(file, []byte(mode+"\n"))
	case err != nil:
		return err
	}
	got := strings.TrimSpace(string(found))
	if got == modeRestoring {
		return fmt.Errorf("a restore into %s was interrupted: empty the directory and restore again", set.dataDir)
	}
	if got == modeAdopting {
		return fmt.Errorf("an adoption into %s was interrupted: give the command \"adopt\" again to go on", set.dataDir)
	}
	if got != mode {
		return fmt.Errorf("the data in %s was made in %s mode, but this is %s mode: choose another directory", set.dataDir, got, mode)
	}
	return nil
}

func exists(dir, name string) bool {
	_, err := os.Stat(filepath.Join(dir, name))
	return err == nil
}

// loadExistingSecrets reads the secrets of a development server, if it has
// made some.
func loadExistingSecrets(set *settings, file string) (found bool, err error) {
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	_, err = loadDevSecrets(set, file)
	return err == nil, err
}

func loadDevSecrets(set *settings, file string) (fresh bool, err error) {
	var sec devSecrets
	data, err := os.ReadFile(file)
	switch {
	case err == nil:
		err = json.Unmarshal(data, &sec)
	case errors.Is(err, fs.ErrNotExist):
		fresh = true
		if sec, err = makeDevSecrets(); err != nil {
			return false, err
		}
		if data, err = json.MarshalIndent(sec, "", "  "); err == nil {
			err = writeNew(file, append(data, '\n'))
		}
	}
	if err != nil {
		return false, fmt.Errorf("%s: %w", file, err)
	}
	if set.rotationKey, err = parseRotationKey(sec.RotationKey); err != nil {
		return false, fmt.Errorf("%s: plcRotationKeyHex: %w", file, err)
	}
	set.jwtSecret, set.adminPassword = sec.JWTSecret, sec.AdminPassword
	return fresh, nil
}

func makeDevSecrets() (devSecrets, error) {
	key, err := atcrypto.GeneratePrivateKeyK256()
	if err != nil {
		return devSecrets{}, err
	}
	return devSecrets{rand.Text(), strings.ToLower(rand.Text()), hex.EncodeToString(key.Bytes())}, nil
}

// writeNew writes a file that only its owner can read, whole or not at all.
func writeNew(file string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(file), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = bytes.NewReader(data).WriteTo(f)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}

// hostsOf returns the hosts of URLs that the operator has configured.
func hostsOf(urls []string) []string {
	var out []string
	for _, u := range urls {
		if p, err := url.Parse(u); err == nil && p.Host != "" {
			out = append(out, p.Host)
		}
	}
	return out
}
