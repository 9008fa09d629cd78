package xrpc

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/pdskit/pdskit/xrpc/lexicons"
)

// A binding is a method in a server, with its schema.
type binding struct {
	server *Server
	method Method // fixed at creation

	once      sync.Once // guards the making of the following fields
	err       error
	schema    *lexicons.Method // nil: the catalog does not know the method
	params    *paramPlan
	inputType string // media type or pattern
	maxBody   int64
}

// bind reads the schema, once.
func (b *binding) bind() error {
	b.once.Do(func() { b.err = b.init() })
	return b.err
}

func (b *binding) init() error {
	m, cfg := &b.method, &b.server.cfg
	schema, err := b.server.catalog.Method(m.nsid)
	if err != nil && !errors.Is(err, lexicons.ErrUnknown) {
		return fmt.Errorf("xrpc: %s: %w", m.nsid, err)
	}
	b.schema = schema
	if err := b.checkShape(); err != nil {
		return err
	}
	if b.params, err = newParamPlan(m.nsid, b.paramSchema(), m.fields); err != nil {
		return err
	}
	b.inputType = jsonInput
	if m.rawInput {
		b.inputType = anyInput
	}
	if schema != nil && schema.Input != nil {
		b.inputType = schema.Input.Encoding
	}
	switch {
	case m.maxBody > 0:
		b.maxBody = m.maxBody
	case !m.rawInput:
		b.maxBody = cfg.MaxJSONBody
	case strings.HasPrefix(b.inputType, "text/"):
		b.maxBody = cfg.MaxTextBody
	default:
		b.maxBody = cfg.MaxUploadBody
	}
	return nil
}

// checkShape compares the method with its schema.
func (b *binding) checkShape() error {
	m, s := &b.method, b.schema
	if s == nil {
		return nil
	}
	if s.Type != m.Type() {
		return fmt.Errorf("xrpc: %s is a %s, not a %s", m.nsid, s.Type, m.Type())
	}
	if hasInput := m.input != nil || m.rawInput; hasInput != (s.Input != nil) {
		return fmt.Errorf("xrpc: %s: handler and schema do not agree whether there is an input", m.nsid)
	}
	if m.hasOutput != (s.Output != nil) {
		return fmt.Errorf("xrpc: %s: handler and schema do not agree whether there is an output", m.nsid)
	}
	return nil
}

// paramSchema returns the schema if its parameters count: those of a
// procedure are ignored.
func (b *binding) paramSchema() *lexicons.Method {
	if b.method.typ == typeProcedure {
		return nil
	}
	return b.schema
}

func (b *binding) checkInput(text []byte) ([]byte, error) {
	if b.schema != nil && b.schema.Input != nil {
		return b.schema.Input.Validate(text)
	}
	return lexicons.CheckJSON(text)
}

func (b *binding) checkOutput(text []byte) error {
	var err error
	if b.schema != nil && b.schema.Output != nil {
		_, err = b.schema.Output.Validate(text)
	} else {
		_, err = lexicons.CheckJSON(text)
	}
	return err
}

// serve runs the method for one request. The order of the checks is that of
// the reference server: params, auth, body, rate limits.
func (b *binding) serve(c *call) error {
	m := &b.method
	if !m.rule.IsPublic() {
		h := c.rw.Header()
		h.Set("Cache-Control", "private")
		addVary(h, "Authorization")
	}
	if err := b.checkVerb(c.req); err != nil {
		return err
	}
	if err := b.bind(); err != nil {
		return err
	}
	if m.typ == typeSubscription {
		return b.serveStream(c)
	}
	ctx := c.req.Context()
	var arg any
	if m.newArg != nil {
		arg = m.newArg()
	}
	if m.typ == typeQuery {
		if err := b.params.decode(c.req.URL.RawQuery, arg); err != nil {
			return err
		}
	}
	caller, err := m.rule.apply(ctx, c.req, &b.server.cfg)
	if err != nil {
		return err
	}
	c.caller = caller
	var upload *Upload
	if m.rawInput {
		upload, err = c.openUpload(b)
	} else {
		err = c.decodeInput(b, arg)
	}
	if err != nil {
		return err
	}
	if err := c.takeLimits(ctx, b.server.cfg.GlobalLimits, true); err != nil {
		return err
	}
	if err := c.takeLimits(ctx, m.limits, false); err != nil {
		return err
	}
	var out any
	if m.rawInput {
		out, err = m.upload(ctx, upload)
	} else {
		out, err = m.handle(ctx, arg)
	}
	if err != nil {
		return err
	}
	if m.rawOutput {
		return c.writeBody(out.(*Body))
	}
	return c.writeOutput(b, out)
}

func (b *binding) checkVerb(r *http.Request) error {
	want := http.MethodGet
	switch b.method.typ {
	case typeQuery:
		if r.Method == http.MethodHead {
			return nil
		}
	case typeProcedure:
		want = http.MethodPost
	}
	if r.Method != want {
		return InvalidRequest("Incorrect HTTP method (%s) expected %s", r.Method, want)
	}
	return nil
}
