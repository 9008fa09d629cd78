package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"github.com/pdskit/pdskit/pds"
)

// listKeys prints the public halves of all keys. Secret ones have no command
// that shows them.
func (a *admin) listKeys(ctx context.Context, _ []string) error {
	public, err := a.set.rotationKey.PublicKey()
	if err != nil {
		return err
	}
	type accountKey struct {
		DID        string `json:"did"`
		Handle     string `json:"handle,omitempty"`
		SigningKey string `json:"signingKey"`
	}
	out := struct {
		RotationKey string       `json:"rotationKey"`
		RecoveryKey string       `json:"recoveryKey,omitempty"`
		MasterKey   string       `json:"masterKeyFile"`
		Accounts    []accountKey `json:"accounts"`
	}{public.DIDKey(), a.set.recoveryKey, filepath.Join(a.set.dataDir, masterKeyFile), []accountKey{}}
	rows := [][]string{
		{"KEY OF", "", "KEY"},
		{"the server, for identities", "", out.RotationKey},
	}
	if out.RecoveryKey != "" {
		rows = append(rows, []string{"the operator, for identities", "", out.RecoveryKey})
	}
	err = a.eachAccount(ctx, func(d *pds.AccountDetails) {
		k := accountKey{string(d.DID), string(d.Handle), d.SigningKey}
		out.Accounts = append(out.Accounts, k)
		rows = append(rows, []string{k.DID, k.Handle, k.SigningKey})
	})
	if err != nil {
		return err
	}
	return a.print(out, rows...)
}

// rotateKey gives an account a signing key that the server makes.
func (a *admin) rotateKey(ctx context.Context, args []string) error {
	d, err := a.find(ctx, args[0])
	if err != nil {
		return err
	}
	var key struct {
		SigningKey string `json:"signingKey"`
	}
	if err := a.call(ctx, http.MethodPost, "/xrpc/com.atproto.server.reserveSigningKey", nil, map[string]any{"did": d.DID}, &key); err != nil {
		return err
	}
	in := map[string]any{"did": d.DID, "signingKey": key.SigningKey}
	if err := a.call(ctx, http.MethodPost, "/xrpc/com.atproto.admin.updateAccountSigningKey", nil, in, nil); err != nil {
		return err
	}
	return a.print(in, []string{"DID", string(d.DID)}, []string{"signing key", key.SigningKey})
}

// backupKey copies the master key, which nothing else can replace.
func (a *admin) backupKey(_ context.Context, args []string) error {
	from := filepath.Join(a.set.dataDir, masterKeyFile)
	to, err := freeName(args[0], masterKeyFile)
	if err != nil {
		return err
	}
	if !exists(a.set.dataDir, masterKeyFile) { // LoadMasterKey would make one
		return fmt.Errorf("there is no %s: run the command where the data is", from)
	}
	if _, _, err := pds.LoadMasterKey(from); err != nil {
		return err // a damaged key is no backup
	}
	text, err := os.ReadFile(from)
	if err == nil {
		err = writeNew(to, text)
	}
	if err != nil {
		return err
	}
	return a.print(map[string]string{"masterKey": to},
		[]string{"copied", from}, []string{"to", to},
		[]string{"keep it", "where no backup of the database is: whoever has both can sign for every account"},
		[]string{"to use it", "put it back as " + from + ", readable by the server's user alone"},
		[]string{"keep too", "PDS_PLC_ROTATION_KEY_K256_PRIVATE_KEY_HEX, which changes identities and is in the configuration"})
}
