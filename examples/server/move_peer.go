package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// peerTimeout is how long a server may take for a request that carries neither
// a repository nor a blob.
const peerTimeout = time.Minute

// maxPeerAnswer bounds the JSON that a server answers with, in bytes.
const maxPeerAnswer = 16 << 20

// tokens are those of a session.
type tokens struct {
	Access  string `json:"accessJwt,omitempty"`
	Refresh string `json:"refreshJwt,omitempty"`
}

// peer is a server on which an account is signed in.
type peer struct {
	base   string
	client *http.Client
	header http.Header // of every request
	tokens *tokens
}

// peerError is an answer that is no success.
type peerError struct {
	status        int
	name, message string
}

func (e *peerError) Error() string { return fmt.Sprintf("%s: %s", e.name, e.message) }

// isAnswer reports whether a server has said no, rather than nothing; with
// names, whether it was one of these errors.
func isAnswer(err error, names ...string) bool {
	var e *peerError
	if !errors.As(err, &e) || e.status >= http.StatusInternalServerError || e.status == http.StatusTooManyRequests {
		return false
	}
	return len(names) == 0 || slices.Contains(names, e.name)
}

// send makes one request with an Authorization header and returns the answer,
// which must be closed, if it is a success.
func (p *peer) send(ctx context.Context, method, nsid, authorization string, params url.Values, contentType string, body io.Reader) (*http.Response, error) {
	u := p.base + "/xrpc/" + nsid
	if len(params) > 0 {
		u += "?" + params.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, method, u, body)
	if err != nil {
		return nil, err
	}
	maps.Copy(r.Header, p.header)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	resp, err := p.client.Do(r)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	var e struct{ Error, Message string }
	data, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return nil, err
	}
	if json.Unmarshal(data, &e) != nil || e.Error == "" {
		e.Error, e.Message = resp.Status, p.base+" answered without an error message"
	}
	return nil, &peerError{resp.StatusCode, e.Error, e.Message}
}

// ask makes a request with JSON and reads the JSON of the answer into out,
// which may be nil.
func (p *peer) ask(ctx context.Context, method, nsid, authorization string, params url.Values, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, peerTimeout)
	defer cancel()
	var body io.Reader
	contentType := ""
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body, contentType = bytes.NewReader(data), "application/json"
	}
	resp, err := p.send(ctx, method, nsid, authorization, params, contentType, body)
	if err != nil {
		return fmt.Errorf("%s at %s: %w", nsid, p.base, err)
	}
	defer resp.Body.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxPeerAnswer)).Decode(out); err != nil {
		return fmt.Errorf("%s at %s: %w", nsid, p.base, err)
	}
	return nil
}

// get and post call methods in the account's name, with a fresh token if the
// one that is there has expired.
func (p *peer) get(ctx context.Context, nsid string, params url.Values, out any) error {
	return p.call(ctx, http.MethodGet, nsid, params, nil, out)
}

func (p *peer) post(ctx context.Context, nsid string, in, out any) error {
	return p.call(ctx, http.MethodPost, nsid, nil, in, out)
}

func (p *peer) call(ctx context.Context, method, nsid string, params url.Values, in, out any) error {
	err := p.ask(ctx, method, nsid, "Bearer "+p.tokens.Access, params, in, out)
	if !isAnswer(err, "ExpiredToken") {
		return err
	}
	if err := p.refresh(ctx); err != nil {
		return err
	}
	return p.ask(ctx, method, nsid, "Bearer "+p.tokens.Access, params, in, out)
}

func (p *peer) refresh(ctx context.Context) error {
	return p.ask(ctx, http.MethodPost, "com.atproto.server.refreshSession", "Bearer "+p.tokens.Refresh, nil, nil, p.tokens)
}

// signedIn reports whether the session still works, and makes sure that it does
// for a while. It is no error if it does not.
func (p *peer) signedIn(ctx context.Context) (bool, error) {
	if p.tokens.Refresh == "" {
		return false, nil
	}
	err := p.refresh(ctx)
	if isAnswer(err) {
		*p.tokens = tokens{}
		return false, nil
	}
	return err == nil, err
}

// noRedirects returns a client that sends tokens nowhere else.
func noRedirects(transport http.RoundTripper) *http.Client {
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// isUnder reports whether a handle is one that a server gives out.
func isUnder(handle string, domains []string) bool {
	return slices.ContainsFunc(domains, func(d string) bool { return strings.HasSuffix(handle, d) })
}
