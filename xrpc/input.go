package xrpc

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/pdskit/pdskit/xrpc/lexicons"
)

// Default limits of inputs, in bytes. They hold for the input as sent and
// again for the decoded one.
const (
	DefaultMaxJSONBody   = 150 << 10
	DefaultMaxTextBody   = 100 << 10
	DefaultMaxUploadBody = 5 << 20
)

const (
	jsonType  = "application/json; charset=utf-8"
	jsonInput = "application/json"
	anyInput  = "*/*"
	maxPooled = 1 << 20 // larger buffers are left to the collector
)

var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func getBuffer() *bytes.Buffer { return buffers.Get().(*bytes.Buffer) }

func putBuffer(b *bytes.Buffer) {
	if b.Cap() <= maxPooled {
		b.Reset()
		buffers.Put(b)
	}
}

type presence uint8

const (
	bodyMissing presence = iota // no sign of a body
	bodyEmpty                   // announced as empty
	bodyPresent                 // or perhaps: chunked
)

func bodyPresence(r *http.Request) presence {
	switch {
	case r.ContentLength != 0:
		return bodyPresent
	case r.Header.Get("Content-Length") != "":
		return bodyEmpty
	}
	return bodyMissing
}

// refuseBody reports an error if the request has a body that is not empty.
func (c *call) refuseBody() error {
	if bodyPresence(c.req) != bodyPresent {
		return nil
	}
	if c.req.ContentLength < 0 {
		var one [1]byte
		if _, err := io.ReadFull(&wireReader{call: c, left: 1}, one[:]); err == io.EOF {
			return nil
		}
	}
	return InvalidRequest("A request body was provided when none was expected")
}

// requireBody checks presence and type of a body.
func requireBody(r *http.Request, want string) error {
	if bodyPresence(r) == bodyMissing {
		return InvalidRequest("A request body is expected but none was provided")
	}
	got := r.Header.Get("Content-Type")
	if got == "" {
		return InvalidRequest("Request encoding (Content-Type) required but not provided")
	}
	if got == want {
		return nil
	}
	base, _, err := mime.ParseMediaType(got)
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
		return InvalidRequest("malformed Content-Type")
	}
	if !lexicons.MatchMediaType(want, base) {
		return InvalidRequest("Wrong request encoding (Content-Type): %s", base)
	}
	return nil
}

// decodeInput reads a JSON input, checks it and decodes it into arg.
func (c *call) decodeInput(b *binding, arg any) error {
	r := c.req
	if b.method.input == nil {
		return c.refuseBody()
	}
	if err := requireBody(r, b.inputType); err != nil {
		return err
	}
	body, err := c.openBody(b.maxBody, tooLargeText)
	if err != nil {
		return err
	}
	buf := getBuffer()
	defer putBuffer(buf)
	if n := r.ContentLength; n > 0 {
		buf.Grow(int(min(n, b.maxBody)) + bytes.MinRead)
	}
	if _, err := buf.ReadFrom(body); err != nil {
		return err
	}
	text, err := b.checkInput(buf.Bytes())
	if err != nil {
		return InvalidRequest("invalid input: %v", err)
	}
	if err := json.Unmarshal(text, arg); err != nil {
		return inputError(err)
	}
	return nil
}

// inputError tells the client what does not fit, without the names of types.
func inputError(err error) error {
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && e.Field != "" {
		return InvalidRequest("invalid input: %s: must not be %s", e.Field, e.Value).WithCause(err)
	}
	return InvalidRequest("invalid input").WithCause(err)
}

// openUpload checks the headers of a raw input.
func (c *call) openUpload(b *binding) (*Upload, error) {
	r := c.req
	if err := requireBody(r, b.inputType); err != nil {
		return nil, err
	}
	name := tooLargeStream
	if strings.HasPrefix(b.inputType, "text/") {
		name = tooLargeText
	}
	body, err := c.openBody(b.maxBody, name)
	if err != nil {
		return nil, err
	}
	u := &Upload{ContentType: r.Header.Get("Content-Type"), Length: r.ContentLength, Reader: body}
	if r.Header.Get("Content-Encoding") != "" {
		u.Length = -1
	}
	return u, nil
}

// The names of the 413, as the reference server has them.
const (
	tooLargeText   = "PayloadTooLargeError"
	tooLargeStream = "PayloadTooLarge"
)

