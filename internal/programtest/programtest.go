// Package programtest runs programs in tests as people run them: compiled, each
// in a process and on a port of its own.
package programtest

import (
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"
)

// Port returns a port of localhost that nobody listens on. It lies below those
// that systems give to listeners and connections that ask for none, so that none
// of them has it when the program begins to listen.
func Port(t testing.TB) string {
	t.Helper()
	const first, ports, tries = 20_000, 10_000, 100
	for range tries {
		port := strconv.Itoa(first + rand.IntN(ports))
		l, err := net.Listen("tcp", "localhost:"+port)
		if err != nil {
			continue // somebody has it
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		return port
	}
	t.Fatal("no port is free")
	return ""
}

// Build compiles what "go build" calls packages, a folder or files, into a
// program in a temporary folder.
func Build(t testing.TB, packages ...string) (program string) {
	t.Helper()
	program = filepath.Join(t.TempDir(), "program")
	args := append([]string{"build", "-o", program}, packages...)
	if out, err := exec.CommandContext(t.Context(), "go", args...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return program
}

// Program is a program that runs.
type Program struct {
	t     testing.TB
	cmd   *exec.Cmd
	ended func() error // waits for the end
}

// Start starts a program and returns when a GET of address is answered, whatever
// the answer. Standard error goes to the test's output, unless it has a place. The
// program ends with the test.
func Start(t testing.TB, cmd *exec.Cmd, address string) *Program {
	t.Helper()
	if cmd.Stderr == nil {
		cmd.Stderr = t.Output()
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &Program{t, cmd, sync.OnceValue(cmd.Wait)}
	t.Cleanup(p.Kill)
	over := make(chan struct{})
	go func() {
		defer close(over)
		_ = p.ended() // whoever stops it looks at the error
	}()
	for deadline := time.After(time.Minute); ; {
		resp, err := http.Get(address)
		if err == nil {
			resp.Body.Close()
			return p
		}
		select {
		case <-over:
			t.Fatalf("the program has ended: %v", p.ended())
		case <-deadline:
			t.Fatalf("the program does not answer: %v", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Stop asks the program to end, and fails the test if it ends with an error.
func (p *Program) Stop(signal os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(signal); err != nil {
		p.t.Error(err)
	}
	if err := p.ended(); err != nil {
		p.t.Errorf("after %v: %v", signal, err)
	}
}

// Kill ends the program as a crash does. One that has ended is left alone.
func (p *Program) Kill() {
	_ = p.cmd.Process.Kill()
	_ = p.ended()
}
