package xrpc

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// A JSONAppender encodes itself. Outputs that implement it are not passed
// through encoding/json: use it for large outputs, and for those that hold
// JSON already.
type JSONAppender interface {
	// AppendJSON appends the JSON form to dst and returns it.
	AppendJSON(dst []byte) ([]byte, error)
}

const (
	// chunkBytes is the size in which streamed outputs are sent.
	chunkBytes = 64 << 10

	// DefaultBodyIdle is the time in which a client must take one chunk of
	// an output, or send a part of an upload.
	DefaultBodyIdle = 60 * time.Second
)

// appendOutput encodes an output.
func appendOutput(buf *bytes.Buffer, out any) error {
	if a, ok := out.(JSONAppender); ok {
		text, err := a.AppendJSON(buf.AvailableBuffer())
		if err == nil {
			_, _ = buf.Write(text)
		}
		return err
	}
	enc := json.NewEncoder(buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(out); err != nil {
		return err
	}
	buf.Truncate(buf.Len() - 1) // the newline
	return nil
}

// writeOutput sends the output of a handler as JSON, or an empty 200.
func (c *call) writeOutput(b *binding, out any) error {
	if !b.method.hasOutput {
		c.rw.Header().Set("Content-Length", "0")
		c.rw.WriteHeader(http.StatusOK)
		return nil
	}
	buf := getBuffer()
	defer putBuffer(buf)
	if err := appendOutput(buf, out); err != nil {
		return fmt.Errorf("encode the output of %s: %w", c.nsid, err)
	}
	text := buf.Bytes()
	if c.server.cfg.ValidateOutput {
		if err := b.checkOutput(text); err != nil {
			return fmt.Errorf("the output of %s breaks its schema: %w", c.nsid, err)
		}
	}
	h := c.rw.Header()
	h.Set("Content-Type", jsonType)
	addVary(h, "Accept-Encoding")
	if c.gzipLevel() != 0 && len(text) >= minCompress && c.req.Method != http.MethodHead && acceptsGzip(c.req.Header) {
		small := getBuffer()
		defer putBuffer(small)
		if err := gzipTo(small, text, c.gzipLevel()); err != nil {
			return fmt.Errorf("compress the output of %s: %w", c.nsid, err)
		}
		h.Set("Content-Encoding", "gzip")
		text = small.Bytes()
	}
	h.Set("Content-Length", strconv.Itoa(len(text)))
	c.rw.WriteHeader(http.StatusOK)
	_, err := c.rw.Write(text)
	return clientGone(err)
}

// A goneError is a failure to write to the client: nobody is left to tell.
type goneError struct{ err error }

func (e *goneError) Error() string { return "write to the client: " + e.err.Error() }
func (e *goneError) Unwrap() error { return e.err }

func clientGone(err error) error {
	if err == nil {
		return nil
	}
	return &goneError{err}
}

// writeBody sends an output that is not JSON.
func (c *call) writeBody(body *Body) error {
	if closer, ok := body.Reader.(io.Closer); ok {
		defer closer.Close()
	}
	if (body.Reader == nil) == (body.Write == nil) {
		return fmt.Errorf("the output of %s must have either Reader or Write", c.nsid)
	}
	h := c.rw.Header()
	for key, values := range body.Header {
		h[http.CanonicalHeaderKey(key)] = values
	}
	if body.ContentType != "" {
		h.Set("Content-Type", body.ContentType)
	}
	out := &bodyWriter{call: c, status: body.Status, length: body.Length}
	if out.status == 0 {
		out.status = http.StatusOK
	}
	if compressible(h.Get("Content-Type")) && out.status == http.StatusOK && h.Get("Content-Encoding") == "" {
		addVary(h, "Accept-Encoding")
		out.minGzip = minCompressOf(h.Get("Content-Type"))
		out.gzip = c.gzipLevel() != 0 && (body.Length < 0 || body.Length >= out.minGzip) && acceptsGzip(c.req.Header)
	}
	if c.req.Method == http.MethodHead {
		out.gzip = false
		out.sendHeader()
		return nil
	}
	defer out.release()
	var err error
	if body.Write != nil {
		err = body.Write(out)
	} else {
		err = out.copy(body.Reader)
	}
	if err != nil {
		return err
	}
	return out.finish()
}
