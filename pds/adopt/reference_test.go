package adopt_test

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"
	"golang.org/x/crypto/scrypt"
	_ "modernc.org/sqlite"

	"github.com/pdskit/pdskit/repo"
)

// The tables of the reference server, as far as it fills them.
const (
	accountSchema = `
CREATE TABLE actor (did varchar PRIMARY KEY, handle varchar, createdAt varchar NOT NULL, takedownRef varchar,
	deactivatedAt varchar, deleteAfter varchar);
CREATE TABLE account (did varchar PRIMARY KEY, email varchar NOT NULL, passwordScrypt varchar NOT NULL,
	emailConfirmedAt varchar, invitesDisabled int2 NOT NULL DEFAULT 0);
CREATE TABLE app_password (did varchar NOT NULL, name varchar NOT NULL, passwordScrypt varchar NOT NULL,
	createdAt varchar NOT NULL, privileged integer NOT NULL DEFAULT 0, PRIMARY KEY (did, name));
CREATE TABLE refresh_token (id varchar PRIMARY KEY, did varchar NOT NULL, expiresAt varchar NOT NULL,
	nextId varchar, appPasswordName varchar);
CREATE TABLE email_token (purpose varchar NOT NULL, did varchar NOT NULL, token varchar NOT NULL,
	requestedAt varchar NOT NULL, PRIMARY KEY (purpose, did));
CREATE TABLE invite_code (code varchar PRIMARY KEY, availableUses integer NOT NULL, disabled int2 DEFAULT 0,
	forAccount varchar NOT NULL, createdBy varchar NOT NULL, createdAt varchar NOT NULL);
CREATE TABLE invite_code_use (code varchar NOT NULL, usedBy varchar NOT NULL, usedAt varchar NOT NULL,
	PRIMARY KEY (code, usedBy));`
	sequencerSchema = `
CREATE TABLE repo_seq (seq integer PRIMARY KEY AUTOINCREMENT, did varchar NOT NULL, eventType varchar NOT NULL,
	event blob NOT NULL, invalidated int2 NOT NULL DEFAULT 0, sequencedAt varchar NOT NULL);
CREATE INDEX repo_seq_did_idx ON repo_seq (did);
CREATE INDEX repo_seq_sequenced_at_index ON repo_seq (sequencedAt);`
	actorSchema = `
CREATE TABLE repo_root (did varchar PRIMARY KEY, cid varchar NOT NULL, rev varchar NOT NULL, indexedAt varchar NOT NULL);
CREATE TABLE repo_block (cid varchar PRIMARY KEY, repoRev varchar NOT NULL, size integer NOT NULL, content blob NOT NULL);
CREATE TABLE record (uri varchar PRIMARY KEY, cid varchar NOT NULL, collection varchar NOT NULL, rkey varchar NOT NULL,
	repoRev varchar NOT NULL, indexedAt varchar NOT NULL, takedownRef varchar);
CREATE TABLE blob (cid varchar PRIMARY KEY, mimeType varchar NOT NULL, size integer NOT NULL, tempKey varchar,
	width integer, height integer, createdAt varchar NOT NULL, takedownRef varchar);
CREATE TABLE account_pref (id integer PRIMARY KEY AUTOINCREMENT, name varchar NOT NULL, valueJson text NOT NULL);`
)

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// reference is a data directory as the reference server leaves it behind.
type reference struct {
	t        testing.TB
	dir      string
	now      time.Time
	accounts *sql.DB
	events   *sql.DB
	members  []*member
}

// member is an account in it.
type member struct {
	r       *reference
	did     syntax.DID
	name    string
	key     *atcrypto.PrivateKeyK256
	db      *sql.DB
	head    cid.Cid
	rev     syntax.TID
	data    cid.Cid
	blocks  map[cid.Cid][]byte
	tree    *repo.Tree
	records map[string]cid.Cid
	blobs   []cid.Cid
}

