package pds

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/pdskit/pdskit/xrpc"
)

// Limits of answers that are read here, in bytes, before and after decoding.
const (
	maxServiceJSON  = 1 << 20
	maxServiceError = 16 << 10
)

// answerBody is the body of an upstream's answer. Its errors are of type
// *xrpc.Error.
type answerBody struct {
	r     io.ReadCloser
	ctx   context.Context // of the call
	timer *time.Timer     // ends ctx
	idle  time.Duration
	left  int64
	close func()
}

func (b *answerBody) Read(p []byte) (int, error) {
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	b.timer.Reset(b.idle)
	n, err := b.r.Read(p)
	b.timer.Stop()
	if int64(n) > b.left {
		n, b.left = int(b.left), 0
		return n, errAnswerTooLarge()
	}
	b.left -= int64(n)
	if err != nil && err != io.EOF {
		status, name := http.StatusBadGateway, "UpstreamFailure"
		if cause := context.Cause(b.ctx); errors.Is(cause, errUpstreamSlow) {
			status, name, err = http.StatusGatewayTimeout, "UpstreamTimeout", fmt.Errorf("%w: %w", cause, err)
		}
		err = xrpc.NewError(status, name, "The answer of the upstream service ended early").WithCause(err)
	}
	return n, err
}

// Close implements io.Closer. It is called once.
func (b *answerBody) Close() error {
	err := b.r.Close()
	b.close()
	return err
}

func errAnswerTooLarge() error {
	return xrpc.NewError(http.StatusBadGateway, "UpstreamFailure", "The answer of the upstream service is too large")
}

// checkAnswer returns an error unless an answer is a success of bearable length.
func checkAnswer(resp *http.Response, limit int64) error {
	switch {
	case resp.StatusCode >= http.StatusBadRequest:
		return upstreamError(resp)
	case resp.StatusCode < http.StatusOK || resp.StatusCode >= http.StatusMultipleChoices:
		return xrpc.NewError(http.StatusBadGateway, "UpstreamFailure",
			fmt.Sprintf("The upstream service answered with the status %d", resp.StatusCode))
	case resp.ContentLength > limit:
		return errAnswerTooLarge()
	}
	return nil
}

// upstreamError turns an answer that is an error into what the client gets to
// see: status, name and message, and nothing else of the body.
func upstreamError(resp *http.Response) error {
	e := &xrpc.Error{Status: resp.StatusCode, Header: http.Header{}}
	if e.Status == http.StatusInternalServerError || e.Status > 599 {
		e.Status = http.StatusBadGateway
	}
	passHeaders(e.Header, resp.Header, errorHeaders)
	var body struct {
		Error   any `json:"error"` // of any type, so that the other one is read
		Message any `json:"message"`
	}
	if text, err := readDecoded(resp, maxServiceError); err == nil && isJSON(resp.Header) && json.Unmarshal(text, &body) == nil {
		e.Name, _ = body.Error.(string)
		e.Message, _ = body.Message.(string)
	}
	return e
}

// Headers of an answer that are passed on to the client.
var (
	answerHeaders = []string{
		"Content-Type", "Content-Encoding", "Content-Language",
		"Atproto-Repo-Rev", "Atproto-Content-Labelers", "Retry-After",
	}
	errorHeaders = []string{"Atproto-Repo-Rev", "Atproto-Content-Labelers", "Retry-After"}
)

func passHeaders(dst, src http.Header, names []string) {
	for _, name := range names {
		if values := src.Values(name); len(values) > 0 {
			dst[name] = values
		}
	}
}

// isJSON reports whether an answer says that it is JSON, or nothing.
func isJSON(h http.Header) bool {
	text := h.Get("Content-Type")
	if text == "" {
		return true
	}
	base, _, _ := mime.ParseMediaType(text)
	return base == "application/json" || strings.HasPrefix(base, "application/") && strings.HasSuffix(base, "+json")
}

// readDecoded reads a whole answer, decoded, of at most limit bytes.
func readDecoded(resp *http.Response, limit int64) ([]byte, error) {
	sent, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(sent)) > limit {
		return nil, errAnswerTooLarge()
	}
	return decodeText(sent, resp.Header, limit)
}

// decodeText decodes an answer that has been read, to at most limit bytes.
func decodeText(sent []byte, h http.Header, limit int64) ([]byte, error) {
	decoded, err := xrpc.Decompress(bytes.NewReader(sent), h.Values("Content-Encoding"))
	if err != nil {
		return nil, xrpc.NewError(http.StatusBadGateway, "UpstreamFailure", "The upstream service uses an unknown encoding").WithCause(err)
	}
	text, err := io.ReadAll(io.LimitReader(decoded, limit+1))
	switch {
	case int64(len(text)) > limit:
		return nil, errAnswerTooLarge()
	case err != nil:
		return nil, xrpc.NewError(http.StatusBadGateway, "UpstreamFailure", "The answer of the upstream service cannot be decoded").WithCause(err)
	}
	return text, nil
}

// readJSONAnswer reads an answer that must be JSON. An empty one is nil.
func readJSONAnswer(resp *http.Response) (json.RawMessage, error) {
	text, err := readDecoded(resp, maxServiceJSON)
	if err != nil {
		return nil, err
	}
	if len(text) == 0 {
		return nil, nil
	}
	if !isJSON(resp.Header) || !json.Valid(text) {
		return nil, xrpc.NewError(http.StatusBadGateway, "UpstreamFailure", "The answer of the upstream service is not JSON")
	}
	return text, nil
}
