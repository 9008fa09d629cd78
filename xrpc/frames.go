package xrpc

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/bluesky-social/indigo/atproto/atdata"

	"github.com/pdskit/pdskit/xrpc/lexicons"
)

// A Protocol is the form that the messages of a stream have.
type Protocol string

const (
	// ProtocolCBOR is xrpc.v0.cbor: each binary frame holds two DAG-CBOR
	// objects, a header {op, t} and the message. It is the default.
	ProtocolCBOR Protocol = "xrpc.v0.cbor"

	// ProtocolJSON is xrpc.v1.json: each text frame holds one JSON object,
	// {"$type":"message","payload":{"$type":...}} or
	// {"$type":"error","error":...,"message":...}.
	ProtocolJSON Protocol = "xrpc.v1.json"
)

// A CBORAppender encodes itself. Messages that implement it are not passed
// through encoding/json on CBOR streams.
type CBORAppender interface {
	// AppendCBOR appends the DAG-CBOR form, a map, to dst and returns it.
	AppendCBOR(dst []byte) ([]byte, error)
}

// A Message is what a client sends on a stream.
type Message struct {
	Type string          // such as "#join", or with an NSID if it is not the stream's own
	Body json.RawMessage // the message as JSON, whatever the protocol
}

// EncodeMessageHeader returns the header of a message in [ProtocolCBOR]. t is
// a type such as "#commit". A frame is the header followed by the message in
// DAG-CBOR.
func EncodeMessageHeader(t string) []byte {
	b := append(make([]byte, 0, 16+len(t)), 0xa2, 0x61, 't')
	b = appendCBORText(b, t)
	return append(b, 0x62, 'o', 'p', 0x01)
}

// EncodeErrorFrame returns an error frame in [ProtocolCBOR]. message may be
// empty.
func EncodeErrorFrame(name, message string) []byte {
	b := append(make([]byte, 0, 32+len(name)+len(message)), 0xa1, 0x62, 'o', 'p', 0x20)
	if message == "" {
		b = append(b, 0xa1)
	} else {
		b = append(b, 0xa2)
	}
	b = appendCBORText(appendCBORText(b, "error"), name)
	if message != "" {
		b = appendCBORText(appendCBORText(b, "message"), message)
	}
	return b
}

func appendCBORText(b []byte, s string) []byte {
	const text = 3 << 5
	switch n := len(s); {
	case n < 24:
		b = append(b, text|byte(n))
	case n < 1<<8:
		b = append(b, text|24, byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, text|25), uint16(n))
	default:
		b = binary.BigEndian.AppendUint32(append(b, text|26), uint32(n))
	}
	return append(b, s...)
}

// EncodeFrame returns a frame that carries a message on a stream of the method
// nsid. t is its type: "#name", or with another NSID before it. event is
// encoded by AppendJSON or AppendCBOR if it has the method for the protocol,
// else by encoding/json; it must give an object. The frame may be sent to any
// number of streams of the protocol, see [Stream.SendFrame].
func EncodeFrame(p Protocol, nsid, t string, event any) ([]byte, error) {
	if p == ProtocolJSON {
		return encodeJSONFrame(nsid, t, event)
	}
	frame := EncodeMessageHeader(strings.TrimPrefix(t, nsid))
	if a, ok := event.(CBORAppender); ok {
		return a.AppendCBOR(frame)
	}
	var buf bytes.Buffer
	if err := appendOutput(&buf, event); err != nil {
		return nil, err
	}
	text, err := lexicons.CheckJSON(buf.Bytes())
	if err != nil {
		return nil, err
	}
	data, err := atdata.UnmarshalJSON(text)
	if err != nil {
		return nil, err
	}
	body, err := atdata.MarshalCBOR(data)
	if err != nil {
		return nil, err
	}
	return append(frame, body...), nil
}

const typeKey = `{"$type":`

