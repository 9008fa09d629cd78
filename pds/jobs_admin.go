package pds

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// maxJobRequest bounds the body of a request about one job, in bytes.
const maxJobRequest = 4 << 10

// jobView is a job in an answer. It has no data, which may be private.
type jobView struct {
	Kind     string     `json:"kind"`
	Name     string     `json:"name"`
	Account  syntax.DID `json:"account,omitempty"`
	State    string     `json:"state"` // waiting, running or dead
	Due      time.Time  `json:"due"`   // or the end of the lease, or when it was given up
	Until    time.Time  `json:"until,omitzero"`
	Attempts int        `json:"attempts"`
	Error    string     `json:"error,omitempty"`
}

func viewJob(j *JobInfo) jobView {
	v := jobView{
		Kind: j.Kind, Name: j.Name, Account: j.Owner, State: "waiting",
		Due: j.Due, Until: j.Until, Attempts: j.Attempt, Error: j.Error,
	}
	switch {
	case j.Dead:
		v.State = "dead"
	case j.Running:
		v.State = "running"
	}
	return v
}

// serveJobs answers GET /admin/jobs, with parameters dead, limit, and cursor,
// which is that of the page before.
func (s *Server) serveJobs(w http.ResponseWriter, r *http.Request) error {
	var q JobQuery
	params := r.URL.Query()
	for name, set := range map[string]func(string) error{
		"dead":  func(v string) (err error) { q.Dead, err = strconv.ParseBool(v); return err },
		"limit": func(v string) (err error) { q.Limit, err = strconv.Atoi(v); return err },
	} {
		if v := params.Get(name); v != "" && set(v) != nil {
			return xrpc.InvalidRequest("%s is malformed", name)
		}
	}
	q.AfterKind, q.AfterName, _ = strings.Cut(params.Get("cursor"), "/")
	list, err := s.Jobs(r.Context(), q)
	if err != nil {
		return err
	}
	out := struct {
		Jobs   []jobView `json:"jobs"`
		Cursor string    `json:"cursor,omitempty"`
	}{Jobs: []jobView{}}
	for i := range list {
		out.Jobs = append(out.Jobs, viewJob(&list[i]))
		out.Cursor = list[i].Kind + "/" + list[i].Name
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

// serveRetryJob answers POST /admin/jobs/retry with a kind and a name.
func (s *Server) serveRetryJob(w http.ResponseWriter, r *http.Request) error {
	var in struct{ Kind, Name string }
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxJobRequest)).Decode(&in); err != nil {
		return xrpc.InvalidRequest("The body must be JSON with kind and name")
	}
	entry := AuditEntry{Actor: adminUser, Client: r.UserAgent(), Action: "job retry", Subject: in.Kind + "/" + in.Name}
	err := s.Audit(r.Context(), entry, func(ctx context.Context) error {
		err := s.RetryJob(ctx, in.Kind, in.Name)
		if errors.Is(err, storage.ErrNotFound) {
			err = xrpc.NewError(http.StatusNotFound, "NotFound", "No such job has been given up")
		}
		return err
	})
	if err == nil {
		writeJSON(w, http.StatusOK, map[string]bool{"retried": true})
	}
	return err
}
