package xrpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// None stands for no parameters, no input or no output.
type None struct{}

type methodType uint8

const (
	typeQuery methodType = iota + 1
	typeProcedure
	typeSubscription
)

// A Method is a handler with its NSID, its rule and its limits. Methods are
// made by [Query], [Procedure], [Subscription], [QueryBody] and
// [ProcedureBody], registered by [Server.Handle], and never change.
type Method struct {
	nsid    string
	typ     methodType
	rule    Rule
	limits  []Limit
	maxBody int64 // 0: the default for its kind of input

	params    reflect.Type // nil: none
	input     reflect.Type // nil: none, or raw
	rawInput  bool
	hasOutput bool
	rawOutput bool

	fields []paramField
	newArg func() any // *P, *I; nil for a raw input
	handle func(ctx context.Context, arg any) (any, error)
	upload func(ctx context.Context, u *Upload) (any, error)
	stream func(ctx context.Context, arg any, s *Stream) error
}

// NSID returns the name of the method.
func (m Method) NSID() string { return m.nsid }

// Type returns "query", "procedure" or "subscription".
func (m Method) Type() string {
	switch m.typ {
	case typeQuery:
		return "query"
	case typeProcedure:
		return "procedure"
	}
	return "subscription"
}

// Rule returns who may call the method.
func (m Method) Rule() Rule { return m.rule }

// WithLimits returns the method with rate limits of its own, besides those of
// the server. A Limit without a Name counts this method alone.
func (m Method) WithLimits(limits ...Limit) Method {
	for _, l := range limits {
		l.mustBeValid()
	}
	m.limits = append(slices.Clip(m.limits), limits...)
	return m
}

// WithMaxBody returns the method with a limit of n bytes on its input, on the
// wire and after decoding. It panics unless n is positive.
func (m Method) WithMaxBody(n int64) Method {
	if n <= 0 {
		panic(fmt.Sprintf("xrpc: %s: a body limit of %d bytes", m.nsid, n)) //nolint:forbidigo // at registration
	}
	m.maxBody = n
	return m
}

// Query returns a method for GET and HEAD. P is a struct whose fields take
// the parameters of the query string, see the package comment, or [None]. O
// is encoded by its AppendJSON method (see [JSONAppender]) or by
// encoding/json; with O = None the answer has no body. A handler must not
// return nil, nil unless O is None.
//
// Like all constructors of methods it panics if the NSID is none, if the rule
// is zero or the handler nil, or if a type cannot take parameters.
func Query[P, O any](nsid string, rule Rule, fn func(context.Context, *P) (*O, error)) Method {
	m := newMethod[O](nsid, typeQuery, rule, fn == nil)
	setParams[P](&m)
	m.handle = func(ctx context.Context, arg any) (any, error) {
		return result(fn(ctx, arg.(*P)))
	}
	return m
}

// Procedure returns a method for POST. I takes the input, JSON, by
// encoding/json after it has been checked; fields of type json.RawMessage
// keep the text as it came. With I = None a body is refused. Parameters of
// the query string are ignored: the protocol has no procedures with both.
// O is as with [Query].
func Procedure[I, O any](nsid string, rule Rule, fn func(context.Context, *I) (*O, error)) Method {
	m := newMethod[O](nsid, typeProcedure, rule, fn == nil)
	if !isNone[I]() {
		m.input = reflect.TypeFor[I]()
	}
	m.newArg = func() any { return new(I) }
	m.handle = func(ctx context.Context, arg any) (any, error) {
		return result(fn(ctx, arg.(*I)))
	}
	return m
}

// QueryBody returns a method for GET and HEAD whose answer is not JSON, such
// as a blob or a CAR. P is as with [Query].
func QueryBody[P any](nsid string, rule Rule, fn func(context.Context, *P) (*Body, error)) Method {
	m := newMethod[Body](nsid, typeQuery, rule, fn == nil)
	setParams[P](&m)
	m.rawOutput = true
	m.handle = func(ctx context.Context, arg any) (any, error) {
		return result(fn(ctx, arg.(*P)))
	}
	return m
}

// ProcedureBody returns a method for POST whose input is not JSON, such as a
// blob or a CAR. The handler reads it as it comes. O is as with [Query].
func ProcedureBody[O any](nsid string, rule Rule, fn func(context.Context, *Upload) (*O, error)) Method {
	m := newMethod[O](nsid, typeProcedure, rule, fn == nil)
	m.rawInput = true
	m.upload = func(ctx context.Context, u *Upload) (any, error) {
		return result(fn(ctx, u))
	}
	return m
}

// Subscription returns a method for WebSocket streams. The stream is closed
// when the handler returns: normally after nil, with an error frame after an
// error. P is as with [Query]. The context ends when the client leaves and
// when the server shuts down.
func Subscription[P any](nsid string, rule Rule, fn func(context.Context, *P, *Stream) error) Method {
	m := newMethod[None](nsid, typeSubscription, rule, fn == nil)
	setParams[P](&m)
	m.stream = func(ctx context.Context, arg any, s *Stream) error {
		return fn(ctx, arg.(*P), s)
	}
	return m
}

// An Upload is an input that the handler reads itself.
type Upload struct {
	ContentType string // as sent
	Length      int64  // of the decoded input in bytes; -1: not known

	// Reader gives the decoded input. It returns io.EOF only at the true
	// end; its other errors are to be returned by the handler: they tell
	// the client that the input is too large, or malformed.
	Reader io.Reader
}

// A Body is an output that is not JSON. Exactly one of Reader and Write is
// set.
type Body struct {
	ContentType string
	Length      int64       // in bytes; -1: not known
	Status      int         // 0: 200
	Header      http.Header // further headers; may be nil

	// Reader gives the output, and is closed if it is an io.Closer,
	// whatever happens.
	Reader io.Reader

	// Write writes the output to w. If it fails before 64 KiB are written,
	// the client gets the error; later the connection is cut.
	Write func(w io.Writer) error
}

var errNoOutput = errors.New("the handler returned neither output nor error")

func newMethod[O any](nsid string, typ methodType, rule Rule, noHandler bool) Method {
	if _, err := syntax.ParseNSID(nsid); err != nil {
		panic(fmt.Sprintf("xrpc: %q is no NSID", nsid)) //nolint:forbidigo // at registration
	}
	if rule.access == 0 {
		panic(fmt.Sprintf("xrpc: %s has no auth rule", nsid)) //nolint:forbidigo // at registration
	}
	if noHandler {
		panic(fmt.Sprintf("xrpc: %s has no handler", nsid)) //nolint:forbidigo // at registration
	}
	return Method{nsid: nsid, typ: typ, rule: rule, hasOutput: !isNone[O]()}
}

func setParams[P any](m *Method) {
	m.newArg = func() any { return new(P) }
	if isNone[P]() {
		return
	}
	m.params = reflect.TypeFor[P]()
	fields, err := paramFields(m.params)
	if err != nil {
		panic(fmt.Sprintf("xrpc: %s: %v", m.nsid, err)) //nolint:forbidigo // at registration
	}
	m.fields = fields
}

func isNone[T any]() bool { return reflect.TypeFor[T]() == reflect.TypeFor[None]() }

// result turns the typed result of a handler into an interface, nil for no
// output.
func result[O any](out *O, err error) (any, error) {
	switch {
	case err != nil:
		return nil, err
	case isNone[O]():
		return nil, nil
	case out == nil:
		return nil, errNoOutput
	}
	return out, nil
}
