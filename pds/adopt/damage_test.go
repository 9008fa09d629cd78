package adopt_test

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	atid "github.com/bluesky-social/indigo/atproto/identity"
	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/google/go-cmp/cmp"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/adopt"
	"github.com/pdskit/pdskit/storage"
)

// What is wrong with one account has a name, and the others are adopted.
func TestAdoptionOfDamagedSources(t *testing.T) {
	t.Parallel()
	file := func(m *member, parts ...string) string {
		return filepath.Join(append([]string{m.folder()}, parts...)...)
	}
	for _, c := range []struct {
		name    string
		damage  func(t *testing.T, m *member)
		kind    pds.AdoptionFaultKind
		detail  string
		leftOut bool
	}{
		{"blob missing", func(t *testing.T, m *member) {
			ok(t, os.Remove(filepath.Join(m.r.dir, "blobs", string(m.did), m.blobs[0].String())))
		}, pds.FaultBlobMissing, "its bytes are not there", false},
		{"blob with other bytes", func(t *testing.T, m *member) {
			m.write("blobs", m.blobs[0].String(), "other bytes")
		}, pds.FaultBlobDamaged, "are those of", false},
		{"blob that is a folder", func(t *testing.T, m *member) {
			path := filepath.Join(m.r.dir, "blobs", string(m.did), m.blobs[0].String())
			ok(t, os.Remove(path))
			ok(t, os.Mkdir(path, 0o700))
		}, pds.FaultBlobDamaged, "cannot be read", false},
		{"preference that is no JSON", func(t *testing.T, m *member) {
			exec(t, m.db, "INSERT INTO account_pref (name, valueJson) VALUES ('x', '{')")
		}, pds.FaultDocument, "a preference is malformed", false},
		{"handle", func(t *testing.T, m *member) { m.set("handle", "not a handle") }, pds.FaultDocument, "was left out", false},
		{"node missing", func(t *testing.T, m *member) {
			exec(t, m.db, "DELETE FROM repo_block WHERE cid = ?", m.data.String())
		}, pds.FaultRepository, "block not found", true},
		{"node with other bytes", func(t *testing.T, m *member) {
			exec(t, m.db, "UPDATE repo_block SET content = x'a0' WHERE cid = ?", m.data.String())
		}, pds.FaultRepository, "does not match its CID", true},
		{"record missing", func(t *testing.T, m *member) {
			exec(t, m.db, "DELETE FROM repo_block WHERE cid = ?", m.records["app.bsky.feed.post/post1"].String())
		}, pds.FaultRepository, "Could not find record at 'app.bsky.feed.post/post1'", true},
		{"record with other bytes", func(t *testing.T, m *member) {
			exec(t, m.db, "UPDATE repo_block SET content = x'a0' WHERE cid = ?", m.records["app.bsky.feed.post/post1"].String())
		}, pds.FaultRepository, "Could not parse record", true},
		{"head missing", func(t *testing.T, m *member) {
			exec(t, m.db, "DELETE FROM repo_block WHERE cid = ?", m.head.String())
		}, pds.FaultRepository, "is not there", true},
		{"head damaged", func(t *testing.T, m *member) {
			exec(t, m.db, "UPDATE repo_block SET content = x'a0' WHERE cid = ?", m.head.String())
		}, pds.FaultRepository, "is damaged", true},
		{"no repository", func(t *testing.T, m *member) { exec(t, m.db, "DELETE FROM repo_root") }, pds.FaultRepository, "there is no repository", true},
		{"key of somebody else", func(t *testing.T, m *member) {
			key, err := atcrypto.GeneratePrivateKeyK256()
			ok(t, err)
			ok(t, os.WriteFile(file(m, "key"), key.Bytes(), 0o600))
		}, pds.FaultKey, "is not signed by the account's key", true},
		{"key missing", func(t *testing.T, m *member) { ok(t, os.Remove(file(m, "key"))) }, pds.FaultKey, "there is no file", true},
		{"key too short", func(t *testing.T, m *member) {
			ok(t, os.WriteFile(file(m, "key"), []byte("short"), 0o600))
		}, pds.FaultKey, "key: ", true},
		{"store missing", func(t *testing.T, m *member) {
			ok(t, m.db.Close())
			ok(t, os.Remove(file(m, "store.sqlite")))
		}, pds.FaultAccount, "no such file", true},
		{"store that is none", func(t *testing.T, m *member) {
			ok(t, m.db.Close())
			ok(t, os.WriteFile(file(m, "store.sqlite"), []byte(strings.Repeat("no database ", 100)), 0o600))
		}, pds.FaultAccount, "cannot be read", true},
		{"store cut off", func(t *testing.T, m *member) {
			ok(t, m.db.Close())
			ok(t, os.Truncate(file(m, "store.sqlite"), 8192))
		}, pds.FaultAccount, "cannot be read", true},
		{"time", func(t *testing.T, m *member) { m.set("createdAt", "yesterday") }, pds.FaultAccount, "a time of the account is malformed", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newReference(t)
			alice, bob, carol := r.typical("alice"), r.typical("bob"), r.typical("carol")
			c.damage(t, bob)
			r.close()
			h := newHeir(t)
			opts := h.options(r)
			opts.DryRun = true
			dry, err := adopt.Run(t.Context(), opts)
			ok(t, err)
			if n := len(h.state(t)); n != 0 {
				t.Errorf("a dry run has left %d things", n)
			}
			opts.DryRun = false
			for range 2 { // the second time nothing changes
				report, err := adopt.Run(t.Context(), opts)
				ok(t, err)
				found := slices.ContainsFunc(report.Findings, func(f adopt.Finding) bool {
					return f.DID == bob.did && f.Kind == c.kind && strings.Contains(f.Detail, c.detail) && f.LeftOut == c.leftOut
				})
				if first := report.Already == 0; (first || c.leftOut) && (!found || len(report.Findings) != 1) {
					t.Errorf("findings: %+v", report.Findings)
				}
				if report.Already == 0 {
					if diff := cmp.Diff(dry.Findings, report.Findings); diff != "" {
						t.Errorf("a dry run finds something else:\n%s", diff)
					}
				}
			}
			h.check(t, alice)
			h.check(t, carol)
			err = h.store.View(t.Context(), func(tx storage.Tx) error {
				a, err := tx.Account(bob.did)
				if err == nil && a.Pending {
					t.Error("bob is pending")
				}
				return err
			})
			if errors.Is(err, storage.ErrNotFound) != c.leftOut {
				t.Errorf("bob: %v, left out %v", err, c.leftOut)
			}
			// After a repair the account alone can follow.
			if c.name == "key missing" {
				ok(t, os.WriteFile(file(bob, "key"), bob.key.Bytes(), 0o600))
				opts.Only = []syntax.DID{bob.did}
				report, err := adopt.Run(t.Context(), opts)
				ok(t, err)
				if report.Adopted != 1 || len(report.Findings) > 0 {
					t.Errorf("report %+v", report)
				}
				h.check(t, bob)
			}
		})
	}
}

