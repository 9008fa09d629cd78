package xrpc

import (
	"compress/gzip"
	"compress/zlib"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/andybalholm/brotli"
)

// maxCodings is the number of content codings that may be applied one over
// the other.
const maxCodings = 3

// Decompress undoes content codings, given as the values of Content-Encoding:
// gzip, deflate and br, up to three. It returns r itself if there are none, and
// an *[Error] of status 415 for others. The decoded data may be very much
// longer than the encoded: the caller limits what it reads.
func Decompress(r io.Reader, values []string) (io.Reader, error) {
	var codings []string
	for _, v := range values {
		for coding := range strings.SplitSeq(v, ",") {
			coding = strings.ToLower(strings.TrimSpace(coding))
			if coding != "" && coding != "identity" {
				codings = append(codings, coding)
			}
		}
	}
	if len(codings) > maxCodings {
		return nil, unsupportedCoding("too many content codings")
	}
	for _, coding := range slices.Backward(codings) {
		switch coding {
		case "gzip", "x-gzip":
			r = &lazyReader{open: func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }, r: r}
		case "deflate":
			r = &lazyReader{open: func(r io.Reader) (io.Reader, error) { return zlib.NewReader(r) }, r: r}
		case "br":
			r = brotli.NewReader(r)
		default:
			return nil, unsupportedCoding("unsupported content encoding")
		}
	}
	return r, nil
}

func unsupportedCoding(message string) error {
	return NewError(http.StatusUnsupportedMediaType, "", message)
}

// A lazyReader opens a decoder at the first Read, since decoders read a header
// when they are made. Empty input is an error, as with any other data that is
// no gzip.
type lazyReader struct {
	open func(io.Reader) (io.Reader, error)
	r    io.Reader
	dec  io.Reader
	err  error
}

func (l *lazyReader) Read(p []byte) (int, error) {
	if l.err != nil {
		return 0, l.err
	}
	if l.dec == nil {
		if l.dec, l.err = l.open(l.r); l.err != nil {
			if l.err == io.EOF {
				l.err = io.ErrUnexpectedEOF
			}
			return 0, l.err
		}
	}
	return l.dec.Read(p)
}
