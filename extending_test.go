package pdskit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/pdskit/pdskit/internal/programtest"
)

// stage is a step of docs/extending.md.
type stage struct {
	title string
	files map[string]string // all of the program, as it is after the step
	shell string            // what to try
	want  []string          // in the output of it, in this order
}

// stages reads docs/extending.md.
func stages(t *testing.T) (list []stage) {
	t.Helper()
	text, err := os.ReadFile("docs/extending.md")
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for i, part := range regexp.MustCompile("(?m)^## ").Split(string(text), -1) {
		title, _, _ := strings.Cut(part, "\n")
		if !strings.HasPrefix(title, "Step ") {
			if i > 0 && strings.Contains(part, "```go\n") {
				t.Errorf("%s: Go that is in no step is not compiled", title)
			}
			continue
		}
		st, last := stage{title: title}, ""
		for _, b := range fenced(part) {
			switch b.language {
			case "go":
				name, _, _ := strings.Cut(strings.TrimPrefix(b.text, "// "), "\n")
				if !strings.HasSuffix(name, ".go") {
					t.Fatalf("%s: a file without a name: %.100s", title, b.text)
				}
				files[name] = b.text
			case "sh":
				st.shell += b.text
			case "text":
				if last == "sh" {
					st.want = append(st.want, strings.Split(strings.TrimSpace(b.text), "\n")...)
				}
			}
			last = b.language
		}
		st.files = maps.Clone(files)
		list = append(list, st)
	}
	if len(list) != 10 {
		t.Fatalf("%d steps", len(list))
	}
	return list
}

// program writes the files of a step, at the port, and returns their paths.
func (st *stage) program(t *testing.T, port string) (paths []string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range st.files {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "localhost:2583", "localhost:"+port)), 0o600); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	slices.Sort(paths)
	return paths
}

// buildsPrograms skips a test in short runs: what it builds is the same whether
// the test itself is built with the race detector or not.
func buildsPrograms(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("builds programs; in short runs")
	}
}

// TestExtendingCompiles: the program of docs/extending.md is good after each
// step, and formatted.
func TestExtendingCompiles(t *testing.T) {
	buildsPrograms(t)
	for _, st := range stages(t) {
		t.Run(st.title, func(t *testing.T) {
			paths := st.program(t, "2583")
			if out, err := exec.CommandContext(t.Context(), "go", append([]string{"vet"}, paths...)...).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if out, err := exec.CommandContext(t.Context(), "gofmt", append([]string{"-l"}, paths...)...).CombinedOutput(); err != nil || len(out) > 0 {
				t.Errorf("not formatted: %v %s", err, out)
			}
		})
	}
}

// TestExtendingTests runs the tests that the program has in the end.
func TestExtendingTests(t *testing.T) {
	buildsPrograms(t)
	all := stages(t)
	paths := all[len(all)-1].program(t, "2583")
	out, err := exec.CommandContext(t.Context(), "go", append([]string{"test", "-v"}, paths...)...).CombinedOutput()
	for _, test := range []string{"TestQuota", "TestPostsAreTold"} {
		if err != nil || !bytes.Contains(out, []byte("--- PASS: "+test)) {
			t.Errorf("%s: %v\n%s", test, err, out)
		}
	}
}

// TestExtendingSteps does what docs/extending.md says under "Try it", with the
// program of the last step; with PDSKIT_BIG=1 with that of each step.
func TestExtendingSteps(t *testing.T) {
	buildsPrograms(t)
	for _, tool := range []string{"bash", "curl", "sed"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	all := stages(t)
	first := len(all) - 1
	if os.Getenv("PDSKIT_BIG") != "" {
		first = 0
	}
	for i := first; i < len(all); i++ {
		t.Run(all[i].title, func(t *testing.T) {
			port := all[i].serve(t)
			tryAll(t, all[:i+1], port)
			if i == len(all)-1 {
				watchBoard(t, port)
			}
		})
	}
}

// serve runs the program of a step until the end of the test.
func (st *stage) serve(t *testing.T) (port string) {
	t.Helper()
	port = programtest.Port(t)
	sources := slices.DeleteFunc(st.program(t, port), func(path string) bool { return strings.HasSuffix(path, "_test.go") })
	address := "http://localhost:" + port
	board := programtest.Start(t, exec.Command(programtest.Build(t, sources...)), address+"/xrpc/_health")
	t.Cleanup(func() { board.Stop(os.Interrupt) })
	return port
}

// tryAll runs the commands of steps in one shell.
func tryAll(t *testing.T, steps []stage, port string) {
	t.Helper()
	const separator = "--- next step ---"
	var script strings.Builder
	for _, st := range steps {
		script.WriteString(strings.ReplaceAll(st.shell, "localhost:2583", "localhost:"+port) + "\necho; echo '" + separator + "'\n")
	}
	shell := exec.CommandContext(t.Context(), "bash", "-uo", "pipefail", "-c", script.String())
	shell.Stderr = t.Output()
	out, err := shell.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	answers := strings.Split(string(out), separator)
	for i, st := range steps {
		rest := answers[i]
		for _, want := range st.want {
			_, after, found := strings.Cut(rest, want)
			if !found {
				t.Errorf("%s: %q is not in what is left: %s", st.title, want, rest)
				break
			}
			rest = after
		}
	}
}

// watchBoard does what the page of the last step does: Alice watches with a
// ticket, and sees the next post.
func watchBoard(t *testing.T, port string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	xrpc := "http://localhost:" + port + "/xrpc/"
	call := func(verb, method, token string, in, out any) {
		t.Helper()
		body, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		r, err := http.NewRequestWithContext(ctx, verb, xrpc+method, bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		if verb == http.MethodGet {
			r.Body = http.NoBody
		} else {
			r.Header.Set("Content-Type", "application/json")
		}
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %d %s %v", method, resp.StatusCode, answer, err)
		}
		if err := json.Unmarshal(answer, out); err != nil {
			t.Fatal(err)
		}
	}
	var session struct{ AccessJwt string }
	call("POST", "com.atproto.server.createSession", "", map[string]any{"identifier": "alice.test", "password": "a long password"}, &session)
	var ticket struct{ Subprotocol string }
	call("POST", "com.example.board.getTicket", session.AccessJwt, map[string]any{"lxm": "com.example.board.watch"}, &ticket)
	// Without a cursor the stream begins when the server has come to it, which
	// may be after the post.
	var before struct{ Cursor string }
	call("GET", "com.example.board.history", session.AccessJwt, nil, &before)
	conn, _, err := websocket.Dial(ctx, strings.Replace(xrpc, "http", "ws", 1)+"com.example.board.watch?cursor="+url.QueryEscape(before.Cursor),
		&websocket.DialOptions{Subprotocols: []string{"xrpc.v1.json", ticket.Subprotocol}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	var written struct{ URI string }
	call("POST", "com.example.board.createRecord", session.AccessJwt, map[string]any{
		"repo": "board.test", "collection": "com.example.board.post",
		"record": map[string]any{"text": "Live", "createdAt": "2026-11-22T12:00:00Z"},
	}, &written)
	for {
		_, frame, err := conn.Read(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(frame, []byte(written.URI)) {
			return
		}
	}
}