// breakingStore fails after some Updates.
type breakingStore struct {
	storage.Store
	left int
}

var errBroken = errors.New("the disk is full")

func (s *breakingStore) Unwrap() storage.Store { return s.Store }

func (s *breakingStore) Update(ctx context.Context, fn func(storage.Tx) error) error {
	if s.left--; s.left < 0 {
		return errBroken
	}
	return s.Store.Update(ctx, fn)
}

// Wherever a run is interrupted, the next one goes on, and in the end all is
// the same.
func TestAdoptionGoesOnAfterInterruption(t *testing.T) {
	t.Parallel()
	r := newReference(t)
	for _, name := range []string{"alice", "bob", "carol"} {
		m := r.typical(name)
		m.prefer(map[string]any{"$type": "app.bsky.actor.defs#adultContentPref", "enabled": true})
		exec(t, r.accounts, "INSERT INTO app_password VALUES (?, 'phone', 'x:y', ?, 1)", string(m.did), iso(r.now))
		exec(t, r.accounts, "INSERT INTO refresh_token VALUES (?, ?, ?, NULL, NULL)", "token of "+name, string(m.did), iso(time.Now().Add(time.Hour)))
		exec(t, r.accounts, "INSERT INTO invite_code VALUES (?, 5, 0, 'admin', 'admin', ?)", "code-"+name, iso(r.now))
		exec(t, r.accounts, "INSERT INTO invite_code_use VALUES (?, ?, ?)", "code-"+name, string(m.did), iso(r.now))
		exec(t, m.db, "UPDATE record SET takedownRef = 'x' WHERE rkey = 'post2'")
	}
	r.close()
	whole := newHeir(t)
	adoptAll(t, whole, r)
	want := whole.state(t)

	t.Run("by the store", func(t *testing.T) {
		t.Parallel()
		for n := 1; ; n++ {
			h := newHeir(t)
			opts := h.options(r)
			opts.Store = &breakingStore{h.store, n}
			_, err := adopt.Run(t.Context(), opts)
			if err == nil {
				if n < 20 {
					t.Errorf("a whole adoption takes %d transactions", n)
				}
				return
			}
			if !errors.Is(err, errBroken) {
				t.Fatalf("after %d transactions: %v", n, err)
			}
			report := adoptAll(t, h, r)
			if report.Adopted+report.Already != 3 {
				t.Errorf("after %d transactions: %+v", n, report)
			}
			if diff := cmp.Diff(want, h.state(t)); diff != "" {
				t.Fatalf("after %d transactions:\n%s", n, diff)
			}
		}
	})
	t.Run("between accounts", func(t *testing.T) {
		t.Parallel()
		h := newHeir(t)
		runs := 0
		for n := 1; ; n++ {
			ctx, cancel := context.WithCancel(t.Context())
			opts := h.options(r)
			opts.Progress = func(p adopt.Progress) {
				if p.Done == n {
					cancel()
				}
			}
			_, err := adopt.Run(ctx, opts)
			cancel()
			if runs++; err == nil {
				break
			}
			if !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
		}
		if runs != 4 {
			t.Errorf("%d runs", runs)
		}
		if diff := cmp.Diff(want, h.state(t)); diff != "" {
			t.Error(diff)
		}
	})
}

