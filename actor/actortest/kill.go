package actortest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pdskit/pdskit/actor"
	"github.com/pdskit/pdskit/internal/killtest"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
)

// killDir names the folder of the store to the child that will be killed, and
// killRound says how many there were before.
const (
	killDir   = "ACTORTEST_KILL_DIR"
	killRound = "ACTORTEST_KILL_ROUND"
)

// killRounds is how often the child is killed, at a random moment each time.
const killRounds = 3

// killAndResume: a child writes records, which an observer of it sees, and sets
// alarms, which it carries out, until it is killed; the next one goes on. Every
// acknowledged record is seen, in order, and every acknowledged alarm takes
// effect once.
func killAndResume(t *testing.T, opts Options) {
	if dir := os.Getenv(killDir); dir != "" {
		round, err := strconv.Atoi(os.Getenv(killRound))
		if err != nil {
			t.Fatal(err)
		}
		reopen(t, opts, dir, round).killed(round)
		return
	}
	dir := t.TempDir()
	seen, alarms := map[int64]bool{}, map[string]bool{}
	furthest := int64(0)
	for round := range killRounds {
		last := int64(0)
		killtest.Run(t, []string{killDir + "=" + dir, killRound + "=" + strconv.Itoa(round)}, 20+rand.IntN(80), func(line string) bool {
			what, value, _ := strings.Cut(line, " ")
			switch what {
			case "alarm":
				alarms[value] = true
				return true
			case "seen":
				seq, err := strconv.ParseInt(value, 10, 64)
				if err != nil {
					return false // cut off
				}
				if seq <= last {
					t.Errorf("event %d was seen after %d", seq, last)
				}
				seen[seq], last, furthest = true, seq, max(furthest, seq)
			}
			return false
		})
	}
	// The rest, in this process.
	e := reopen(t, opts, dir, killRounds)
	var d diary
	s := e.process()
	s.Observe("index", d.observe)
	a := register(s, actor.Kind[thing]{Alarm: ring}, actor.Options{})
	stop := e.background(s)
	defer stop()
	e.must(note(e.Context(), s, e.account(), "the last"))
	again := e.wait(&d)
	for _, seq := range again {
		seen[seq] = true
	}
	want := e.stored(0)
	for _, seq := range want {
		if !seen[seq] {
			e.Errorf("event %d was never seen", seq)
		}
	}
	if from, _ := slices.BinarySearch(want, again[0]); from > 0 {
		if to, _ := slices.BinarySearch(want, furthest); to-from >= maxAgain {
			e.Errorf("%d events were seen again", to-from+1)
		}
	}
	for id := range alarms {
		for deadline := time.Now().Add(patience); e.state(a, id).Alarms == 0; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				e.Fatalf("the alarm of %s does not come", id)
			}
		}
	}
	for id := range alarms {
		if n := e.state(a, id).Alarms; n != 1 {
			e.Errorf("the alarm of %s took effect %d times", id, n)
		}
	}
	t.Logf("%d events, %d alarms, over %d kills", len(want), len(alarms), killRounds)
}

// maxAgain is how many events an observer is given again after a crash, as
// Server.Observe says.
const maxAgain = 100

// reopen starts a server on the store of a folder. Each round is so much later
// than the one before that what the dead process had to itself is free.
func reopen(t *testing.T, opts Options, dir string, round int) *env {
	t.Helper()
	clock := pdstest.NewClock()
	clock.Advance(time.Duration(round) * 10 * time.Minute)
	return newEnv(t, opts.Reopen(t, dir, clock), clock)
}

// killed is the child: it works until it is killed, and says what it did.
func (e *env) killed(round int) {
	var out sync.Mutex
	say := func(what string, value any) {
		out.Lock()
		defer out.Unlock()
		fmt.Printf("\n%s %v\n", what, value)
	}
	s := e.process()
	s.Observe("index", func(_ context.Context, ev *pds.Event) error { say("seen", ev.Seq); return nil })
	a := register(s, actor.Kind[thing]{Alarm: ring}, actor.Options{})
	stop := e.background(s)
	defer stop()
	ctx, cancel := context.WithTimeout(e.Context(), time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	for w := range 3 {
		did := e.account()
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				if err := note(ctx, s, did, fmt.Sprint(i)); err != nil {
					e.Error(err)
					return
				}
				id := fmt.Sprintf("%d-%d-%d", round, w, i)
				err := a.Do(ctx, id, func(c *actor.Call[thing]) error {
					return c.SetAlarm(e.clock.Now().Add(time.Duration(i%3) * time.Second))
				})
				if err != nil {
					e.Error(err)
					return
				}
				say("alarm", id)
			}
		})
	}
	wg.Wait()
}
