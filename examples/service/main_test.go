package main_test

import (
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

// service runs the program until the test says so.
type service struct {
	t       *testing.T
	address string
	cmd     *exec.Cmd
}

func start(t *testing.T, binary, data, host string) *service {
	t.Helper()
	s := &service{t: t, address: "http://" + host}
	s.cmd = exec.CommandContext(t.Context(), binary, "-data", data, "-url", s.address, "-listen", host)
	s.cmd.Stderr = t.Output()
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		resp, err := http.Get(s.address + "/xrpc/_health")
		if err == nil {
			resp.Body.Close()
			return s
		}
		if time.Since(began) > 30*time.Second {
			t.Fatal(err)
		}
	}
}

func (s *service) stop() {
	s.t.Helper()
	if err := errors.Join(s.cmd.Process.Signal(syscall.SIGTERM), s.cmd.Wait()); err != nil {
		s.t.Errorf("it ends with %v", err)
	}
}

func (s *service) get(path string, out any) {
	s.t.Helper()
	resp, err := http.Get(s.address + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		s.t.Fatalf("%s: %d %s %v", path, resp.StatusCode, body, err)
	}
	if err := json.Unmarshal(body, out); err != nil {
		s.t.Fatal(err)
	}
}

func TestService(t *testing.T) {
	dir := t.TempDir()
	binary := filepath.Join(dir, "service")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	l, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	host := "localhost:" + l.Addr().String()[strings.LastIndexByte(l.Addr().String(), ':')+1:]
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	did := "did:web:" + strings.ReplaceAll(host, ":", "%3A")

	s := start(t, binary, filepath.Join(dir, "data"), host)
	var doc struct {
		ID                 string
		VerificationMethod []struct{ PublicKeyMultibase string }
		Service            []struct{ ServiceEndpoint string }
	}
	s.get("/.well-known/did.json", &doc)
	if doc.ID != did || len(doc.VerificationMethod) != 1 || len(doc.Service) != 1 || doc.Service[0].ServiceEndpoint != s.address {
		t.Errorf("the document is %+v", doc)
	}
	var record struct {
		Value struct {
			Type string `json:"$type"`
			ID   string
		}
	}
	s.get("/xrpc/com.atproto.repo.getRecord?collection=com.atproto.lexicon.schema&rkey=com.example.weather.report&repo="+
		strings.ReplaceAll(did, "%", "%25"), &record)
	if record.Value.Type != "com.atproto.lexicon.schema" || record.Value.ID != "com.example.weather.report" {
		t.Errorf("the record is %+v", record)
	}
	var repos struct {
		Repos []struct {
			DID, Head string
			Active    bool
		}
	}
	s.get("/xrpc/com.atproto.sync.listRepos", &repos)
	if len(repos.Repos) != 1 || repos.Repos[0].DID != did || !repos.Repos[0].Active {
		t.Errorf("the repositories are %+v", repos)
	}
	resp, err := http.Post(s.address+"/xrpc/com.atproto.server.createAccount", "application/json",
		strings.NewReader(`{"handle":"somebody.test","email":"a@example.com","password":"a long password"}`))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("somebody signed up: %d", resp.StatusCode)
	}
	s.stop()

	// Started again, it has the same key and nothing to say.
	before, key := repos.Repos[0].Head, doc.VerificationMethod[0].PublicKeyMultibase
	s = start(t, binary, filepath.Join(dir, "data"), host)
	s.get("/xrpc/com.atproto.sync.listRepos", &repos)
	s.get("/.well-known/did.json", &doc)
	if repos.Repos[0].Head != before || doc.VerificationMethod[0].PublicKeyMultibase != key {
		t.Errorf("after a restart: %+v, %+v", repos, doc)
	}
	s.stop()
}

// It stays short: that is what it is for.
func TestServiceIsShort(t *testing.T) {
	source, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(source), "\n"); n >= 100 {
		t.Errorf("main.go has %d lines", n)
	}
}
