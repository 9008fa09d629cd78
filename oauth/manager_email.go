package oauth

import (
	"net/http"

	"github.com/pdskit/pdskit/oauth/ui"
)

// managerEmail shows the e-mail address.
func (v *visit) managerEmail() error { return v.show(http.StatusOK, v.newEmailPage()) }

func (v *visit) newEmailPage() *ui.ManagerEmailPage {
	page := &ui.ManagerEmailPage{
		Frame: v.frame(nil), Manager: v.manager(ui.SectionEmail), Form: v.sectionForm("email"), Email: v.value(ui.FieldEmail),
	}
	if v.owner.Email != "" && !v.owner.EmailConfirmed {
		page.RequestConfirm = v.sectionFormTo("email/request")
		if v.value(fieldSent) != "" {
			page.Confirm = v.sectionFormTo("email/confirm")
		}
	}
	return page
}

// managerEmailPost changes the address: at once, or, where the present one is
// confirmed, with a code that is sent there first.
func (v *visit) managerEmailPost() error {
	ctx, did, emails, page := v.r.Context(), v.owner.DID, v.cfg.Accounts.(EmailManager), v.newEmailPage()
	code := v.field(ui.FieldCode)
	_, page.CodeNeeded = v.form[ui.FieldCode]
	email, problem := readEmail(v.field(ui.FieldEmail))
	if problem != "" {
		return v.refused(http.StatusBadRequest, page, ui.Problem{Field: ui.FieldEmail, Code: problem})
	}
	if page.CodeNeeded && code == "" {
		return v.refused(http.StatusBadRequest, page, ui.Problem{Field: ui.FieldCode, Code: ui.ProblemRequired})
	}
	if ok, err := v.confirmed(page, false); !ok {
		return err
	}
	if !page.CodeNeeded {
		sent, err := emails.RequestEmailChange(ctx, did)
		if err != nil {
			return v.refusedFor(page, err)
		}
		if sent {
			// The address that was entered stays in the page, not in its URL.
			page.CodeNeeded, page.Notice = true, ui.NoticeEmailCodeSent
			page.Form, page.PasswordNeeded = v.sectionForm("email"), v.passwordNeeded()
			return v.show(http.StatusOK, page)
		}
	}
	ok, err := v.guess(page, "email", func() error { return emails.ChangeEmail(ctx, did, email, code) })
	if !ok {
		return err
	}
	return v.goTo(v.section("email", fieldNotice, ui.NoticeEmailChanged))
}

// managerEmailRequest has a code sent to the present address.
func (v *visit) managerEmailRequest() error {
	if err := v.cfg.Accounts.(EmailManager).RequestEmailConfirmation(v.r.Context(), v.owner.DID); err != nil {
		return v.refusedFor(v.newEmailPage(), err)
	}
	return v.goTo(v.section("email", fieldSent, "1", fieldNotice, ui.NoticeEmailCodeSent))
}

// managerEmailConfirm takes that code.
func (v *visit) managerEmailConfirm() error {
	page, code := v.newEmailPage(), v.field(ui.FieldCode)
	if page.RequestConfirm != nil {
		page.Confirm = v.sectionFormTo("email/confirm")
	}
	if code == "" {
		return v.refused(http.StatusBadRequest, page, ui.Problem{Field: ui.FieldCode, Code: ui.ProblemRequired})
	}
	ok, err := v.guess(page, "confirm", func() error {
		return v.cfg.Accounts.(EmailManager).ConfirmEmail(v.r.Context(), v.owner.DID, code)
	})
	if !ok {
		return err
	}
	return v.goTo(v.section("email", fieldNotice, ui.NoticeEmailConfirmed))
}
