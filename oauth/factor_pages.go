package oauth

import (
	"errors"
	"net/http"
	"strings"

	"github.com/pdskit/pdskit/oauth/ui"
	"github.com/pdskit/pdskit/storage"
)

// askFactor stores a challenge and goes to the page that asks for the answer.
func (v *visit) askFactor(p proof, challenge *Challenge) error {
	st := v.newStep()
	st.Account, st.Method, st.Began, st.Identifier, st.Remember = p.account, p.method, p.began, p.identifier, p.remember
	st.Challenge = challenge
	if err := v.putStep(v.r.Context(), st, nil); err != nil {
		return err
	}
	return v.goTo(v.url("factor", fieldStep, st.id))
}

// factorStep returns the step that waits for a second factor.
func (v *visit) factorStep() (*step, error) {
	st, err := v.stepOf(v.value(fieldStep))
	if err == nil && st.Challenge == nil {
		err = errExpired
	}
	return st, err
}

// factorPage asks for the second factor.
func (v *visit) factorPage() error {
	st, err := v.factorStep()
	if err != nil {
		return err
	}
	page, err := v.newFactorPage(st)
	if err != nil {
		return err
	}
	return v.show(http.StatusOK, page)
}

func (v *visit) newFactorPage(st *step) (*ui.SecondFactorPage, error) {
	a, err := v.cfg.Accounts.Account(v.r.Context(), st.Account)
	if err != nil {
		return nil, err
	}
	page := &ui.SecondFactorPage{
		Frame: v.frame(nil), Form: v.newForm("factor", fieldStep, st.id), OtherForm: v.newForm("factor/other", fieldStep, st.id),
		Account: ui.Account{DID: string(a.DID), Handle: accountView(a).Handle}, Kind: st.Challenge.Kind, Hint: st.Challenge.Hint,
	}
	page.Back = v.link("sign-in")
	for _, other := range st.Challenge.Others {
		page.Others = append(page.Others, ui.FactorChoice{ID: other.ID, Kind: other.Kind})
	}
	return page, nil
}

// factorPost checks the answer to a challenge.
func (v *visit) factorPost() error {
	start, ctx := v.now(), v.r.Context()
	st, err := v.factorStep()
	if err != nil {
		return err
	}
	page, err := v.newFactorPage(st)
	if err != nil {
		return err
	}
	answer := v.field(ui.FieldCode)
	if answer == "" {
		return v.refused(http.StatusBadRequest, page, ui.Problem{Field: ui.FieldCode, Code: ui.ProblemRequired})
	}
	name := factorBackoff(st.Account)
	wait, err := v.tryOnce(ctx, name)
	if err != nil {
		return err
	}
	if wait > 0 {
		return v.tooMany(page, wait)
	}
	if err := v.countTry(ctx, st); err != nil {
		return err
	}
	err = v.cfg.SecondFactor.Verify(ctx, st.Challenge, answer)
	v.pad(start, padSignIn)
	if errors.Is(err, ErrCodeInvalid) {
		v.tell(ctx, v.event(Event{Kind: EventSignInFailed, Account: st.Account, Actor: st.Account, Identifier: st.Identifier, Method: st.Method}))
		return v.refused(http.StatusUnauthorized, page, ui.Problem{Field: ui.FieldCode, Code: ui.ProblemCodeWrong})
	}
	if err != nil {
		return errors.Join(err, v.takeBack(ctx, name))
	}
	if err := v.forgive(ctx, name); err != nil {
		return err
	}
	return v.signInWith(st.proof(), func(docs storage.Docs) error { return takeStep(docs, st) })
}

// proof is what was proved before the second factor.
func (st *step) proof() proof {
	return proof{account: st.Account, method: st.Method, began: st.Began, identifier: st.Identifier, remember: st.Remember}
}

// factorOther asks for another second factor.
func (v *visit) factorOther() error {
	ctx := v.r.Context()
	st, err := v.factorStep()
	if err != nil {
		return err
	}
	choice := v.field(ui.FieldMethod)
	offered := false
	for _, other := range st.Challenge.Others {
		offered = offered || other.ID == choice
	}
	if !offered {
		return &pageError{status: http.StatusBadRequest}
	}
	a, err := v.cfg.Accounts.Account(ctx, st.Account)
	if err != nil {
		return err
	}
	challenge, err := v.cfg.SecondFactor.Begin(ctx, FactorAttempt{Account: a, Device: v.dev.key, Factor: choice, Locale: v.locale})
	if err != nil {
		return err
	}
	if challenge == nil {
		return &pageError{status: http.StatusBadRequest}
	}
	next := *st
	next.id, next.Challenge = randomID(prefixStep, sizeID), challenge
	if err := v.putStep(ctx, &next, st); err != nil {
		return err
	}
	return v.goTo(v.url("factor", fieldStep, next.id))
}

// signInMethod returns a way to sign in by its ID, nil if there is none.
func (s *Server) signInMethod(id string) SignInMethod {
	for _, m := range s.cfg.SignInMethods {
		if strings.EqualFold(m.ID(), id) {
			return m
		}
	}
	return nil
}
