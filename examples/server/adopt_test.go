package main_test

import (
	"bufio"
	"crypto/sha256"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"
	_ "modernc.org/sqlite"

	"github.com/pdskit/pdskit/pds/adopt"
	"github.com/pdskit/pdskit/repo"
)

// oldServer makes a data directory of the reference server with accounts that
// have posted nothing yet.
func oldServer(t *testing.T, accounts int) (dir string, dids []string) {
	t.Helper()
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	dir = t.TempDir()
	open := func(path, script string) *sql.DB {
		db, err := sql.Open("sqlite", path)
		ok(err)
		_, err = db.Exec(script)
		ok(err)
		return db
	}
	db := open(filepath.Join(dir, "account.sqlite"), `
		CREATE TABLE actor (did, handle, createdAt, takedownRef, deactivatedAt, deleteAfter);
		CREATE TABLE account (did, email, passwordScrypt, emailConfirmedAt, invitesDisabled);
		CREATE TABLE app_password (did, name, passwordScrypt, createdAt, privileged);
		CREATE TABLE refresh_token (id, did, expiresAt, nextId, appPasswordName);
		CREATE TABLE email_token (purpose, did, token, requestedAt);
		CREATE TABLE invite_code (code, availableUses, disabled, forAccount, createdBy, createdAt);
		CREATE TABLE invite_code_use (code, usedBy, usedAt);`)
	ok(open(filepath.Join(dir, "sequencer.sqlite"), `CREATE TABLE repo_seq (seq integer PRIMARY KEY AUTOINCREMENT,
		did, eventType, event, invalidated, sequencedAt)`).Close())
	ok(os.Mkdir(filepath.Join(dir, "blobs"), 0o700))
	tree, err := repo.EmptyTree().Apply(nil)
	ok(err)
	for n := range accounts {
		did := fmt.Sprintf("did:plc:aaaaaaaaaaaaaaaaaaaaaa%c%c", 'a'+n/20, 'a'+n%20)
		dids = append(dids, did)
		sum := sha256.Sum256([]byte(did))
		folder := filepath.Join(dir, "actors", fmt.Sprintf("%x", sum[:1]), did)
		ok(os.MkdirAll(folder, 0o700))
		key, err := atcrypto.GeneratePrivateKeyK256()
		ok(err)
		ok(os.WriteFile(filepath.Join(folder, "key"), key.Bytes(), 0o600))
		commit := repo.Commit{DID: syntax.DID(did), Data: tree.Root, Rev: "3jui7kd54zh2y"}
		ok(commit.Sign(key))
		block, err := commit.Block()
		ok(err)
		store := open(filepath.Join(folder, "store.sqlite"), `
			CREATE TABLE repo_root (did, cid, rev); CREATE TABLE repo_block (cid, content);
			CREATE TABLE record (uri, repoRev, takedownRef); CREATE TABLE account_pref (id, name, valueJson);
			CREATE TABLE blob (cid, mimeType, tempKey, createdAt, takedownRef);`)
		for _, b := range append(tree.NewNodes, block) {
			_, err = store.Exec("INSERT INTO repo_block VALUES (?, ?)", b.CID.String(), b.Data)
			ok(err)
		}
		_, err = store.Exec("INSERT INTO repo_root VALUES (?, ?, ?)", did, block.CID.String(), string(commit.Rev))
		ok(err)
		ok(store.Close())
		_, err = db.Exec("INSERT INTO actor VALUES (?, ?, '2025-01-01T00:00:00.000Z', NULL, NULL, NULL)", did, fmt.Sprintf("user%d.test", n))
		ok(err)
		_, err = db.Exec("INSERT INTO account VALUES (?, ?, 'x:y', NULL, 0)", did, fmt.Sprintf("user%d@example.com", n))
		ok(err)
	}
	ok(db.Close())
	return dir, dids
}

