package actor_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"

	"github.com/pdskit/pdskit/actor"
	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/storage/blobs"
	"github.com/pdskit/pdskit/storage/sqlite"
)

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}

// A room that closes itself an hour after somebody last came in.
func Example() {
	store := must(sqlite.OpenMemory(sqlite.Options{}))
	defer store.Close()
	plc := must(identity.NewMemoryPLC(identity.MemoryPLCConfig{}))
	srv := must(pds.New(pds.Config{
		PublicURL: "http://localhost:2583",
		DevMode:   true,
		Store:     store,
		Blobs:     blobs.NewMemory(nil),
		Registry:  identity.NewPLCRegistry(plc.Client(), must(atcrypto.GeneratePrivateKeyK256()), ""),
		Directory: must(identity.NewResolver(identity.ResolverConfig{PLC: plc.Client(), AllowPrivate: true})),
		Keys:      must(pds.SealedKeys(pds.NewMasterKey())),
		Secret:    pds.NewMasterKey(),
	}))

	type room struct {
		Open    bool
		Members []string
	}
	rooms := actor.Register(actor.New(srv, actor.Options{}), actor.Kind[room]{
		Name: "com.example.room",
		Alarm: func(c *actor.Call[room]) error {
			*c.State = room{}
			return nil
		},
	})
	ctx := context.Background()
	enter := func(id, who string) error {
		return rooms.Do(ctx, id, func(c *actor.Call[room]) error {
			c.State.Open = true
			c.State.Members = append(c.State.Members, who)
			return c.SetAlarm(c.Now().Add(time.Hour)) // rung by srv.Run
		})
	}
	for _, who := range []string{"alice", "bob"} {
		if err := enter("lobby", who); err != nil {
			log.Fatal(err)
		}
	}
	err := rooms.View(ctx, "lobby", func(r room) error {
		fmt.Println(r.Open, r.Members)
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output: true [alice bob]
}
