package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pdskit/pdskit/oauth"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/sqlite"
)

func TestUsers(t *testing.T) {
	table := users{}
	if err := table.add("alice", "correct"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"alice.example.com", "did:web:alice.example.com"} {
		if got, err := table.SignIn(t.Context(), name, "correct"); err != nil || got.DID != "did:web:alice.example.com" {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	for name, password := range map[string]string{"alice.example.com": "wrong", "bob.example.com": "correct", "": ""} {
		if _, err := table.SignIn(t.Context(), name, password); !errors.Is(err, oauth.ErrWrongCredentials) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestServer(t *testing.T) {
	store, err := sqlite.OpenMemory(sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	handler, err := newHandler(users{}, storage.DocsOf(store), []byte(strings.Repeat("s", 32)))
	if err != nil {
		t.Fatal(err)
	}
	send := func(method, path, body string) *httptest.ResponseRecorder {
		rec := httptest.NewRecorder()
		r := httptest.NewRequest(method, address+path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		handler.ServeHTTP(rec, r)
		return rec
	}
	if rec := send(http.MethodPost, "/notes", "a note"); rec.Code != 401 || !strings.HasPrefix(rec.Header().Get("WWW-Authenticate"), "DPoP ") {
		t.Errorf("without token: %d %v", rec.Code, rec.Header())
	}
	var metadata struct {
		Issuer, AuthorizationEndpoint string
	}
	if rec := send(http.MethodGet, "/.well-known/oauth-authorization-server", ""); json.Unmarshal(rec.Body.Bytes(), &metadata) != nil || metadata.Issuer != address {
		t.Errorf("metadata: %s", rec.Body)
	}
	// An app in development is known without any document; it only lacks a proof.
	if rec := send(http.MethodPost, "/oauth/par", "client_id=http://localhost"); rec.Code != 400 || !strings.Contains(rec.Body.String(), "invalid_dpop_proof") {
		t.Errorf("PAR: %d %s", rec.Code, rec.Body)
	}
	if rec := send(http.MethodGet, "/oauth/authorize", ""); rec.Code != 400 || !strings.Contains(rec.Header().Get("Content-Type"), "text/html") {
		t.Errorf("authorize: %d %v", rec.Code, rec.Header())
	}
	if rec := send(http.MethodGet, "/account", ""); rec.Code >= 400 {
		t.Errorf("account manager: %d", rec.Code)
	}
}
