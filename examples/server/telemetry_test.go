package main_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// TestTraces starts a server that sends its spans to a collector, and ends it:
// the last ones are sent, too.
func TestTraces(t *testing.T) {
	var mu sync.Mutex
	var got []byte
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.URL.Path != "/v1/traces" {
			http.Error(w, "", http.StatusBadRequest)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		got = append(got, body...)
	}))
	defer collector.Close()
	p := newDevelopment(t)
	p.env = append(p.env, "OTEL_EXPORTER_OTLP_ENDPOINT="+collector.URL, "OTEL_RESOURCE_ATTRIBUTES=deployment.environment.name=testing")
	p.start()
	alice := p.signUp("alice.test")
	if err := p.get(t.Context(), "com.atproto.server.getSession", "Bearer "+alice.AccessJwt, nil, &struct{}{}); err != nil {
		t.Fatal(err)
	}
	if code := p.terminate(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, want := range []string{"pdskit", "testing", "com.atproto.server.createAccount", "store update", alice.DID} {
		if !bytes.Contains(got, []byte(want)) {
			t.Errorf("%q is in no span", want)
		}
	}
	if bytes.Contains(got, []byte(alice.AccessJwt)) || bytes.Contains(got, []byte("alice.test")) {
		t.Error("a token or a handle is in a span")
	}
}
