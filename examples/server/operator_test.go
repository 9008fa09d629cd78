package main_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/coder/websocket"

	"github.com/pdskit/pdskit/identity"
)

// run runs the program to its end, as an operator would in a shell.
func (p *process) run(args ...string) (code int, stdout, stderr string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.binary, args...)
	var out, errs bytes.Buffer
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = p.env, p.dir, &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		p.t.Fatal(err)
	}
	if ctx.Err() != nil {
		p.t.Errorf("server %q did not end", args)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// terminate sends SIGTERM and returns the exit code.
func (p *process) terminate() int {
	p.t.Helper()
	p.mu.Lock()
	cmd := p.cmd
	p.cmd = nil
	p.mu.Unlock()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	// An exit code other than 0 is an error too; ProcessState says which.
	_ = cmd.Wait()
	return cmd.ProcessState.ExitCode()
}

func (p *process) readLog() string {
	p.t.Helper()
	log, err := os.ReadFile(p.log)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(log)
}

// newDevelopment prepares a server in development mode on a free port.
func newDevelopment(t *testing.T) *process {
	p := newProcess(t, "")
	p.dir = filepath.Dir(p.dataDir)
	p.dataDir = filepath.Join(p.dir, "pds-data")
	port := strings.TrimPrefix(p.url, "http://localhost:")
	p.env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + t.TempDir(), "PDS_DEV_MODE=true", "PDS_PORT=" + port}
	return p
}

type signedUp struct {
	DID        string `json:"did"`
	Handle     string `json:"handle"`
	AccessJwt  string `json:"accessJwt"`
	RefreshJwt string `json:"refreshJwt"`
}

func (p *process) signUp(handle string) signedUp {
	p.t.Helper()
	var out signedUp
	err := p.post(p.t.Context(), "com.atproto.server.createAccount", "", map[string]any{
		"handle": handle, "email": handle + "@example.com", "password": "password of " + handle,
	}, &out)
	if err != nil {
		p.t.Fatalf("sign-up of %s: %v", handle, err)
	}
	return out
}

func (p *process) write(ctx context.Context, u signedUp, rkey string) (cid string, err error) {
	var out struct{ CID string }
	err = p.post(ctx, "com.atproto.repo.putRecord", "Bearer "+u.AccessJwt, map[string]any{
		"repo": u.DID, "collection": collection, "rkey": rkey, "record": map[string]any{"text": rkey},
	}, &out)
	return out.CID, err
}

// TestNoConfiguration is what a newcomer does.
func TestNoConfiguration(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:2583")
	if err != nil {
		t.Skip("port 2583 is in use")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	p := newDevelopment(t)
	p.url, p.env = "http://localhost:2583", p.env[:2]
	p.start()
	var server struct {
		AvailableUserDomains []string
		InviteCodeRequired   bool
	}
	if err := p.get(t.Context(), "com.atproto.server.describeServer", "", nil, &server); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(server.AvailableUserDomains) != "[.test]" || server.InviteCodeRequired {
		t.Errorf("describeServer: %+v", server)
	}
	p.signUp("alice.test")
	if code := p.terminate(); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}
	if _, err := os.Stat(filepath.Join(p.dir, "pds-data", "pds.db")); err != nil {
		t.Error(err)
	}
}