func newReference(t testing.TB) *reference {
	t.Helper()
	dir := t.TempDir()
	r := &reference{
		t: t, dir: dir, now: time.Now().Add(-time.Hour).UTC().Truncate(time.Millisecond),
		accounts: openDB(t, filepath.Join(dir, "account.sqlite"), accountSchema),
		events:   openDB(t, filepath.Join(dir, "sequencer.sqlite"), sequencerSchema),
	}
	for _, d := range []string{"actors", "blobs"} {
		ok(t, os.Mkdir(filepath.Join(dir, d), 0o700))
	}
	return r
}

func openDB(t testing.TB, path, schema string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file://"+path+"?_pragma=journal_mode(WAL)&_pragma=synchronous(OFF)")
	ok(t, err)
	t.Cleanup(func() { db.Close() })
	db.SetMaxOpenConns(1)
	exec(t, db, schema)
	return db
}

func exec(t testing.TB, db *sql.DB, query string, args ...any) {
	t.Helper()
	_, err := db.Exec(query, args...)
	ok(t, err)
}

func iso(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// tick lets a second pass.
func (r *reference) tick() time.Time {
	r.now = r.now.Add(time.Second)
	return r.now
}

// close closes all databases, as a server does that ends in order.
func (r *reference) close() {
	ok(r.t, r.accounts.Close())
	ok(r.t, r.events.Close())
	for _, m := range r.members {
		ok(r.t, m.db.Close())
	}
}

func (m *member) folder() string {
	sum := sha256.Sum256([]byte(m.did))
	return filepath.Join(m.r.dir, "actors", hex.EncodeToString(sum[:1]), string(m.did))
}

// A password with its hash as the reference server stores it, and an app
// password.
const (
	password     = "correct horse"
	passwordHash = "00112233445566778899aabbccddeeff:" +
		"3e19ebeabf15ad17c24de695284e79441c0d80c6d98b95a3c052c58a0d57b09f" +
		"83b0742a5805af28a0b5bbcf673af62819b91eb830a104fb0bb42def767f52aa"
	appPassword = "aaaa-bbbb-cccc-dddd"
)

// appHashOf returns the hash of the app password, whose salt is the account's.
func appHashOf(t testing.TB, did syntax.DID) string {
	t.Helper()
	sum := sha256.Sum256([]byte(did))
	salt := hex.EncodeToString(sum[:16])
	key, err := scrypt.Key([]byte(appPassword), []byte(salt), 16384, 8, 1, 64)
	ok(t, err)
	return salt + ":" + hex.EncodeToString(key)
}

// add makes an account with an empty repository.
func (r *reference) add(name string, did syntax.DID) *member {
	r.t.Helper()
	key, err := atcrypto.GeneratePrivateKeyK256()
	ok(r.t, err)
	if did == "" {
		sum := sha256.Sum256([]byte(name))
		did = syntax.DID("did:plc:" + strings.ToLower(base32Text(sum[:]))[:24])
	}
	m := &member{r: r, did: did, name: name, key: key, blocks: map[cid.Cid][]byte{}, records: map[string]cid.Cid{}, tree: repo.EmptyTree()}
	ok(r.t, os.MkdirAll(m.folder(), 0o700))
	ok(r.t, os.WriteFile(filepath.Join(m.folder(), "key"), key.Bytes(), 0o600))
	m.db = openDB(r.t, filepath.Join(m.folder(), "store.sqlite"), actorSchema)
	exec(r.t, r.accounts, "INSERT INTO actor (did, handle, createdAt) VALUES (?, ?, ?)", string(did), name+".test", iso(r.tick()))
	exec(r.t, r.accounts, "INSERT INTO account (did, email, passwordScrypt, emailConfirmedAt) VALUES (?, ?, ?, ?)",
		string(did), name+"@example.com", passwordHash, iso(r.now))
	r.members = append(r.members, m)
	m.event("identity", map[string]any{"did": string(did), "handle": name + ".test"})
	m.event("account", map[string]any{"did": string(did), "active": true})
	m.commit(nil)
	return m
}

func base32Text(raw []byte) string {
	const letters = "abcdefghijklmnopqrstuvwxyz234567"
	out := make([]byte, len(raw))
	for i, b := range raw {
		out[i] = letters[b%32]
	}
	return string(out)
}

// typical makes an account with posts, a like and a picture.
func (r *reference) typical(name string) *member {
	r.t.Helper()
	m := r.add(name, "")
	picture := m.blob("a picture of " + name)
	for i := range 3 {
		m.commit(map[string]any{fmt.Sprintf("app.bsky.feed.post/post%d", i): post(fmt.Sprintf("post %d of %s", i, name))})
	}
	m.commit(map[string]any{
		"app.bsky.feed.like/like": map[string]any{
			"$type": "app.bsky.feed.like", "createdAt": iso(r.now),
			"subject": map[string]any{"uri": "at://did:plc:aaaaaaaaaaaaaaaaaaaaaaaa/app.bsky.feed.post/x", "cid": picture.String()},
		},
		"app.bsky.actor.profile/self": map[string]any{
			"$type": "app.bsky.actor.profile", "displayName": name,
			"avatar": map[string]any{"$type": "blob", "ref": picture, "mimeType": "image/png", "size": int64(len("a picture of " + name))},
		},
	})
	return m
}

func post(text string) map[string]any {
	return map[string]any{"$type": "app.bsky.feed.post", "text": text, "createdAt": "2026-01-02T03:04:05.000Z"}
}

// blob stores bytes as a permanent blob.
func (m *member) blob(content string) cid.Cid {
	m.r.t.Helper()
	c := repo.RawCID(sha256.Sum256([]byte(content)))
	exec(m.r.t, m.db, "INSERT INTO blob (cid, mimeType, size, createdAt) VALUES (?, 'image/png', ?, ?)", c.String(), len(content), iso(m.r.now))
	m.write("blobs", c.String(), content)
	m.blobs = append(m.blobs, c)
	return c
}

// write writes a file of a blob, below blobs, blobs/tempt or blobs/quarantine.
func (m *member) write(dir, name, content string) {
	m.r.t.Helper()
	dir = filepath.Join(m.r.dir, dir, string(m.did))
	ok(m.r.t, os.MkdirAll(dir, 0o700))
	ok(m.r.t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
}

// commit puts records, deletes those that are nil, and stores and tells the
// commit.
func (m *member) commit(changes map[string]any) {
	m.r.t.Helper()
	rev := repo.NextRev(m.rev, m.r.tick(), 7)
	var writes []repo.Write
	fresh := map[cid.Cid][]byte{}
	for _, path := range slices.Sorted(maps.Keys(changes)) {
		w := repo.Write{Path: path}
		if changes[path] != nil {
			data, err := repo.AppendCBOR(nil, changes[path])
			ok(m.r.t, err)
			w.CID = repo.CIDOf(data)
			fresh[w.CID] = data
		}
		writes = append(writes, w)
	}
	diff, err := m.tree.Apply(writes)
	ok(m.r.t, err)
	for _, n := range diff.NewNodes {
		fresh[n.CID] = n.Data
	}
	commit := repo.Commit{DID: m.did, Version: repo.CommitVersion, Data: diff.Root, Rev: rev}
	ok(m.r.t, commit.Sign(m.key))
	block, err := commit.Block()
	ok(m.r.t, err)
	blocks := []repo.Block{block}
	for c, data := range fresh {
		blocks = append(blocks, repo.Block{CID: c, Data: data})
	}
	ops := []any{}
	for _, op := range diff.Ops {
		o := map[string]any{"action": string(op.Action), "path": op.Path, "cid": nil}
		if op.CID.Defined() {
			o["cid"] = op.CID
		}
		if op.Prev.Defined() {
			o["prev"] = op.Prev
		}
		ops = append(ops, o)
	}
	event := map[string]any{
		"repo": string(m.did), "commit": block.CID, "rev": string(rev), "since": nil, "blocks": repo.EncodeCAR(block.CID, blocks),
		"ops": ops, "rebase": false, "tooBig": false, "blobs": []any{},
	}
	if m.rev != "" {
		event["since"], event["prevData"] = string(m.rev), m.data
	}
	for _, c := range diff.OldNodes {
		exec(m.r.t, m.db, "DELETE FROM repo_block WHERE cid = ?", c.String())
		delete(m.blocks, c)
	}
	if m.head.Defined() {
		exec(m.r.t, m.db, "DELETE FROM repo_block WHERE cid = ?", m.head.String())
		delete(m.blocks, m.head)
	}
	for _, b := range blocks {
		exec(m.r.t, m.db, "INSERT OR IGNORE INTO repo_block VALUES (?, ?, ?, ?)", b.CID.String(), string(rev), len(b.Data), b.Data)
		m.blocks[b.CID] = b.Data
	}
	for _, op := range diff.Ops {
		uri := "at://" + string(m.did) + "/" + op.Path
		collection, rkey, _ := strings.Cut(op.Path, "/")
		exec(m.r.t, m.db, "DELETE FROM record WHERE uri = ?", uri)
		delete(m.records, op.Path)
		if op.CID.Defined() {
			exec(m.r.t, m.db, "INSERT INTO record VALUES (?, ?, ?, ?, ?, ?, NULL)", uri, op.CID.String(), collection, rkey, string(rev), iso(m.r.now))
			m.records[op.Path] = op.CID
		}
	}
	m.head, m.rev, m.data = block.CID, rev, diff.Root
	m.saveRoot()
	m.event("append", event)
}

func (m *member) saveRoot() {
	exec(m.r.t, m.db, "INSERT OR REPLACE INTO repo_root VALUES (?, ?, ?, ?)", string(m.did), m.head.String(), string(m.rev), iso(m.r.now))
}

// event adds an event to the log.
func (m *member) event(kind string, fields map[string]any) {
	m.r.t.Helper()
	body, err := repo.AppendCBOR(nil, fields)
	ok(m.r.t, err)
	exec(m.r.t, m.r.events, "INSERT INTO repo_seq (did, eventType, event, sequencedAt) VALUES (?, ?, ?, ?)",
		string(m.did), kind, body, iso(m.r.now))
}

// set changes the account's row in actor.
func (m *member) set(column string, value any) {
	m.r.t.Helper()
	exec(m.r.t, m.r.accounts, "UPDATE actor SET "+column+" = ? WHERE did = ?", value, string(m.did))
}

func (m *member) prefer(values ...map[string]any) {
	for _, v := range values {
		text, err := json.Marshal(v)
		ok(m.r.t, err)
		exec(m.r.t, m.db, "INSERT INTO account_pref (name, valueJson) VALUES (?, ?)", v["$type"], string(text))
	}
}

// foreignHead signs the head anew by another key, as after an import.
func (m *member) foreignHead() {
	m.r.t.Helper()
	other, err := atcrypto.GeneratePrivateKeyK256()
	ok(m.r.t, err)
	key := m.key
	m.key = other
	m.commit(nil)
	m.key = key
}

// files returns everything below the directory: names, sizes, times, hashes.
func (r *reference) files() map[string]string {
	out := map[string]string{}
	ok(r.t, filepath.WalkDir(r.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text := info.ModTime().String() + " " + info.Mode().String()
		if !d.IsDir() {
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			text += fmt.Sprintf(" %x", sha256.Sum256(data))
		}
		out[path] = text
		return nil
	}))
	return out
}

// lastSeq is the last number of the log.
func (r *reference) lastSeq() (seq int64) {
	ok(r.t, r.events.QueryRowContext(context.Background(), "SELECT seq FROM sqlite_sequence").Scan(&seq))
	return seq
}
