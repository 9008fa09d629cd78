package oauth

import (
	"net/http"

	"github.com/pdskit/pdskit/oauth/ui"
	"github.com/pdskit/pdskit/storage"
)

// managerDeactivate asks whether to take the account offline.
func (v *visit) managerDeactivate() error { return v.show(http.StatusOK, v.newDeactivatePage()) }

func (v *visit) newDeactivatePage() *ui.ManagerDeactivatePage {
	page := &ui.ManagerDeactivatePage{Frame: v.frame(nil), Manager: v.manager(ui.SectionDeactivate), Form: v.sectionForm("deactivate")}
	if v.owner.Status == Deactivated && is[Reactivations](v.cfg.Accounts) {
		page.Reactivate = v.sectionFormTo("reactivate")
	}
	return page
}

// managerDeactivatePost takes the account offline. Its sessions and consents
// end.
func (v *visit) managerDeactivatePost() error {
	ctx, did, page := v.r.Context(), v.owner.DID, v.newDeactivatePage()
	if !v.ticked(ui.FieldConfirm) {
		return v.refused(http.StatusBadRequest, page, ui.Problem{Field: ui.FieldConfirm, Code: ui.ProblemConfirmNeeded})
	}
	if ok, err := v.confirmed(page, false); !ok {
		return err
	}
	if err := v.cfg.Accounts.(Deactivator).Deactivate(ctx, did); err != nil {
		return v.refusedFor(page, err)
	}
	if err := v.Forget(ctx, did); err != nil {
		return err
	}
	if err := v.stayIn(); err != nil {
		return err
	}
	return v.goTo(v.section("deactivate", fieldNotice, ui.NoticeDeactivated))
}

// managerReactivate takes the account online again.
func (v *visit) managerReactivate() error {
	if err := v.cfg.Accounts.(Reactivations).Reactivate(v.r.Context(), v.owner.DID); err != nil {
		return v.refusedFor(v.newDeactivatePage(), err)
	}
	return v.goTo(v.section("", fieldNotice, ui.NoticeReactivated))
}

// fieldSent says in an address that a code was sent.
const fieldSent = "sent"

// managerDelete asks whether to delete the account.
func (v *visit) managerDelete() error { return v.show(http.StatusOK, v.newDeletePage()) }

func (v *visit) newDeletePage() *ui.ManagerDeletePage {
	page := &ui.ManagerDeletePage{Frame: v.frame(nil), Manager: v.manager(ui.SectionDelete), Request: v.sectionFormTo("delete/request")}
	if v.form.Has(ui.FieldCode) || v.value(fieldSent) != "" {
		page.Form = v.sectionFormTo("delete")
	}
	return page
}

// managerDeleteRequest has the code sent.
func (v *visit) managerDeleteRequest() error {
	if err := v.cfg.Accounts.(Deleter).RequestDeletion(v.r.Context(), v.owner.DID); err != nil {
		return v.refusedFor(v.newDeletePage(), err)
	}
	return v.goTo(v.section("delete", fieldSent, "1", fieldNotice, ui.NoticeDeleteCodeSent))
}

// managerDeletePost deletes the account, with the code and the password.
func (v *visit) managerDeletePost() error {
	ctx, did, page := v.r.Context(), v.owner.DID, v.newDeletePage()
	page.Form = v.sectionFormTo("delete")
	code := v.field(ui.FieldCode)
	switch {
	case code == "":
		return v.refused(http.StatusBadRequest, page, ui.Problem{Field: ui.FieldCode, Code: ui.ProblemRequired})
	case !v.ticked(ui.FieldConfirm):
		return v.refused(http.StatusBadRequest, page, ui.Problem{Field: ui.FieldConfirm, Code: ui.ProblemConfirmNeeded})
	}
	if ok, err := v.confirmed(page, true); !ok {
		return err
	}
	ok, err := v.guess(page, "delete", func() error { return v.cfg.Accounts.(Deleter).Delete(ctx, did, code) })
	if !ok {
		return err
	}
	if err := v.Forget(ctx, did); err != nil {
		return err
	}
	err = v.changeDevice(ctx, v.w, v.dev, false, func(docs storage.Docs) error { return signOut(docs, v.dev.key, did) })
	if err != nil {
		return err
	}
	return v.goTo(v.url("sign-in", fieldNotice, ui.NoticeDeleted))
}