func TestDevelopmentMode(t *testing.T) {
	p := newDevelopment(t)
	p.start()
	log := p.readLog()
	for _, want := range []string{p.url, "NAME.test", "made      pds-data\n", "pds-data/secrets.json", "pds-data/master.key", p.dataDir, "createAccount", "handles=[.test]"} {
		if !strings.Contains(log, want) {
			t.Errorf("the greeting does not mention %q:\n%s", want, log)
		}
	}
	for _, name := range []string{"secrets.json", "master.key", "mode"} {
		info, err := os.Stat(filepath.Join(p.dataDir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
	secrets, err := os.ReadFile(filepath.Join(p.dataDir, "secrets.json"))
	if err != nil {
		t.Fatal(err)
	}
	alice := p.signUp("alice.test")

	// The identity is known to tools that take this server as PLC directory.
	checkDocument := func() {
		t.Helper()
		plc, err := identity.NewPLCClient(p.url, http.DefaultClient)
		if err != nil {
			t.Fatal(err)
		}
		dids, err := identity.NewResolver(identity.ResolverConfig{PLC: plc, AllowPrivate: true})
		if err != nil {
			t.Fatal(err)
		}
		raw, err := dids.ResolveDIDRaw(t.Context(), syntax.DID(alice.DID))
		if err != nil || !strings.Contains(string(raw), "at://alice.test") || !strings.Contains(string(raw), p.url) {
			t.Errorf("the document of %s is %s, %v", alice.DID, raw, err)
		}
	}
	checkDocument()
	resp, err := http.Get(p.url + "/export")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("/export: %s, %v", resp.Status, resp.Header)
	}
	if _, err := p.write(t.Context(), alice, "before"); err != nil {
		t.Fatal(err)
	}

	if code := p.terminate(); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}
	if err := os.Truncate(p.log, 0); err != nil {
		t.Fatal(err)
	}
	p.start()
	if log := p.readLog(); strings.Contains(log, "  made ") {
		t.Errorf("the second start made something:\n%s", log)
	}
	again, err := os.ReadFile(filepath.Join(p.dataDir, "secrets.json"))
	if err != nil || !bytes.Equal(again, secrets) {
		t.Errorf("the secrets changed: %v", err)
	}
	checkDocument()
	// The session, the account and its record are still there.
	if _, err := p.write(t.Context(), alice, "after"); err != nil {
		t.Error(err)
	}
	var fresh signedUp
	if err := p.send(t.Context(), http.MethodPost, "com.atproto.server.refreshSession", "Bearer "+alice.RefreshJwt, "", nil, &fresh); err != nil || fresh.DID != alice.DID {
		t.Errorf("refresh after the restart: %v", err)
	}
	if err := p.get(t.Context(), "com.atproto.repo.getRecord", "", url.Values{
		"repo": {"alice.test"}, "collection": {collection}, "rkey": {"before"},
	}, nil); err != nil {
		t.Error(err)
	}
	// A changed handle is written to the kept PLC log.
	if err := p.post(t.Context(), "com.atproto.identity.updateHandle", "Bearer "+fresh.AccessJwt, map[string]any{"handle": "alice2.test"}, nil); err != nil {
		t.Error(err)
	}
}

// TestLoopbackOnly looks at the addresses that development mode listens on.
func TestLoopbackOnly(t *testing.T) {
	p := newDevelopment(t)
	p.start()
	port := strings.TrimPrefix(p.url, "http://localhost:")
	dial := func(host string) error {
		conn, err := net.DialTimeout("tcp", net.JoinHostPort(host, port), 5*time.Second)
		if err == nil {
			conn.Close()
		}
		return err
	}
	if err := dial("127.0.0.1"); err != nil {
		t.Error(err)
	}
	if l, err := net.Listen("tcp6", "[::1]:0"); err == nil { // the machine has IPv6
		l.Close()
		if err := dial("::1"); err != nil {
			t.Error(err)
		}
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		if ip, ok := a.(*net.IPNet); ok && !ip.IP.IsLoopback() && !ip.IP.IsLinkLocalUnicast() {
			if dial(ip.IP.String()) == nil {
				t.Errorf("listens on %s", ip.IP)
			}
		}
	}
}

func TestDataOfTheOtherMode(t *testing.T) {
	dev := newDevelopment(t)
	dev.start()
	dev.terminate()
	prod := newProcess(t, "https://plc.example.com")
	prod.start()
	prod.terminate()

	for _, c := range []struct {
		name string
		p    *process
		data string
		want string
	}{
		{"production on development data", prod, dev.dataDir, "was made in development mode"},
		{"development on production data", dev, prod.dataDir, "was made in production mode"},
	} {
		c.p.env = append(c.p.env, "PDS_DATA_DIRECTORY="+c.data)
		code, _, stderr := c.p.run()
		if code != 1 || !strings.Contains(stderr, c.want) || !strings.Contains(stderr, c.data) {
			t.Errorf("%s: exit code %d, %s", c.name, code, stderr)
		}
	}
}

func TestDataOfOthers(t *testing.T) {
	for file, want := range map[string]string{
		"account.sqlite": "reference server", "pds.db": "was not made by this server",
	} {
		p := newProcess(t, "https://plc.example.com")
		if err := os.Mkdir(p.dataDir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(p.dataDir, file), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		code, _, stderr := p.run()
		if code != 1 || !strings.Contains(stderr, want) {
			t.Errorf("%s: exit code %d, %s", file, code, stderr)
		}
		if _, err := os.Stat(filepath.Join(p.dataDir, "mode")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: the folder was claimed: %v", file, err)
		}
	}
}

// TestBackup copies the data of a running server as docs/operating.md says,
// and starts a server on the copy.
func TestBackup(t *testing.T) {
	p := newDevelopment(t)
	p.start()
	alice := p.signUp("alice.test")
	cid, err := p.write(t.Context(), alice, "kept")
	if err != nil {
		t.Fatal(err)
	}
	restored := filepath.Join(t.TempDir(), "pds-data")
	if err := os.Mkdir(restored, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := exec.LookPath("sqlite3"); err == nil {
		out, err := exec.CommandContext(t.Context(), "sqlite3", filepath.Join(p.dataDir, "pds.db"), "VACUUM INTO '"+filepath.Join(restored, "pds.db")+"'").CombinedOutput()
		if err != nil {
			t.Fatalf("sqlite3: %v: %s", err, out)
		}
		if _, err := p.write(t.Context(), alice, "later"); err != nil {
			t.Errorf("the server after the copy was made: %v", err)
		}
	} else if p.terminate() == 0 { // the way without tools: stop and copy
		copyFile(t, p.dataDir, restored, "pds.db")
	}
	for _, name := range []string{"mode", "secrets.json"} {
		copyFile(t, p.dataDir, restored, name)
	}
	p.kill()

	p.dataDir = restored
	p.env = append(p.env, "PDS_DATA_DIRECTORY="+restored)
	code, _, stderr := p.run()
	if code != 1 || !strings.Contains(stderr, "master.key is missing") {
		t.Errorf("without the master key: exit code %d, %s", code, stderr)
	}
	copyFile(t, filepath.Join(p.dir, "pds-data"), restored, "master.key")
	p.start()
	var out struct{ CID string }
	err = p.get(t.Context(), "com.atproto.repo.getRecord", "", url.Values{"repo": {alice.DID}, "collection": {collection}, "rkey": {"kept"}}, &out)
	if err != nil || out.CID != cid {
		t.Errorf("the record in the copy: %q, want %q: %v", out.CID, cid, err)
	}
	if _, err := p.write(t.Context(), alice, "after"); err != nil {
		t.Errorf("a write to the copy: %v", err)
	}
}

func copyFile(t *testing.T, from, to, name string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(from, name))
	if err == nil {
		err = os.WriteFile(filepath.Join(to, name), data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestHelp(t *testing.T) {
	p := newDevelopment(t)
	for _, c := range []struct {
		args   []string
		code   int
		stdout string
		stderr string
	}{
		{[]string{"help"}, 0, "account create HANDLE EMAIL", ""},
		{[]string{"-h"}, 0, "usage: server", ""},
		{[]string{"--help"}, 0, "usage: server", ""},
		{[]string{"account", "-h"}, 0, "account create HANDLE EMAIL", ""},
		{[]string{"help", "env"}, 0, "PDS_HOSTNAME\n    public host name", ""},
		{[]string{"serve", "-h"}, 0, "usage: server", ""},
		{[]string{"help", "me"}, 2, "", `Try "server help"`},
		{[]string{"frobnicate"}, 2, "", `unknown command "frobnicate"`},
		{[]string{"invite"}, 2, "", `"invite" is none of: invite list, invite create`},
		{[]string{"account", "frobnicate", "x"}, 2, "", `"account frobnicate" is none of`},
		{[]string{"account", "show"}, 2, "", "account show takes: ACCOUNT"},
		{[]string{"health", "x"}, 2, "", "health takes: nothing"},
		{[]string{"serve", "x"}, 2, "", `serve takes no "x"`},
		{[]string{"-frobnicate"}, 2, "", "-frobnicate"},
		{[]string{"account", "list", "-frobnicate"}, 2, "", "-frobnicate"},
		{[]string{"-env-file", "missing.env"}, 1, "", "missing.env"},
		{[]string{"account", "list"}, 1, "", "start the server in this folder first"},
	} {
		code, stdout, stderr := p.run(c.args...)
		if code != c.code || !strings.Contains(stdout, c.stdout) || !strings.Contains(stderr, c.stderr) || (c.stderr == "") != (stderr == "") {
			t.Errorf("server %s: exit code %d\nstdout: %s\nstderr: %s", c.args, code, stdout, stderr)
		}
	}
	if _, err := os.Stat(p.dataDir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("asking made data: %v", err)
	}
}

func TestRefusedStart(t *testing.T) {
	for _, extra := range []string{
		"PDS_PORT=many", "PDS_BLOBSTORE_S3_BUCKET=b", "PDS_REDIS_SCRATCH_ADDRESS=localhost", "PDS_ENTRYWAY_URL=https://example.com", "PDS_JWT_SECRET=",
	} {
		p := newProcess(t, "https://plc.example.com", extra)
		name, _, _ := strings.Cut(extra, "=")
		code, _, stderr := p.run()
		if code != 1 || !strings.Contains(stderr, name) {
			t.Errorf("%s: exit code %d, %s", extra, code, stderr)
		}
		if _, err := os.Stat(p.dataDir); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: the refused start made data: %v", extra, err)
		}
	}
}

func TestWarnings(t *testing.T) {
	p := newProcess(t, "https://plc.example.com", "PDS_UNHEARD_OF=x", "PDS_LOGO_URL=https://example.com/logo.png")
	p.start()
	log := p.readLog()
	for _, want := range []string{"PDS_UNHEARD_OF is not a known name", "PDS_LOGO_URL has no effect"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log does not say %q:\n%s", want, log)
		}
	}
	if strings.Contains(log, adminPassword) {
		t.Error("the log has the administrator's password")
	}
}

func TestEnvironmentFileStarts(t *testing.T) {
	p := newProcess(t, "https://plc.example.com")
	file := filepath.Join(t.TempDir(), "pds.env")
	if err := os.WriteFile(file, []byte(strings.Join(p.env, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	p.env, p.args = nil, []string{"-env-file", file}
	p.start()
	if code, stdout, stderr := p.run("-env-file", file, "health"); code != 0 || !strings.Contains(stdout, "pdskit") {
		t.Errorf("health: exit code %d, %s%s", code, stdout, stderr)
	}
}

// TestSecondStart starts a second server on the same data and on the same port.
func TestSecondStart(t *testing.T) {
	p := newProcess(t, "https://plc.example.com")
	p.start()
	code, _, stderr := p.run()
	if holder := "process " + strconv.Itoa(p.cmd.Process.Pid); code != 1 || !strings.Contains(stderr, holder) || !strings.Contains(stderr, "pds.db") {
		t.Errorf("same data: exit code %d, %s, not naming %s", code, stderr, holder)
	}
	other := newProcess(t, "https://plc.example.com")
	other.env = append(other.env, "PDS_PORT="+strings.TrimPrefix(p.url, "http://localhost:"))
	code, _, stderr = other.run()
	if code != 1 || !strings.Contains(stderr, "cannot listen on port") || !strings.Contains(stderr, "PDS_PORT") {
		t.Errorf("same port: exit code %d, %s", code, stderr)
	}
	// The first one is none the worse for it.
	if err := p.get(t.Context(), "com.atproto.server.describeServer", "", nil, nil); err != nil {
		t.Error(err)
	}
}

// TestGracefulStop terminates the server under load: everything acknowledged
// is there afterwards, and a subscriber is told that the server goes away.
func TestGracefulStop(t *testing.T) {
	p := newDevelopment(t)
	p.start()
	alice := p.signUp("alice.test")
	conn, _, err := websocket.Dial(t.Context(), "ws"+strings.TrimPrefix(p.url, "http")+"/xrpc/com.atproto.sync.subscribeRepos?cursor=0", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	closed := make(chan error, 1)
	go func() {
		for {
			if _, _, err := conn.Read(t.Context()); err != nil {
				closed <- err
				return
			}
		}
	}()

	var mu sync.Mutex // guards following field
	acked := map[string]string{}
	enough := make(chan struct{})
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				key := fmt.Sprintf("w%d-%d", worker, i)
				cid, err := p.write(t.Context(), alice, key)
				if err != nil {
					if answer := (*statusError)(nil); errors.As(err, &answer) {
						t.Errorf("a write was answered with %v", err)
					}
					return // cut off or refused: the server has gone
				}
				mu.Lock()
				acked[key] = cid
				if len(acked) == 50 {
					close(enough)
				}
				mu.Unlock()
			}
		})
	}
	<-enough
	began := time.Now()
	if code := p.terminate(); code != 0 {
		t.Errorf("exit code %d after SIGTERM", code)
	}
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("stopping took %v: it waited for the drain deadline", took)
	}
	wg.Wait()
	if code := websocket.CloseStatus(<-closed); code != websocket.StatusGoingAway {
		t.Errorf("the subscriber's connection was closed with %d, not 1001", code)
	}
	if log := p.readLog(); !strings.Contains(log, "msg=stopped") || strings.Contains(log, "level=ERROR") {
		t.Errorf("the log:\n%s", log[max(0, len(log)-2000):])
	}

	p.start()
	for key, want := range acked {
		var out struct{ CID string }
		err := p.get(t.Context(), "com.atproto.repo.getRecord", "", url.Values{"repo": {alice.DID}, "collection": {collection}, "rkey": {key}}, &out)
		if err != nil || out.CID != want {
			t.Errorf("%s was acknowledged as %s; after the restart %q, %v", key, want, out.CID, err)
		}
	}
}
