package pds_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
)

// More imports at a time than are allowed are refused at once.
func TestImportsAtATime(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t, func(c *pds.Config) { c.Limits.Imports = 1 })
	alice, bob := srv.CreateAccount("alice"), srv.CreateAccount("bob")
	car := newForeignRepo(t, alice.DID, someRecords(5)).car(t)
	body, send := io.Pipe()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL+"/xrpc/"+importRepo, body)
	ok(t, err)
	r.Header = http.Header{"Authorization": {"Bearer " + alice.Access}, "Content-Type": {"application/vnd.ipld.car"}}
	status := make(chan int)
	go func() {
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Error(err)
			close(status)
			return
		}
		resp.Body.Close()
		status <- resp.StatusCode
	}()
	_, err = send.Write(car[:100])
	ok(t, err)
	// The first import has begun when another one is refused.
	other := newForeignRepo(t, bob.DID, someRecords(5)).car(t)
	for {
		err := sendCAR(t, bob, other)
		if err == nil {
			continue
		}
		wantError(t, err, 503, "NotEnoughResources")
		break
	}
	_, err = io.Copy(send, bytes.NewReader(car[100:]))
	ok(t, err)
	ok(t, send.Close())
	if got := <-status; got != 200 {
		t.Errorf("the first import: %d", got)
	}
	ok(t, sendCAR(t, bob, other))
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
