package pds

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/xrpc"
)

// Read-after-write: the app view learns of a record a moment after it was
// written. Answers of some of its methods say which rev of the caller's
// repository they know; what was written here since is put in. Whatever goes
// wrong with that, the client gets the answer of the app view.

// Bounds of the merging of one answer.
const (
	maxLocalRecords = 10              // records that are looked at
	maxMergeBytes   = 2 << 20         // of the answer, before and after decoding
	maxMerges       = 16              // at a time; other answers pass as they are
	maxMergesEach   = 2               // the same, of one account
	mergeTime       = 3 * time.Second // with what is asked of the app view
	maxMergeCalls   = 10              // questions to the app view
)

// headerUpstreamLag says how old, in milliseconds, the oldest record is that
// the app view did not know.
const headerUpstreamLag = "Atproto-Upstream-Lag"

// mergeFunc puts local records into an answer, whose fields it may replace. It
// reports whether it changed something.
type mergeFunc func(ctx context.Context, m *merger, answer jsonObject) (changed bool, err error)

// jsonObject is a JSON object whose values are left as they came.
type jsonObject = map[string]json.RawMessage

// mergedView is a method of the app view whose answers are merged with what was
// written here.
func (s *Server) mergedView(nsid string, merge mergeFunc) xrpc.Method {
	return xrpc.QueryBody(nsid, s.callRule(nsid), func(ctx context.Context, _ *xrpc.None) (*xrpc.Body, error) {
		call, err := s.viewCall(ctx, nsid)
		if err != nil {
			return nil, err
		}
		resp, err := s.send(ctx, call)
		if err != nil {
			return nil, err
		}
		if call.verb == http.MethodHead {
			return passBody(resp), nil
		}
		return s.mergeAnswer(ctx, call, resp, merge), nil
	})
}

// mergeAnswer returns an answer as the output of a method, with local records in
// it if there are any and all goes well.
func (s *Server) mergeAnswer(ctx context.Context, call *serviceCall, resp *http.Response, merge mergeFunc) *xrpc.Body {
	rev := resp.Header.Get(headerRepoRev)
	if rev == "" || !isJSON(resp.Header) {
		return passBody(resp)
	}
	release, ok := s.merges.take(string(call.account.DID))
	if !ok {
		return passBody(resp)
	}
	defer release()
	ctx, cancel := context.WithTimeout(ctx, mergeTime)
	defer cancel()
	m, err := s.newMerger(ctx, call, rev)
	if m == nil {
		s.logUnmerged(ctx, call, err)
		return passBody(resp)
	}
	upstream := resp.Body
	sent, err := io.ReadAll(io.LimitReader(upstream, maxMergeBytes+1))
	if err != nil || len(sent) > maxMergeBytes {
		// The rest, or the error, follows.
		resp.Body = prefixed{io.MultiReader(bytes.NewReader(sent), failing{err}, upstream), upstream}
		return passBody(resp)
	}
	resp.Body = prefixed{bytes.NewReader(sent), upstream}
	body := passBody(resp)
	merged, err := m.mergeText(ctx, resp, sent, merge)
	if err != nil {
		s.logUnmerged(ctx, call, err)
		return body
	}
	body.Header.Set(headerUpstreamLag, strconv.FormatInt(m.lag(), 10))
	if merged == nil {
		return body
	}
	body.Header.Del("Content-Encoding")
	body.Header.Set("Content-Type", "application/json; charset=utf-8")
	body.Reader, body.Length = prefixed{bytes.NewReader(merged), upstream}, int64(len(merged))
	return body
}

// headerRepoRev names the rev of the caller's repository that an answer knows.
const headerRepoRev = "Atproto-Repo-Rev"

func (s *Server) logUnmerged(ctx context.Context, call *serviceCall, err error) {
	if err != nil && ctx.Err() == nil {
		s.log.WarnContext(ctx, "local records were not put into an answer", "method", call.nsid, "did", call.account.DID,
			"id", xrpc.RequestID(ctx), "error", err)
	}
}

// mergeText puts local records into the text of an answer. It returns nil if
// there is nothing to change.
func (m *merger) mergeText(ctx context.Context, resp *http.Response, sent []byte, merge mergeFunc) ([]byte, error) {
	text, err := decodeText(sent, resp.Header, maxMergeBytes)
	if err != nil {
		return nil, err
	}
	catalog := m.s.cfg.Catalog
	if err := catalog.ValidateOutput(m.call.nsid, text); err != nil {
		return nil, err
	}
	var answer jsonObject
	if err := json.Unmarshal(text, &answer); err != nil {
		return nil, err
	}
	changed, err := merge(ctx, m, answer)
	if err != nil || !changed {
		return nil, err
	}
	merged, err := encodeJSON(answer)
	if err != nil {
		return nil, err
	}
	if err := catalog.ValidateOutput(m.call.nsid, merged); err != nil {
		return nil, err
	}
	return merged, nil
}

// encodeJSON encodes a value without touching the text that it consists of.
func encodeJSON(v any) (json.RawMessage, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

// prefixed is a body of which some has been read already.
type prefixed struct {
	io.Reader
	io.Closer
}

// failing is a reader that fails, unless its error is nil.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) {
	if f.err == nil {
		return 0, io.EOF
	}
	return 0, f.err
}

// requesterIs reports whether an identifier means the account.
func (m *merger) requesterIs(id string) bool {
	return id == string(m.call.account.DID) || id == string(m.call.account.Handle) && id != ""
}

// param returns a parameter of the request.
func (m *merger) param(name string) string { return m.call.url.Query().Get(name) }

// lag returns how old the oldest local record is, in milliseconds.
func (m *merger) lag() int64 {
	oldest := m.s.clock.Now()
	for _, rec := range m.records() {
		if at := rec.indexedAt; at.Before(oldest) {
			oldest = at
		}
	}
	return m.s.clock.Now().Sub(oldest).Milliseconds()
}

// ask asks the app view, within the bounds of one merging.
func (m *merger) ask(ctx context.Context, nsid string, query map[string][]string, out any) error {
	if m.calls++; m.calls > maxMergeCalls {
		return errTooManyQuestions
	}
	text, err := m.s.callJSON(ctx, m.call.to, m.call.account, nsid, query, nil)
	if err != nil {
		return err
	}
	if err := m.s.cfg.Catalog.ValidateOutput(nsid, text); err != nil {
		return err
	}
	return json.Unmarshal(text, out)
}

var errTooManyQuestions = errors.New("pds: merging an answer needs too many questions")

// revTime returns when a commit with this rev was made.
func revTime(rev syntax.TID) time.Time { return rev.Time().UTC() }
