package main_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pdskit/pdskit/internal/programtest"
)

// process is the example server as an operator runs it.
type process struct {
	t       *testing.T
	binary  string
	dir     string   // working directory; empty: the test's
	args    []string // of start
	dataDir string
	env     []string
	url     string
	did     string
	log     string

	mu   sync.Mutex // guards following field
	cmd  *exec.Cmd
	down atomic.Bool
}

const adminPassword = "the administrator's"

var buildServer = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "pdskit-server-*")
	if err != nil {
		return "", err
	}
	binary := filepath.Join(dir, "server")
	out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return binary, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if binary, err := buildServer(); err == nil {
		_ = os.RemoveAll(filepath.Dir(binary))
	}
	os.Exit(code)
}

// newProcess prepares a server with development rules and its own data.
func newProcess(t *testing.T, plcURL string, env ...string) *process {
	t.Helper()
	binary, err := buildServer()
	if err != nil {
		t.Fatal(err)
	}
	dir, port := t.TempDir(), programtest.Port(t)
	p := &process{
		t: t, binary: binary, dataDir: filepath.Join(dir, "data"), log: filepath.Join(dir, "log"),
		url: "http://localhost:" + port, did: "did:web:localhost%3A" + port,
	}
	p.env = append([]string{
		"PATH=" + os.Getenv("PATH"), "TMPDIR=" + t.TempDir(),
		"PDS_DEV_MODE=true", "PDS_PORT=" + port, "PDS_DATA_DIRECTORY=" + p.dataDir,
		"PDS_DID_PLC_URL=" + plcURL, "PDS_JWT_SECRET=" + strings.Repeat("s", 32), "PDS_ADMIN_PASSWORD=" + adminPassword,
		"PDS_PLC_ROTATION_KEY_K256_PRIVATE_KEY_HEX=" + strings.Repeat("1f", 32),
		"PDS_INVITE_REQUIRED=false", "PDS_RATE_LIMITS_ENABLED=false", "PDS_SERVICE_HANDLE_DOMAINS=.test", "LOG_LEVEL=warn",
	}, env...)
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			if log, err := os.ReadFile(p.log); err == nil {
				t.Logf("the server's log ends with:\n%s", log[max(0, len(log)-4000):])
			}
		}
	})
	return p
}

// start runs the server and waits until it serves.
func (p *process) start() {
	p.t.Helper()
	log, err := os.OpenFile(p.log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		p.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(p.binary, p.args...)
	cmd.Dir, cmd.Env, cmd.Stderr, cmd.Stdout = p.dir, p.env, log, log
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.mu.Lock()
	p.cmd = cmd
	p.mu.Unlock()
	for deadline := time.Now().Add(30 * time.Second); ; {
		resp, err := http.Get(p.url + "/xrpc/_health")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				p.down.Store(false)
				return
			}
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("the server does not answer: %v", err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (p *process) isDown() bool { return p.down.Load() }

// kill ends the process as a crash does.
func (p *process) kill() {
	p.mu.Lock()
	cmd := p.cmd
	p.cmd = nil
	p.mu.Unlock()
	if cmd == nil {
		return
	}
	p.down.Store(true)
	_ = cmd.Process.Kill()
	_ = cmd.Wait() // it was killed: the error says so
}

func (p *process) adminAuth() string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte("admin:"+adminPassword))
}

// statusError is an answer other than 200.
type statusError struct {
	status        int
	name, message string
}

func (e *statusError) Error() string { return fmt.Sprintf("%d %s: %s", e.status, e.name, e.message) }

// raw sends a request to /xrpc/path and returns the body of a 200 answer.
func (p *process) raw(ctx context.Context, method, path, auth, contentType string, body []byte) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, p.url+"/xrpc/"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if auth != "" {
		r.Header.Set("Authorization", auth)
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		var e struct{ Error, Message string }
		_ = json.Unmarshal(data, &e) // another kind of body leaves the names empty
		return nil, &statusError{resp.StatusCode, e.Error, e.Message}
	}
	return data, nil
}

func (p *process) send(ctx context.Context, method, path, auth, contentType string, body []byte, out any) error {
	data, err := p.raw(ctx, method, path, auth, contentType, body)
	if err != nil || out == nil {
		return err
	}
	return json.Unmarshal(data, out)
}

func (p *process) post(ctx context.Context, nsid, auth string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	return p.send(ctx, http.MethodPost, nsid, auth, "application/json", body, out)
}

func (p *process) get(ctx context.Context, nsid, auth string, params url.Values, out any) error {
	return p.send(ctx, http.MethodGet, nsid+"?"+params.Encode(), auth, "", nil, out)
}
