package main_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"
)

// crashRounds is how often TestCrash kills the server: a few times in an
// ordinary run, more with PDSKIT_CRASH_ROUNDS.
func crashRounds(t *testing.T) int {
	if text := os.Getenv("PDSKIT_CRASH_ROUNDS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatalf("PDSKIT_CRASH_ROUNDS: %v", err)
		}
		return n
	}
	if testing.Short() {
		return 1
	}
	return 6
}

// TestCrash kills the example server at random moments while clients write,
// upload, import, sign up and delete accounts, and checks after each restart
// that everything acknowledged is there, that every repository verifies, and
// that the firehose goes on without a hole or a repeat.
func TestCrash(t *testing.T) {
	w := newWorld(t)
	for range 3 {
		w.signUp(t.Context())
	}
	rounds := crashRounds(t)
	for round := range rounds {
		w.round(time.Duration(20+rand.IntN(500)) * time.Millisecond)
		if t.Failed() {
			t.Fatalf("round %d failed; the data is in %s", round, w.srv.dataDir)
		}
		if (round+1)%20 == 0 {
			t.Logf("%d of %d rounds, %d acknowledged writes, %d events", round+1, rounds, w.acked, w.events)
		}
	}
	t.Logf("%d rounds: %d acknowledged writes, %d uploads, %d imports, %d sign-ups, %d deletions, %d events followed",
		rounds, w.acked, w.uploads, w.imports, w.signUps, w.deletions, w.events)
	if w.acked == 0 || w.events == 0 {
		t.Error("the load did nothing")
	}
}

// round lets clients work for a while, kills the server in the middle, starts
// it again and checks.
func (w *world) round(d time.Duration) {
	ctx, stop := context.WithCancel(w.t.Context())
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			for ctx.Err() == nil {
				w.step(ctx)
			}
		})
	}
	time.Sleep(d)
	w.srv.kill()
	stop()
	wg.Wait()
	w.srv.start()
	w.check()
}

// step does one random thing.
func (w *world) step(ctx context.Context) {
	switch n := rand.IntN(100); {
	case n < 2:
		w.signUp(ctx)
	case n < 3:
		w.deleteAccount(ctx)
	case n < 5:
		w.importRepo(ctx)
	case n < 15:
		w.uploadAndReference(ctx)
	default:
		w.write(ctx)
	}
}

// write creates, updates or deletes a record of a key that no other client
// uses at the moment.
func (w *world) write(ctx context.Context) {
	u, key := w.claim()
	if u == nil {
		return
	}
	defer w.release(u, key)
	old, exists := u.get(key)
	in := map[string]any{"repo": u.DID, "collection": collection, "rkey": key}
	nsid := "com.atproto.repo.putRecord"
	if exists && rand.IntN(3) == 0 {
		nsid = "com.atproto.repo.deleteRecord"
	} else {
		in["record"] = map[string]any{"text": fmt.Sprint("text ", rand.Int64())}
	}
	var out struct{ CID string }
	err := w.srv.post(ctx, nsid, u.token(), in, &out)
	switch {
	case err != nil:
		w.refusedOrCut(ctx, nsid, err)
		u.doubt(key)
	case nsid == "com.atproto.repo.deleteRecord":
		u.drop(key)
	case out.CID == old:
		w.t.Errorf("a new text has the old CID %s", old)
	default:
		u.put(key, out.CID)
	}
	if err == nil {
		w.count(&w.acked)
	}
}

// refusedOrCut reports an answer that the server should not have given. A
// request that was cut off is what this test is about.
func (w *world) refusedOrCut(ctx context.Context, what string, err error) {
	var answer *statusError
	if errors.As(err, &answer) && ctx.Err() == nil && !w.srv.isDown() {
		w.t.Errorf("%s: %v", what, err)
	}
}

// uploadAndReference stores a blob and a record that refers to it.
func (w *world) uploadAndReference(ctx context.Context) {
	u, key := w.claim()
	if u == nil {
		return
	}
	defer w.release(u, key)
	data := make([]byte, 1000+rand.IntN(100_000))
	for i := range data {
		data[i] = byte(rand.Uint32())
	}
	var up struct{ Blob map[string]any }
	err := w.srv.send(ctx, http.MethodPost, "com.atproto.repo.uploadBlob", u.token(), "application/octet-stream", data, &up)
	if err != nil {
		w.refusedOrCut(ctx, "uploadBlob", err)
		return
	}
	w.count(&w.uploads)
	var out struct{ CID string }
	err = w.srv.post(ctx, "com.atproto.repo.putRecord", u.token(), map[string]any{
		"repo": u.DID, "collection": collection, "rkey": key,
		"record": map[string]any{"text": "with a picture", "image": up.Blob},
	}, &out)
	if err != nil {
		w.refusedOrCut(ctx, "putRecord with a blob", err)
		u.doubt(key)
		return
	}
	ref, _ := up.Blob["ref"].(map[string]any)
	link, _ := ref["$link"].(string)
	u.putBlob(key, out.CID, link, bytes.Clone(data))
	w.count(&w.acked)
}
