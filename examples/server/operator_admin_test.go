package main_test

import (
	"bufio"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestAdministration runs every administration command against a running
// server, as a table and as JSON.
func TestAdministration(t *testing.T) {
	p := newDevelopment(t)
	if code, _, stderr := p.run("health"); code != 1 || !strings.Contains(stderr, "start the server") {
		t.Errorf("without a server: exit code %d, %s", code, stderr)
	}
	p.start()
	ok := func(args ...string) string {
		t.Helper()
		code, stdout, stderr := p.run(args...)
		if code != 0 || stderr != "" {
			t.Fatalf("server %s: exit code %d, %s", args, code, stderr)
		}
		return stdout
	}
	decode := func(v any, args ...string) {
		t.Helper()
		if err := json.Unmarshal([]byte(ok(append(args, "-json")...)), v); err != nil {
			t.Fatalf("server %s -json: %v", args, err)
		}
	}
	contains := func(text string, want ...string) {
		t.Helper()
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("%q is not in:\n%s", w, text)
			}
		}
	}
	contains(ok("health"), "version", "pdskit", "storage")
	var health struct{ Version string }
	if decode(&health, "health"); health.Version != "pdskit" {
		t.Errorf("health: %+v", health)
	}

	var alice struct{ DID, Handle, Password string }
	decode(&alice, "account", "create", "alice.test", "alice@example.com")
	if err := p.post(t.Context(), "com.atproto.server.createSession", "", map[string]any{"identifier": "alice.test", "password": alice.Password}, nil); err != nil {
		t.Errorf("the printed password: %v", err)
	}
	contains(ok("account", "create", "bob.test", "bob@example.com"), "did:plc:", "bob.test", "password")
	if code, _, stderr := p.run("account", "create", "alice.test", "other@example.com"); code != 1 || !strings.Contains(stderr, "HandleNotAvailable") {
		t.Errorf("a handle that is taken: exit code %d, %s", code, stderr)
	}

	contains(ok("account", "list"), "DID", "HANDLE", "alice.test", "bob.test", "active", alice.DID)
	var list []struct {
		DID, Handle, Status string
	}
	if decode(&list, "account", "list"); len(list) != 2 || list[0].Handle != "alice.test" || list[0].Status != "active" {
		t.Errorf("account list: %+v", list)
	}
	contains(ok("account", "show", "alice.test"), alice.DID, "active")
	contains(ok("account", "takedown", "alice.test", "case-1"), alice.DID, "takendown")
	contains(ok("account", "show", alice.DID), "takendown", "alice.test", "alice@example.com")
	if err := p.post(t.Context(), "com.atproto.server.createSession", "", map[string]any{"identifier": "alice.test", "password": alice.Password}, nil); err == nil {
		t.Error("an account that is taken down can sign in")
	}
	contains(ok("account", "untakedown", "alice.test"), "active")
	contains(ok("key", "rotate", "alice.test"), alice.DID, "did:key:")
	contains(ok("account", "delete", "bob.test", "-yes"), "deleted")
	if decode(&list, "account", "list"); len(list) != 1 {
		t.Errorf("after the deletion: %+v", list)
	}
	if code, _, stderr := p.run("account", "show", "bob.test"); code != 1 || !strings.Contains(stderr, "server: ") {
		t.Errorf("an unknown account: exit code %d, %s", code, stderr)
	}

	var invite struct {
		Code string
		Uses int
	}
	if decode(&invite, "invite", "create", "5"); invite.Uses != 5 || invite.Code == "" {
		t.Errorf("invite: %+v", invite)
	}
	contains(ok("invite", "create"), "localhost-")
	if code, _, stderr := p.run("invite", "disable", invite.Code, "localhost-typed-wrong"); code != 1 || !strings.Contains(stderr, "localhost-typed-wrong") {
		t.Errorf("a code that is none: exit code %d, %s", code, stderr)
	}
	contains(ok("invite", "list", "open"), invite.Code)
	contains(ok("invite", "disable", invite.Code), invite.Code)
	if strings.Contains(ok("invite", "list", "open"), invite.Code) {
		t.Error("a code is still open")
	}
	if code, _, _ := p.run("invite", "create", "none"); code != 2 {
		t.Errorf("a number of uses that is none: exit code %d", code)
	}
	contains(ok("usage"), "DID", "alice.test", "all")
	contains(ok("usage", "-json"), `"accounts": [`, `"totals": {`, `"repoBytes"`, `"storeBytes"`)
	contains(ok("clock", "accept"), "accepted")
	contains(ok("job", "list"), "KIND", "STATE")
	contains(ok("job", "list", "dead"), "KIND")
	for _, args := range [][]string{{"job", "list", "alive"}, {"job", "retry", "mail", "nobody"}} {
		if code, _, _ := p.run(args...); code == 0 {
			t.Errorf("%q succeeds", args)
		}
	}
	contains(ok("audit"), "admin", "clock accept", "com.atproto.admin.updateSubjectStatus", "takedown=true case-1", alice.DID, "ok")
	var audit []struct {
		Number         int64
		Action, Client string
	}
	if decode(&audit, "audit", "3"); len(audit) != 2 || audit[0].Number != 2 || audit[0].Client != "pdskit server command" {
		t.Errorf("audit: %+v", audit)
	}
	if code, _, _ := p.run("audit", "x"); code != 1 {
		t.Errorf("a number of an entry that is none: exit code %d", code)
	}
	for _, path := range []string{"/admin", "/admin/metrics"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = "ALICE.test:80"
		resp, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if to := resp.Header.Get("Location"); resp.StatusCode != http.StatusFound || to != p.url {
			t.Errorf("%s on the host of a handle: %s, to %q", path, resp.Status, to)
		}
	}
	contains(ok("-env-file", os.DevNull, "account", "list", "-url", p.url+"/"), "alice.test")

	p.terminate()
	if code, _, stderr := p.run("health"); code != 1 || !strings.Contains(stderr, "is it running?") {
		t.Errorf("after the stop: exit code %d, %s", code, stderr)
	}
}

