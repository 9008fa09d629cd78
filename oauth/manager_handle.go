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
	page.Handle, page.Domain, page.Custom = v.field(ui.FieldHandle), v.field(ui.FieldDomain), v.field(ui.FieldOwnHandle)
	if v.signUps() != nil {
		page.HandleCheckURL = v.path("handle")
	}
	return page
}

// managerHandlePost changes the handle: to a name below one of the domains, or
// to a domain of the user's own.
func (v *visit) managerHandlePost() error {
	page, handles, field := v.newHandlePage(), v.cfg.Accounts.(HandleManager), ui.FieldHandle
	own := v.form.Has(ui.FieldOwnHandle)
	if own {
		field = ui.FieldOwnHandle
	}
	entered := strings.ToLower(strings.TrimPrefix(v.field(field), "@"))
	refuse := func(code string) error {
		return v.refused(http.StatusBadRequest, page, ui.Problem{Field: field, Code: code})
	}
	if entered == "" {
		return refuse(ui.ProblemRequired)
	}
	handle, err := syntax.ParseHandle(entered)
	if !own {
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
