package oauth

import (
	"net/http"

	"github.com/pdskit/pdskit/oauth/ui"
)

// managerPassword asks for the present and the new password.
func (v *visit) managerPassword() error { return v.show(http.StatusOK, v.newPasswordPage()) }

func (v *visit) newPasswordPage() *ui.ManagerPasswordPage {
	return &ui.ManagerPasswordPage{
		Frame: v.frame(nil), Manager: v.manager(ui.SectionPassword), Form: v.sectionForm("password"), PasswordMin: minNewPassword,
	}
}

// managerPasswordPost changes the password. All other sign-ins and sessions end.
func (v *visit) managerPasswordPost() error {
	ctx, did, page := v.r.Context(), v.owner.DID, v.newPasswordPage()
	password := v.form.Get(ui.FieldNewPassword)
	if p := newPasswordProblem(ui.FieldNewPassword, password); p != nil {
		return v.refused(http.StatusBadRequest, page, *p)
	}
	if ok, err := v.confirmed(page, true); !ok {
		return err
	}
	if err := v.cfg.Accounts.(PasswordChanger).ChangePassword(ctx, did, password); err != nil {
		return v.refusedFor(page, err)
	}
	if err := v.EndSessions(ctx, did); err != nil {
		return err
	}
	if err := v.stayIn(); err != nil {
		return err
	}
	return v.goTo(v.section("password", fieldNotice, ui.NoticePasswordChanged))
}
