package main_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// build compiles the program, for another port than it says, so that the test
// runs beside anything.
func build(t *testing.T) (binary, address string) {
	t.Helper()
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err = errors.Join(err, l.Close()); err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	changed := filepath.Join(dir, "main.go")
	if err := os.WriteFile(changed, bytes.ReplaceAll(source, []byte("localhost:2583"), []byte("localhost:"+port)), 0o600); err != nil {
		t.Fatal(err)
	}
	binary = filepath.Join(dir, "minimal")
	if out, err := exec.Command("go", "build", "-o", binary, changed).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return binary, "http://localhost:" + port
}

// TestMinimal runs the program and makes an account.
func TestMinimal(t *testing.T) {
	binary, address := build(t)
	cmd := exec.CommandContext(t.Context(), binary)
	cmd.Dir, cmd.Stderr = t.TempDir(), t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		resp, err := http.Get(address + "/xrpc/_health")
		if err == nil {
			resp.Body.Close()
			break
		}
		if time.Since(began) > 20*time.Second {
			t.Fatal(err)
		}
	}
	resp, err := http.Post(address+"/xrpc/com.atproto.server.createAccount", "application/json",
		strings.NewReader(`{"handle":"alice.test","email":"alice@example.com","password":"a long password"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var account struct{ DID, Handle, AccessJwt string }
	if err := json.Unmarshal(body, &account); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("createAccount: %s, %s", resp.Status, body)
	}
	if !strings.HasPrefix(account.DID, "did:plc:") || account.Handle != "alice.test" || account.AccessJwt == "" {
		t.Errorf("createAccount: %s", body)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
	// It keeps everything in memory.
	if files, err := filepath.Glob(filepath.Join(cmd.Dir, "*")); err != nil || len(files) > 0 {
		t.Errorf("files in the working directory: %q, %v", files, err)
	}
}
