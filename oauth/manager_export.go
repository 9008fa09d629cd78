package oauth

import (
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"

	"github.com/pdskit/pdskit/oauth/ui"
)

// managerExport offers what the account has stored.
func (v *visit) managerExport() error {
	list, err := v.cfg.Accounts.(Exporter).Exports(v.r.Context(), v.owner.DID)
	if err != nil {
		return err
	}
	page := &ui.ManagerExportPage{Frame: v.frame(nil), Manager: v.manager(ui.SectionExport)}
	for _, e := range list {
		page.Downloads = append(page.Downloads, ui.Download{Code: e.Code, URL: v.section("export/" + url.PathEscape(e.Code)), Size: e.Size})
	}
	return v.show(http.StatusOK, page)
}

// download sends one of the files. Browsers do not say the same about downloads
// as about pages, so only where the request comes from is looked at.
func (s *Server) download(w http.ResponseWriter, r *http.Request) {
	v := &visit{Server: s, w: w, r: r}
	err := func() error {
		if !oneOf(r.Header, "Sec-Fetch-Site", "same-origin", "none") {
			return errForbidden
		}
		var err error
		if v.dev, err = v.knownDevice(w, r); err != nil {
			return err
		}
		if v.dev == nil {
			return v.goTo(v.url("sign-in"))
		}
		return entered((*visit).sendExport)(v)
	}()
	if err != nil {
		s.fail(w, r, err)
	}
}

func (v *visit) sendExport() error {
	ctx, exports := v.r.Context(), v.cfg.Accounts.(Exporter)
	list, err := exports.Exports(ctx, v.owner.DID)
	if err != nil {
		return err
	}
	for _, e := range list {
		if e.Code != v.r.PathValue("code") {
			continue
		}
		body, err := exports.OpenExport(ctx, v.owner.DID, e.Code)
		if err != nil {
			return err
		}
		defer body.Close()
		v.pageHeaders(v.w.Header(), pageTargets{})
		v.w.Header().Set("Content-Type", e.MediaType)
		v.w.Header().Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": e.FileName}))
		if e.Size > 0 {
			v.w.Header().Set("Content-Length", strconv.FormatInt(e.Size, 10))
		}
		if _, err := io.Copy(v.w, body); err != nil {
			// The status is sent. What was promised is cut off, so that the
			// browser does not take a part for the whole.
			v.cfg.Logger.ErrorContext(ctx, "oauth: an export was cut off", "error", err)
			panic(http.ErrAbortHandler) //nolint:forbidigo // how net/http is told to cut the connection
		}
		return nil
	}
	return errNoPage
}
