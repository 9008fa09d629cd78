package relay_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/internal/programtest"
	"github.com/pdskit/pdskit/pds/pdstest"
)

// installation is the example server as an operator runs it: one address, and a
// data directory that may be another one after a restore.
type installation struct {
	t      *testing.T
	binary string
	port   string
	env    []string
	log    *os.File
	cmd    *exec.Cmd // nil: it does not run
}

// newInstallation builds a server whose identities are in a PLC directory.
func newInstallation(t *testing.T, plcURL string) *installation {
	t.Helper()
	dir, port := t.TempDir(), programtest.Port(t)
	binary := filepath.Join(dir, "server")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-C", "../..", "-o", binary, "./examples/server").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	s := &installation{t: t, binary: binary, port: port, log: log, env: []string{
		"PATH=" + os.Getenv("PATH"), "TMPDIR=" + t.TempDir(), "PDS_DEV_MODE=true", "PDS_PORT=" + port,
		"PDS_DID_PLC_URL=" + plcURL, "PDS_JWT_SECRET=" + strings.Repeat("s", 32), "PDS_ADMIN_PASSWORD=admin",
		"PDS_PLC_ROTATION_KEY_K256_PRIVATE_KEY_HEX=" + strings.Repeat("1f", 32),
		"PDS_INVITE_REQUIRED=false", "PDS_RATE_LIMITS_ENABLED=false", "PDS_SERVICE_HANDLE_DOMAINS=.test", "LOG_LEVEL=warn",
	}}
	t.Cleanup(func() {
		s.kill()
		_ = log.Close()
		if text, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("the server's log ends with:\n%s", text[max(0, len(text)-4000):])
		}
	})
	return s
}

func (s *installation) command(data string, args ...string) *exec.Cmd {
	cmd := exec.Command(s.binary, args...)
	cmd.Env = append(s.env[:len(s.env):len(s.env)], "PDS_DATA_DIRECTORY="+data)
	return cmd
}

// run runs an administration command.
func (s *installation) run(data string, args ...string) {
	s.t.Helper()
	if out, err := s.command(data, args...).CombinedOutput(); err != nil {
		s.t.Fatalf("server %s: %v\n%s", args, err, out)
	}
}

// start runs the server and waits until it serves.
func (s *installation) start(data string) {
	s.t.Helper()
	s.cmd = s.command(data)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.until("the server does not answer", func() bool {
		return s.call("GET", "_health", "", nil, nil) == nil
	})
}

// kill ends the server as a crash does.
func (s *installation) kill() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait() // it was killed: the error says so
		s.cmd = nil
	}
}

// call calls a method with a token and decodes the answer.
func (s *installation) call(verb, method, token string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
	}
	r, err := http.NewRequestWithContext(s.t.Context(), verb, "http://localhost:"+s.port+"/xrpc/"+method, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status + " " + string(text))
	}
	if err != nil {
		return err
	}
	if raw, ok := out.(*[]byte); ok {
		*raw = text
		return nil
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(text, out)
}

// until waits for something, no longer than patience.
func (s *installation) until(otherwise string, enough func() bool) {
	s.t.Helper()
	for deadline := time.Now().Add(patience); !enough(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatal(otherwise)
		}
	}
}

type member struct {
	DID       syntax.DID
	AccessJwt string
}

func (s *installation) signUp(name string) (m member) {
	s.t.Helper()
	in := object{"handle": name + ".test", "email": name + "@example.com", "password": "password"}
	if err := s.call("POST", "com.atproto.server.createAccount", "", in, &m); err != nil {
		s.t.Fatal(err)
	}
	return m
}

func (s *installation) post(m member, text string) error {
	in := object{"repo": m.DID, "collection": posts, "record": post(text)}
	return s.call("POST", "com.atproto.repo.createRecord", m.AccessJwt, in, nil)
}

// state reads an account as the relay should know it, by an export that is
// verified.
func (s *installation) state(did syntax.DID) (st state, err error) {
	var car []byte
	if err := s.call("GET", "com.atproto.sync.getRepo?did="+string(did), "", nil, &car); err != nil {
		return st, err
	}
	export, err := pdstest.ReadRepo(car)
	if err != nil {
		return st, err
	}
	return state{
		host: "localhost:" + s.port, status: "active",
		rev: export.Commit.Rev.String(), commit: export.Root.String(), data: export.Commit.Data.String(),
	}, nil
}

