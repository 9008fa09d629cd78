package main_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http/httptest"
	"net/url"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pdskit/pdskit/pds/pdstest"
)

// transcript is what a command has printed so far.
type transcript struct {
	mu  sync.Mutex // guards following field
	buf bytes.Buffer
}

func (t *transcript) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buf.Write(p)
}

func (t *transcript) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buf.String()
}

// TestMoveInCommand moves an account to a running server as an operator does:
// with a password and a code that are typed in, and after an interruption.
func TestMoveInCommand(t *testing.T) {
	old := pdstest.New(t)
	plc := httptest.NewServer(old.PLC)
	t.Cleanup(plc.Close)
	p := newProcess(t, plc.URL, "PDS_SERVICE_HANDLE_DOMAINS=.here.test", "PDS_INVITE_REQUIRED=true")
	p.start()
	alice := old.CreateAccount("alice")
	alice.CreateRecord(collection, map[string]any{"text": "hello"})

	// start runs the command and types an answer to each question.
	start := func(answer func(question string) (text string, stop bool)) (string, error) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), p.binary, "account", "move-in", string(alice.DID))
		out := new(transcript)
		cmd.Env, cmd.Stdout, cmd.Stderr = p.env, out, out
		in, err := cmd.StdinPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- cmd.Wait() }()
		answered := 0
		deadline := time.After(time.Minute)
		for {
			select {
			case err := <-ended:
				return out.String(), err
			case <-deadline:
				_ = cmd.Process.Kill()
				t.Fatalf("it does not end:\n%s", out)
			case <-time.After(10 * time.Millisecond):
			}
			text := out.String()
			if !strings.HasSuffix(text, ": ") || len(text) == answered {
				continue
			}
			answered = len(text)
			reply, stop := answer(text)
			if stop {
				_ = cmd.Process.Kill()
				continue
			}
			if _, err := io.WriteString(in, reply+"\n"); err != nil {
				t.Fatal(err)
			}
		}
	}
	text, err := start(func(question string) (string, bool) {
		return alice.Password, strings.Contains(question, "Code that")
	})
	if err == nil {
		t.Fatalf("it was killed and did not notice:\n%s", text)
	}
	// Again, as a program does it: it asks for the code alone.
	cmd := exec.CommandContext(t.Context(), p.binary, "account", "move-in", string(alice.DID), "-json")
	cmd.Env, cmd.Stdin = p.env, strings.NewReader(old.Mail.Code(alice.Email)+"\n")
	out, err := cmd.Output()
	var moved struct {
		DID, Handle, Password string
		LostBlobs             []string
	}
	if err == nil {
		err = json.Unmarshal(out, &moved)
	}
	if err != nil || moved.DID != string(alice.DID) || moved.LostBlobs == nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	var session struct{ DID, Handle, AccessJwt string }
	err = p.post(t.Context(), "com.atproto.server.createSession", "",
		map[string]any{"identifier": moved.Handle, "password": moved.Password}, &session)
	if err != nil || session.DID != string(alice.DID) || session.Handle != "alice.here.test" {
		t.Fatalf("%+v, %v:\n%s", session, err, out)
	}
	var list struct{ Records []any }
	if err := p.get(t.Context(), "com.atproto.repo.listRecords", "", url.Values{"repo": {session.DID}, "collection": {collection}}, &list); err != nil || len(list.Records) != 1 {
		t.Errorf("records %v, %v", list.Records, err)
	}
	if code, _, stderr := p.run("account", "move-in", string(alice.DID)); code != 1 || !strings.Contains(stderr, "at home here") {
		t.Errorf("an account that is here: exit code %d, %s", code, stderr)
	}
}
