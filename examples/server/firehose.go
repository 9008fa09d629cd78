package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/coder/websocket"

	"github.com/pdskit/pdskit/repo"
	"github.com/pdskit/pdskit/xrpc"
)

// maxFrame is the largest event that the firehose command reads.
const maxFrame = 8 << 20

// eventKinds are the events of com.atproto.sync.subscribeRepos.
var eventKinds = []string{"#commit", "#sync", "#identity", "#account", "#info"}

// firehose prints events, one line of JSON each, until ctx ends: those after a
// cursor, or only new ones.
func (a *admin) firehose(ctx context.Context, args []string) error {
	u, err := url.Parse(a.base)
	if err != nil {
		return err
	}
	u = u.JoinPath("xrpc/com.atproto.sync.subscribeRepos")
	u.Scheme = strings.Replace(u.Scheme, "http", "ws", 1)
	if len(args) > 0 {
		if _, err := strconv.ParseInt(args[0], 10, 64); err != nil {
			return usageError(fmt.Sprintf("%q is no cursor: give a number, 0 for all events that are kept", args[0]))
		}
		u.RawQuery = "cursor=" + args[0]
	}
	conn, _, err := websocket.Dial(ctx, u.String(), nil)
	if err != nil {
		return fmt.Errorf("the server does not answer (is it running? -url says where): %w", err)
	}
	defer func() { _ = conn.CloseNow() }() // there is nothing left to lose
	conn.SetReadLimit(maxFrame)
	for {
		_, frame, err := conn.Read(ctx)
		switch {
		case ctx.Err() != nil, websocket.CloseStatus(err) == websocket.StatusGoingAway:
			return nil
		case err != nil:
			return err
		}
		line, err := eventLine(frame)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(a.out, "%s\n", line); err != nil {
			return err
		}
	}
}

// eventLine turns a frame into JSON, with its kind and without its blocks.
func eventLine(frame []byte) ([]byte, error) {
	for _, kind := range eventKinds {
		body, ok := bytes.CutPrefix(frame, xrpc.EncodeMessageHeader(kind))
		if !ok {
			continue
		}
		text, err := repo.CBORToJSON(nil, body)
		if err != nil {
			return nil, fmt.Errorf("%s event: %w", kind, err)
		}
		fields := map[string]any{}
		dec := json.NewDecoder(bytes.NewReader(text))
		dec.UseNumber()
		if err := dec.Decode(&fields); err != nil {
			return nil, err
		}
		fields["$type"] = kind
		delete(fields, "blocks")
		return json.Marshal(fields)
	}
	return nil, errors.New("the server sent an event of an unknown kind, or an error")
}