// A server is backed up while clients write, is lost with what they wrote
// later, and is restored elsewhere. The relay that followed it goes on without
// anybody's help, and has all accounts as the restored server has them.
func TestRestoredServer(t *testing.T) {
	plc, err := identity.NewMemoryPLC(identity.MemoryPLCConfig{NoRateLimit: true})
	if err != nil {
		t.Fatal(err)
	}
	directory := httptest.NewServer(plc)
	t.Cleanup(directory.Close)
	s := newInstallation(t, directory.URL)
	lost, restored, backup := filepath.Join(t.TempDir(), "lost"), filepath.Join(t.TempDir(), "restored"), filepath.Join(t.TempDir(), "backup")
	s.start(lost)

	w := newRelay(t, newCachedDirectory(func(r *http.Request) (*http.Response, error) {
		if r.URL.Host == "plc.test" {
			return plc.Transport().RoundTrip(r)
		}
		there := r.Clone(r.Context()) // of a handle
		there.URL = &url.URL{Scheme: "http", Host: "localhost:" + s.port, Path: r.URL.Path}
		there.Host = r.URL.Host
		return http.DefaultTransport.RoundTrip(there)
	}))
	var members []member
	for i := range 8 {
		members = append(members, s.signUp(fmt.Sprint("user", i)))
	}
	w.subscribe("localhost:" + s.port)

	load, stop := context.WithCancel(t.Context())
	var acked atomic.Int64
	var writers sync.WaitGroup
	for i, m := range members[:6] { // the others write nothing
		writers.Go(func() {
			// No faster than the relay follows on a small machine.
			for n := 0; load.Err() == nil; time.Sleep(30 * time.Millisecond) {
				n++
				if err := s.post(m, fmt.Sprintf("post %d of %d", n, i)); err == nil {
					acked.Add(1)
				} else if load.Err() == nil {
					t.Errorf("a write failed: %v", err)
					return
				}
			}
		})
	}
	more := func(n int64) {
		t.Helper()
		from := acked.Load()
		s.until("nobody writes", func() bool { return acked.Load() >= from+n })
	}
	more(100)
	s.run(lost, "backup", backup)
	more(100)
	late := s.signUp("late") // of whom the restored server will know nothing
	for _, m := range append(members[:6:6], late) {
		now, err := s.state(m.DID)
		if err != nil {
			t.Fatal(err)
		}
		s.until("the relay does not follow", func() bool { return w.relayState(m.DID).rev >= now.rev })
	}
	stop()
	s.kill() // in the middle of writes
	writers.Wait()

	s.run(restored, "restore", backup)
	s.start(restored)
	same := func(when string) {
		t.Helper()
		for _, m := range members {
			var here, there state
			var err error
			s.until(fmt.Sprintf("%s: %s is another one for the relay", when, m.DID), func() bool {
				here, err = s.state(m.DID)
				there = w.relayState(m.DID)
				return err == nil && here == there
			})
		}
	}
	same("after the restore")
	if _, err := s.state(late.DID); err == nil {
		t.Error("an account that was made after the backup is in it")
	}
	for round := range 3 {
		for _, m := range members {
			if err := s.post(m, fmt.Sprint("after the restore ", round)); err != nil {
				t.Fatal(err)
			}
		}
	}
	same("after new commits")

	// What it passes on comes a little later than what it knows.
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	kindsOf := func(events []event, did syntax.DID) (kinds string) {
		for _, ev := range events {
			if ev.did == did {
				kind, _, _ := strings.Cut(ev.text, " ")
				kinds += kind
			}
		}
		return kinds
	}
	for _, m := range members {
		relayed, err := w.relayed.wait(ctx, func(events []event) bool {
			return strings.HasSuffix(kindsOf(events, m.DID), "#sync#commit#commit#commit")
		})
		if err != nil {
			t.Errorf("%s: the relay passed on %s", m.DID, kindsOf(relayed, m.DID))
		}
	}
	w.tolerated = []string{"host connection failed", "dialing failed"}
	if lines, _ := w.explain(w.log.all(), nil); len(lines) > 0 {
		t.Errorf("the relay has %d complaints, at first:\n%s", len(lines), strings.Join(lines[:min(len(lines), 5)], "\n"))
	}
}
