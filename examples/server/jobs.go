package main

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

type jobRow struct {
	Kind     string `json:"kind"`
	Name     string `json:"name"`
	Account  string `json:"account,omitempty"`
	State    string `json:"state"`
	Due      string `json:"due"`
	Until    string `json:"until,omitempty"`
	Attempts int    `json:"attempts"`
	Error    string `json:"error,omitempty"`
}

// listJobs prints the work that waits, runs or was given up.
func (a *admin) listJobs(ctx context.Context, args []string) error {
	params := url.Values{"limit": {"1000"}}
	if len(args) > 0 {
		if args[0] != "dead" {
			return usageError("job list takes: [dead]")
		}
		params.Set("dead", "true")
	}
	all := []jobRow{}
	for {
		var page struct {
			Jobs   []jobRow `json:"jobs"`
			Cursor string   `json:"cursor"`
		}
		if err := a.call(ctx, http.MethodGet, "/admin/jobs", params, nil, &page); err != nil {
			return err
		}
		if all = append(all, page.Jobs...); len(page.Jobs) == 0 {
			break
		}
		params.Set("cursor", page.Cursor)
	}
	rows := [][]string{{"KIND", "NAME", "STATE", "DUE", "ATTEMPTS", "ERROR"}}
	for _, j := range all {
		rows = append(rows, []string{j.Kind, j.Name, j.State, j.Due, strconv.Itoa(j.Attempts), strings.ReplaceAll(j.Error, "\n", " ")})
	}
	return a.print(all, rows...)
}

// retryJob lets a job that was given up begin anew.
func (a *admin) retryJob(ctx context.Context, args []string) error {
	job := map[string]string{"kind": args[0], "name": args[1]}
	if err := a.call(ctx, http.MethodPost, "/admin/jobs/retry", nil, job, nil); err != nil {
		return err
	}
	return a.print(job, []string{"tried again", args[0], args[1]})
}
