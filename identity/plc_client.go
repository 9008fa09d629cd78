package identity

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	atid "github.com/bluesky-social/indigo/atproto/identity"
	"github.com/bluesky-social/indigo/atproto/syntax"
)

// DefaultPLCURL is the public PLC directory.
const DefaultPLCURL = "https://plc.directory"

const (
	// MaxPLCBody is the longest answer that NewPLCClient's own HTTP client
	// reads, in bytes: room for a long audit log.
	MaxPLCBody = 4 << 20
	// maxPLCMessage bounds the text kept from an error answer, in bytes.
	maxPLCMessage = 1 << 10
)

// ErrPLCUnavailable says that a PLC directory gave no answer that can be used:
// no connection, a timeout, or a body that does not parse.
var ErrPLCUnavailable = errors.New("identity: PLC directory unavailable")

// PLCError is an answer of a PLC directory that is not 200.
type PLCError struct {
	// Status is the HTTP status.
	Status int
	// Message is the directory's text, at most 1 KiB; never empty.
	Message string
}

// Error implements error.
func (e *PLCError) Error() string {
	return fmt.Sprintf("identity: PLC directory answered %d: %s", e.Status, e.Message)
}

// Is makes 404 and 410 match indigo's ErrDIDNotFound, and 5xx match
// ErrPLCUnavailable.
func (e *PLCError) Is(target error) bool {
	switch target {
	case atid.ErrDIDNotFound:
		return e.Status == http.StatusNotFound || e.Status == http.StatusGone
	case ErrPLCUnavailable:
		return e.Status >= 500
	}
	return false
}

// PLCClient speaks the HTTP API of a PLC directory. It is safe for concurrent
// use. Its methods take well-formed did:plc DIDs; any other gives an error that
// matches indigo's ErrDIDNotFound, without a request. Answers that are not 200
// come back as *PLCError, failures to get one match ErrPLCUnavailable.
type PLCClient struct {
	base   string // without trailing slash
	client *http.Client
}

// NewPLCClient returns a client of the directory at baseURL (http or https, a
// path allowed, no query). A nil client means a guarded one that may reach the
// directory's host even if that is private, with MaxPLCBody as limit.
func NewPLCClient(baseURL string, client *http.Client) (*PLCClient, error) {
	u, err := url.Parse(baseURL)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, fmt.Errorf("identity: PLC URL %q is not a plain http or https URL", baseURL)
	}
	if client == nil {
		client = NewClient(NewTransport(TransportConfig{AllowHosts: []string{u.Host}}), ClientLimits{MaxBody: MaxPLCBody})
	}
	return &PLCClient{base: strings.TrimRight(u.String(), "/"), client: client}, nil
}

// URL returns the directory's base URL, without a slash at its end.
func (c *PLCClient) URL() string { return c.base }

// Document returns the DID document as the directory formats it. A tombstoned
// DID gives an error that matches indigo's ErrDIDNotFound.
func (c *PLCClient) Document(ctx context.Context, did syntax.DID) (json.RawMessage, error) {
	body, err := c.get(ctx, did, "")
	return json.RawMessage(body), err
}

// State returns the current data of the DID; Head is not known and empty.
func (c *PLCClient) State(ctx context.Context, did syntax.DID) (*State, error) {
	var s State
	if err := c.getJSON(ctx, did, "/data", &s); err != nil {
		return nil, err
	}
	if s.DID != did {
		return nil, fmt.Errorf("%w: data of another DID", ErrPLCUnavailable)
	}
	return &s, nil
}

// LastOperation returns the newest operation that is not nullified. It may be
// a tombstone or a legacy create.
func (c *PLCClient) LastOperation(ctx context.Context, did syntax.DID) (*Operation, error) {
	var op Operation
	if err := c.getJSON(ctx, did, "/log/last", &op); err != nil {
		return nil, err
	}
	return &op, nil
}

// AuditLog returns every operation, nullified ones included, oldest first.
// Nothing is verified: see VerifyLog.
func (c *PLCClient) AuditLog(ctx context.Context, did syntax.DID) ([]LogEntry, error) {
	var log []LogEntry
	if err := c.getJSON(ctx, did, "/log/audit", &log); err != nil {
		return nil, err
	}
	return log, nil
}

// Submit sends a signed operation. It tries once; [PLCRegistry.Submit] also
// recognises an operation that arrived before.
func (c *PLCClient) Submit(ctx context.Context, did syntax.DID, op *Operation) error {
	if op.Sig == "" {
		return ErrUnsigned
	}
	body, err := json.Marshal(op)
	if err != nil {
		return err
	}
	_, err = c.do(ctx, http.MethodPost, did, "", body)
	return err
}

func (c *PLCClient) getJSON(ctx context.Context, did syntax.DID, path string, v any) error {
	body, err := c.get(ctx, did, path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrPLCUnavailable, path, err)
	}
	return nil
}

func (c *PLCClient) get(ctx context.Context, did syntax.DID, path string) ([]byte, error) {
	return c.do(ctx, http.MethodGet, did, path, nil)
}

func (c *PLCClient) do(ctx context.Context, method string, did syntax.DID, path string, body []byte) ([]byte, error) {
	if !isPLC(did) {
		return nil, fmt.Errorf("%w: %q is no well-formed did:plc", atid.ErrDIDNotFound, did)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+"/"+did.String()+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPLCUnavailable, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, plcError(resp)
	}
	// The client's own limit may be higher or none; this one always holds.
	data, err := io.ReadAll(io.LimitReader(resp.Body, MaxPLCBody+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPLCUnavailable, err)
	}
	if len(data) > MaxPLCBody {
		return nil, fmt.Errorf("%w: %w", ErrPLCUnavailable, ErrBodyTooLarge)
	}
	// Whoever puts pages of their own before the network answers a submission
	// with 200, too.
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("<")) {
		return nil, fmt.Errorf("%w: the answer is a web page", ErrPLCUnavailable)
	}
	return data, nil
}

// plcError keeps the status and the message of an error answer.
func plcError(resp *http.Response) *PLCError {
	e := &PLCError{Status: resp.StatusCode}
	data, _ := io.ReadAll(io.LimitReader(resp.Body, 16*maxPLCMessage)) // what could be read is good enough
	var body struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(data, &body) == nil {
		e.Message = body.Message
	}
	if e.Message == "" {
		if e.Message = http.StatusText(e.Status); e.Message == "" {
			e.Message = "no message"
		}
	}
	if len(e.Message) > maxPLCMessage {
		e.Message = strings.ToValidUTF8(e.Message[:maxPLCMessage], "")
	}
	return e
}
