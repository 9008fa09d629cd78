package pds_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/pdskit/pdskit/pds/pdstest"
)

const noteCollection = "com.example.note"

// hammer is one client that writes, updates and deletes records of its own
// keys, and notes what was acknowledged.
type hammer struct {
	acct *pdstest.Account
	rng  *rand.Rand
	name string

	sure    map[string]string // rkey to CID, as acknowledged
	unsure  map[string]bool   // rkeys with a request that was cut off
	creates []string          // acknowledged creates, rkeys
}

func (h *hammer) call(ctx context.Context, nsid string, in map[string]any) (map[string]any, error) {
	in["repo"], in["collection"] = h.acct.DID, noteCollection
	return callJSON(ctx, h.acct, nsid, in)
}

// step does one random write; one in ten requests is cancelled while it runs.
func (h *hammer) step(t *testing.T, i int) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cut := h.rng.IntN(10) == 0
	if cut {
		time.AfterFunc(time.Duration(h.rng.IntN(2000))*time.Microsecond, cancel)
	}
	rkey := fmt.Sprintf("%s-%d", h.name, i)
	var known string
	for k := range h.sure {
		if !h.unsure[k] {
			known = k
			break
		}
	}
	record := map[string]any{"$type": noteCollection, "text": fmt.Sprintf("%s %d %d", h.name, i, h.rng.Int())}
	var out map[string]any
	var err error
	switch action := h.rng.IntN(4); {
	case action < 2 || known == "":
		out, err = h.call(ctx, "com.atproto.repo.createRecord", map[string]any{"rkey": rkey, "record": record})
		if err == nil {
			h.creates = append(h.creates, rkey)
		}
	case action == 2:
		rkey = known
		out, err = h.call(ctx, "com.atproto.repo.putRecord",
			map[string]any{"rkey": rkey, "record": record, "swapRecord": h.sure[rkey]})
	default:
		rkey = known
		_, err = h.call(ctx, "com.atproto.repo.deleteRecord", map[string]any{"rkey": rkey, "swapRecord": h.sure[rkey]})
		if err == nil {
			delete(h.sure, rkey)
			return
		}
	}
	var refused *pdstest.Error
	switch {
	case err == nil:
		h.sure[rkey], _ = out["cid"].(string)
	case errors.As(err, &refused) && !cut:
		t.Errorf("%s: %v", h.name, err)
	case !cut:
		t.Errorf("%s: %v", h.name, err)
	default:
		h.unsure[rkey] = true
	}
}

// checkHammered compares what was acknowledged with the signed tree, the
// record index and the firehose.
func checkHammered(t *testing.T, acct *pdstest.Account, hammers []*hammer, events []pdstest.Event) {
	t.Helper()
	tree := acct.Export().Records
	if replay := pdstest.Replay(events, acct.DID); !maps.Equal(tree, replay) {
		t.Errorf("the tree has %d records, the firehose leads to %d", len(tree), len(replay))
	}
	if index := listAll(t, acct, noteCollection); !maps.Equal(tree, index) {
		t.Errorf("the tree has %d records, the index %d", len(tree), len(index))
	}
	created := map[string]int{}
	for _, ev := range events {
		for _, op := range ev.Ops {
			if ev.DID == acct.DID && op.Action == "create" {
				created[op.Path]++
			}
		}
	}
	for _, h := range hammers {
		if h.acct != acct {
			continue
		}
		for _, rkey := range h.creates {
			if n := created[noteCollection+"/"+rkey]; n != 1 {
				t.Errorf("acknowledged create of %s is %d times on the firehose", rkey, n)
			}
		}
		for rkey, c := range h.sure {
			if got := tree[noteCollection+"/"+rkey]; !h.unsure[rkey] && got.String() != c {
				t.Errorf("%s was acknowledged as %s, the tree has %s", rkey, c, got)
			}
		}
	}
}

func TestConcurrentWritersOfOneRepo(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	acct := srv.CreateAccount("alice")
	hammers := runHammers(t, []*pdstest.Account{acct}, 32, scaled(24))
	checkHammered(t, acct, hammers, allEvents(t, srv))
}

func TestConcurrentWritersOfManyRepos(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	accts := make([]*pdstest.Account, scaled(500))
	for i := range accts {
		accts[i] = srv.CreateAccount(fmt.Sprintf("user%d", i))
	}
	hammers := runHammers(t, accts, 32, scaled(100))
	events := allEvents(t, srv)
	for i, acct := range accts {
		if i < 40 || i%25 == 0 {
			checkHammered(t, acct, hammers, events)
		}
	}
}

// runHammers lets n clients write at once, each to an account of its own
// choice at every step.
func runHammers(t *testing.T, accts []*pdstest.Account, n, steps int) []*hammer {
	var mu sync.Mutex
	var all []*hammer
	var wg sync.WaitGroup
	for k := range n {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(k), 1))
			mine := map[*pdstest.Account]*hammer{}
			for i := range steps {
				acct := accts[rng.IntN(len(accts))]
				if mine[acct] == nil {
					mine[acct] = &hammer{
						acct: acct, rng: rng, name: fmt.Sprintf("h%d", k),
						sure: map[string]string{}, unsure: map[string]bool{},
					}
				}
				mine[acct].step(t, i)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, h := range mine {
				all = append(all, h)
			}
		})
	}
	wg.Wait()
	return all
}

// Bug 1 of the field: eight writers, fifty creates each, and four hundred
// acknowledged records that are all there.
func TestNoLostUpdates(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	acct := srv.CreateAccount("alice")
	var wg sync.WaitGroup
	for k := range 8 {
		wg.Go(func() {
			for i := range 50 {
				_, err := callJSON(t.Context(), acct, "com.atproto.repo.createRecord", map[string]any{
					"repo": acct.DID, "collection": noteCollection,
					"record": map[string]any{"text": fmt.Sprint(k, i)},
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := len(acct.Export().Records); n != 400 {
		t.Errorf("%d records in the signed tree, 400 acknowledged", n)
	}
	if n := len(listAll(t, acct, noteCollection)); n != 400 {
		t.Errorf("%d records in the index", n)
	}
	if n := len(pdstest.Replay(allEvents(t, srv), acct.DID)); n != 400 {
		t.Errorf("%d records on the firehose", n)
	}
}

// Bug 2: two writers with the same swapCommit; one wins.
func TestSwapCommitHasOneWinner(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	acct := srv.CreateAccount("alice")
	for round := range 10 {
		head := acct.Export().Root
		results := make(chan error, 8)
		for k := range cap(results) {
			go func() {
				_, err := callJSON(t.Context(), acct, "com.atproto.repo.createRecord", map[string]any{
					"repo": acct.DID, "collection": noteCollection, "swapCommit": head.String(),
					"record": map[string]any{"text": fmt.Sprint(round, k)},
				})
				results <- err
			}()
		}
		won := 0
		for range cap(results) {
			err := <-results
			var refused *pdstest.Error
			switch {
			case err == nil:
				won++
			case !errors.As(err, &refused) || refused.Name != "InvalidSwap" || refused.Status != http.StatusBadRequest:
				t.Errorf("unexpected: %v", err)
			}
		}
		if won != 1 {
			t.Fatalf("round %d: %d writers won", round, won)
		}
	}
}
