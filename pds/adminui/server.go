package adminui

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

func (h *handler) showHome(v *visit) error {
	stats, err := h.srv.Stats(v.r.Context())
	if err != nil {
		return err
	}
	h.render(v, http.StatusOK, &homePage{base: h.base(v, ""), Stats: stats})
	return nil
}

// Limits of the form that makes invite codes.
const (
	maxNewCodes = 100
	maxCodeUses = 1000
)

func (h *handler) showInvites(v *visit) error { return h.listInvites(v, nil) }

func (h *handler) listInvites(v *visit, made []string) error {
	list, next, err := h.srv.Invites(v.r.Context(), v.r.URL.Query().Get("after"), rowsPerPage)
	if err != nil {
		return err
	}
	p := &invitesPage{base: h.base(v, "invites"), Invites: list, Made: made}
	if next != "" {
		p.Next = p.Link("invites?after=" + url.QueryEscape(next))
	}
	h.render(v, http.StatusOK, p)
	return nil
}

// between reads a number of a form.
func between(v *visit, name string, limit int) (int, error) {
	n, err := strconv.Atoi(strings.TrimSpace(v.r.PostFormValue(name)))
	if err != nil || n < 1 || n > limit {
		return 0, xrpc.InvalidRequest("The number of %s must be between 1 and %d.", name, limit)
	}
	return n, nil
}

// createInvites shows the codes that it makes as the answer to the form.
func (h *handler) createInvites(v *visit) error {
	count, err := between(v, "codes", maxNewCodes)
	if err != nil {
		return err
	}
	uses, err := between(v, "uses", maxCodeUses)
	if err != nil {
		return err
	}
	var made []string
	err = h.audit(v, "create invites", "", fmt.Sprintf("%d codes, for %d uses each", count, uses), func() (err error) {
		made, err = h.srv.CreateInvites(v.r.Context(), count, uses)
		return err
	})
	if err != nil {
		return err
	}
	return h.listInvites(v, made)
}

// disableInvite does not name the code in the audit log, where others could
// find one that was not disabled in the end.
func (h *handler) disableInvite(v *visit) error {
	err := h.audit(v, "disable an invite", "", "", func() error {
		return h.srv.DisableInvites(v.r.Context(), []string{v.r.PostFormValue("code")})
	})
	if err != nil {
		return err
	}
	return h.leave(v, "invites", "The code works no more.")
}

func (h *handler) showJobs(v *visit) error {
	query := v.r.URL.Query()
	q := pds.JobQuery{Dead: query.Get("dead") != "", AfterKind: query.Get("kind"), AfterName: query.Get("name"), Limit: rowsPerPage}
	list, err := h.srv.Jobs(v.r.Context(), q)
	if err != nil {
		return err
	}
	p := &jobsPage{base: h.base(v, "jobs"), Dead: q.Dead, Jobs: list, Other: h.opts.Path + "jobs"}
	params := url.Values{}
	if q.Dead {
		params.Set("dead", "1")
	} else {
		p.Other += "?dead=1"
	}
	if len(list) == rowsPerPage {
		last := list[len(list)-1]
		params.Set("kind", last.Kind)
		params.Set("name", last.Name)
		p.Next = p.Link("jobs?" + params.Encode())
	}
	h.render(v, http.StatusOK, p)
	return nil
}

func (h *handler) retryJob(v *visit) error {
	kind, name := v.r.PostFormValue("kind"), v.r.PostFormValue("name")
	err := h.audit(v, "retry a job", kind+"/"+name, "", func() error {
		err := h.srv.RetryJob(v.r.Context(), kind, name)
		if errors.Is(err, storage.ErrNotFound) {
			err = xrpc.NewError(http.StatusNotFound, "NotFound", "No such job has been given up.")
		}
		return err
	})
	if err != nil {
		return err
	}
	return h.leave(v, "jobs?dead=1", "The job is tried again.")
}

func (h *handler) showEvents(v *visit) error {
	list, err := h.srv.RecentEvents(v.r.Context(), rowsPerPage)
	if err != nil {
		return err
	}
	h.render(v, http.StatusOK, &eventsPage{base: h.base(v, "events"), Events: list})
	return nil
}

func (h *handler) showAudit(v *visit) error {
	before, err := number(v.r.URL.Query().Get("before"))
	if err != nil {
		return err
	}
	list, err := h.srv.AuditLog(v.r.Context(), before, rowsPerPage)
	if err != nil {
		return err
	}
	p := &auditPage{base: h.base(v, "audit"), Entries: list}
	if len(list) == rowsPerPage {
		p.Next = p.Link("audit?before=" + strconv.FormatInt(list[len(list)-1].Number, 10))
	}
	h.render(v, http.StatusOK, p)
	return nil
}
