package oauth

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/pdskit/pdskit/oauth/ui"
	"github.com/pdskit/pdskit/storage"
)

// pathCallback is where other sites send browsers back, followed by the ID of
// the [SignInMethod].
const pathCallback = "/oauth/callback/"

// attempt describes a step to its method.
func (v *visit) attempt(m SignInMethod, st *step) SignInAttempt {
	a := SignInAttempt{
		State: st.id, Callback: v.cfg.Issuer + pathCallback + m.ID(), Device: v.dev.key, Locale: v.locale, IP: originOf(v.r.Context()).IP,
	}
	if v.req != nil {
		a.LoginHint = v.req.Params.LoginHint
	}
	return a
}

// methodPost begins to sign in by a method that was chosen.
func (v *visit) methodPost() error {
	m := v.signInMethod(v.field(ui.FieldMethod))
	if m == nil {
		return &pageError{status: http.StatusBadRequest}
	}
	if err := v.spend(v.r.Context(), bucketSignIn, ipKey(originOf(v.r.Context()).IP), v.cfg.Limits.Rates.SignInPerIP); err != nil {
		return err
	}
	if err := v.allow(v.r.Context(), v.event(Event{Kind: EventSignIn, Method: m.ID()})); err != nil {
		return err
	}
	st := v.newStep()
	st.Method, st.Began, st.Remember = m.ID(), v.now(), v.ticked(ui.FieldRemember)
	next, err := m.Begin(v.r.Context(), v.attempt(m, st))
	if err != nil {
		return err
	}
	return v.goToStep(st, nil, next)
}

// goToStep stores what a method asks for, and goes to the page of it.
func (v *visit) goToStep(st, after *step, next *SignInStep) error {
	if next == nil || next.Redirect == "" && len(next.Fields) == 0 {
		return errors.New("oauth: the sign-in method " + st.Method + " has neither signed in nor asked for anything")
	}
	st.Step = next
	if err := v.putStep(v.r.Context(), st, after); err != nil {
		return err
	}
	return v.goTo(v.url("step", fieldStep, st.id))
}

// methodStep returns a step of a method that the visit names.
func (v *visit) methodStep(id string) (*step, SignInMethod, error) {
	st, err := v.stepOf(id)
	if err != nil {
		return nil, nil, err
	}
	m := v.signInMethod(st.Method)
	if st.Step == nil || m == nil {
		return nil, nil, errExpired
	}
	return st, m, nil
}

// stepPage shows what a method asks for: a form, or the way to another site. A
// redirect from the form before would have to be allowed by its
// Content-Security-Policy; the header Refresh needs no permission.
func (v *visit) stepPage() error {
	st, _, err := v.methodStep(v.value(fieldStep))
	if err != nil {
		return err
	}
	if st.Step.Redirect != "" {
		u, err := url.Parse(st.Step.Redirect)
		if err != nil || u.Host == "" || u.Scheme != "https" && !(v.cfg.DevMode && u.Scheme == "http") {
			return errors.New("oauth: the sign-in method " + st.Method + " leads to no https address")
		}
		v.w.Header().Set("Refresh", "0;url="+u.String())
		return v.show(http.StatusOK, &ui.RedirectPage{Frame: v.frame(nil), URL: u.String()})
	}
	return v.show(http.StatusOK, v.newStepPage(st))
}

func (v *visit) newStepPage(st *step) *ui.SignInStepPage {
	page := &ui.SignInStepPage{Frame: v.frame(nil), Form: v.newForm("step", fieldStep, st.id), Title: st.Step.Title, Text: st.Step.Text}
	page.Back = v.link("sign-in")
	page.Fields = v.fieldViews(st.Step.Fields)
	if st.Step.Problem != "" {
		page.Problems = append(page.Problems, ui.Problem{Text: st.Step.Problem})
	}
	return page
}

// fieldViews shows fields with what was entered into them, but for secrets.
func (v *visit) fieldViews(fields []StepField) []ui.Field {
	var list []ui.Field
	for _, f := range fields {
		view := ui.Field{Name: f.Name, Kind: f.Kind, Label: f.Label, Hint: f.Hint, Autocomplete: f.Autocomplete, Required: f.Required}
		if f.Kind != ui.KindPassword && f.Kind != ui.KindCode {
			view.Value = v.value(f.Name)
		}
		list = append(list, view)
	}
	return list
}

