package relay_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/pdskit/pdskit/pds/pdstest"
)

const maxBatch = 200 // writes of one applyWrites

func rkey(i int) string { return fmt.Sprintf("key-%d", i) }

func create(i int, text string) object {
	return object{"$type": "com.atproto.repo.applyWrites#create", "collection": notes, "rkey": rkey(i), "value": post(text)}
}

func update(i int, text string) object {
	return object{"$type": "com.atproto.repo.applyWrites#update", "collection": notes, "rkey": rkey(i), "value": post(text)}
}

func remove(i int) object {
	return object{"$type": "com.atproto.repo.applyWrites#delete", "collection": notes, "rkey": rkey(i)}
}

func apply(a *pdstest.Account, n int, write func(i int) object) {
	var writes []object
	for i := range n {
		writes = append(writes, write(i))
	}
	a.Post("com.atproto.repo.applyWrites", object{"repo": a.DID, "writes": writes}, nil)
}

// The largest batches of each kind, up to the size of a request.
func TestLargeBatches(t *testing.T) {
	w, srv := newWorld(t)
	alice := srv.CreateAccount("alice")
	large := strings.Repeat("x", 2_900)
	steps := []struct {
		name  string
		write func(i int) object
	}{
		{"creates", func(i int) object { return create(i, "first") }},
		{"more creates between the others", func(i int) object { return create(i+maxBatch, "second") }},
		{"updates", func(i int) object { return update(2*i, "changed") }},
		{"creates, updates and deletes", func(i int) object {
			switch i % 4 {
			case 0, 1:
				return create(i+2*maxBatch, "third")
			case 2:
				return update(i, "changed again")
			}
			return remove(i)
		}},
		{"records of almost the size that one may have in all", func(i int) object { return create(i+4*maxBatch, large) }},
		{"deletes", func(i int) object { return remove(i + 4*maxBatch) }},
	}
	for _, step := range steps {
		t.Log(step.name)
		apply(alice, maxBatch, step.write)
		w.settle()
	}
}

// Many single and small writes at random, so that the tree gets and loses
// layers.
func TestRandomWrites(t *testing.T) {
	w, srv := newWorld(t)
	alice := srv.CreateAccount("alice")
	rng := rand.New(rand.NewPCG(1, 2))
	live := map[int]bool{}
	for round := range 300 {
		seen := map[int]bool{}
		var writes []object
		for range 1 + rng.IntN(5) {
			// The tree grows in the first half and shrinks in the second.
			i := rng.IntN(200)
			if seen[i] {
				continue
			}
			seen[i] = true
			switch {
			case !live[i] && round < 150:
				writes = append(writes, create(i, fmt.Sprint("round ", round)))
				live[i] = true
			case live[i] && (round >= 150 || rng.IntN(3) == 0):
				writes = append(writes, remove(i))
				delete(live, i)
			case live[i]:
				writes = append(writes, update(i, fmt.Sprint("round ", round)))
			}
		}
		if len(writes) > 0 {
			apply(alice, len(writes), func(i int) object { return writes[i] })
		}
	}
	w.settle()
}

// Several clients of several accounts write at once.
func TestConcurrentWriters(t *testing.T) {
	w, srv := newWorld(t)
	var wg sync.WaitGroup
	for n := range 4 {
		a := srv.CreateAccount(fmt.Sprintf("user%d", n))
		for range 4 {
			wg.Go(func() {
				for i := range 20 {
					uri, _ := a.CreateRecord(posts, post(fmt.Sprint(i)))
					if i%3 == 0 {
						a.Post("com.atproto.repo.deleteRecord", object{"repo": a.DID, "collection": posts, "rkey": lastPart(uri)}, nil)
					}
				}
			})
		}
	}
	wg.Wait()
	w.settle()
}

// A relay that comes late reads all of the past: accounts in every state,
// changed handles, imports.
func TestLateRelay(t *testing.T) {
	srv := pdstest.New(t)
	outdated := map[string]bool{}
	for _, name := range []string{"alice", "bob", "carol", "dave"} {
		a := srv.CreateAccount(name)
		apply(a, 60, func(i int) object { return create(i, "of "+name) })
		car := export(t, a)
		apply(a, 20, remove)
		importRepo(t, a, car)
		a.Post("com.atproto.identity.updateHandle", object{"handle": name + "-2.test"}, nil)
		outdated[name+".test"] = true
		a.Post("com.atproto.server.deactivateAccount", object{}, nil)
		switch name {
		case "carol":
			outdated["carol-2.test"] = true // while she is not active
			continue
		case "dave":
			srv.Post("com.atproto.admin.deleteAccount", adminAuth, object{"did": a.DID}, nil)
			continue
		}
		a.Post("com.atproto.server.activateAccount", nil, nil)
		a.CreateRecord(posts, post("last"))
	}
	w := newRelay(t, newDirectory(srv))
	w.outdated = outdated
	w.follow(srv)
	w.settle()
}