// directory answers with one identity.
type directory struct {
	atid.Directory
	id  *atid.Identity
	err error
}

func (d *directory) LookupDID(context.Context, syntax.DID) (*atid.Identity, error) {
	return d.id, d.err
}

// The reference server leaves an imported repository with the signature of the
// server that it came from. Whether the key here is right then says the DID
// document.
func TestAdoptionOfForeignHeads(t *testing.T) {
	t.Parallel()
	named := func(t *testing.T, key atcrypto.PrivateKey) *directory {
		pub, err := key.PublicKey()
		ok(t, err)
		return &directory{id: &atid.Identity{Keys: map[string]atid.VerificationMethod{
			"atproto": {Type: "Multikey", PublicKeyMultibase: pub.Multibase()},
		}}}
	}
	other, err := atcrypto.GeneratePrivateKeyK256()
	ok(t, err)
	for _, c := range []struct {
		name       string
		inactive   bool
		directory  func(t *testing.T, m *member) atid.Directory
		kept, told bool
	}{
		{"the document names the key", false, func(t *testing.T, m *member) atid.Directory { return named(t, m.key) }, true, true},
		{"the document names another", false, func(t *testing.T, m *member) atid.Directory { return named(t, other) }, false, false},
		{"the document cannot be had", false, func(*testing.T, *member) atid.Directory { return &directory{err: atid.ErrDIDNotFound} }, false, false},
		{"nobody is asked", false, func(*testing.T, *member) atid.Directory { return nil }, false, false},
		{"on its way here", true, func(*testing.T, *member) atid.Directory { return nil }, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newReference(t)
			m := r.typical("alice")
			m.foreignHead()
			if c.inactive {
				m.set("deactivatedAt", iso(r.now))
			}
			last := r.lastSeq()
			r.close()
			h := newHeir(t)
			opts := h.options(r)
			opts.Directory = c.directory(t, m)
			report, err := adopt.Run(t.Context(), opts)
			ok(t, err)
			if kept := report.Adopted == 1 && len(report.Findings) == 0; kept != c.kept {
				t.Fatalf("report %+v", report)
			}
			if !c.kept {
				if f := report.Findings[0]; f.Kind != pds.FaultKey || !f.LeftOut {
					t.Errorf("findings %+v", report.Findings)
				}
				return
			}
			h.wantNewHead(t, m, last, c.told)
		})
	}
}

// wantNewHead fails the test unless the repository has a new head over the same
// tree, and a #sync event if told.
func (h *heir) wantNewHead(t *testing.T, m *member, last int64, told bool) {
	t.Helper()
	check, err := pds.CheckAccount(t.Context(), h.store, h.blobs, m.did, true)
	if err != nil || len(check.Faults) > 0 {
		t.Errorf("%+v, %v", check, err)
	}
	ok(t, h.store.View(t.Context(), func(tx storage.Tx) error {
		head, err := tx.Head(m.did)
		if err != nil {
			return err
		}
		if head.Data != m.data || head.Rev <= m.rev {
			t.Errorf("head %+v, want one above %s over the same tree", head, m.rev)
		}
		events, err := tx.ListEvents(last, 10, 1<<20)
		if (len(events) == 1 && events[0].Kind == "sync" && events[0].Seq > last) != told || len(events) > 1 {
			t.Errorf("events: %+v", events)
		}
		return err
	}))
}

