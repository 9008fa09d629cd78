package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// movesDir is the folder of a data directory that holds moves which are not
// complete.
const movesDir = "moves"

// moveState is how far a move has come. It is stored after each step, readable
// by the operator alone: it holds the tokens of both accounts and the password
// of the new one.
type moveState struct {
	DID    string `json:"did"`
	From   string `json:"from"`   // address of the old server
	Old    string `json:"old"`    // handle there
	Handle string `json:"handle"` // handle here
	Email  string `json:"email"`

	Invite   string `json:"invite,omitempty"`
	Password string `json:"password,omitempty"` // of the account here
	There    tokens `json:"there"`
	Here     tokens `json:"here"`

	Rev         string          `json:"rev,omitempty"` // of the old repository that was imported last
	Preferences bool            `json:"preferences,omitempty"`
	Lost        []string        `json:"lost,omitempty"` // blobs that the old server does not have
	CodeAsked   bool            `json:"codeAsked,omitempty"`
	Operation   json.RawMessage `json:"operation,omitempty"` // signed by the old server
	Moved       bool            `json:"moved,omitempty"`     // the identity names this server
	Active      bool            `json:"active,omitempty"`    // here

	file string
}

// loadMove returns the move of an account, a new one if there is none yet.
func loadMove(dataDir, did string) (*moveState, error) {
	m := &moveState{DID: did, file: filepath.Join(dataDir, movesDir, strings.ReplaceAll(did, ":", "-")+".json")}
	data, err := os.ReadFile(m.file)
	if errors.Is(err, fs.ErrNotExist) {
		return m, os.MkdirAll(filepath.Dir(m.file), 0o700)
	}
	if err == nil {
		err = json.Unmarshal(data, m)
	}
	if err == nil && m.DID != did {
		err = errors.New("it is the move of another account")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.file, err)
	}
	return m, nil
}

func (m *moveState) save() error {
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return writeNew(m.file, append(data, '\n'))
}

// finish forgets a move that is complete.
func (m *moveState) finish() error { return os.Remove(m.file) }
