package main

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/live"
	"github.com/pdskit/pdskit/xrpc"
)

// Times of signals. Who is connected says so again in time.
const (
	presenceTime   = 45 * time.Second
	presencePeriod = 20 * time.Second
	typingTime     = 6 * time.Second
)

// getHistory returns a page of the log of a room, the newest entries first. Who
// reads from the end meets the newest version of each message before the others.
func (c *call) getHistory() error {
	c.then = func() error {
		q := live.Query{To: c.in.Before, Reverse: true, Limit: c.in.Limit}
		page, err := c.app.srv.Live().Page(c.ctx, roomTopic(c.community, c.id), q)
		c.out = object{"entries": append([]live.Entry{}, page.Entries...), "cursor": page.Topic.Cursor(page.Topic.Last)}
		return err
	}
	return nil
}

// watcher is the stream of a member of a community: the notices, who is there, and
// the rooms that the client names. It ends when the membership does.
type watcher struct {
	app       *app
	ctx       context.Context
	stream    *xrpc.Stream
	community syntax.DID
	who       syntax.DID
	running   sync.WaitGroup
	following sync.Map // of the ids of rooms
}

// watch is what the client says and hears on the stream: it follows rooms, and somebody
// is typing there.
func (a *app) watch(ctx context.Context, in *input, stream *xrpc.Stream) error {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &watcher{app: a, ctx: ctx, stream: stream, community: in.Community, who: xrpc.CallerFrom(ctx).Actor}
	defer w.running.Wait()
	defer cancel(nil)
	w.running.Go(func() { cancel(w.serve(noticeTopic(in.Community), w.maySee(""), "")) })
	w.running.Go(w.stayPresent)
	for {
		m, err := stream.Receive(ctx)
		if err != nil {
			return context.Cause(ctx) // such as that the membership has ended
		}
		var f input
		if err := json.Unmarshal(m.Body, &f); err != nil {
			return xrpc.InvalidRequest("%s", err)
		}
		switch {
		case m.Type == "#follow":
			if _, already := w.following.LoadOrStore(f.Room, true); !already {
				w.running.Go(func() { w.follow(f) })
			}
		case m.Type == "#typing" && f.Room != "" && w.maySee(f.Room)(ctx) == nil:
			_ = a.srv.Live().Signal(roomTopic(in.Community, f.Room), "typing/"+string(w.who), object{}, typingTime) // if there is room for it
		}
	}
}

// maySee is the rule of a room's topic, or of the notices, which is asked again
// from time to time.
func (w *watcher) maySee(room string) live.Rule {
	return func(context.Context) error {
		_, err := w.app.run(w.ctx, w.app.srv.View, call{community: w.community, id: room}, nil)
		return err
	}
}

func (w *watcher) serve(topic string, rule live.Rule, cursor string) error {
	return w.app.srv.ServeTopic(w.ctx, w.stream, topic, rule, live.Options{Cursor: cursor, Client: string(w.who)})
}

// follow sends a room's events after a cursor. If that ends, the client is told.
func (w *watcher) follow(f input) {
	err := w.serve(roomTopic(w.community, f.Room), w.maySee(f.Room), f.Cursor)
	w.following.Delete(f.Room)
	if w.ctx.Err() == nil {
		_ = w.stream.Send(w.ctx, "#lost", object{"room": f.Room, "error": xrpc.ErrorName(err)}) // if this fails, the stream ends anyway
	}
}

// stayPresent says that the member is there until the stream ends, and a little
// longer: the member may have others.
func (w *watcher) stayPresent() {
	for w.maySee("")(w.ctx) == nil {
		_ = w.app.srv.Live().Signal(noticeTopic(w.community), "here/"+string(w.who), object{}, presenceTime) // again later, if there is no room
		select {
		case <-w.ctx.Done():
		case <-time.After(presencePeriod):
		}
	}
}
