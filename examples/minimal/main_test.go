package main_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/pdskit/pdskit/internal/programtest"
)

// build compiles the program, for another port than it says, so that the test
// runs beside anything.
func build(t *testing.T) (binary, address string) {
	t.Helper()
	source, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	host := "localhost:" + programtest.Port(t)
	changed := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(changed, bytes.ReplaceAll(source, []byte("localhost:2583"), []byte(host)), 0o600); err != nil {
		t.Fatal(err)
	}
	return programtest.Build(t, changed), "http://" + host
}

// TestMinimal runs the program and makes an account.
func TestMinimal(t *testing.T) {
	binary, address := build(t)
	cmd := exec.Command(binary)
	cmd.Dir = t.TempDir()
	p := programtest.Start(t, cmd, address+"/xrpc/_health")
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
	p.Stop(syscall.SIGTERM)
	// It keeps everything in memory.
	if files, err := filepath.Glob(filepath.Join(cmd.Dir, "*")); err != nil || len(files) > 0 {
		t.Errorf("files in the working directory: %q, %v", files, err)
	}
}
