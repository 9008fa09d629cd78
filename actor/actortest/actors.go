package actortest

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pdskit/pdskit/actor"
	"github.com/pdskit/pdskit/pds"
)

func oneCall(e *env) {
	processes := []*actor.Actors[thing]{
		register(e.srv.Server, actor.Kind[thing]{}, actor.Options{}),
		register(e.process(), actor.Kind[thing]{}, actor.Options{}),
	}
	const workers, calls = 4, 10
	var wg sync.WaitGroup
	for _, a := range processes {
		var running atomic.Int64
		for range workers {
			wg.Go(func() {
				for range calls {
					err := again(func() error {
						return a.Do(e.Context(), "x", func(c *actor.Call[thing]) error {
							if running.Add(1) > 1 {
								e.Error("two calls of one actor at the same time")
							}
							defer running.Add(-1)
							return increment(c)
						})
					})
					if err != nil {
						e.Error(err)
					}
				}
			})
		}
	}
	wg.Wait()
	if got, want := e.state(processes[0], "x").Count, len(processes)*workers*calls; got != want {
		e.Errorf("%d calls were stored, want %d", got, want)
	}
}

// ring is what an alarm does in this suite.
func ring(c *actor.Call[thing]) error { c.State.Alarms++; return nil }

func alarms(e *env) {
	const n = 20
	quiet := register(e.srv.Server, actor.Kind[thing]{}, actor.Options{}) // carries none out
	other := register(e.process(), actor.Kind[thing]{Alarm: ring}, actor.Options{})
	for i := range n {
		id := fmt.Sprint(i)
		e.must(again(func() error {
			return quiet.Do(e.Context(), id, func(c *actor.Call[thing]) error { return c.SetAlarm(e.clock.Now().Add(-time.Second)) })
		}))
		if i%2 == 1 {
			e.must(again(func() error { return quiet.Do(e.Context(), id, (*actor.Call[thing]).ClearAlarm) }))
		}
	}
	s := e.process() // a restart
	register(s, actor.Kind[thing]{Alarm: ring}, actor.Options{})
	stop := e.background(s)
	for deadline := time.Now().Add(patience); e.state(other, fmt.Sprint(n-2)).Alarms == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			e.Fatal("the alarm does not come")
		}
	}
	stop()
	for range 3 { // one that has failed by chance comes later
		e.advance(time.Hour)
		s := e.process()
		register(s, actor.Kind[thing]{Alarm: ring}, actor.Options{})
		e.must(again(func() error { _, err := s.RunDueJobs(e.Context()); return err }))
	}
	for i := range n {
		if got, want := e.state(other, fmt.Sprint(i)).Alarms, 1-i%2; got != want {
			e.Errorf("actor %d: %d alarms, want %d", i, got, want)
		}
	}
}

// advance lets time pass.
func (e *env) advance(d time.Duration) {
	if c, ok := e.clock.(interface{ Advance(time.Duration) }); ok {
		c.Advance(d)
	}
}

func messages(e *env) {
	var a *actor.Actors[thing]
	failed := map[string]bool{}
	var mu sync.Mutex // guards failed
	a = register(e.srv.Server, actor.Kind[thing]{Receive: func(c *actor.Call[thing], message json.RawMessage) error {
		mu.Lock()
		defer mu.Unlock()
		if name := c.ID + string(message); !failed[name] {
			failed[name] = true
			return errors.New("not at first")
		}
		return increment(c)
	}}, actor.Options{})
	const n = 20
	for i := range n {
		e.must(again(func() error {
			return e.srv.Update(e.Context(), func(st *pds.State) error {
				return actor.Send(st, a, fmt.Sprint(i%4), i, time.Time{})
			})
		}))
	}
	total := func() (sum int) {
		for i := range 4 {
			sum += e.state(a, fmt.Sprint(i)).Count
		}
		return sum
	}
	for range 10 {
		e.must(again(func() error { _, err := e.srv.RunDueJobs(e.Context()); return err }))
		e.advance(10 * time.Minute)
	}
	if got := total(); got != n {
		e.Errorf("%d messages took effect, want %d", got, n)
	}
}

func eviction(e *env) {
	const keys, workers, calls = 60, 8, 40
	a := register(e.srv.Server, actor.Kind[thing]{}, actor.Options{Active: 4})
	var sent [keys]atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for range calls {
				i := rand.IntN(keys)
				e.call(a, fmt.Sprint(i))
				sent[i].Add(1)
			}
		})
	}
	wg.Wait()
	for i := range keys {
		if got := e.state(a, fmt.Sprint(i)).Count; int64(got) != sent[i].Load() {
			e.Errorf("actor %d has %d calls of %d", i, got, sent[i].Load())
		}
	}
}