// TestFirehoseCommand follows the firehose until the server stops.
func TestFirehoseCommand(t *testing.T) {
	p := newDevelopment(t)
	p.start()
	alice := p.signUp("alice.test")
	if code, _, _ := p.run("firehose", "x"); code != 2 {
		t.Errorf("a cursor that is none: exit code %d", code)
	}
	cmd := exec.CommandContext(t.Context(), p.binary, "firehose", "0")
	cmd.Env, cmd.Dir, cmd.Stderr = p.env, p.dir, t.Output()
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	last := int64(0)
	for _, want := range []string{"#identity", "#account", "#commit", "#sync"} {
		var ev struct {
			Type string `json:"$type"`
			Seq  int64  `json:"seq"`
		}
		if !lines.Scan() {
			t.Fatalf("the output ends: %v", lines.Err())
		}
		line := lines.Text()
		if err := json.Unmarshal([]byte(line), &ev); err != nil || ev.Type != want || ev.Seq <= last || !strings.Contains(line, alice.DID) {
			t.Errorf("want %s after seq %d: %s, %v", want, last, line, err)
		}
		last = ev.Seq
	}
	if code := p.terminate(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the command, when the server went away: %v", err)
	}
}

// TestAdministrationWithInvites makes an account where sign-up needs a code,
// and is refused with the wrong password.
func TestAdministrationWithInvites(t *testing.T) {
	p := newDevelopment(t)
	p.env = append(p.env, "PDS_INVITE_REQUIRED=true")
	p.start()
	if code, stdout, stderr := p.run("account", "create", "alice.test", "alice@example.com"); code != 0 {
		t.Errorf("exit code %d, %s%s", code, stdout, stderr)
	}
	if code, _, stderr := p.run("account", "create", "alice.test", "other@example.com"); code != 1 {
		t.Errorf("a handle that is taken: exit code %d, %s", code, stderr)
	}
	if code, stdout, stderr := p.run("invite", "list", "open", "-json"); code != 0 || strings.TrimSpace(stdout) != "[]" {
		t.Errorf("codes that nobody knows are open: exit code %d, %s%s", code, stdout, stderr)
	}
	file := filepath.Join(p.dataDir, "secrets.json")
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var secrets map[string]string
	if err := json.Unmarshal(data, &secrets); err != nil {
		t.Fatal(err)
	}
	secrets["adminPassword"] = "wrong"
	if data, err = json.Marshal(secrets); err == nil {
		err = os.WriteFile(file, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := p.run("invite", "create"); code != 1 || !strings.Contains(stderr, "AuthenticationRequired") {
		t.Errorf("a wrong password: exit code %d, %s", code, stderr)
	}
	if strings.Contains(p.readLog(), secrets["jwtSecret"]) {
		t.Error("the log has a secret")
	}
}
