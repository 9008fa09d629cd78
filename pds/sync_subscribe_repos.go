package pds

import (
	"bytes"
	"context"
	"fmt"

	"github.com/pdskit/pdskit/repo"
	"github.com/pdskit/pdskit/xrpc"
)

const subscribeReposNSID = "com.atproto.sync.subscribeRepos"

type subscribeReposParams struct {
	Cursor *int64 `json:"cursor"`
}

// subscribeRepos is the firehose.
func (s *Server) subscribeRepos() xrpc.Method {
	return xrpc.Subscription(subscribeReposNSID, xrpc.Public(),
		func(ctx context.Context, p *subscribeReposParams, stream *xrpc.Stream) error {
			return s.firehose.serve(ctx, p.Cursor, streamWriter{stream})
		})
}

// streamWriter sends frames on a stream.
type streamWriter struct{ stream *xrpc.Stream }

func (w streamWriter) writeInfo(ctx context.Context, name, message string) error {
	return w.stream.Send(ctx, "#info", struct {
		Name    string `json:"name"`
		Message string `json:"message"`
	}{name, message})
}

func (w streamWriter) writeFrames(ctx context.Context, frames [][]byte) error {
	if w.stream.Protocol() == xrpc.ProtocolJSON {
		shared := frames
		frames = make([][]byte, len(shared))
		for i, frame := range shared {
			var err error
			if frames[i], err = jsonFrame(frame); err != nil {
				return err
			}
		}
	}
	return w.stream.SendFrames(ctx, frames...)
}

// jsonFrame returns a message frame of xrpc.v0.cbor, as eventFrame makes it, in
// the form of xrpc.v1.json.
func jsonFrame(frame []byte) ([]byte, error) {
	t, body, err := splitFrame(frame)
	if err != nil {
		return nil, err
	}
	dst := make([]byte, 0, len(frame)*3/2+128)
	dst = append(dst, `{"$type":"message","payload":{"$type":"`+subscribeReposNSID...)
	dst = append(append(dst, t...), `",`...)
	at := len(dst)
	if dst, err = repo.CBORToJSON(dst, body); err != nil {
		return nil, err
	}
	// The body is a map that is not empty: its brace gives way to the type.
	dst = append(dst[:at], dst[at+1:]...)
	return append(dst, '}'), nil
}

// splitFrame returns the type and the body of a frame whose header
// xrpc.EncodeMessageHeader made.
func splitFrame(frame []byte) (t string, body []byte, err error) {
	const before = 3 // map of two, "t"
	if len(frame) > before {
		n := int(frame[before] & 0x1f)
		if end := before + 1 + n; n < 24 && end <= len(frame) {
			t = string(frame[before+1 : end])
			if header := xrpc.EncodeMessageHeader(t); bytes.HasPrefix(frame, header) && len(frame) > len(header) {
				return t, frame[len(header):], nil
			}
		}
	}
	return "", nil, fmt.Errorf("%w: no message frame", errEventBody)
}
