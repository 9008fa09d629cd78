package relay_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
)

// The relay loses its connection while an account is written to, and resumes
// by its cursor.
func TestReconnect(t *testing.T) {
	const rounds = 8
	line := newLine(t)
	srv := pdstest.New(t, func(cfg *pds.Config) { cfg.PublicURL = line.url() })
	line.to = strings.TrimPrefix(srv.URL, "http://")
	w := newRelay(t, newDirectory(srv))
	w.follow(srv)
	// The relay's cursor stays behind what it has done, at the least by one
	// event, so it asks for some again. Of those it knows commits.
	w.repeats = true
	w.tolerated = []string{"host connection failed", "dropping commit with old rev"}
	alice := srv.CreateAccount("alice")
	for round := range rounds {
		alice.CreateRecord(posts, post(fmt.Sprint("round ", round)))
		w.settle()
		line.cut()
		apply(alice, 40, func(i int) object { return create(1000*round+i, "in the meantime") })
		for range 10 {
			alice.CreateRecord(posts, post("about the time of the reconnection"))
		}
		w.settle()
	}
	if n := line.connections(); n < rounds {
		t.Errorf("there were %d connections", n)
	}
}

// line is a TCP proxy that can be cut.
type line struct {
	listener net.Listener
	to       string // address; set before the first connection

	mu    sync.Mutex // guards following 2 fields
	open  []net.Conn // both ends of each
	count int
}

func newLine(t *testing.T) *line {
	t.Helper()
	listener, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &line{listener: listener}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { l.carry(conn) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		l.cut()
		wg.Wait()
	})
	return l
}

func (l *line) url() string {
	return fmt.Sprint("http://localhost:", l.listener.Addr().(*net.TCPAddr).Port)
}

// carry copies both ways until one end closes.
func (l *line) carry(near net.Conn) {
	defer near.Close()
	far, err := net.Dial("tcp", l.to)
	if err != nil {
		return
	}
	defer far.Close()
	l.mu.Lock()
	l.open = append(l.open, near, far)
	l.count++
	l.mu.Unlock()
	var wg sync.WaitGroup
	for _, pair := range [][2]net.Conn{{near, far}, {far, near}} {
		wg.Go(func() {
			_, _ = io.Copy(pair[0], pair[1])
			_ = pair[0].Close()
		})
	}
	wg.Wait()
}

// cut closes all connections.
func (l *line) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, conn := range l.open {
		_ = conn.Close()
	}
	l.open = nil
}

func (l *line) connections() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count
}
