package actor_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/pdskit/pdskit/actor"
	"github.com/pdskit/pdskit/pds/pdstest"
)

// A room that closes itself an hour after somebody last came in.
func Example() {
	type room struct {
		Open    bool
		Members []string
	}
	_ = func(t *testing.T) {
		srv := pdstest.New(t)
		sys := actor.New(srv.Server, actor.Options{})
		rooms := actor.Register(sys, actor.Kind[room]{
			Name: "com.example.room",
			Alarm: func(c *actor.Call[room]) error {
				*c.State = room{}
				return nil
			},
		})
		enter := func(id, who string) error {
			return rooms.Do(t.Context(), id, func(c *actor.Call[room]) error {
				c.State.Open = true
				c.State.Members = append(c.State.Members, who)
				return c.SetAlarm(c.Now().Add(time.Hour))
			})
		}
		if err := enter("lobby", "alice"); err != nil {
			t.Fatal(err)
		}
		_ = rooms.View(t.Context(), "lobby", func(r room) error {
			fmt.Println(r.Open, r.Members)
			return nil
		})
	}
}
