package xrpc_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/pdskit/pdskit/xrpc"
)

// FuzzFrame: what clients send gives a message with a type and a JSON body, or
// an *xrpc.Error, and nothing else.
func FuzzFrame(f *testing.F) {
	for _, p := range []xrpc.Protocol{xrpc.ProtocolCBOR, xrpc.ProtocolJSON} {
		frame, err := xrpc.EncodeFrame(p, liveNSID, "#e", map[string]any{"seq": 1, "list": []string{"a"}})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(frame, p == xrpc.ProtocolJSON)
	}
	f.Add(xrpc.EncodeErrorFrame("Name", "message"), false)
	f.Add([]byte(`{"$type":"error","error":"E"}`), true)
	f.Fuzz(func(t *testing.T, frame []byte, text bool) {
		p := xrpc.ProtocolCBOR
		if text {
			p = xrpc.ProtocolJSON
		}
		m, err := xrpc.DecodeFrame(p, liveNSID, frame)
		if err != nil {
			if _, ok := errors.AsType[*xrpc.Error](err); !ok {
				t.Errorf("error of type %T: %v", err, err)
			}
			return
		}
		if m.Type == "" || !json.Valid(m.Body) || m.Body[0] != '{' {
			t.Errorf("message %+v", m)
		}
	})
}
