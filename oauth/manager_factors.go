package oauth

import (
	"net/http"

	"github.com/pdskit/pdskit/oauth/ui"
)

// maxFactorName is how many bytes of a factor's name are kept.
const maxFactorName = 64

// factors returns what people enrol second factors with, nil if they cannot.
func (s *Server) factors() FactorManager {
	m, _ := s.cfg.SecondFactor.(FactorManager)
	return m
}

// managerFactors shows the second factors.
func (v *visit) managerFactors() error {
	page, err := v.newFactorsPage()
	if err != nil {
		return err
	}
	return v.show(http.StatusOK, page)
}

func (v *visit) newFactorsPage() (*ui.ManagerFactorsPage, error) {
	have, err := v.factors().Factors(v.r.Context(), v.owner.DID)
	if err != nil {
		return nil, err
	}
	page := &ui.ManagerFactorsPage{
		Frame: v.frame(nil), Manager: v.manager(ui.SectionFactors), Remove: v.sectionForm("factors/remove"),
		EnrolTOTP: v.sectionFormTo("factors/enrol"), RecoveryLeft: have.RecoveryLeft,
	}
	for _, f := range have.Enrolled {
		page.Factors = append(page.Factors, ui.Factor(f))
	}
	if len(have.Enrolled) > 0 {
		page.Recovery = v.sectionFormTo("factors/recovery")
	}
	if p := have.Pending; p != nil {
		page.TOTP = &ui.TOTPEnrolment{
			Form: v.sectionForm("factors/confirm"), QR: p.QR, Secret: p.Secret, URL: p.URL, Name: v.field(ui.FieldName),
		}
	}
	return page, nil
}

// changeFactors runs a change of the second factors. New recovery codes are in
// the answer and nowhere else, so there is no redirect to a page that would show
// them.
func (v *visit) changeFactors(needPassword bool, notice string, change func() (codes []string, err error)) error {
	page, err := v.newFactorsPage()
	if err != nil {
		return err
	}
	if needPassword {
		if ok, err := v.confirmed(page, false); !ok {
			return err
		}
	}
	codes, err := change()
	if err != nil {
		return v.refusedFor(page, err)
	}
	if len(codes) == 0 {
		if notice == "" {
			return v.goTo(v.section("factors"))
		}
		return v.goTo(v.section("factors", fieldNotice, notice))
	}
	if page, err = v.newFactorsPage(); err != nil {
		return err
	}
	page.Codes, page.Notice = codes, notice
	return v.show(http.StatusOK, page)
}

// managerEnrol begins to add an authenticator app.
func (v *visit) managerEnrol() error {
	return v.changeFactors(true, "", func() ([]string, error) { return nil, v.factors().Enrol(v.r.Context(), v.owner.Account) })
}

// managerFactorConfirm ends it with a first code. The password was asked for at
// the beginning, a quarter of an hour ago at most.
func (v *visit) managerFactorConfirm() error {
	return v.changeFactors(false, ui.NoticeFactorAdded, func() ([]string, error) {
		return v.factors().Confirm(v.r.Context(), v.owner.DID, cut(v.field(ui.FieldName), maxFactorName), v.field(ui.FieldCode))
	})
}

// managerFactorRemove takes a factor away.
func (v *visit) managerFactorRemove() error {
	return v.changeFactors(true, ui.NoticeFactorRemoved, func() ([]string, error) {
		return nil, v.factors().Remove(v.r.Context(), v.owner.DID, v.field(ui.FieldFactor))
	})
}

// managerRecovery makes new recovery codes.
func (v *visit) managerRecovery() error {
	return v.changeFactors(true, "", func() ([]string, error) { return v.factors().NewRecovery(v.r.Context(), v.owner.DID) })
}
