package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/live"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/xrpc"
)

// Times of signals. Who is connected says so again in time.
const (
	presenceTime   = 45 * time.Second
	presencePeriod = 20 * time.Second
	typingTime     = 6 * time.Second
)

func presenceOf(did syntax.DID) string { return "here/" + string(did) }

type entryView struct {
	Seq      int64           `json:"seq"`
	Data     json.RawMessage `json:"data,omitempty"`
	Redacted bool            `json:"redacted,omitempty"`
	Redacts  int64           `json:"redacts,omitempty"`
}

type getHistoryOutput struct {
	Entries []entryView `json:"entries"`
	Cursor  string      `json:"cursor"` // of the end of the log
}

// getHistory returns a page of the log of a room, the newest entries first. Who
// reads from the end meets the newest version of each message before the others.
func (c *call) getHistory() (*getHistoryOutput, error) {
	out := new(getHistoryOutput)
	c.then = func() error {
		q := live.Query{To: c.query.Before, Reverse: true, Limit: c.query.Limit}
		page, err := c.app.srv.Live().Page(c.ctx, roomTopic(c.community, c.id), q)
		out.Entries, out.Cursor = make([]entryView, len(page.Entries)), page.Topic.Cursor(page.Topic.Last)
		for i, e := range page.Entries {
			out.Entries[i] = entryView{e.Seq, e.Data, e.Redacted, e.Redacts}
		}
		return err
	}
	return out, nil
}

// follow is what a client says on the stream: to be sent a room's events after a
// cursor, or that somebody is typing there.
type follow struct {
	Room   string `json:"room"`
	Cursor string `json:"cursor"`
}

// lost tells a client that it does not follow a room any more.
type lost struct {
	Room  string `json:"room"`
	Error string `json:"error"`
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
}

func (a *app) watch(ctx context.Context, p *params, stream *xrpc.Stream) error {
	ctx, cancel := context.WithCancelCause(ctx)
	w := &watcher{app: a, ctx: ctx, stream: stream, community: p.Community, who: xrpc.CallerFrom(ctx).Actor}
	defer w.running.Wait()
	defer cancel(nil)
	w.running.Go(func() { cancel(first(w.serve(noticeTopic(p.Community), w.maySee(""), ""), io.EOF)) })
	w.running.Go(w.stayPresent)
	following := map[string]bool{}
	for {
		m, err := stream.Receive(ctx)
		if err != nil {
			if err = first(context.Cause(ctx), err); errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		var f follow
		if err := json.Unmarshal(m.Body, &f); err != nil {
			return xrpc.InvalidRequest("%s", err)
		}
		switch {
		case m.Type == "#follow" && !following[f.Room] && len(following) < maxRooms:
			following[f.Room] = true
			w.running.Go(func() { w.follow(f) })
		case m.Type == "#typing" && w.maySee(f.Room)(ctx) == nil:
			w.signal(roomTopic(p.Community, f.Room), "typing/"+string(w.who), typingTime)
		}
	}
}

// maySee is the rule of a room's topic, or of the notices, which is asked again
// from time to time.
func (w *watcher) maySee(room string) live.Rule {
	return func(ctx context.Context) error {
		return w.app.srv.View(ctx, func(st *pds.State) error {
			_, err := w.app.enter(w.ctx, st, w.community, room)
			return err
		})
	}
}

func (w *watcher) serve(topic string, rule live.Rule, cursor string) error {
	return w.app.srv.ServeTopic(w.ctx, w.stream, topic, rule, live.Options{Cursor: cursor, Client: string(w.who)})
}

func (w *watcher) follow(f follow) {
	err := w.serve(roomTopic(w.community, f.Room), w.maySee(f.Room), f.Cursor)
	if w.ctx.Err() == nil {
		_ = w.stream.Send(w.ctx, "#lost", lost{f.Room, xrpc.ErrorName(err)}) // if this fails, the stream ends anyway
	}
}

// signal shows something for a while, if there is room for it.
func (w *watcher) signal(topic, key string, d time.Duration) {
	_ = w.app.srv.Live().Signal(topic, key, struct{}{}, d)
}

// stayPresent says that the member is there until the stream ends, and a little
// longer: the member may have others.
func (w *watcher) stayPresent() {
	tick := time.NewTicker(presencePeriod)
	defer tick.Stop()
	for w.maySee("")(w.ctx) == nil {
		w.signal(noticeTopic(w.community), presenceOf(w.who), presenceTime)
		select {
		case <-w.ctx.Done():
			return
		case <-tick.C:
		}
	}
}
