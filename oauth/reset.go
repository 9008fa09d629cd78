package oauth

import (
	"errors"
	"net/http"

	"github.com/pdskit/pdskit/oauth/ui"
)

// resetPage asks for the address of an account whose password is forgotten.
func (v *visit) resetPage() error { return v.show(http.StatusOK, v.newResetPage()) }

func (v *visit) newResetPage() *ui.ResetRequestPage {
	return &ui.ResetRequestPage{
		Frame: v.frame(nil), Form: v.newForm("reset"), Email: v.value(ui.FieldEmail),
		HaveCode: v.link("reset-password"), SignIn: v.link("sign-in"),
	}
}

// resetPost has a code sent, if there is such an account. The answer is the same
// either way.
func (v *visit) resetPost() error {
	start, ctx, ip := v.now(), v.r.Context(), ipKey(originOf(v.r.Context()).IP)
	page, rates := v.newResetPage(), v.cfg.Limits.Rates
	email, problem := readEmail(v.field(ui.FieldEmail))
	if problem != "" {
		return v.refused(http.StatusBadRequest, page, ui.Problem{Field: ui.FieldEmail, Code: problem})
	}
	wait := v.limited(ctx, bucketReset, ip, rates.ResetPerIP)
	if wait == 0 {
		wait = v.limited(ctx, bucketResetDay, ip, rates.ResetPerIPDay)
	}
	if wait > 0 {
		return v.tooMany(page, wait)
	}
	err := v.cfg.Accounts.(PasswordResets).RequestPasswordReset(ctx, email)
	v.pad(start, padSignIn)
	if err != nil {
		// To show it would tell that there is somebody to send mail to.
		v.cfg.Logger.ErrorContext(ctx, "oauth: requesting a password reset failed", "error", err)
	}
	return v.goTo(v.url("reset-password", fieldNotice, ui.NoticeResetSent))
}

// resetPasswordPage asks for the code and the new password.
func (v *visit) resetPasswordPage() error { return v.show(http.StatusOK, v.newResetPasswordPage()) }

func (v *visit) newResetPasswordPage() *ui.ResetPasswordPage {
	page := &ui.ResetPasswordPage{
		Frame: v.frame(nil), Form: v.newForm("reset-password"), Code: v.value(ui.FieldCode), PasswordMin: minNewPassword, Again: v.link("reset"),
	}
	page.Back = v.link("sign-in")
	return page
}

// resetPasswordPost sets the new password.
func (v *visit) resetPasswordPost() error {
	start, ctx := v.now(), v.r.Context()
	page := v.newResetPasswordPage()
	code, password := v.field(ui.FieldCode), v.form.Get(ui.FieldNewPassword)
	if code == "" {
		return v.refused(http.StatusBadRequest, page, ui.Problem{Field: ui.FieldCode, Code: ui.ProblemRequired})
	}
	if p := newPasswordProblem(ui.FieldNewPassword, password); p != nil {
		return v.refused(http.StatusBadRequest, page, *p)
	}
	// A code names no account, so guesses are counted where they come from.
	if wait := v.limited(ctx, bucketSignIn, ipKey(originOf(ctx).IP), v.cfg.Limits.Rates.SignInPerIP); wait > 0 {
		return v.tooMany(page, wait)
	}
	err := v.cfg.Accounts.(PasswordResets).ResetPassword(ctx, code, password)
	v.pad(start, padSignIn)
	if err != nil {
		page.Code = ""
		if errors.Is(err, ErrPasswordWeak) {
			page.Code = code
		}
		return v.refusedFor(page, err)
	}
	return v.goTo(v.url("sign-in", fieldNotice, ui.NoticePasswordChanged))
}
