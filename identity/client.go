package identity

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// What a client allows where its ClientLimits say nothing.
const (
	// DefaultTimeout bounds a whole request, body included.
	DefaultTimeout = 10 * time.Second
	// DefaultMaxBody bounds the body of an answer, in bytes after decoding.
	DefaultMaxBody = 512 << 10
	// NoLimit in a field of ClientLimits switches that limit off.
	NoLimit = -1
)

var (
	// ErrBodyTooLarge says that an answer is longer than the client allows.
	ErrBodyTooLarge = errors.New("identity: response body too large")
	// ErrTooManyRedirects says that an answer led on more often than the
	// client follows.
	ErrTooManyRedirects = errors.New("identity: too many redirects")
)

// ClientLimits are the limits of one kind of fetching.
type ClientLimits struct {
	// Timeout bounds a request from its start to the end of the body. Zero
	// means DefaultTimeout; negative means none but the request's context.
	Timeout time.Duration
	// MaxBody is the longest body in bytes that can be read, after content
	// decoding where the transport does that. Zero means DefaultMaxBody;
	// negative means no limit.
	MaxBody int64
	// Redirects is how many redirects are followed; each hop passes the
	// transport's guard. Zero means none: the caller sees the 3xx answer.
	Redirects int
}

// NewClient returns a client over t with limits of its own. A body that is
// longer than allowed fails with ErrBodyTooLarge instead of ending early. A
// nil t means NewTransport of the zero config. It keeps no cookies.
func NewClient(t http.RoundTripper, lim ClientLimits) *http.Client {
	if t == nil {
		t = NewTransport(TransportConfig{})
	}
	if lim.Timeout == 0 {
		lim.Timeout = DefaultTimeout
	}
	if lim.MaxBody == 0 {
		lim.MaxBody = DefaultMaxBody
	}
	if lim.MaxBody > 0 {
		t = &cappedTransport{base: t, max: lim.MaxBody}
	}
	return &http.Client{
		Transport: t,
		Timeout:   max(lim.Timeout, 0),
		CheckRedirect: func(_ *http.Request, via []*http.Request) error {
			if lim.Redirects <= 0 {
				return http.ErrUseLastResponse
			}
			if len(via) > lim.Redirects {
				return ErrTooManyRedirects
			}
			return nil
		},
	}
}

// cappedTransport puts a limit on the body of every answer.
type cappedTransport struct {
	base http.RoundTripper
	max  int64
}

// RoundTrip implements http.RoundTripper.
func (t *cappedTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.base.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if req.Method != http.MethodHead && resp.ContentLength > t.max {
		resp.Body.Close()
		return nil, fmt.Errorf("%w: %d bytes announced, %d allowed", ErrBodyTooLarge, resp.ContentLength, t.max)
	}
	if resp.Body != nil && resp.Body != http.NoBody {
		resp.Body = &cappedBody{ReadCloser: resp.Body, left: t.max}
	}
	return resp, nil
}

// CloseIdleConnections passes on to the base, for http.Client.
func (t *cappedTransport) CloseIdleConnections() {
	if c, ok := t.base.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// cappedBody reads up to left bytes and fails if there is one more.
type cappedBody struct {
	io.ReadCloser
	left int64
}

// Read implements io.Reader.
func (b *cappedBody) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, ErrBodyTooLarge
	}
	// One byte more than allowed tells a body that ends at the limit from one
	// that goes on.
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	if b.left < 0 {
		return n - 1, ErrBodyTooLarge
	}
	return n, err
}
