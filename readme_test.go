package pdskit_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/pdskit/pdskit/internal/programtest"
)

// block is a fenced block of a document.
type block struct{ language, text string }

func readme(t *testing.T) (text string, blocks []block) {
	t.Helper()
	data, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(data), fenced(string(data))
}

// fenced returns the blocks of a document.
func fenced(text string) (blocks []block) {
	for _, m := range regexp.MustCompile("(?ms)^```([a-z]+)\n(.*?)^```$").FindAllStringSubmatch(text, -1) {
		blocks = append(blocks, block{m[1], m[2]})
	}
	return blocks
}

// blocksOf returns the texts of the README's blocks in a language.
func blocksOf(t *testing.T, language string) (texts []string) {
	t.Helper()
	_, blocks := readme(t)
	for _, b := range blocks {
		if b.language == language {
			texts = append(texts, b.text)
		}
	}
	return texts
}

// TestReadmeProgram: the first program of the README is examples/minimal.
func TestReadmeProgram(t *testing.T) {
	source, err := os.ReadFile("examples/minimal/main.go")
	if err != nil {
		t.Fatal(err)
	}
	_, program, _ := bytes.Cut(source, []byte("\npackage main\n"))
	programs := blocksOf(t, "go")
	if len(programs) != 3 {
		t.Fatalf("%d Go programs in the README, want 3", len(programs))
	}
	if want := "package main\n" + string(program); programs[0] != want {
		t.Errorf("the README's program is not examples/minimal/main.go, which reads:\n%s", want)
	}
	file := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(file, []byte(programs[0]), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "go", "vet", file).CombinedOutput(); err != nil {
		t.Errorf("go vet: %v\n%s", err, out)
	}
}

// extensionTest shows that the README's extension does what the text says.
const extensionTest = `package example

import (
	"errors"
	"testing"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
)

func TestExtension(t *testing.T) {
	srv := pdstest.New(t, configure, func(cfg *pds.Config) { cfg.HandleDomains = append(cfg.HandleDomains, ".test") })
	if err := extend(t.Context(), srv.Server); err != nil {
		t.Fatal(err)
	}
	alice := srv.CreateAccount("alice")
	var out greeting
	if alice.Get("com.example.greet", nil, &out); out.Text != "Hello, "+alice.DID.String() {
		t.Errorf("greeted by %q", out.Text)
	}
	err := alice.TryPost("com.atproto.repo.createRecord", map[string]any{
		"repo": alice.DID, "collection": "app.bsky.feed.post",
		"record": map[string]any{"text": "A new casino", "createdAt": "2026-11-22T12:00:00Z"},
	}, nil)
	if refused, ok := errors.AsType[*pdstest.Error](err); !ok || refused.Status != 403 {
		t.Errorf("an advertisement: %v", err)
	}
}
`

// TestReadmeTests runs the test that the README shows, and tries its extension.
func TestReadmeTests(t *testing.T) {
	dir, programs := t.TempDir(), blocksOf(t, "go")
	args := []string{"test", "-v"}
	for name, text := range map[string]string{"readme_test.go": programs[1], "extend.go": programs[2], "extend_test.go": extensionTest} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, file)
	}
	out, err := exec.CommandContext(t.Context(), "go", args...).CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: TestPost")) || !bytes.Contains(out, []byte("--- PASS: TestExtension")) {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestReadmePackages: the README leads to every package that can be imported.
func TestReadmePackages(t *testing.T) {
	text, _ := readme(t)
	for pkg := range layers {
		sources, err := filepath.Glob(filepath.Join(pkg, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		if len(sources) > 0 && pkg != "." && !strings.Contains(text, "]("+pkg+")") {
			t.Errorf("the README does not name the package %s", pkg)
		}
	}
}

// TestReadmeSteps does what the README says, word for word but for the port:
// it starts the server and runs the commands in one shell.
func TestReadmeSteps(t *testing.T) {
	for _, tool := range []string{"bash", "curl", "sed"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	dir := t.TempDir()
	server, port := programtest.Build(t, "./examples/server"), programtest.Port(t)
	adapt := strings.NewReplacer("localhost:2583", "localhost:"+port, "go run ./examples/server", server)
	env := []string{"PATH=" + os.Getenv("PATH"), "PDS_DEV_MODE=true", "PDS_PORT=" + port}

	var log bytes.Buffer
	cmd := exec.Command(server)
	cmd.Dir, cmd.Env, cmd.Stderr = dir, env, &log
	running := programtest.Start(t, cmd, "http://localhost:"+port+"/xrpc/_health")
	t.Cleanup(func() {
		running.Stop(os.Interrupt)
		for line := range strings.SplitSeq(adapt.Replace(blocksOf(t, "text")[0]), "\n") {
			if !strings.Contains(log.String(), line) {
				t.Errorf("the server does not say, as the README has it: %s", line)
			}
		}
	})

	steps := blocksOf(t, "sh")
	if len(steps) != 6 {
		t.Fatalf("%d blocks of commands in the README, want 6", len(steps))
	}
	firehose := strings.Fields(adapt.Replace(steps[5]))
	shell := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", adapt.Replace(strings.Join(steps[1:5], "\necho; echo ---\n")))
	shell.Dir, shell.Env, shell.Stderr = dir, env, t.Output()
	out, err := shell.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	answers := strings.Split(string(out), "\n---\n")
	if len(answers) != 4 {
		t.Fatalf("%d answers: %s", len(answers), out)
	}
	for i, want := range []string{`"accessJwt":"`, "", `"validationStatus":"valid"`, `"text":"Hello from my own PDS"`} {
		if !strings.Contains(answers[i], want) || strings.Contains(answers[i], `"error"`) {
			t.Errorf("step %d: %s, want %s", i+1, answers[i], want)
		}
	}
	if car, err := os.Stat(filepath.Join(dir, "alice.car")); err != nil || car.Size() < 500 {
		t.Errorf("the exported repository: %v, %v", car, err)
	}

	follow := exec.CommandContext(t.Context(), firehose[0], firehose[1:]...)
	follow.Dir, follow.Env, follow.Stderr = dir, env, t.Output()
	lines, err := follow.StdoutPipe()
	if err == nil {
		err = follow.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	events := bufio.NewScanner(lines)
	var kinds []string
	for len(kinds) < 5 && events.Scan() {
		var ev struct {
			Type string `json:"$type"`
		}
		if err := json.Unmarshal(events.Bytes(), &ev); err != nil {
			t.Error(err)
		}
		kinds = append(kinds, ev.Type)
	}
	if got := strings.Join(kinds, " "); got != "#identity #account #commit #sync #commit" {
		t.Errorf("on the firehose: %s", got)
	}
	_ = follow.Process.Kill()
	_ = follow.Wait() // it was killed
}
