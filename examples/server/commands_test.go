package main_test

import (
	"archive/zip"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// answer runs the binary with something to read.
func (p *process) answer(input string, args ...string) (code int, stdout, stderr string) {
	p.t.Helper()
	cmd := exec.CommandContext(p.t.Context(), p.binary, args...)
	var out, errs strings.Builder
	cmd.Env, cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = p.env, p.dir, strings.NewReader(input), &out, &errs
	_ = cmd.Run() // the exit code says it
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// TestCommands uses the commands for accounts, invites, keys, relays and
// numbers as an operator does.
func TestCommands(t *testing.T) {
	relay := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if r.URL.Path != "/xrpc/com.atproto.sync.requestCrawl" || !strings.Contains(string(body), "localhost:") {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"error":"HostBanned","message":"not you"}`)
		}
	}))
	t.Cleanup(relay.Close)
	p := newDevelopment(t)
	p.env = append(p.env, "PDS_CRAWLERS="+relay.URL)
	p.start()
	for _, name := range []string{"alice", "bob"} {
		if code, _, errs := p.run("account", "create", name+".test", name+"@example.com"); code != 0 {
			t.Fatal(errs)
		}
	}
	type want struct {
		args   string
		input  string
		code   int
		stdout string // contained in it
		stderr string // the same
	}
	check := func(w want) {
		t.Helper()
		code, out, errs := p.answer(w.input, strings.Fields(w.args)...)
		if code != w.code || !strings.Contains(out, w.stdout) || !strings.Contains(errs, w.stderr) || w.code == 0 && errs != "" {
			t.Errorf("server %s: exit code %d\n%s%s", w.args, code, out, errs)
		}
	}
	for _, w := range []want{
		{args: "account show ALICE@example.com", stdout: "alice.test"},
		{args: "account show @alice.test", stdout: "did:key:"},
		{args: "account show nobody.test", code: 1, stderr: `"account list" lists them`},
		{args: "account show", code: 2, stderr: "account show takes: ACCOUNT"},
		{args: "account frob", code: 2, stderr: "account untakedown"},
		{args: "account list odd", code: 2, stderr: "takendown"},

		{args: "account takedown bob.test spam", stdout: "spam"},
		{args: "account list takendown", stdout: "bob.test"},
		{args: "account untakedown bob.test", stdout: "active"},
		{args: "account deactivate bob.test", stdout: "deactivated"},
		{args: "account list deactivated -json", stdout: `"handle": "bob.test"`},
		{args: "account activate bob.test", stdout: "active"},
		{args: "account handle bob.test robert.test", stdout: "robert.test"},
		{args: "account handle robert.test alice.test", code: 1, stderr: "HandleNotAvailable"},
		{args: "account email robert.test robert@example.com", stdout: "robert@example.com"},
		{args: "account reset robert.test mail", stdout: "robert@example.com"},
		{args: "account reset robert.test post", code: 2, stderr: "[mail]"},

		{args: "account delete robert.test", input: "no\n", code: 1, stdout: `Type "yes"`, stderr: "nothing was done"},
		{args: "account delete robert.test", code: 1, stderr: "nothing was done"},
		{args: "account delete robert.test -json", input: "yes\n", code: 1, stderr: "-yes"},
		{args: "account delete robert.test", input: "yes\n", stdout: "deleted"},
		{args: "account show robert.test", code: 1, stderr: "AccountNotFound"},

		{args: "invite disable", code: 2, stderr: "CODE..."},
		{args: "invite list odd", code: 2, stderr: "[open]"},
		{args: "key list", stdout: "alice.test"},
		{args: "key backup " + p.dataDir, code: 1, stderr: "nothing is overwritten"},

		{args: "crawl", stdout: "it will come"},
		{args: "crawl " + relay.URL + "/elsewhere", code: 1, stdout: "HostBanned", stderr: "1 of 1"},

		{args: "seq raise x", code: 2, stderr: "no number"},
		{args: "seq raise 1", code: 1, stderr: "nothing is to be done"},
		{args: "seq raise 9007199254740992 -yes", code: 1, stderr: "below 2^53"},

		{args: "help seq raise", stdout: "FutureCursor"},
		{args: "account create -h", stdout: "invite code"},
		{args: "help frob", code: 2, stderr: "frob"},
		{args: "serve -h", stdout: "key backup"},
	} {
		check(w)
	}

	// A password that was reset works, and ends what was before.
	before := p.login("alice.test", "")
	code, out, errs := p.run("account", "reset", "alice.test", "-json")
	var reset struct{ Password string }
	if err := json.Unmarshal([]byte(out), &reset); err != nil || code != 0 {
		t.Fatalf("%v: %s", err, errs)
	}
	if after := p.login("alice.test", reset.Password); !after || before {
		t.Errorf("the new password signs in: %t; none does: %t", after, before)
	}

	// An export is a whole archive, and overwrites nothing.
	dir := t.TempDir()
	check(want{args: "account export alice.test " + dir, stdout: "alice.test.zip"})
	check(want{args: "account export alice.test " + dir, code: 1, stderr: "nothing is overwritten"})
	archive, err := zip.OpenReader(filepath.Join(dir, "alice.test.zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	if _, err := archive.Open("repo.car"); err != nil {
		t.Error(err)
	}

	// Codes go from open to disabled.
	_, out, _ = p.run("invite", "create", "2")
	invite := strings.TrimSpace(out)
	check(want{args: "invite list open", stdout: invite})
	check(want{args: "invite disable " + invite, stdout: invite})
	if _, out, _ = p.run("invite", "list", "open"); strings.Contains(out, invite) {
		t.Errorf("a disabled code is open: %s", out)
	}
	check(want{args: "invite list", stdout: "disabled"})

	// The copy of the master key is a master key.
	file := filepath.Join(t.TempDir(), "copy")
	check(want{args: "key backup " + file, stdout: "keep it"})
	made, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if kept, err := os.ReadFile(filepath.Join(p.dataDir, "master.key")); err != nil || string(kept) != string(made) {
		t.Errorf("the copy is another one, %v", err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}

	// Numbers go on above the one that was asked for, also after a restart.
	high := time.Now().Add(time.Hour).UnixMicro()
	check(want{args: "seq raise " + strconv.FormatInt(high, 10), input: "yes\n", stdout: "ahead"})
	p.terminate()
	p.start()
	check(want{args: "account handle alice.test alison.test", stdout: "alison.test"})
	code, out, _ = p.run("seq", "show", "-json")
	var seq struct{ Last int64 }
	if err := json.Unmarshal([]byte(out), &seq); err != nil || code != 0 || seq.Last <= high || seq.Last > high+10 {
		t.Errorf("after the raise to %d: %s", high, out)
	}
	check(want{args: "audit", stdout: "seq raise"})
}

// login reports whether a password is right.
func (p *process) login(identifier, password string) bool {
	return p.post(p.t.Context(), "com.atproto.server.createSession", "", map[string]any{"identifier": identifier, "password": password}, nil) == nil
}