func tooLarge(name string) *Error {
	return NewError(http.StatusRequestEntityTooLarge, name, "")
}

// openBody returns a reader of the decoded body of a request, which fails
// when the body exceeds limit before or after decoding. All its errors but
// io.EOF are of type *Error.
func (c *call) openBody(limit int64, name string) (io.Reader, error) {
	r := c.req
	if r.ContentLength > limit {
		return nil, tooLarge(name)
	}
	wire := &wireReader{call: c, left: limit, name: name}
	coding := r.Header.Values("Content-Encoding")
	if len(coding) == 0 {
		return wire, nil
	}
	decoded, err := Decompress(wire, coding)
	if err != nil {
		return nil, err
	}
	if decoded == io.Reader(wire) {
		return wire, nil
	}
	return &decodedReader{r: decoded, wire: wire, left: limit, name: name}, nil
}

// A wireReader reads up to a limit from a connection, which must not stand
// still longer than Config.BodyIdle.
type wireReader struct {
	call  *call
	left  int64
	name  string
	err   error // the first error that is not io.EOF
	began time.Time
	armed time.Time
	read  int64

	mu     sync.Mutex // guards following 2 fields, and deadlines against them
	closed bool       // see rawBody
	ended  bool       // all of the body has been read
}

const (
	// rearmAfter is how old a deadline gets before it is moved, or a quarter
	// of Config.BodyIdle if that is less.
	rearmAfter = time.Second

	// minBodyRate is how many bytes per second a body must have on average,
	// counted from twice Config.BodyIdle after its beginning. So a client that
	// sends a byte now and then does not keep a connection for ever.
	minBodyRate = 1 << 10
)

func (w *wireReader) arm() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return // with a deadline that has passed
	}
	now := time.Now()
	if w.began.IsZero() {
		w.began = now
	}
	idle := w.call.server.cfg.BodyIdle
	if now.Sub(w.armed) <= min(rearmAfter, idle/4) {
		return
	}
	w.armed = now
	deadline := now.Add(idle)
	if slowest := w.began.Add(2*idle + time.Duration(w.read)*time.Second/minBodyRate); slowest.Before(deadline) {
		deadline = slowest
	}
	_ = http.NewResponseController(w.call.rw.ResponseWriter).SetReadDeadline(deadline)
}

// BoundDrain limits how long net/http, which reads what a handler has left of a
// body before it answers or takes the next request, waits for a client that
// does not send it. Call it at the end of handlers that may leave something.
func BoundDrain(w http.ResponseWriter, r *http.Request, wait time.Duration) {
	if r.ContentLength != 0 {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(wait))
	}
}

// disarm must follow the end of the body: net/http goes on reading to learn
// whether the client leaves, and would take a deadline for that.
func (w *wireReader) disarm() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	_ = http.NewResponseController(w.call.rw.ResponseWriter).SetReadDeadline(time.Time{})
}

func (w *wireReader) Read(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	if int64(len(p)) > w.left+1 {
		p = p[:w.left+1]
	}
	w.arm()
	n, err := w.call.req.Body.Read(p)
	w.read += int64(n)
	if err == io.EOF {
		w.disarm()
	}
	if int64(n) > w.left {
		n, w.err = int(w.left), tooLarge(w.name)
		w.left = 0
		return n, w.err
	}
	w.left -= int64(n)
	if err != nil && err != io.EOF {
		// Otherwise net/http would wait for the rest before it answers.
		w.call.rw.Header().Set("Connection", "close")
		w.err = InvalidRequest("the request body could not be read to its end").WithCause(err)
		err = w.err
	}
	return n, err
}

// A decodedReader reads up to a limit from a decoder.
type decodedReader struct {
	r    io.Reader
	wire *wireReader
	left int64
	name string
	err  error
}

func (d *decodedReader) Read(p []byte) (int, error) {
	if d.err != nil {
		return 0, d.err
	}
	if int64(len(p)) > d.left+1 {
		p = p[:d.left+1]
	}
	n, err := d.r.Read(p)
	if int64(n) > d.left {
		n, d.err = int(d.left), tooLarge(d.name)
		d.left = 0
		return n, d.err
	}
	d.left -= int64(n)
	switch {
	case err == nil || err == io.EOF:
		return n, err
	case d.wire.err != nil:
		d.err = d.wire.err
	default:
		d.err = InvalidRequest("the request body cannot be decoded").WithCause(err)
	}
	return n, d.err
}
