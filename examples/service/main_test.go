package main_test

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/pdskit/pdskit/internal/programtest"
)

func TestService(t *testing.T) {
	binary, data, host := programtest.Build(t, "."), t.TempDir(), "localhost:"+programtest.Port(t)
	address, did := "http://"+host, "did:web:"+strings.ReplaceAll(host, ":", "%3A")
	start := func() *programtest.Program {
		return programtest.Start(t, exec.Command(binary, "-data", data, "-url", address, "-listen", host), address+"/xrpc/_health")
	}
	get := func(path string, out any) {
		t.Helper()
		resp, err := http.Get(address + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %d %s %v", path, resp.StatusCode, body, err)
		}
		if err := json.Unmarshal(body, out); err != nil {
			t.Fatal(err)
		}
	}

	service := start()
	var doc struct {
		ID                 string
		VerificationMethod []struct{ PublicKeyMultibase string }
		Service            []struct{ ServiceEndpoint string }
	}
	get("/.well-known/did.json", &doc)
	if doc.ID != did || len(doc.VerificationMethod) != 1 || len(doc.Service) != 1 || doc.Service[0].ServiceEndpoint != address {
		t.Errorf("the document is %+v", doc)
	}
	var record struct {
		Value struct {
			Type string `json:"$type"`
			ID   string
		}
	}
	get("/xrpc/com.atproto.repo.getRecord?collection=com.atproto.lexicon.schema&rkey=com.example.weather.report&repo="+
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
	get("/xrpc/com.atproto.sync.listRepos", &repos)
	if len(repos.Repos) != 1 || repos.Repos[0].DID != did || !repos.Repos[0].Active {
		t.Errorf("the repositories are %+v", repos)
	}
	resp, err := http.Post(address+"/xrpc/com.atproto.server.createAccount", "application/json",
		strings.NewReader(`{"handle":"somebody.test","email":"a@example.com","password":"a long password"}`))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("somebody signed up: %d", resp.StatusCode)
	}
	service.Stop(syscall.SIGTERM)

	// Started again, it has the same key and nothing to say.
	before, key := repos.Repos[0].Head, doc.VerificationMethod[0].PublicKeyMultibase
	service = start()
	get("/xrpc/com.atproto.sync.listRepos", &repos)
	get("/.well-known/did.json", &doc)
	if repos.Repos[0].Head != before || doc.VerificationMethod[0].PublicKeyMultibase != key {
		t.Errorf("after a restart: %+v, %+v", repos, doc)
	}
	service.Stop(syscall.SIGTERM)
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