// The reference server stores events and repositories apart. Where a crash has
// left them at odds, the network is told the state anew.
func TestAdoptionAnnouncesWhatTheLogDoesNotTell(t *testing.T) {
	t.Parallel()
	t.Run("the log is behind", func(t *testing.T) {
		t.Parallel()
		r := newReference(t)
		m := r.typical("alice")
		exec(t, r.events, "DELETE FROM repo_seq WHERE seq = ?", r.lastSeq())
		last := r.lastSeq()
		r.close()
		h := newHeir(t)
		adoptAll(t, h, r)
		h.check(t, m) // the same head
		ok(t, h.store.View(t.Context(), func(tx storage.Tx) error {
			events, err := tx.ListEvents(last, 10, 1<<20)
			if len(events) != 1 || events[0].Kind != "sync" {
				t.Errorf("events: %+v", events)
			}
			return err
		}))
	})
	t.Run("the log is ahead", func(t *testing.T) {
		t.Parallel()
		r := newReference(t)
		m := r.typical("alice")
		ahead := *m
		ahead.rev = "3zzzzzzzzzzzz"
		m.event("sync", map[string]any{"did": string(m.did), "rev": string(ahead.rev), "blocks": []byte{}})
		last := r.lastSeq()
		r.close()
		h := newHeir(t)
		adoptAll(t, h, r)
		h.wantNewHead(t, &ahead, last, true)
	})
	t.Run("an event is damaged", func(t *testing.T) {
		t.Parallel()
		r := newReference(t)
		m := r.typical("alice")
		last := r.lastSeq()
		exec(t, r.events, "UPDATE repo_seq SET event = x'a0' WHERE seq = ?", last-1)
		r.close()
		h := newHeir(t)
		report, err := adopt.Run(t.Context(), h.options(r))
		ok(t, err)
		if len(report.Findings) != 1 || report.Findings[0].Kind != pds.FaultEvent || report.Adopted != 1 {
			t.Errorf("report %+v", report)
		}
		ok(t, h.store.View(t.Context(), func(tx storage.Tx) error {
			events, err := tx.ListEvents(last, 10, 1<<20)
			if len(events) != 1 || events[0].Kind != "sync" || events[0].DID != m.did {
				t.Errorf("events: %+v", events)
			}
			return err
		}))
	})
}

// A source that cannot be read at all is an error that says why.
func TestAdoptionRefusesOtherFolders(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		damage func(t *testing.T, r *reference)
		want   string
	}{
		{"no data", func(t *testing.T, r *reference) { r.dir = filepath.Join(r.dir, "nowhere") }, "account.sqlite"},
		{"no log", func(t *testing.T, r *reference) { ok(t, os.Remove(filepath.Join(r.dir, "sequencer.sqlite"))) }, "sequencer.sqlite"},
		{"no accounts", func(t *testing.T, r *reference) { ok(t, os.RemoveAll(filepath.Join(r.dir, "actors"))) }, "actors"},
		{"no blobs", func(t *testing.T, r *reference) { ok(t, os.RemoveAll(filepath.Join(r.dir, "blobs"))) }, "blobs"},
		{"too old", func(t *testing.T, r *reference) {
			db, err := sql.Open("sqlite", filepath.Join(r.dir, "account.sqlite"))
			ok(t, err)
			exec(t, db, "ALTER TABLE actor DROP COLUMN deactivatedAt")
			ok(t, db.Close())
		}, "too old"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newReference(t)
			r.add("alice", "")
			r.close()
			c.damage(t, r)
			h := newHeir(t)
			if _, err := adopt.Run(t.Context(), h.options(r)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
			if n := len(h.state(t)); n != 0 {
				t.Errorf("%d things are left", n)
			}
		})
	}
}

// holdEnv names a database that TestMain's child keeps open.
const holdEnv = "ADOPT_TEST_HOLD"

func TestMain(m *testing.M) {
	if path := os.Getenv(holdEnv); path != "" {
		db, err := sql.Open("sqlite", "file://"+path)
		if err == nil {
			var n int
			err = db.QueryRow("SELECT count(*) FROM actor").Scan(&n)
		}
		fmt.Println("open", err)
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// A source that a server has open is refused.
func TestAdoptionRefusesSourcesInUse(t *testing.T) {
	t.Parallel()
	r := newReference(t)
	r.typical("alice")
	r.close()
	child := openElsewhere(t, filepath.Join(r.dir, "account.sqlite"))
	h := newHeir(t)
	_, err := adopt.Run(t.Context(), h.options(r))
	if !errors.Is(err, adopt.ErrInUse) || !strings.Contains(err.Error(), fmt.Sprint(child.pid)) {
		t.Errorf("error %v, want that process %d has it", err, child.pid)
	}
	child.end()
	adoptAll(t, h, r)
}

type child struct {
	pid int
	end func()
}

func openElsewhere(t *testing.T, path string) child {
	t.Helper()
	cmd := osexec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), holdEnv+"="+path)
	in, err := cmd.StdinPipe()
	ok(t, err)
	out, err := cmd.StdoutPipe()
	ok(t, err)
	ok(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "open <nil>\n" {
		t.Fatalf("the child says %q, %v", line, err)
	}
	return child{cmd.Process.Pid, func() {
		ok(t, in.Close())
		ok(t, cmd.Wait())
	}}
}
