package pds_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/coder/websocket"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/storage/sqlite"
	"github.com/pdskit/pdskit/xrpc"
	"github.com/pdskit/pdskit/xrpc/lexicons"
)

// chatLexicon describes the stream of the example: what the server sends. What
// clients send has the same form, and is checked by the handler.
const chatLexicon = `{"lexicon": 1, "id": "com.example.chat.join", "defs": {
	"main": {"type": "subscription", "message": {"schema": {"type": "union", "refs": ["#said"]}}},
	"said": {"type": "object", "required": ["text"], "properties": {"text": {"type": "string", "maxLength": 300}}}
}}`

// A chat with a machine: a stream in both directions, which a web page opens with
// a ticket. In a browser the last steps are
//
//	const socket = new WebSocket(url, ["xrpc.v1.json", ticket.subprotocol])
//	socket.send(JSON.stringify({$type: "message", payload: {$type: "com.example.chat.join#say", text: "hello"}}))
func ExampleServer_TicketMethod() {
	store := must(sqlite.OpenMemory(sqlite.Options{}))
	defer store.Close()
	cfg := memoryConfig(store)
	cfg.Catalog = lexicons.New()
	if err := cfg.Catalog.Add([]byte(chatLexicon)); err != nil {
		fmt.Println(err)
	}
	srv := must(pds.New(cfg))
	type said struct {
		Text string `json:"text"`
	}
	srv.Handle(
		srv.TicketMethod("com.example.chat.getTicket"),
		xrpc.Subscription("com.example.chat.join", xrpc.Required(nil), func(ctx context.Context, _ *xrpc.None, stream *xrpc.Stream) error {
			for {
				message, err := stream.Receive(ctx)
				if errors.Is(err, io.EOF) {
					return nil // the client has closed the stream
				}
				if err != nil {
					return err
				}
				var in said
				if message.Type != "#say" || json.Unmarshal(message.Body, &in) != nil || len(in.Text) > 300 {
					return xrpc.InvalidRequest("Say something")
				}
				answer := said{xrpc.CallerFrom(ctx).Origin.String() + " says " + in.Text}
				if err := stream.Send(ctx, "#said", answer); err != nil {
					return err
				}
			}
		}))
	hs := httptest.NewServer(srv)
	defer hs.Close()

	// Somebody is signed in.
	ctx := context.Background()
	account := must(srv.CreateAccount(ctx, pds.NewAccount{Handle: "alice.test", Email: "alice@example.com", Password: "a password"}))
	post := func(nsid, access string, in, out any) {
		request := must(http.NewRequestWithContext(ctx, http.MethodPost, hs.URL+"/xrpc/"+nsid, bytes.NewReader(must(json.Marshal(in)))))
		request.Header.Set("Content-Type", "application/json")
		if access != "" {
			request.Header.Set("Authorization", "Bearer "+access)
		}
		response := must(http.DefaultClient.Do(request))
		defer response.Body.Close()
		if err := json.NewDecoder(response.Body).Decode(out); err != nil {
			fmt.Println(err)
		}
	}
	var session struct{ AccessJwt string }
	post("com.atproto.server.createSession", "", map[string]string{"identifier": string(account.DID), "password": "a password"}, &session)

	var ticket pds.Ticket
	post("com.example.chat.getTicket", session.AccessJwt, map[string]string{"lxm": "com.example.chat.join"}, &ticket)
	conn, _, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(hs.URL, "http")+"/xrpc/com.example.chat.join",
		&websocket.DialOptions{Subprotocols: []string{"xrpc.v1.json", ticket.Subprotocol}})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.CloseNow()
	for _, text := range []string{`{"$type":"com.example.chat.join#say","text":"hello"}`, `{"$type":"com.example.chat.join#shout"}`} {
		err := conn.Write(ctx, websocket.MessageText, []byte(`{"$type":"message","payload":`+text+`}`))
		_, frame, err2 := conn.Read(ctx)
		fmt.Println(string(frame), err, err2)
	}
	_, _, err = conn.Read(ctx)
	fmt.Println(websocket.CloseStatus(err))
	// Output:
	// {"$type":"message","payload":{"$type":"com.example.chat.join#said","text":"session says hello"}} <nil> <nil>
	// {"$type":"error","error":"InvalidRequest","message":"Say something"} <nil> <nil>
	// StatusPolicyViolation
}
