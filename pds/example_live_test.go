package pds_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"

	"github.com/coder/websocket"

	"github.com/pdskit/pdskit/live"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/repo"
	"github.com/pdskit/pdskit/storage/sqlite"
	"github.com/pdskit/pdskit/xrpc"
)

// A room that is told of every note that an account writes. The policy puts the
// message into the same transaction as the record; clients follow the room by a
// method of the program's own.
func ExampleServer_ServeTopic() {
	const room = "com.example.room/notes"
	store := must(sqlite.OpenMemory(sqlite.Options{}))
	defer store.Close()
	cfg := memoryConfig(store)
	cfg.Policy = pds.PolicyFunc(func(_ context.Context, w *pds.Write) error {
		for _, op := range w.Ops {
			if err := w.State.Publish(room, map[string]string{"record": string(op.Collection) + "/" + string(op.RKey)}); err != nil {
				return err
			}
		}
		return nil
	})
	srv := must(pds.New(cfg))
	type params struct {
		Cursor string `json:"cursor,omitempty"`
	}
	srv.Handle(xrpc.Subscription("com.example.room.watch", xrpc.Public(),
		func(ctx context.Context, p *params, stream *xrpc.Stream) error {
			return srv.ServeTopic(ctx, stream, room, live.Public(), live.Options{Cursor: p.Cursor})
		}))
	hs := httptest.NewServer(srv)
	defer hs.Close()

	ctx := context.Background()
	if err := srv.Live().Create(ctx, live.Topic{Name: room}); err != nil {
		fmt.Println(err)
	}
	page := must(srv.Live().Page(ctx, room, live.Query{})) // what a client shows first
	account := must(srv.CreateAccount(ctx, pds.NewAccount{Handle: "alice.test"}))
	must(srv.Apply(ctx, pds.Batch{Account: account.DID, Actor: account.DID, Ops: []pds.Op{{
		Action: pds.Create, Collection: "com.example.note", RKey: "first",
		Record: must(repo.RecordFromValue(map[string]any{"text": "hello"}, "com.example.note")),
	}}}))

	conn, _, err := websocket.Dial(ctx, hs.URL+"/xrpc/com.example.room.watch?cursor="+page.Topic.Cursor(page.Topic.Last),
		&websocket.DialOptions{Subprotocols: []string{"xrpc.v1.json"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.CloseNow()
	_, frame, err := conn.Read(ctx)
	var message struct {
		Payload struct {
			Type string `json:"$type"`
			Seq  int
			Data json.RawMessage
		}
	}
	fmt.Println(err, json.Unmarshal(frame, &message))
	fmt.Println(message.Payload.Type, message.Payload.Seq, string(message.Payload.Data))
	// Output:
	// <nil> <nil>
	// com.example.room.watch#message 1 {"record":"com.example.note/first"}
}
