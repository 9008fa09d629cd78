package identity

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// MaxExportCount is the most lines that one /export answer of a MemoryPLC
// holds; it is also the default.
const MaxExportCount = 1000

// memoryPLCURL is the base URL of in-process clients. The name cannot exist.
const memoryPLCURL = "http://plc.invalid"

// Client returns a client of this directory that uses no sockets.
func (p *MemoryPLC) Client() *PLCClient {
	return &PLCClient{base: memoryPLCURL, client: &http.Client{Transport: p.Transport()}}
}

// Transport returns a transport that brings every request, whatever its host,
// to this directory.
func (p *MemoryPLC) Transport() http.RoundTripper { return &handlerTransport{handler: p} }

// ServeHTTP answers POST /:did, GET /:did, /:did/data, /:did/log,
// /:did/log/audit, /:did/log/last, /export and /_health as the real directory
// does, also to pages of any origin. Errors are {"message": text}.
func (p *MemoryPLC) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Access-Control-Allow-Origin", "*")
	did, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch {
	case r.Method == http.MethodPost && rest == "" && did != "":
		p.serveSubmit(w, r, syntax.DID(did))
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		writePLCError(w, http.StatusMethodNotAllowed, "Method not allowed")
	case did == "_health" && rest == "":
		writePLCJSON(w, "application/json", map[string]string{"version": "memory"})
	case did == "export" && rest == "":
		p.serveExport(w, r)
	case did == "":
		writePLCError(w, http.StatusNotFound, "Not found")
	default:
		p.serveRead(w, syntax.DID(did), rest)
	}
}

func (p *MemoryPLC) serveSubmit(w http.ResponseWriter, r *http.Request, did syntax.DID) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxOperationJSON))
	if err != nil {
		if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
			writePLCError(w, http.StatusRequestEntityTooLarge, "request entity too large")
			return
		}
		writePLCError(w, http.StatusBadRequest, "could not read the body")
		return
	}
	op, err := ParseOperation(body)
	if err == nil {
		err = p.Submit(did, op)
	}
	switch {
	case err == nil:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		io.WriteString(w, "OK")
	case isRefusal(err):
		writePLCError(w, http.StatusBadRequest, err.Error())
	default:
		writePLCError(w, http.StatusInternalServerError, "Internal Server Error")
	}
}

// isRefusal tells a bad operation from a failure of the directory.
func isRefusal(err error) bool {
	for _, refusal := range []error{
		ErrInvalidOperation, ErrOperationTooLarge, ErrUnsigned, ErrInvalidSignature,
		ErrMisordered, ErrLateRecovery, ErrGenesisHash, ErrOperationRate,
	} {
		if errors.Is(err, refusal) {
			return true
		}
	}
	return false
}

func (p *MemoryPLC) serveRead(w http.ResponseWriter, did syntax.DID, path string) {
	entries, err := p.AuditLog(did)
	if err != nil {
		writePLCError(w, http.StatusNotFound, "DID not registered: "+did.String())
		return
	}
	valid := make([]*LogEntry, 0, len(entries))
	for i := range entries {
		if !entries[i].Nullified {
			valid = append(valid, &entries[i])
		}
	}
	last := valid[len(valid)-1]
	switch path {
	case "", "data":
		state := stateOf(did, &last.Operation, last.CID)
		if state.Tombstoned {
			writePLCError(w, http.StatusNotFound, "DID not available: "+did.String())
			return
		}
		if path == "data" {
			writePLCJSON(w, "application/json", state)
			return
		}
		doc, err := state.Document()
		if err != nil {
			writePLCError(w, http.StatusInternalServerError, "Internal Server Error")
			return
		}
		writePLCJSON(w, "application/did+ld+json", doc)
	case "log":
		ops := make([]*Operation, len(valid))
		for i, e := range valid {
			ops[i] = &e.Operation
		}
		writePLCJSON(w, "application/json", ops)
	case "log/audit":
		writePLCJSON(w, "application/json", entries)
	case "log/last":
		writePLCJSON(w, "application/json", &last.Operation)
	default:
		writePLCError(w, http.StatusNotFound, "Not found")
	}
}

// serveExport writes entries of all DIDs as JSON lines, oldest first.
func (p *MemoryPLC) serveExport(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	count := MaxExportCount
	if s := query.Get("count"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			writePLCError(w, http.StatusBadRequest, "Invalid count parameter")
			return
		}
		count = min(n, MaxExportCount)
	}
	var after time.Time
	if s := query.Get("after"); s != "" {
		var err error
		if after, err = time.Parse(time.RFC3339Nano, s); err != nil {
			writePLCError(w, http.StatusBadRequest, "Invalid after parameter")
			return
		}
	}
	var out bytes.Buffer
	for i, e := range p.export(count, after) {
		line, err := json.Marshal(e)
		if err != nil {
			writePLCError(w, http.StatusInternalServerError, "Internal Server Error")
			return
		}
		if i > 0 {
			out.WriteByte('\n')
		}
		out.Write(line)
	}
	w.Header().Set("Content-Type", "application/jsonlines")
	w.Write(out.Bytes())
}

func writePLCJSON(w http.ResponseWriter, contentType string, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		writePLCError(w, http.StatusInternalServerError, "Internal Server Error")
		return
	}
	w.Header().Set("Content-Type", contentType+"; charset=utf-8")
	w.Write(data)
}

func writePLCError(w http.ResponseWriter, status int, message string) {
	data, err := json.Marshal(map[string]string{"message": message})
	if err != nil {
		status, data = http.StatusInternalServerError, nil
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	w.Write(data)
}

// handlerTransport answers requests by calling a handler.
type handlerTransport struct{ handler http.Handler }

// RoundTrip implements http.RoundTripper.
func (t *handlerTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		defer req.Body.Close()
	}
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	in := req.Clone(req.Context())
	if in.Body == nil {
		in.Body = http.NoBody
	}
	in.RequestURI = in.URL.RequestURI()
	w := &memoryResponse{header: make(http.Header), status: http.StatusOK}
	t.handler.ServeHTTP(w, in)
	resp := &http.Response{
		Status:     strconv.Itoa(w.status) + " " + http.StatusText(w.status),
		StatusCode: w.status,
		Proto:      "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:        w.header,
		ContentLength: int64(w.body.Len()),
		Request:       req,
		Body:          http.NoBody,
	}
	if req.Method != http.MethodHead {
		resp.Body = io.NopCloser(&w.body)
	}
	return resp, nil
}

// memoryResponse collects what a handler writes.
type memoryResponse struct {
	header http.Header
	status int
	wrote  bool
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (w *memoryResponse) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter; the first call counts.
func (w *memoryResponse) WriteHeader(status int) {
	if !w.wrote {
		w.wrote, w.status = true, status
	}
}

// Write implements http.ResponseWriter.
func (w *memoryResponse) Write(p []byte) (int, error) {
	w.wrote = true
	return w.body.Write(p)
}
