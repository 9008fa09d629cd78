package pds_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
)

// More imports at a time than are allowed are refused at once.
func TestImportsAtATime(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t, func(c *pds.Config) { c.Limits.Imports = 1 })
	alice, bob := srv.CreateAccount("alice"), srv.CreateAccount("bob")
	car := newForeignRepo(t, alice.DID, someRecords(5)).car(t)
	other := newForeignRepo(t, bob.DID, someRecords(5)).car(t)
	send, status := holdImport(t, alice, car[:100], func() bool {
		var answer *pdstest.Error
		return errors.As(sendCAR(t, bob, other[:1]), &answer) && answer.Status == 503 && answer.Name == "NotEnoughResources"
	})
	_, err := io.Copy(send, bytes.NewReader(car[100:]))
	ok(t, err)
	ok(t, send.Close())
	if got := <-status; got != 200 {
		t.Errorf("the first import: %d", got)
	}
	ok(t, sendCAR(t, bob, other))
}

// holdImport begins an import of an account, sends the first bytes of its body,
// leaves the rest to the caller, and returns when running has seen that it
// holds its place. One that was refused, because an attempt of running held the
// place itself, is begun again.
func holdImport(t *testing.T, a *pdstest.Account, first []byte, running func() bool) (send *io.PipeWriter, status <-chan int) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		body, send := io.Pipe()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, a.PDS.URL+"/xrpc/"+importRepo, body)
		ok(t, err)
		r.Header = http.Header{"Authorization": {"Bearer " + a.Access}, "Content-Type": {"application/vnd.ipld.car"}}
		status := make(chan int, 1)
		go func() {
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				status <- 0
				return
			}
			resp.Body.Close()
			status <- resp.StatusCode
		}()
		_, _ = send.Write(first) // fails if it was refused, which status tells
		for refused := false; !refused; {
			select {
			case <-status:
				refused = true
			case <-time.After(5 * time.Millisecond): // so that the attempts do not hold the place all the time
				if running() {
					return send, status
				}
			}
			if time.Now().After(deadline) {
				t.Fatal("the import does not begin")
			}
		}
	}
}

// A lane that is full refuses further writes, of its account only.
func TestWritesWaitingForOneAccount(t *testing.T) {
	t.Parallel()
	var keys *reentrantKeys
	srv := pdstest.New(t, func(c *pds.Config) {
		c.Limits.LaneQueue = 2
		keys = &reentrantKeys{Keys: c.Keys}
		c.Keys = keys
	})
	alice, bob := srv.CreateAccount("alice"), srv.CreateAccount("bob")
	note(t, bob, "warm", "x")
	entered, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	keys.block(func() {
		once.Do(func() { close(entered) })
		<-release
	})
	results := make(chan error, 10)
	put := func(i int) {
		_, err := callJSON(t.Context(), alice, putRecord, map[string]any{
			"repo": alice.DID, "collection": noteCollection, "rkey": fmt.Sprint(i), "record": map[string]any{},
		})
		results <- err
	}
	go put(0)
	<-entered
	for i := range 9 {
		go put(i + 1)
	}
	for range 7 { // one runs, two wait
		wantError(t, <-results, 503, "NotEnoughResources")
	}
	note(t, bob, "free", "x")
	close(release)
	for range 3 {
		ok(t, <-results)
	}
	if n := len(alice.Export().Records); n != 3 {
		t.Errorf("%d records", n)
	}
}
