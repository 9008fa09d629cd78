package oauth

import (
	"net/http"

	"github.com/pdskit/pdskit/oauth/ui"
)

// managerAppPasswords lists the passwords for single apps.
func (v *visit) managerAppPasswords() error {
	page, err := v.newAppPasswordsPage()
	if err != nil {
		return err
	}
	return v.show(http.StatusOK, page)
}

func (v *visit) newAppPasswordsPage() (*ui.ManagerAppPasswordsPage, error) {
	list, err := v.cfg.Accounts.(AppPasswordManager).AppPasswords(v.r.Context(), v.owner.DID)
	if err != nil {
		return nil, err
	}
	page := &ui.ManagerAppPasswordsPage{
		Frame: v.frame(nil), Manager: v.manager(ui.SectionAppPasswords),
		Create: v.sectionForm("app-passwords"), Revoke: v.sectionForm("app-passwords/revoke"), Entered: v.field(ui.FieldName),
	}
	for _, p := range list {
		page.Passwords = append(page.Passwords, ui.AppPassword{Name: p.Name, Privileged: p.Privileged, Created: p.Created})
	}
	legacy, ok := v.cfg.Accounts.(LegacySessions)
	if !ok {
		return page, nil
	}
	sessions, err := legacy.LegacySessions(v.r.Context(), v.owner.DID)
	if err != nil {
		return nil, err
	}
	page.EndSession = v.sectionFormTo("app-passwords/session")
	for _, s := range sessions {
		page.Sessions = append(page.Sessions, ui.LegacySession(s))
	}
	return page, nil
}

// managerAppPasswordsPost makes an app password. It is in this answer and nowhere
// else, so there is no redirect to a page that would show it.
func (v *visit) managerAppPasswordsPost() error {
	page, err := v.newAppPasswordsPage()
	if err != nil {
		return err
	}
	name := v.field(ui.FieldName)
	if name == "" {
		return v.refused(http.StatusBadRequest, page, ui.Problem{Field: ui.FieldName, Code: ui.ProblemRequired})
	}
	if ok, err := v.confirmed(page, false); !ok {
		return err
	}
	password, err := v.cfg.Accounts.(AppPasswordManager).CreateAppPassword(v.r.Context(), v.owner.DID, name, v.ticked(ui.FieldPrivileged))
	if err != nil {
		return v.refusedFor(page, err)
	}
	v.form.Del(ui.FieldName)
	if page, err = v.newAppPasswordsPage(); err != nil {
		return err
	}
	page.Created = &ui.NewAppPassword{Name: name, Password: password}
	return v.show(http.StatusOK, page)
}

// managerAppPasswordRevoke ends an app password.
func (v *visit) managerAppPasswordRevoke() error {
	name := v.field(ui.FieldName)
	if err := v.cfg.Accounts.(AppPasswordManager).RevokeAppPassword(v.r.Context(), v.owner.DID, name); err != nil {
		return err
	}
	return v.goTo(v.section("app-passwords", fieldNotice, ui.NoticeAppPasswordEnded))
}

// managerLegacyEnd ends a session that was made with a password.
func (v *visit) managerLegacyEnd() error {
	if err := v.cfg.Accounts.(LegacySessions).EndLegacySession(v.r.Context(), v.owner.DID, v.field(ui.FieldSession)); err != nil {
		return err
	}
	return v.goTo(v.section("app-passwords", fieldNotice, ui.NoticeSessionEnded))
}
