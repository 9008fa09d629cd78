package adminui

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/xrpc"
)

// reportsPage lists reports.
type reportsPage struct {
	base
	Reports []pds.Report
	Keeps   bool // the server keeps them
	Service string
	Next    string
}

func (*reportsPage) Name() string { return "admin-reports" }

// Type is the type of a report's reason, short if it is one of the usual ones.
func (*reportsPage) Type(t string) string {
	_, name, _ := strings.Cut(t, "#reason")
	if name == "" {
		return t
	}
	return name
}

// number reads the number of an entry, 0 for none.
func number(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 {
		return 0, xrpc.InvalidRequest("This is no entry of the list.")
	}
	return n, nil
}

func (h *handler) showReports(v *visit) error {
	before, err := number(v.r.URL.Query().Get("before"))
	if err != nil {
		return err
	}
	list, err := h.srv.Reports(v.r.Context(), before, rowsPerPage)
	if err != nil {
		return err
	}
	keeps, service := h.srv.ReportsKept()
	p := &reportsPage{base: h.base(v, "reports"), Reports: list, Keeps: keeps, Service: string(service)}
	if len(list) == rowsPerPage {
		p.Next = p.Link("reports?before=" + strconv.FormatInt(list[len(list)-1].Number, 10))
	}
	h.render(v, http.StatusOK, p)
	return nil
}

// forgetReport removes a report that has been dealt with.
func (h *handler) forgetReport(v *visit) error {
	text := v.r.PostFormValue("number")
	n, err := number(text)
	if err != nil {
		return err
	}
	err = h.audit(v, "close a report", "report "+strconv.FormatInt(n, 10), "", func() error { return h.srv.ForgetReport(v.r.Context(), n) })
	if err != nil {
		return err
	}
	return h.leave(v, "reports", "The report is closed.")
}
