package xrpc

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"
)

// Sizes from which answers are compressed. A small CAR is mostly hashes: a
// proof of 2 KB gets 0.4 KB shorter, and takes as much time for that as for all
// the rest.
const (
	minCompress    = 1 << 10
	minCompressCAR = 8 << 10
)

// minCompressOf returns the size for a media type.
func minCompressOf(mediaType string) int64 {
	if mediaType == carType {
		return minCompressCAR
	}
	return minCompress
}

const carType = "application/vnd.ipld.car"

// compressible reports whether a media type gains by compression.
func compressible(mediaType string) bool {
	base, _, _ := strings.Cut(mediaType, ";")
	base = strings.ToLower(strings.TrimSpace(base))
	switch base {
	case "application/json", "application/jsonl", carType, "application/xml",
		"application/javascript", "image/svg+xml":
		return true
	}
	return strings.HasPrefix(base, "text/") || strings.HasSuffix(base, "+json") || strings.HasSuffix(base, "+xml")
}

// acceptsGzip reports whether a client wants gzip: it is named, or everything
// is, with a weight that is not zero.
func acceptsGzip(h http.Header) bool {
	any, named, yes := false, false, false
	for _, v := range h["Accept-Encoding"] {
		for item := range strings.SplitSeq(v, ",") {
			coding, params, _ := strings.Cut(item, ";")
			switch strings.ToLower(strings.TrimSpace(coding)) {
			case "gzip", "x-gzip":
				named = true
				yes = yes || weight(params) > 0
			case "*":
				any = weight(params) > 0
			}
		}
	}
	return yes || any && !named
}

func weight(params string) float64 {
	q, ok := strings.CutPrefix(strings.ToLower(strings.ReplaceAll(params, " ", "")), "q=")
	if !ok {
		return 1
	}
	w, err := strconv.ParseFloat(q, 64)
	if err != nil {
		return 0
	}
	return w
}

func addVary(h http.Header, name string) {
	for _, v := range h["Vary"] {
		for item := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(item), name) {
				return
			}
		}
	}
	h["Vary"] = append(h["Vary"], name)
}

// gzipWriters holds writers by level.
var gzipWriters [gzip.BestCompression + 1]sync.Pool

func getGzip(w io.Writer, level int) *gzip.Writer {
	if zw, ok := gzipWriters[level].Get().(*gzip.Writer); ok {
		zw.Reset(w)
		return zw
	}
	zw, _ := gzip.NewWriterLevel(w, level) // NewServer has checked the level
	return zw
}

func putGzip(zw *gzip.Writer, level int) {
	zw.Reset(nil)
	gzipWriters[level].Put(zw)
}

func gzipTo(dst *bytes.Buffer, text []byte, level int) error {
	zw := getGzip(dst, level)
	defer putGzip(zw, level)
	if _, err := zw.Write(text); err != nil {
		return err
	}
	return zw.Close()
}

func (c *call) gzipLevel() int { return c.server.gzipLevel }

// A bodyWriter sends a streamed output in chunks. Until the first chunk is
// full nothing is sent, so that a failure can still become an error answer,
// and a short output goes out with its length.
type bodyWriter struct {
	call    *call
	status  int
	length  int64 // as promised; -1: not known
	written int64 // by the handler
	gzip    bool
	minGzip int64

	buf     []byte       // the chunk being filled; from chunks
	zw      *gzip.Writer // over (*rawChunks)(w); nil: none
	started bool         // the header has been sent
	timed   bool         // the connection has a deadline of ours
}

var chunks = sync.Pool{New: func() any {
	b := make([]byte, 0, chunkBytes)
	return &b
}}

var errLength = errors.New("the output does not have the promised length")

// Write takes the output as the handler makes it.
func (w *bodyWriter) Write(p []byte) (int, error) {
	if w.length >= 0 && w.written+int64(len(p)) > w.length {
		return 0, errLength
	}
	w.written += int64(len(p))
	if w.zw == nil && w.gzip && w.written >= w.minGzip {
		if err := w.startGzip(); err != nil {
			return 0, err
		}
	}
	if w.zw != nil {
		return w.zw.Write(p)
	}
	return (*rawChunks)(w).Write(p)
}

// startGzip puts what is buffered through a compressor. Nothing has been sent
// by then, since a chunk is larger than minGzip.
func (w *bodyWriter) startGzip() error {
	pending := append([]byte(nil), w.buf...)
	w.buf = w.buf[:0]
	w.zw = getGzip((*rawChunks)(w), w.call.gzipLevel())
	_, err := w.zw.Write(pending)
	return err
}

// rawChunks is a bodyWriter below the compressor.
type rawChunks bodyWriter

func (r *rawChunks) Write(p []byte) (int, error) {
	w := (*bodyWriter)(r)
	if w.buf == nil {
		w.buf = *chunks.Get().(*[]byte)
	}
	total := len(p)
	for len(p) > 0 {
		n := copy(w.buf[len(w.buf):cap(w.buf)], p)
		w.buf = w.buf[:len(w.buf)+n]
		p = p[n:]
		if len(w.buf) == cap(w.buf) {
			w.extend()
			if err := w.flush(); err != nil {
				return total - len(p), err
			}
		}
	}
	return total, nil
}

// flush sends the chunk.
func (w *bodyWriter) flush() error {
	w.sendHeader()
	_, err := w.call.rw.Write(w.buf)
	w.buf = w.buf[:0]
	return clientGone(err)
}

func (w *bodyWriter) sendHeader() {
	if w.started {
		return
	}
	w.started = true
	h := w.call.rw.Header()
	switch {
	case w.zw != nil:
		h.Set("Content-Encoding", "gzip")
		h.Del("Content-Length")
	case w.length >= 0:
		h.Set("Content-Length", strconv.FormatInt(w.length, 10))
	}
	w.call.rw.WriteHeader(w.status)
}

// copy sends a reader. Without compression a file does not pass through this
// process.
func (w *bodyWriter) copy(r io.Reader) error {
	if w.gzip || w.length < 0 {
		_, err := io.Copy(w, r)
		return err
	}
	w.sendHeader()
	for w.written < w.length {
		w.extend()
		n, err := io.CopyN(w.call.rw, r, min(w.length-w.written, 16*chunkBytes))
		w.written += n
		if err == io.EOF {
			return errLength
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// finish sends what is left.
func (w *bodyWriter) finish() error {
	if w.length >= 0 && w.written != w.length {
		return errLength
	}
	if w.zw != nil {
		if err := w.zw.Close(); err != nil {
			return err
		}
	}
	if !w.started && w.length < 0 && w.zw == nil {
		w.length = int64(len(w.buf))
	}
	if err := w.flush(); err != nil {
		return err
	}
	w.reset()
	return nil
}

func (w *bodyWriter) release() {
	if w.zw != nil {
		putGzip(w.zw, w.call.gzipLevel())
	}
	if w.buf != nil {
		b := w.buf[:0]
		chunks.Put(&b)
	}
}

// extend gives the client time to take another chunk, whatever the
// WriteTimeout of the http.Server says about whole answers.
func (w *bodyWriter) extend() {
	w.timed = true
	rc := http.NewResponseController(w.call.rw.ResponseWriter)
	_ = rc.SetWriteDeadline(time.Now().Add(w.call.server.cfg.BodyIdle))
}

// reset takes the deadline away, which would otherwise hit the next request
// on the connection.
func (w *bodyWriter) reset() {
	if !w.timed {
		return
	}
	rc := http.NewResponseController(w.call.rw.ResponseWriter)
	_ = rc.Flush()
	_ = rc.SetWriteDeadline(time.Time{})
}
