package oauth

import (
	"net/http"
	"slices"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/oauth/ui"
)

// managerHandle shows the handle.
func (v *visit) managerHandle() error { return v.show(http.StatusOK, v.newHandlePage()) }

func (v *visit) newHandlePage() *ui.ManagerHandlePage {
	page := &ui.ManagerHandlePage{
		Frame: v.frame(nil), Manager: v.manager(ui.SectionHandle), Form: v.sectionForm("handle"),
		Domains:      v.cfg.Accounts.(HandleManager).ChangeableDomains(),
		CustomForm:   v.sectionFormTo("handle"),
		WellKnownURL: "https://HOST/.well-known/atproto-did",
	}
	if v.form.Has(ui.FieldDomain) {
		page.Handle, page.Domain = v.field(ui.FieldHandle), v.field(ui.FieldDomain)
	} else {
		page.Custom = v.field(ui.FieldHandle)
	}
	if v.signUps() != nil {
		page.HandleCheckURL = v.path("handle")
	}
	return page
}

// managerHandlePost changes the handle: to a name below one of the domains, or,
// if the form has no domain, to a domain of the user's own.
func (v *visit) managerHandlePost() error {
	page, handles := v.newHandlePage(), v.cfg.Accounts.(HandleManager)
	entered := strings.ToLower(strings.TrimPrefix(v.field(ui.FieldHandle), "@"))
	refuse := func(code string) error {
		return v.refused(http.StatusBadRequest, page, ui.Problem{Field: ui.FieldHandle, Code: code})
	}
	if entered == "" {
		return refuse(ui.ProblemRequired)
	}
	handle, err := syntax.ParseHandle(entered)
	if v.form.Has(ui.FieldDomain) {
		if !slices.Contains(page.Domains, page.Domain) {
			return refuse(ui.ProblemDomainUnsupported)
		}
		handle, err = belowDomain(entered, page.Domain)
	}
	if err != nil {
		return refuse(ui.ProblemHandleInvalid)
	}
	if ok, err := v.confirmed(page, false); !ok {
		return err
	}
	if err := handles.ChangeHandle(v.r.Context(), v.owner.DID, handle); err != nil {
		return v.refusedFor(page, err)
	}
	return v.goTo(v.section("handle", fieldNotice, ui.NoticeHandleChanged))
}