// stepAgain is the page on which a refused step is tried again: its form, or
// that from which the browser was sent elsewhere.
func (v *visit) stepAgain(st *step) ui.Page {
	if len(st.Step.Fields) == 0 {
		return v.newSignInPage()
	}
	page := v.newStepPage(st)
	page.Problems = nil
	return page
}

// stepPost takes the form of a step.
func (v *visit) stepPost() error {
	st, m, err := v.methodStep(v.field(fieldStep))
	if err != nil {
		return err
	}
	values := url.Values{}
	for _, f := range st.Step.Fields {
		values.Set(f.Name, v.field(f.Name))
	}
	return v.continueStep(st, m, values)
}

// continueStep hands to a method what came back for a step.
func (v *visit) continueStep(st *step, m SignInMethod, values url.Values) error {
	start, ctx := v.now(), v.r.Context()
	var name string
	if st.Step.Account != "" {
		name = "method\x00" + m.ID() + "\x00" + string(st.Step.Account)
		wait, err := v.tryOnce(ctx, name)
		if err != nil {
			return err
		}
		if wait > 0 {
			return v.tooMany(v.stepAgain(st), wait)
		}
	}
	if err := v.countTry(ctx, st); err != nil {
		return err
	}
	following := *st
	following.id, following.Tries = randomID(prefixStep, sizeID), 0
	did, next, err := m.Continue(ctx, v.attempt(m, &following), st.Step.State, values)
	v.pad(start, padSignIn)
	if errors.Is(err, ErrCodeInvalid) {
		v.tell(ctx, v.event(Event{Kind: EventSignInFailed, Account: st.Step.Account, Actor: st.Step.Account, Method: m.ID()}))
		return v.refused(http.StatusUnauthorized, v.stepAgain(st), ui.Problem{Code: ui.ProblemCodeWrong})
	}
	again := err == nil && did == "" && next != nil && next.Problem != "" // a wrong answer, said otherwise
	switch {
	case name == "" || again:
	case err == nil && did != "":
		err = v.forgive(ctx, name)
	default: // neither wrong nor all that it takes
		err = errors.Join(err, v.takeBack(ctx, name))
	}
	if err != nil {
		return err
	}
	if did == "" {
		if again {
			following.Tries = st.Tries + 1
		}
		return v.goToStep(&following, st, next)
	}
	a, err := v.cfg.Accounts.Account(ctx, did)
	if err != nil {
		return err
	}
	switch {
	case a.Status == TakenDown:
		return v.refused(http.StatusForbidden, v.newSignInPage(), ui.Problem{Code: ui.ProblemAccountTakenDown})
	case !v.fits(a):
		return v.refused(http.StatusForbidden, v.newSignInPage(), ui.Problem{Code: ui.ProblemWrongAccount})
	}
	err = v.update(ctx, func(docs storage.Docs) error { return takeStep(docs, st) })
	if err != nil {
		return err
	}
	return v.proved(proof{account: did, method: m.ID(), began: st.Began, remember: st.Remember && a.Status != Guest})
}

// callback answers a browser that another site has sent back. Its cookies say
// whether it is the one that was sent there.
func (s *Server) callback(w http.ResponseWriter, r *http.Request) {
	v := &visit{Server: s, w: w, r: r}
	if err := v.comeBack(); err != nil {
		s.fail(w, r, err)
	}
}

func (v *visit) comeBack() error {
	if err := v.checkNavigation(v.r); err != nil {
		return err
	}
	query, err := url.ParseQuery(v.r.URL.RawQuery)
	if err != nil {
		return &pageError{status: http.StatusBadRequest}
	}
	if v.dev, err = v.knownDevice(v.w, v.r); err != nil {
		return err
	}
	if v.dev == nil {
		return errExpired
	}
	var st *step
	err = v.view(v.r.Context(), func(docs storage.Docs) (err error) {
		st, err = v.loadStep(docs, query.Get("state"), v.dev.key)
		return err
	})
	if err != nil {
		return err
	}
	if st.RequestURI != "" {
		if err := v.open(st.Client, st.RequestURI); err != nil {
			return err
		}
	}
	v.locale = v.cfg.UI.Locale(v.r, v.preferredLocales()...)
	st, m, err := v.methodStep(st.id)
	if err != nil {
		return err
	}
	if st.Step.Redirect == "" || !strings.EqualFold(m.ID(), v.r.PathValue("method")) {
		return errExpired
	}
	return v.continueStep(st, m, query)
}
