package main_test

import (
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"
	"golang.org/x/net/html"

	"github.com/pdskit/pdskit/internal/programtest"
)

const (
	name     = "alice.example.com"
	did      = "did:web:alice.example.com"
	password = "a long password"
	scopes   = "atproto repo:com.example.note"
)

// program is the program, with a folder for its files.
type program struct {
	t               *testing.T
	binary, data    string
	listen, address string
}

func build(t *testing.T) *program {
	t.Helper()
	listen := "127.0.0.1:" + programtest.Port(t)
	return &program{t: t, binary: programtest.Build(t, "."), data: t.TempDir(), listen: listen, address: "http://" + listen}
}

// add adds the user alice.
func (p *program) add() error {
	cmd := exec.CommandContext(p.t.Context(), p.binary, "-data", p.data, "-add", name)
	cmd.Stdin, cmd.Stderr = strings.NewReader(password+"\n"), p.t.Output()
	return cmd.Run()
}

func (p *program) start() *programtest.Program {
	p.t.Helper()
	cmd := exec.Command(p.binary, "-data", p.data, "-url", p.address, "-listen", p.listen)
	return programtest.Start(p.t, cmd, p.address+"/.well-known/oauth-authorization-server")
}

func signIn(p *page) *page {
	p.b.t.Helper()
	return p.submit("/sign-in", "identifier", name, "password", password)
}

// TestProgram signs in with an app, uses the notes, adds a second factor, and
// does it again after the program was killed.
func TestProgram(t *testing.T) {
	p := build(t)
	if err := p.add(); err != nil {
		t.Fatal(err)
	}
	running := p.start()
	if err := p.add(); err == nil {
		t.Error("alice was added twice")
	}

	resp, err := http.Get(p.address + "/notes")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized || !strings.HasPrefix(resp.Header.Get("WWW-Authenticate"), "DPoP ") || resp.Header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("without a token: %d %v", resp.StatusCode, resp.Header)
	}

	editor, b := newApp(t, p.address, scopes), newBrowser(t, p.address)
	page := b.open(editor.authorizeURL())
	for _, want := range []string{"Your notebook is where you left it.", "· Notebook</title>"} {
		if !strings.Contains(page.body, want) {
			t.Errorf("the page has no %q: %s", want, page.body)
		}
	}
	for _, link := range elements(page.doc, "link") {
		if attribute(link, "rel") == "stylesheet" && !strings.Contains(b.open(p.address+attribute(link, "href")).body, "--primary:#0b6e4f") {
			t.Error("the style sheet has another color")
		}
	}
	if wrong := page.submit("/sign-in", "identifier", name, "password", "wrong"); wrong.status != http.StatusUnauthorized || wrong.form("/sign-in") == nil {
		t.Errorf("a wrong password: %d %s", wrong.status, wrong.body)
	}
	back := signIn(page).submit("/consent")
	if back.away == nil {
		t.Fatalf("after consent: %d %s", back.status, back.body)
	}
	if got := editor.exchange(back.away); got != did {
		t.Errorf("the tokens are those of %s", got)
	}
	for _, note := range []string{"buy milk", "call bob"} {
		if status, text := editor.send(http.MethodPost, "/notes", "text/plain", note); status != http.StatusOK || !strings.HasSuffix(text, note+"\n") {
			t.Errorf("a note: %d %s", status, text)
		}
	}

	if status, text := editor.send(http.MethodPost, "/notes", "text/plain", strings.Repeat("x", 10_001)); status != http.StatusBadRequest {
		t.Errorf("a note that is too long: %d %s", status, text)
	}

	// The token is of no use to who lacks the key.
	thief := newApp(t, p.address, scopes)
	thief.access = editor.access
	if status, text := thief.send(http.MethodGet, "/notes", "", ""); status != http.StatusUnauthorized || !strings.Contains(text, "invalid_token") {
		t.Errorf("a stolen token: %d %s", status, text)
	}

	// An app that has not asked for notes gets none.
	other := newApp(t, p.address, "atproto")
	back = signIn(newBrowser(t, p.address).open(other.authorizeURL())).submit("/consent")
	other.exchange(back.away)
	if status, text := other.send(http.MethodGet, "/notes", "", ""); status != http.StatusForbidden || !strings.Contains(text, "repo:com.example.note") {
		t.Errorf("without the scope: %d %s", status, text)
	}

	secret := enrol(t, p.address)
	running.Kill()
	p.start()

	if status, text := editor.send(http.MethodGet, "/notes", "", ""); status != http.StatusOK || text != "buy milk\ncall bob\n" {
		t.Errorf("after a restart: %d %s", status, text)
	}
	viewer := newApp(t, p.address, scopes)
	page = signIn(newBrowser(t, p.address).open(viewer.authorizeURL()))
	if page.form("/consent") != nil || page.form("/factor") == nil {
		t.Fatalf("nobody asks for the second factor: %d %s", page.status, page.body)
	}
	code, err := totp.GenerateCode(secret, time.Now().Add(30*time.Second)) // that of now has been used
	if err != nil {
		t.Fatal(err)
	}
	viewer.exchange(page.submit("/factor", "code", code).submit("/consent").away)
	if status, text := viewer.send(http.MethodGet, "/notes", "", ""); status != http.StatusOK || text != "buy milk\ncall bob\n" {
		t.Errorf("with a second factor: %d %s", status, text)
	}
}

// enrol adds an authenticator app in the account manager and returns its secret.
func enrol(t *testing.T, address string) (secret string) {
	t.Helper()
	page := signIn(newBrowser(t, address).open(address + "/account")).follow("/factors").submit("/factors/enrol")
	for _, n := range elements(page.doc, "code") {
		if n.FirstChild != nil && n.FirstChild.Type == html.TextNode {
			secret = n.FirstChild.Data
		}
	}
	code, err := totp.GenerateCode(secret, time.Now())
	if err != nil {
		t.Fatalf("%v: %s", err, page.body)
	}
	if page = page.submit("/factors/confirm", "code", code, "name", "Phone"); page.status != http.StatusOK || !strings.Contains(page.body, "Phone") {
		t.Fatalf("the code of the app: %d %s", page.status, page.body)
	}
	return secret
}

// It stays short: that is what it is for.
func TestShort(t *testing.T) {
	source, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(source), "\n"); n >= 150 {
		t.Errorf("main.go has %d lines", n)
	}
}
