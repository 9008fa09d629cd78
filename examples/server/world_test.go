package main_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/coder/websocket"
	"github.com/ipfs/go-cid"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/repo"
)

const collection = "com.example.note"

// world is a server that is killed now and then, and what its clients know.
type world struct {
	t     *testing.T
	srv   *process
	plc   *httptest.Server
	heads map[syntax.DID]*followed // what the firehose led to
	seq   int64

	mu    sync.Mutex // guards following fields
	users []*user
	gone  []syntax.DID // acknowledged deletions
	names int

	acked, uploads, imports, signUps, deletions, events int
}

// user is an account with what was acknowledged to it.
type user struct {
	DID      syntax.DID
	password string

	mu       sync.Mutex // guards following fields
	access   string
	records  map[string]string // rkey to CID
	doubtful map[string]bool   // rkeys with a request that was cut off
	blobs    map[string]blob   // by rkey
	busy     map[string]bool
	unsure   bool // an import or a deletion was cut off: the records are unknown
	leaving  bool
}

type blob struct {
	cid  string
	data []byte
}

// followed is the state of a repository by its events.
type followed struct {
	rev  syntax.TID
	data cid.Cid
}

func newWorld(t *testing.T) *world {
	plc, err := identity.NewMemoryPLC(identity.MemoryPLCConfig{NoRateLimit: true})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, plc: httptest.NewServer(plc), heads: map[syntax.DID]*followed{}}
	t.Cleanup(w.plc.Close)
	w.srv = newProcess(t, w.plc.URL)
	w.srv.start()
	return w
}

func (w *world) count(n *int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	*n++
}

func (u *user) token() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	return "Bearer " + u.access
}

func (u *user) get(key string) (string, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	c, ok := u.records[key]
	return c, ok
}

func (u *user) put(key, c string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.records[key] = c
	delete(u.blobs, key)
}

func (u *user) putBlob(key, c, link string, data []byte) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.records[key] = c
	u.blobs[key] = blob{link, data}
}

func (u *user) drop(key string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.records, key)
	delete(u.blobs, key)
}

func (u *user) doubt(key string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.doubtful[key] = true
	delete(u.blobs, key)
}

// claim picks an account and a key that nobody else writes now.
func (w *world) claim() (*user, string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for range 10 {
		u := w.users[rand.IntN(len(w.users))]
		key := fmt.Sprintf("key-%d", rand.IntN(200))
		u.mu.Lock()
		free := !u.busy[key] && !u.doubtful[key] && !u.unsure && !u.leaving
		if free {
			u.busy[key] = true
		}
		u.mu.Unlock()
		if free {
			return u, key
		}
	}
	return nil, ""
}

func (w *world) release(u *user, key string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.busy, key)
}

// newUser returns a user with the next free name.
func (w *world) newUser() (*user, string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.names++
	name := fmt.Sprintf("user%d", w.names)
	return &user{
		password: "password of " + name, records: map[string]string{}, doubtful: map[string]bool{},
		blobs: map[string]blob{}, busy: map[string]bool{},
	}, name
}

func (w *world) add(u *user) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.users = append(w.users, u)
	w.signUps++
}

type session struct {
	DID       syntax.DID `json:"did"`
	AccessJwt string     `json:"accessJwt"`
}

func (w *world) signUp(ctx context.Context) {
	w.mu.Lock()
	full := len(w.users) >= 12
	w.mu.Unlock()
	if full {
		return
	}
	u, name := w.newUser()
	var out session
	err := w.srv.post(ctx, "com.atproto.server.createAccount", "", map[string]any{
		"handle": name + ".test", "email": name + "@example.com", "password": u.password,
	}, &out)
	if err != nil {
		w.refusedOrCut(ctx, "createAccount", err)
		return
	}
	u.DID, u.access = out.DID, out.AccessJwt
	w.add(u)
}