// TestAdopt adopts the data of another server, killed on the way, with an
// account that is damaged, as an operator does.
func TestAdopt(t *testing.T) {
	const accounts = 12
	dir, dids := oldServer(t, accounts)
	damaged := dids[accounts/2]
	sum := sha256.Sum256([]byte(damaged))
	key := filepath.Join(dir, "actors", fmt.Sprintf("%x", sum[:1]), damaged, "key")
	if err := os.Rename(key, key+".away"); err != nil {
		t.Fatal(err)
	}
	p := newProcess(t, "https://plc.example.com")
	report := func(code int, args ...string) (out adopt.Report) {
		t.Helper()
		got, stdout, stderr := p.run(append([]string{"adopt", "-from", dir, "-json"}, args...)...)
		if err := json.Unmarshal([]byte(stdout), &out); err != nil || got != code {
			t.Fatalf("exit code %d, %v: %s%s", got, err, stdout, stderr)
		}
		return out
	}
	dry := report(1, "-dry-run")
	if dry.Adopted != accounts-1 || dry.LeftOut != 1 || len(dry.Findings) != 1 || string(dry.Findings[0].DID) != damaged {
		t.Errorf("a dry run: %+v", dry)
	}
	if _, err := os.Stat(p.dataDir); err == nil {
		t.Error("a dry run has made the data directory")
	}

	// Killed after the fifth account.
	cmd := exec.CommandContext(t.Context(), p.binary, "adopt", "-from", dir)
	cmd.Env = p.env
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "5/12 ") {
			break
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	if code, _, stderr := p.run(); code != 1 || !strings.Contains(stderr, `give the command "adopt" again`) {
		t.Errorf("the server on half an adoption: exit code %d, %s", code, stderr)
	}
	got := report(1)
	if got.Already < 5 || got.Already+got.Adopted != accounts-1 || got.LeftOut != 1 {
		t.Errorf("after the kill: %+v", got)
	}
	if code, _, stderr := p.run("adopt", "-from", dir); code != 1 || !strings.Contains(stderr, "is complete") {
		t.Errorf("once more: exit code %d, %s", code, stderr)
	}
	if err := os.Rename(key+".away", key); err != nil {
		t.Fatal(err)
	}
	if one := report(0, "-account", damaged); one.Adopted != 1 {
		t.Errorf("the one that was repaired: %+v", one)
	}

	p.start()
	if code, _, stderr := p.run("adopt", "-from", dir, "-account", damaged); code != 1 || !strings.Contains(stderr, "is in use by process") {
		t.Errorf("beside a server: exit code %d, %s", code, stderr)
	}
	for _, did := range dids {
		var commit struct{ Rev string }
		if err := p.get(t.Context(), "com.atproto.sync.getLatestCommit", "", map[string][]string{"did": {did}}, &commit); err != nil || commit.Rev != "3jui7kd54zh2y" {
			t.Errorf("%s: %+v, %v", did, commit, err)
		}
	}
}

func TestAdoptRefusals(t *testing.T) {
	dir, _ := oldServer(t, 1)
	p := newProcess(t, "https://plc.example.com")
	for _, c := range []struct {
		env  []string
		args []string
		code int
		want string
	}{
		{nil, nil, 2, "-from DIR"},
		{nil, []string{"-from", dir, "-account", "alice"}, 2, "DID"},
		{nil, []string{"-from", dir, "now"}, 2, "takes"},
		{nil, []string{"-from", filepath.Join(dir, "blobs")}, 1, "account.sqlite"},
		{[]string{"PDS_DATA_DIRECTORY=" + dir}, []string{"-from", dir}, 1, "must be apart"},
		{[]string{"PDS_DATA_DIRECTORY=" + filepath.Join(dir, "new")}, []string{"-from", dir}, 1, "must be apart"},
		{[]string{"PDS_BLOBSTORE_DISK_LOCATION=" + filepath.Join(dir, "blobs")}, []string{"-from", dir}, 1, "must be apart"},
	} {
		q := newProcess(t, "https://plc.example.com", c.env...)
		code, stdout, stderr := q.run(append([]string{"adopt"}, c.args...)...)
		if code != c.code || !strings.Contains(stderr, c.want) {
			t.Errorf("%v %v: exit code %d, %s%s", c.env, c.args, code, stdout, stderr)
		}
	}
	if code, _, stderr := newDevelopment(t).run("adopt", "-from", dir); code != 1 || !strings.Contains(stderr, "needs the configuration") {
		t.Errorf("in development: exit code %d, %s", code, stderr)
	}
	p.start()
	p.terminate()
	if code, _, stderr := p.run("adopt", "-from", dir); code != 1 || !strings.Contains(stderr, "holds the data of a server") {
		t.Errorf("into the data of a server: exit code %d, %s", code, stderr)
	}
}
