package xrpc

import (
	"cmp"
	"context"
	"errors"
	"io"
	"iter"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

// Defaults of [StreamConfig].
const (
	DefaultPingInterval = 30 * time.Second
	DefaultWriteTimeout = 30 * time.Second
	DefaultMaxMessage   = 64 << 10
	DefaultMaxStreams   = 4096
	DefaultMaxPerClient = 256
	DefaultRecheck      = time.Minute
	DefaultMaxRate      = 100
	inboxMessages       = 64  // received and not yet asked for
	maxCloseReason      = 123 // bytes, by RFC 6455
	shutdownReason      = "server is shutting down"
)

// StreamConfig holds the limits of event streams. The zero value stands for
// the defaults.
type StreamConfig struct {
	// PingInterval is the time between pings, and how long an answer to one
	// may take. 0: [DefaultPingInterval].
	PingInterval time.Duration

	// WriteTimeout is how long a client may take for one frame. 0:
	// [DefaultWriteTimeout].
	WriteTimeout time.Duration

	// MaxMessage is the size of messages that clients send, in bytes. A
	// larger one ends the stream with close code 1009. 0:
	// [DefaultMaxMessage].
	MaxMessage int64

	// MaxRate is how many messages a client may send in one second: on average,
	// and at once. More end the stream with the error RateLimitExceeded. 0:
	// [DefaultMaxRate].
	MaxRate int

	// MaxStreams is the number of streams that may be open at once; more
	// are refused with a 503. 0: [DefaultMaxStreams].
	MaxStreams int

	// MaxPerClient is the number of streams that one client, see [ClientKey],
	// may have open at once; more are refused with a 429. Clients that are
	// not known are not counted. 0: [DefaultMaxPerClient].
	MaxPerClient int

	// Recheck is how often the callers of open streams are looked at again, see
	// [Server.Recheck]. 0: [DefaultRecheck].
	Recheck time.Duration
}

func (c *StreamConfig) setDefaults() error {
	if c.PingInterval < 0 || c.WriteTimeout < 0 || c.MaxMessage < 0 || c.MaxStreams < 0 || c.MaxPerClient < 0 || c.MaxRate < 0 || c.Recheck < 0 {
		return errors.New("xrpc: the fields of Config.Stream must not be negative")
	}
	c.PingInterval = cmp.Or(c.PingInterval, DefaultPingInterval)
	c.WriteTimeout = cmp.Or(c.WriteTimeout, DefaultWriteTimeout)
	c.MaxMessage = cmp.Or(c.MaxMessage, DefaultMaxMessage)
	c.MaxStreams = cmp.Or(c.MaxStreams, DefaultMaxStreams)
	c.MaxPerClient = cmp.Or(c.MaxPerClient, DefaultMaxPerClient)
	c.MaxRate = cmp.Or(c.MaxRate, DefaultMaxRate)
	c.Recheck = cmp.Or(c.Recheck, DefaultRecheck)
	return nil
}

// Why a stream's context has ended.
var (
	errShutdown   = errors.New("xrpc: the server is shutting down")
	errClientGone = errors.New("xrpc: the client has left the stream")
	errFinished   = errors.New("xrpc: the stream is closed")
)

// A Stream is an event stream as its handler sees it. Its methods are safe for
// concurrent use; it is closed when the handler returns.
//
// It goes in both directions: Send sends messages to the client, Receive takes
// those of the client, in the same form. One goroutine of the handler may send
// while another receives. Messages that arrive before the first Receive are kept,
// up to 64; a handler that never calls Receive need not care about them. Later,
// a handler that is slow to call Receive makes the client wait.
//
// Pings are sent, and a client that does not answer them is dropped. The close
// codes are 1000 after a handler that returns nil; 1008 after an error frame with
// the error of the handler, of credentials that have ended ([Server.Recheck]), or
// RateLimitExceeded for a client that sends more than [StreamConfig.MaxRate]; 1009
// for a message larger than [StreamConfig.MaxMessage]; 1001 when the server shuts
// down.
type Stream struct {
	conn   *websocket.Conn
	cork   *corkedConn // below conn
	cfg    *StreamConfig
	nsid   string
	proto  Protocol
	ctx    context.Context
	cancel context.CancelCauseFunc

	write      sync.Mutex  // held while a frame goes out; guards the following field
	deadline   *time.Timer // cuts the connection when a frame takes too long
	lastWrite  atomic.Int64
	inbox      chan inboxItem
	receives   atomic.Bool   // the handler has called Receive
	delivering atomic.Bool   // the reader waits for the handler
	once       sync.Once     // of finish
	intake     intake        // of the reader
	readEnd    error         // set before inbox is closed
	reason     error         // that it ended for; set by finish
	again      chan struct{} // a value: the caller is to be looked at
}

type inboxItem struct {
	text bool
	data []byte
}

// Protocol returns the form of the messages.
func (s *Stream) Protocol() Protocol { return s.proto }

// Send sends a message to the client. See [EncodeFrame] for t and event.
func (s *Stream) Send(ctx context.Context, t string, event any) error {
	frame, err := EncodeFrame(s.proto, s.nsid, t, event)
	if err != nil {
		return err
	}
	return s.SendFrames(ctx, frame)
}

// SendFrames sends frames in the protocol of the stream, see [EncodeFrame], one
// after another, in as few writes to the connection as possible. Frames may be
// shared with other streams and are not changed. It returns when all are on
// their way, or after the write timeout, which is for all of them, with an
// error; the stream is over then. So send about 64 KiB at a time. ctx is looked
// at before, not during the write.
func (s *Stream) SendFrames(ctx context.Context, frames ...[]byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.ctx.Err() != nil {
		return context.Cause(s.ctx)
	}
	return s.writeFrames(frames...)
}

func (s *Stream) writeFrames(frames ...[]byte) error {
	s.write.Lock()
	defer s.write.Unlock()
	s.deadline.Reset(s.cfg.WriteTimeout)
	defer s.deadline.Stop()
	s.cork.cork()
	var err error
	for _, frame := range frames {
		// A context that can end would make the connection watch it, at some
		// cost for each frame; the timer does the same for less.
		if err = s.conn.Write(context.WithoutCancel(s.ctx), s.messageType(), frame); err != nil {
			break
		}
	}
	if e := s.cork.uncork(); err == nil {
		err = e
	}
	if err != nil {
		s.cancel(errClientGone)
		return errClientGone
	}
	s.lastWrite.Add(1)
	return nil
}

func (s *Stream) messageType() websocket.MessageType {
	if s.proto == ProtocolJSON {
		return websocket.MessageText
	}
	return websocket.MessageBinary
}

// Receive returns the next message of the client. It returns io.EOF when the
// client has closed the stream, an *[Error] for a frame that is none or that
// carries an error, and the error of a context that ends.
func (s *Stream) Receive(ctx context.Context) (*Message, error) {
	s.receives.Store(true)
	select {
	case item, ok := <-s.inbox:
		if !ok {
			return nil, s.readEnd
		}
		if item.text != (s.proto == ProtocolJSON) {
			return nil, errFrame
		}
		return decodeFrame(s.proto, s.nsid, item.data)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Close ends the stream: with an error frame and close code 1008 for an error,
// normally for nil. The handler should return afterwards; what it returns no
// longer matters. Usually returning the error is enough.
func (s *Stream) Close(err error) {
	s.finish(err)
}

// read takes messages off the connection until it ends. Pongs and close frames
// are handled meanwhile.
func (s *Stream) read() {
	ctx := context.WithoutCancel(s.ctx) // a context that ends would cut the connection
	defer close(s.inbox)
	for {
		kind, data, err := s.conn.Read(ctx)
		if err != nil {
			s.readEnd = errClientGone
			if code := websocket.CloseStatus(err); code == websocket.StatusNormalClosure || code == websocket.StatusGoingAway || code == websocket.StatusNoStatusRcvd {
				s.readEnd = io.EOF
			}
			s.cancel(errClientGone)
			return
		}
		if !s.intake.take(s.cfg.MaxRate, time.Now()) {
			s.readEnd = errTooManyMessages
			s.finish(errTooManyMessages)
			return
		}
		s.deliver(inboxItem{kind == websocket.MessageText, data})
	}
}

var errTooManyMessages = NewError(http.StatusTooManyRequests, "", "Too many messages")

// intake counts the messages of a client: a bucket that empties with time. The
// time is that of the connection, not of a clock that may be set.
type intake struct {
	level float64 // messages
	at    time.Time
}

// take counts a message, and reports whether that many are allowed in a second.
func (i *intake) take(rate int, now time.Time) bool {
	i.level = max(i.level-now.Sub(i.at).Seconds()*float64(rate), 0) + 1
	i.at = now
	return i.level <= float64(rate)
}

func (s *Stream) deliver(item inboxItem) {
	select {
	case s.inbox <- item:
		return
	default:
	}
	if !s.receives.Load() {
		return
	}
	s.delivering.Store(true)
	defer s.delivering.Store(false)
	select {
	case s.inbox <- item:
	case <-s.ctx.Done():
	}
}

// ping keeps the connection alive and finds out when it is dead.
func (s *Stream) ping() {
	tick := time.NewTicker(s.cfg.PingInterval)
	defer tick.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
		}
		// A pong cannot be read while the reader waits for the handler,
		// and a frame that is going out has its own deadline.
		if s.delivering.Load() || !s.write.TryLock() {
			continue
		}
		s.write.Unlock()
		before := s.lastWrite.Load()
		ctx, cancel := context.WithTimeout(s.ctx, s.cfg.PingInterval)
		err := s.conn.Ping(ctx)
		cancel()
		if err == nil || s.ctx.Err() != nil || s.delivering.Load() || s.lastWrite.Load() != before {
			continue
		}
		if s.write.TryLock() {
			s.write.Unlock()
			s.cancel(errClientGone)
			_ = s.conn.CloseNow()
			return
		}
	}
}

// finish closes the connection in the way that err asks for, once.
func (s *Stream) finish(err error) {
	s.once.Do(func() {
		s.reason = err
		cause := context.Cause(s.ctx)
		s.cancel(errFinished)
		switch {
		case errors.Is(cause, errShutdown):
			_ = s.conn.Close(websocket.StatusGoingAway, shutdownReason)
		case cause != nil:
			_ = s.conn.CloseNow()
		case err == nil:
			_ = s.conn.Close(websocket.StatusNormalClosure, "")
		default:
			e, _ := asError(err)
			name, message := e.wire()
			if s.writeFrames(encodeError(s.proto, name, message)) != nil {
				_ = s.conn.CloseNow()
				return
			}
			_ = s.conn.Close(websocket.StatusPolicyViolation, name[:min(len(name), maxCloseReason)])
		}
	})
}

// serveStream upgrades the connection and runs the handler. Once it is
// upgraded, all failures are told in an error frame, as the reference server
// does.
func (b *binding) serveStream(c *call) error {
	if err := checkUpgrade(c.req); err != nil {
		return err
	}
	set := b.server.streams
	client := ClientKey(c.req.Context())
	if err := set.acquire(client, &b.server.cfg.Stream); err != nil {
		return err
	}
	defer set.release(client)
	proto, offered := b.protocol(c.req.Header)
	opts := &websocket.AcceptOptions{
		// No cookie authenticates here, so there is no origin to protect.
		InsecureSkipVerify: true,
		CompressionMode:    websocket.CompressionDisabled,
	}
	if offered {
		opts.Subprotocols = []string{string(proto)}
	}
	cw := &corkingWriter{ResponseWriter: c.rw}
	conn, err := websocket.Accept(cw, c.req, opts)
	if err != nil {
		return clientGone(err)
	}
	c.rw.status = http.StatusSwitchingProtocols
	conn.SetReadLimit(b.server.cfg.Stream.MaxMessage)

	s := &Stream{
		conn:     conn,
		cork:     cw.conn,
		cfg:      &b.server.cfg.Stream,
		nsid:     b.method.nsid,
		proto:    proto,
		deadline: time.AfterFunc(time.Hour, func() { _ = conn.CloseNow() }),
		inbox:    make(chan inboxItem, inboxMessages),
		again:    make(chan struct{}, 1),
	}
	s.deadline.Stop()
	s.ctx, s.cancel = context.WithCancelCause(c.req.Context())
	set.add(s)
	defer set.remove(s)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(s.read)
	wg.Go(s.ping)
	s.finish(b.runStream(c, s, &wg))
	if cause := context.Cause(s.ctx); !errors.Is(cause, errShutdown) && !errors.Is(cause, errClientGone) {
		c.err = s.reason // for the log
	}
	return nil
}

// recoverTo makes a panic an error.
func recoverTo(err *error) {
	if p := recover(); p != nil {
		*err = &panicError{p, debug.Stack()}
	}
}

// runStream makes the usual checks and calls the handler. wg is for what goes on
// beside it.
func (b *binding) runStream(c *call, s *Stream, wg *sync.WaitGroup) (err error) {
	defer recoverTo(&err)
	arg := b.method.newArg()
	if err := b.params.decode(c.req.URL.RawQuery, arg); err != nil {
		return err
	}
	if c.caller, err = b.method.rule.apply(s.ctx, c.req, &b.server.cfg); err != nil {
		return err
	}
	if err := c.takeLimits(s.ctx, b.server.cfg.GlobalLimits, true); err != nil {
		return err
	}
	if err := c.takeLimits(s.ctx, b.method.limits, false); err != nil {
		return err
	}
	if c.caller != nil {
		b.server.streams.watch(s, c.caller)
		wg.Go(func() { b.watch(c, s) })
	}
	return b.method.stream(s.ctx, arg, s)
}

// protocol chooses the first protocol that the client offers and we have, or
// the one that the schema names.
func (b *binding) protocol(h http.Header) (p Protocol, offered bool) {
	for name := range Subprotocols(h) {
		switch p := Protocol(name); p {
		case ProtocolCBOR, ProtocolJSON:
			return p, true
		}
	}
	if b.schema != nil && b.schema.Subprotocol == string(ProtocolJSON) {
		return ProtocolJSON, false
	}
	return ProtocolCBOR, false
}

// Subprotocols returns the protocols that a client offers for a WebSocket, in
// its header Sec-WebSocket-Protocol.
func Subprotocols(h http.Header) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, v := range h.Values("Sec-WebSocket-Protocol") {
			for name := range strings.SplitSeq(v, ",") {
				if !yield(strings.TrimSpace(name)) {
					return
				}
			}
		}
	}
}

func checkUpgrade(r *http.Request) error {
	if !hasToken(r.Header, "Connection", "upgrade") || !hasToken(r.Header, "Upgrade", "websocket") {
		return NewError(http.StatusUpgradeRequired, "", "").
			WithHeader("Upgrade", "websocket").WithHeader("Connection", "Upgrade")
	}
	if r.Header.Get("Sec-WebSocket-Version") != "13" || r.Header.Get("Sec-WebSocket-Key") == "" {
		return InvalidRequest("malformed WebSocket handshake").WithHeader("Sec-WebSocket-Version", "13")
	}
	return nil
}

func hasToken(h http.Header, key, token string) bool {
	for _, v := range h.Values(key) {
		for item := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(item), token) {
				return true
			}
		}
	}
	return false
}