// deleteAccount deletes one account as the administrator.
func (w *world) deleteAccount(ctx context.Context) {
	w.mu.Lock()
	var u *user
	if len(w.users) > 5 {
		i := rand.IntN(len(w.users))
		u = w.users[i]
		w.users = slices.Delete(w.users, i, i+1)
	}
	w.mu.Unlock()
	if u == nil {
		return
	}
	u.mu.Lock()
	u.leaving = true
	u.mu.Unlock()
	// Requests of others that are under way may be refused from now on; they
	// must be over first.
	for {
		u.mu.Lock()
		idle := len(u.busy) == 0
		u.mu.Unlock()
		if idle {
			break
		}
		time.Sleep(time.Millisecond)
	}
	err := w.srv.post(ctx, "com.atproto.admin.deleteAccount", w.srv.adminAuth(), map[string]any{"did": u.DID}, nil)
	if err != nil {
		w.refusedOrCut(ctx, "admin.deleteAccount", err)
		return // it may or may not be there; nothing is claimed of it
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.gone = append(w.gone, u.DID)
	w.deletions++
}

// importRepo brings in a repository that was made elsewhere, as a migration
// does, and activates the account.
func (w *world) importRepo(ctx context.Context) {
	w.mu.Lock()
	full := len(w.users) >= 12
	w.mu.Unlock()
	if full {
		return
	}
	u, name := w.newUser()
	key, err := atcrypto.GeneratePrivateKeyK256()
	if err != nil {
		w.t.Error(err)
		return
	}
	did, err := w.registerElsewhere(key, name+".test")
	if err != nil {
		w.t.Errorf("PLC: %v", err)
		return
	}
	car, want := foreignRepo(w.t, did, key, 300)
	var out session
	err = w.srv.post(ctx, "com.atproto.server.createAccount", "Bearer "+w.srv.serviceJWT(w.t, key, did), map[string]any{
		"handle": name + ".test", "email": name + "@example.com", "password": u.password, "did": did,
	}, &out)
	if err != nil {
		w.refusedOrCut(ctx, "createAccount with a DID", err)
		return
	}
	u.DID, u.access, u.unsure = did, out.AccessJwt, true
	defer w.add(u)
	err = w.srv.send(ctx, http.MethodPost, "com.atproto.repo.importRepo", u.token(), "application/vnd.ipld.car", car, nil)
	if err != nil {
		w.refusedOrCut(ctx, "importRepo", err)
		return
	}
	u.mu.Lock()
	u.unsure = false
	maps.Copy(u.records, want)
	u.leaving = true // deactivated: not to be written
	u.mu.Unlock()
	w.count(&w.imports)
}

func (w *world) registerElsewhere(key *atcrypto.PrivateKeyK256, handle string) (syntax.DID, error) {
	client, err := identity.NewPLCClient(w.plc.URL, http.DefaultClient)
	if err != nil {
		return "", err
	}
	pub, err := key.PublicKey()
	if err != nil {
		return "", err
	}
	reg := identity.NewPLCRegistry(client, key, "")
	did, op, err := reg.New(w.t.Context(), identity.NewIdentity{
		Handle: syntax.Handle(handle), SigningKey: pub, PDS: "https://old.example.com",
	})
	if err != nil {
		return "", err
	}
	return did, reg.Submit(w.t.Context(), did, op)
}

// foreignRepo makes a signed repository of n records.
func foreignRepo(t *testing.T, did syntax.DID, key atcrypto.PrivateKey, n int) (car []byte, want map[string]string) {
	want = map[string]string{}
	var writes []repo.Write
	var blocks []repo.Block
	for i := range n {
		rec, err := repo.RecordFromValue(map[string]any{"text": fmt.Sprint("from elsewhere ", i)}, collection)
		if err != nil {
			t.Error(err)
			return nil, nil
		}
		rkey := fmt.Sprintf("old-%d", i)
		want[rkey] = rec.CID.String()
		writes = append(writes, repo.Write{Path: collection + "/" + rkey, CID: rec.CID})
		blocks = append(blocks, repo.Block{CID: rec.CID, Data: rec.CBOR})
	}
	diff, err := repo.EmptyTree().Apply(writes)
	if err != nil {
		t.Error(err)
		return nil, nil
	}
	commit := repo.Commit{
		DID: did, Version: repo.CommitVersion, Data: diff.Root,
		Rev: repo.NextRev("", time.Now().Add(-time.Hour), 1),
	}
	if err := commit.Sign(key); err != nil {
		t.Error(err)
		return nil, nil
	}
	head, err := commit.Block()
	if err != nil {
		t.Error(err)
		return nil, nil
	}
	blocks = append(append([]repo.Block{head}, diff.NewNodes...), blocks...)
	return repo.EncodeCAR(head.CID, blocks), want
}

// serviceJWT is what the old server of an account gives it to move here.
func (p *process) serviceJWT(t *testing.T, key *atcrypto.PrivateKeyK256, did syntax.DID) string {
	now := time.Now().Unix()
	claims, err := json.Marshal(map[string]any{
		"iss": did, "aud": p.did, "lxm": "com.atproto.server.createAccount", "iat": now, "exp": now + 60,
		"jti": fmt.Sprint(rand.Int64()),
	})
	if err != nil {
		t.Error(err)
		return ""
	}
	enc := base64.RawURLEncoding.EncodeToString
	text := enc([]byte(`{"alg":"ES256K","typ":"JWT"}`)) + "." + enc(claims)
	sig, err := key.HashAndSign([]byte(text))
	if err != nil {
		t.Error(err)
		return ""
	}
	return text + "." + enc(sig)
}

// check compares everything acknowledged with what the server has.
func (w *world) check() {
	w.follow()
	for _, u := range w.users {
		w.checkUser(u)
	}
	for _, did := range w.gone {
		err := w.srv.get(w.t.Context(), "com.atproto.sync.getRepoStatus", "", url.Values{"did": {string(did)}}, nil)
		var answer *statusError
		if !errors.As(err, &answer) || answer.name != "RepoNotFound" {
			w.t.Errorf("%s was deleted, but getRepoStatus says %v", did, err)
		}
	}
}

func (w *world) checkUser(u *user) {
	car, err := w.srv.raw(w.t.Context(), http.MethodGet, "com.atproto.sync.getRepo?did="+url.QueryEscape(string(u.DID)), u.token(), "", nil)
	if err != nil {
		w.t.Errorf("getRepo of %s: %v", u.DID, err)
		return
	}
	r, err := pdstest.ReadRepo(car)
	if err != nil {
		w.t.Errorf("export of %s: %v", u.DID, err)
		return
	}
	if f := w.heads[u.DID]; f != nil && f.rev != r.Commit.Rev {
		w.t.Errorf("%s: the firehose led to rev %s, the repo is at %s", u.DID, f.rev, r.Commit.Rev)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.unsure {
		return
	}
	for rkey, want := range u.records {
		if got := r.Records[collection+"/"+rkey]; !u.doubtful[rkey] && got.String() != want {
			w.t.Errorf("%s %s: acknowledged as %s, is %s", u.DID, rkey, want, got)
		}
	}
	for path, got := range r.Records {
		rkey := strings.TrimPrefix(path, collection+"/")
		if _, known := u.records[rkey]; !known && !u.doubtful[rkey] {
			w.t.Errorf("%s %s: nobody wrote %s", u.DID, rkey, got)
		}
	}
	// What was in doubt is known now.
	for rkey := range u.doubtful {
		if c, ok := r.Records[collection+"/"+rkey]; ok {
			u.records[rkey] = c.String()
		} else {
			delete(u.records, rkey)
		}
		delete(u.doubtful, rkey)
	}
	for rkey, b := range u.blobs {
		data, err := w.srv.raw(w.t.Context(), http.MethodGet,
			"com.atproto.sync.getBlob?did="+url.QueryEscape(string(u.DID))+"&cid="+b.cid, "", "", nil)
		if err != nil || !bytes.Equal(data, b.data) {
			w.t.Errorf("%s %s: the blob %s is damaged: %v", u.DID, rkey, b.cid, err)
		}
	}
}

// follow reads the firehose from the last event seen to the newest, as a relay
// would, and checks that each repository's commits follow one another.
func (w *world) follow() {
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, fmt.Sprintf("ws%s/xrpc/com.atproto.sync.subscribeRepos?cursor=%d",
		strings.TrimPrefix(w.srv.url, "http"), w.seq), nil)
	if err != nil {
		w.t.Error(err)
		return
	}
	defer conn.CloseNow()
	conn.SetReadLimit(8 << 20)
	// A write of our own marks the end.
	var mark session
	if err := w.srv.post(ctx, "com.atproto.server.createAccount", "", map[string]any{
		"handle": fmt.Sprintf("mark%d.test", rand.Uint32()), "email": fmt.Sprintf("mark%d@example.com", rand.Uint32()), "password": "password of mark",
	}, &mark); err != nil {
		w.t.Errorf("sign-up after the restart: %v", err)
		return
	}
	for {
		_, frame, err := conn.Read(ctx)
		if err != nil {
			w.t.Errorf("firehose after seq %d: %v", w.seq, err)
			return
		}
		ev, err := pdstest.DecodeEvent(frame)
		if err != nil {
			w.t.Error(err)
			return
		}
		w.event(ev)
		if ev.DID == mark.DID && ev.Kind == "#sync" {
			break
		}
	}
	if err := w.srv.post(ctx, "com.atproto.admin.deleteAccount", w.srv.adminAuth(), map[string]any{"did": mark.DID}, nil); err != nil {
		w.t.Errorf("deleting the mark: %v", err)
	}
}

func (w *world) event(ev *pdstest.Event) {
	if ev.Seq <= w.seq {
		w.t.Errorf("seq %d after %d", ev.Seq, w.seq)
	}
	w.seq = ev.Seq
	w.events++
	if ev.Kind == "#account" && ev.Status == "deleted" {
		delete(w.heads, ev.DID)
	}
	if ev.Kind != "#commit" {
		return
	}
	f := w.heads[ev.DID]
	if f == nil {
		f = &followed{}
		w.heads[ev.DID] = f
		if ev.Since != "" {
			w.t.Errorf("%s: the first commit seen is since %s", ev.DID, ev.Since)
		}
	} else if ev.Since != f.rev || ev.PrevData != f.data {
		w.t.Errorf("%s: commit %s is since %s, the last was %s", ev.DID, ev.Rev, ev.Since, f.rev)
	}
	in, err := repo.NewCARReader(bytes.NewReader(ev.Blocks), repo.CARLimits{})
	if err != nil {
		w.t.Errorf("blocks of %s: %v", ev.Rev, err)
		return
	}
	first, err := in.Next()
	if err != nil || first.CID != ev.Commit {
		w.t.Errorf("blocks of %s: %v", ev.Rev, err)
		return
	}
	commit, err := repo.ParseCommit(first.Data)
	if err != nil {
		w.t.Error(err)
		return
	}
	f.rev, f.data = ev.Rev, commit.Data
}
