package pds

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/live"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// Live returns the topics of the server: messages with history and signals, for
// those who subscribe. They live in the server's store; State.Publish puts a
// message into the same transaction as other changes. Shutdown ends the
// subscriptions, and Run does the maintenance.
func (s *Server) Live() *live.Hub { return s.live }

// ServeTopic sends the events of a topic to a client, for the handler of a
// subscription, until the client leaves or the subscription ends:
//
//	func watch(ctx context.Context, p *params, stream *xrpc.Stream) error {
//		return srv.ServeTopic(ctx, stream, roomTopic(p.Room), mayRead(ctx, p.Room), live.Options{Cursor: p.Cursor})
//	}
//
// Each event is a message of the stream, in its protocol, of the type "#" and
// the event's kind: #message, #redaction, #gap, #signal, #signalsReset; their
// fields are those of live.Event.AppendJSON. Each is encoded once for all
// streams of a method. A client that does not take what it is sent within
// twice Limits.StallTime is dropped. Several topics may be served to one stream
// at a time.
//
// The error is for the handler to return, so that the client is told: TopicNotFound,
// TopicDeleted, InvalidCursor, TooManySubscriptions, SubscriptionRevoked,
// AccessDenied, or that of the rule or of live.Hub.Revoke.
func (s *Server) ServeTopic(ctx context.Context, stream *xrpc.Stream, topic string, rule live.Rule, o live.Options) error {
	sub, err := s.live.Subscribe(ctx, topic, rule, o)
	if err != nil {
		return liveError(err)
	}
	defer sub.Close()
	nsid := string(xrpc.MethodFrom(ctx))
	form := string(stream.Protocol()) + " " + nsid
	encode := func(e *live.Event) ([]byte, error) {
		return xrpc.EncodeFrame(stream.Protocol(), nsid, "#"+string(e.Kind), e)
	}
	var frames [][]byte
	for {
		events, err := sub.Next(ctx)
		if err != nil {
			return liveError(err)
		}
		frames = frames[:0]
		for _, e := range events {
			frame, err := e.Encoded(form, encode)
			if err != nil {
				return fmt.Errorf("an event of topic %q cannot be sent: %w", topic, err)
			}
			frames = append(frames, frame)
		}
		if err := stream.SendFrames(ctx, frames...); err != nil {
			return err
		}
		clear(frames) // an idle subscriber keeps no frames alive
	}
}

// liveErrors are what clients are told of the errors of topics.
var liveErrors = []struct {
	err           error
	status        int
	name, message string
}{
	{live.ErrDeleted, http.StatusGone, "TopicDeleted", "The topic was deleted"},
	{live.ErrNotFound, http.StatusNotFound, "TopicNotFound", "There is no such topic"},
	{live.ErrCursor, http.StatusBadRequest, "InvalidCursor", "Malformed cursor"},
	{live.ErrTooMany, http.StatusTooManyRequests, "TooManySubscriptions", "Too many subscriptions"},
	{live.ErrRevoked, http.StatusForbidden, "SubscriptionRevoked", "The subscription was revoked"},
	{live.ErrDenied, http.StatusForbidden, "AccessDenied", "The subscription is not allowed"},
	{live.ErrClosed, http.StatusServiceUnavailable, "ShuttingDown", "The server is shutting down"},
	{live.ErrInvalid, http.StatusBadRequest, "InvalidTopic", "Malformed topic"},
}

// liveError turns an error of a topic into one for the client. What is one
// already, or unknown, stays as it is.
func liveError(err error) error {
	if isRefusal(err) {
		return err
	}
	for _, e := range liveErrors {
		if errors.Is(err, e.err) {
			return xrpc.NewError(e.status, e.name, e.message).WithCause(err)
		}
	}
	return err
}

// liveNews is what subscribers have to be told when a State has been applied.
type liveNews struct {
	changed, rights []string // topics
	callers         []syntax.DID
}

// tellLive makes known what the changes of a State, if they have been applied,
// did to topics and to somebody's rights. Otherwise there is nothing new to find.
func (st *State) tellLive() {
	if st == nil {
		return
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.s.live.Wake(st.news.changed...)
	for _, topic := range st.news.rights {
		st.s.live.Recheck(topic)
	}
	st.s.Recheck(st.news.callers...)
}

// CreateTopic makes a topic together with the other changes, see live.Create.
// If there is one, the whole transaction fails with live.ErrExists.
func (st *State) CreateTopic(t live.Topic) error {
	return st.also(0, func(tx storage.Docs) error { return live.Create(tx, st.s.clock.Now(), t) }, t.Name)
}

// DeleteTopic removes a topic with its messages together with the other
// changes, see live.Delete.
func (st *State) DeleteTopic(topic string) error {
	return st.also(0, func(tx storage.Docs) error { return live.Delete(tx, topic) }, topic)
}

// Topic returns a topic as it is stored, without what this State does to it, or
// an error that matches live.ErrNotFound. Whoever publishes after that knows the
// numbers of the entries: they begin with Info.Last+1, in the order of the calls
// of Publish and Redact. Other transactions that publish on the topic conflict
// with this one then.
func (st *State) Topic(name string) (live.Info, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.closed {
		return live.Info{}, ErrStateClosed
	}
	var info live.Info
	err := st.view(func(tx storage.Tx) (err error) {
		info, err = live.Lookup(readDocs{tx, st}, name)
		return err
	})
	return info, err
}

// readDocs are the documents of the store for code that reads a few of them for
// a State, which takes note of what it read.
type readDocs struct {
	storage.Docs
	st *State
}

func (r readDocs) GetDoc(kind, key string) (storage.Doc, error) {
	d, err := r.Docs.GetDoc(kind, key)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return d, err
	}
	r.st.reads[docID{kind, key}] = d
	return d, errors.Join(err, r.st.countReads(1))
}

// Publish appends a message to a topic together with the other changes, and
// makes it known to subscribers once they are durable. data is what
// live.EncodeData takes. If there is no such topic when the changes are
// applied, the whole transaction fails with live.ErrNotFound.
func (st *State) Publish(topic string, data any) error {
	text, err := live.EncodeData(data)
	if err != nil {
		return err
	}
	return st.also(len(text), func(tx storage.Docs) error {
		_, err := live.Append(tx, st.s.clock.Now(), topic, text)
		return err
	}, topic)
}

// Redact removes the data of a message together with the other changes, see
// live.Redact. If there is no such message when they are applied, the whole
// transaction fails with live.ErrNotFound.
func (st *State) Redact(topic string, seq int64) error {
	return st.also(0, func(tx storage.Docs) error { return live.Redact(tx, st.s.clock.Now(), topic, seq) }, topic)
}

// RecheckTopic has the rules of a topic's subscriptions asked again once the
// changes are durable, see live.Hub.Recheck: for changes of somebody's rights.
// It counts as a change.
func (st *State) RecheckTopic(topic string) error {
	return st.alsoTell(func(news *liveNews) { news.rights = append(news.rights, topic) })
}

// Recheck has everything that somebody has open looked at again once the changes
// are durable, see [Server.Recheck]: for whoever has lost rights, such as a
// member who was banned. It counts as a change.
func (st *State) Recheck(did syntax.DID) error {
	return st.alsoTell(func(news *liveNews) { news.callers = append(news.callers, did) })
}

// alsoTell notes something to be told when the changes are durable.
func (st *State) alsoTell(note func(*liveNews)) error {
	if err := st.also(0, func(storage.Docs) error { return nil }); err != nil {
		return err
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	note(&st.news)
	return nil
}
