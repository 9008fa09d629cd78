package storagetest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/pdskit/pdskit/internal/killtest"
	"github.com/pdskit/pdskit/storage"
)

// killDir names the folder of the store to the child that will be killed.
const killDir = "STORAGETEST_KILL_DIR"

// killRounds is how often the child is killed, at a random moment each time.
const killRounds = 5

var killCases = []testCase{
	{
		name:  "kill/acknowledged",
		rule:  "What an Update acknowledged exists after kill -9, and of what was not acknowledged nothing or everything exists.",
		needs: needDurable,
		run: func(e *env) {
			if dir := os.Getenv(killDir); dir != "" {
				e.killed(dir)
				return
			}
			dir := e.TempDir()
			acked := map[string]bool{}
			last := int64(0)
			for range killRounds {
				e.killChild(dir, acked)
				store := e.opts.Reopen(e.T, dir, e.clock)
				e.store = store
				e.checkKilled(acked)
				if seq := e.lastSeq(); seq < last {
					e.Fatalf("LastSeq went from %d to %d", last, seq)
				} else {
					last = seq
				}
				if err := store.Close(); err != nil {
					e.Fatalf("Close: %v", err)
				}
			}
		},
	},
}

// killed is the child: it writes until it is killed, and says what was
// acknowledged.
func (e *env) killed(dir string) {
	e.reopen(dir)
	var out sync.Mutex
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			r := e.newRepo(1000 + rand.IntN(1<<40)<<4 + w)
			for n := range 1_000_000 {
				id := fmt.Sprintf("%s/%d", r.did(), n)
				c := r.next([]storage.Record{record(fmt.Sprintf("com.example.a/%d", n), id)})
				err := e.store.Update(background(), func(tx storage.Tx) error {
					if err := putDoc(tx, id, "first"); err != nil {
						return err
					}
					if err := tx.Apply(c); err != nil {
						return err
					}
					return tx.Append(storage.Event{DID: r.did(), Kind: "test", Body: []byte(id)})
				})
				if err != nil {
					e.Error(err)
					return
				}
				r.done(c)
				out.Lock()
				fmt.Printf("\nacked %s\n", id)
				out.Unlock()
			}
		})
	}
	wg.Wait()
}

// killChild runs the child, kills it after some writes and notes what it said.
func (e *env) killChild(dir string, acked map[string]bool) {
	e.Helper()
	killtest.Run(e.T, []string{killDir + "=" + dir}, 20+rand.IntN(200), func(line string) bool {
		id, ok := strings.CutPrefix(line, "acked ")
		if ok {
			acked[id] = true
		}
		return ok
	})
}

// checkKilled looks for what was acknowledged, and for halves.
func (e *env) checkKilled(acked map[string]bool) {
	e.Helper()
	events := map[string]bool{}
	for _, ev := range e.events(0) {
		events[string(ev.Body)] = true
	}
	e.view(func(tx storage.Tx) error {
		for id := range acked {
			if v, err := docValue(tx, id); err != nil || v == "" {
				return fmt.Errorf("the document %s was acknowledged and is lost (%w)", id, err)
			}
			if !events[id] {
				return fmt.Errorf("the event %s was acknowledged and is lost", id)
			}
		}
		docs := 0
		from := ""
		for {
			page, err := tx.ScanDocs("test", storage.Scan{From: from, Limit: 500})
			if err != nil {
				return err
			}
			if len(page) == 0 {
				break
			}
			docs += len(page)
			for _, d := range page {
				if !events[d.Key] {
					return fmt.Errorf("%s has a document and no event", d.Key)
				}
			}
			from = page[len(page)-1].Key + "\x00"
		}
		same(e, "the number of documents", docs, len(events))
		records := 0
		var cursor storage.AccountCursor
		for {
			accounts, err := tx.ListAccounts(cursor, 100)
			if err != nil || len(accounts) == 0 {
				same(e, "the number of records", records, len(events))
				return err
			}
			for i := range accounts {
				cursor = accounts[i].Cursor()
				n, err := e.countRepo(tx, &accounts[i], events)
				if err != nil {
					return err
				}
				records += n
			}
		}
	})
}

// countRepo checks that an account's records have their events and that its
// head belongs to the last of them.
func (e *env) countRepo(tx storage.Tx, a *storage.Account, events map[string]bool) (int, error) {
	u, err := tx.Usage(a.DID)
	if err != nil || u.Records == 0 {
		return 0, err
	}
	head, err := tx.Head(a.DID)
	if err != nil {
		return 0, err
	}
	same(e, "the head's rev", head.Rev, revN(int(u.Records)))
	for n := range u.Records {
		rec, err := tx.Record(a.DID, "com.example.a", storageKey(n))
		if err != nil {
			return 0, fmt.Errorf("record %d of %s: %w", n, a.DID, err)
		}
		if !events[string(rec.Value)] {
			return 0, fmt.Errorf("%s has a record and no event", rec.Value)
		}
	}
	if _, err := tx.Block(a.DID, head.Data); err != nil {
		return 0, fmt.Errorf("the root of %s: %w", a.DID, err)
	}
	return int(u.Records), nil
}

func storageKey(n int64) recordKey { return recordKey(strconv.FormatInt(n, 10)) }