func encodeJSONFrame(nsid, t string, event any) ([]byte, error) {
	var buf bytes.Buffer
	buf.WriteString(`{"$type":"message","payload":`)
	start := buf.Len()
	if err := appendOutput(&buf, event); err != nil {
		return nil, err
	}
	payload := buf.Bytes()[start:]
	if len(payload) < 2 || payload[0] != '{' {
		return nil, fmt.Errorf("xrpc: a message of type %T is no JSON object", event)
	}
	if bytes.HasPrefix(payload, []byte(typeKey)) {
		buf.WriteByte('}')
		return buf.Bytes(), nil
	}
	frame := append(make([]byte, 0, buf.Len()+len(nsid)+len(t)+16), buf.Bytes()[:start]...)
	frame = append(frame, typeKey...)
	if strings.HasPrefix(t, "#") {
		t = nsid + t
	}
	frame = appendJSONString(frame, t)
	if payload[1] != '}' {
		frame = append(frame, ',')
	}
	frame = append(frame, payload[1:]...)
	return append(frame, '}'), nil
}

func encodeError(p Protocol, name, message string) []byte {
	if p == ProtocolCBOR {
		return EncodeErrorFrame(name, message)
	}
	b := append([]byte(nil), `{"$type":"error",`...)
	return append(b, appendErrorBody(nil, name, message)[1:]...)
}

var errFrame = InvalidRequest("malformed frame")

// decodeFrame reads a frame of a client.
func decodeFrame(p Protocol, nsid string, frame []byte) (*Message, error) {
	if p == ProtocolJSON {
		return decodeJSONFrame(nsid, frame)
	}
	t, body, err := cutHeader(frame)
	if err != nil {
		return nil, err
	}
	data, err := atdata.UnmarshalCBOR(body)
	if err != nil {
		return nil, errFrame.WithCause(err)
	}
	text, err := json.Marshal(data)
	if err != nil {
		return nil, errFrame.WithCause(err)
	}
	return &Message{Type: strings.TrimPrefix(t, nsid), Body: text}, nil
}

func decodeJSONFrame(nsid string, frame []byte) (*Message, error) {
	text, err := lexicons.CheckJSON(frame)
	if err != nil {
		return nil, errFrame.WithCause(err)
	}
	var envelope struct {
		Type    string          `json:"$type"`
		Payload json.RawMessage `json:"payload"`
		Error   string          `json:"error"`
		Message string          `json:"message"`
	}
	var payload struct {
		Type string `json:"$type"`
	}
	if err := json.Unmarshal(text, &envelope); err != nil {
		return nil, errFrame.WithCause(err)
	}
	if envelope.Type == "error" {
		return nil, NewError(400, envelope.Error, envelope.Message)
	}
	if envelope.Type != "message" || json.Unmarshal(envelope.Payload, &payload) != nil || payload.Type == "" {
		return nil, errFrame
	}
	return &Message{Type: strings.TrimPrefix(payload.Type, nsid), Body: envelope.Payload}, nil
}

var errHeader = errors.New("bad frame header")

// cutHeader reads the header of a CBOR frame, {op: 1, t: text} in any order,
// and returns what follows.
func cutHeader(frame []byte) (t string, body []byte, err error) {
	bad := errFrame.WithCause(errHeader)
	if len(frame) == 0 || frame[0] != 0xa2 {
		return "", nil, bad
	}
	rest, op := frame[1:], false
	for range 2 {
		var key string
		var ok bool
		if key, rest, ok = cutCBORText(rest); !ok {
			return "", nil, bad
		}
		switch key {
		case "op":
			if op || len(rest) == 0 || rest[0] != 1 {
				return "", nil, bad
			}
			op, rest = true, rest[1:]
		case "t":
			if t, rest, ok = cutCBORText(rest); !ok || t == "" {
				return "", nil, bad
			}
		default:
			return "", nil, bad
		}
	}
	if !op || t == "" {
		return "", nil, bad
	}
	return t, rest, nil
}

// cutCBORText reads a text of up to 255 bytes.
func cutCBORText(b []byte) (s string, rest []byte, ok bool) {
	if len(b) == 0 || b[0]>>5 != 3 {
		return "", nil, false
	}
	n := int(b[0] & 0x1f)
	b = b[1:]
	if n == 24 && len(b) > 0 {
		n, b = int(b[0]), b[1:]
	} else if n > 23 {
		return "", nil, false
	}
	if n > len(b) {
		return "", nil, false
	}
	return string(b[:n]), b[n:], true
}
