package oauth

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/oauth/ui"
)

// Bounds of a new password, in characters and bytes. The account system may ask
// for more.
const (
	minNewPassword = 8
	maxNewPassword = 256
)

// maxEmail is how many bytes an e-mail address may have, RFC 5321.
const maxEmail = 254

// signUps returns what makes accounts, nil if nobody can.
func (s *Server) signUps() SignUps {
	sign, _ := s.cfg.Accounts.(SignUps)
	return sign
}

// signUpPage asks for what a new account needs.
func (v *visit) signUpPage() error {
	page, err := v.newSignUpPage()
	if err != nil {
		return err
	}
	return v.show(http.StatusOK, page)
}

func (v *visit) newSignUpPage() (*ui.SignUpPage, error) {
	sign := v.signUps()
	page := &ui.SignUpPage{
		Frame: v.frame(nil), Form: v.newForm("sign-up"), Domains: sign.HandleDomains(), InviteRequired: sign.InviteRequired(),
		Handle: v.value(ui.FieldHandle), Domain: v.value(ui.FieldDomain), Email: v.value(ui.FieldEmail), Invite: v.value(ui.FieldInvite),
		HandleCheckURL: v.path("handle"), PasswordMin: minNewPassword, SignIn: v.link("sign-in"),
	}
	page.Back = v.link("sign-in")
	more, ok := sign.(SignUpFields)
	if !ok {
		return page, nil
	}
	page.TermsURL, page.PolicyURL = more.SignUpTerms(v.locale)
	fields, err := more.SignUpFields(v.r.Context(), v.locale)
	page.Extra = v.fieldViews(fields)
	return page, err
}

// signUpPost makes an account and signs in.
func (v *visit) signUpPost() error {
	start, ctx, sign := v.now(), v.r.Context(), v.signUps()
	if err := v.spend(ctx, bucketSignUp, ipKey(originOf(ctx).IP), v.cfg.Limits.Rates.SignUpPerIP); err != nil {
		return err
	}
	page, err := v.newSignUpPage()
	if err != nil {
		return err
	}
	entered, problems := v.newAccount(sign)
	for _, f := range page.Extra {
		entered.Answers[f.Name] = v.field(f.Name)
		if f.Required && v.field(f.Name) == "" {
			problems = append(problems, ui.Problem{Field: f.Name, Code: ui.ProblemRequired})
		}
	}
	if page.TermsURL+page.PolicyURL != "" && !v.ticked(ui.FieldTerms) {
		problems = append(problems, ui.Problem{Field: ui.FieldTerms, Code: ui.ProblemTermsNeeded})
	}
	if len(problems) > 0 {
		return v.refused(http.StatusBadRequest, page, problems...)
	}
	event := v.event(Event{Kind: EventSignUp, Identifier: string(entered.Handle)})
	if err := v.allow(ctx, event); err != nil {
		return err
	}
	a, err := sign.SignUp(ctx, entered)
	v.pad(start, padSignUp)
	if err != nil {
		return v.refusedFor(page, err)
	}
	event.Kind, event.Account, event.Actor = EventSignedUp, a.DID, a.DID
	v.tell(ctx, event)
	if !v.hintFits(a) {
		return v.goTo(v.url("sign-in"))
	}
	return v.signInWith(proof{account: a.DID, method: methodSignUp, began: v.now(), identifier: string(a.Handle)}, nil)
}

// methodSignUp names the making of an account where ways to sign in are named.
const methodSignUp = "sign-up"

// newAccount reads what was entered, and says what is wrong with it.
func (v *visit) newAccount(sign SignUps) (a NewAccount, problems []ui.Problem) {
	problem := func(field, code string) { problems = append(problems, ui.Problem{Field: field, Code: code}) }
	a = NewAccount{Invite: v.field(ui.FieldInvite), Password: v.form.Get(ui.FieldPassword), Locale: v.locale, Answers: map[string]string{}}
	domain := v.field(ui.FieldDomain)
	if domain == "" && len(sign.HandleDomains()) > 0 {
		domain = sign.HandleDomains()[0]
	}
	name := v.field(ui.FieldHandle)
	handle, err := belowDomain(name, domain)
	a.Handle = handle
	switch {
	case name == "":
		problem(ui.FieldHandle, ui.ProblemRequired)
	case !slices.Contains(sign.HandleDomains(), domain):
		problem(ui.FieldHandle, ui.ProblemDomainUnsupported)
	case err != nil:
		problem(ui.FieldHandle, ui.ProblemHandleInvalid)
	}
	var code string
	if a.Email, code = readEmail(v.field(ui.FieldEmail)); code != "" {
		problem(ui.FieldEmail, code)
	}
	if sign.InviteRequired() && a.Invite == "" {
		problem(ui.FieldInvite, ui.ProblemRequired)
	}
	if p := newPasswordProblem(ui.FieldPassword, a.Password); p != nil {
		problems = append(problems, *p)
	}
	return a, problems
}

// belowDomain returns the handle that a name and a domain such as
// ".example.com" make.
func belowDomain(name, domain string) (syntax.Handle, error) {
	name = strings.ToLower(strings.TrimPrefix(name, "@"))
	name = strings.TrimSuffix(name, domain)
	if strings.Contains(name, ".") {
		return "", errors.New("oauth: a name with a dot")
	}
	return syntax.ParseHandle(name + domain)
}

// readEmail returns an address in lower case, or the code of a problem. Whether
// it exists only a mail can tell.
func readEmail(s string) (email, problem string) {
	s = strings.ToLower(s)
	local, domain, ok := strings.Cut(s, "@")
	switch {
	case s == "":
		return s, ui.ProblemRequired
	case !ok || local == "" || !strings.Contains(strings.Trim(domain, "."), ".") || len(s) > maxEmail ||
		strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`"<>(),;:\`, r) }) || strings.Contains(domain, "@"):
		return s, ui.ProblemEmailInvalid
	}
	return s, ""
}

// newPasswordProblem returns what is wrong with a new password by its length.
func newPasswordProblem(field, password string) *ui.Problem {
	switch {
	case password == "":
		return &ui.Problem{Field: field, Code: ui.ProblemRequired}
	case utf8.RuneCountInString(password) < minNewPassword:
		return &ui.Problem{Field: field, Code: ui.ProblemPasswordShort, Args: ui.Args{"min": "8"}}
	case len(password) > maxNewPassword:
		return &ui.Problem{Field: field, Code: ui.ProblemPasswordLong, Args: ui.Args{"max": "256"}}
	}
	return nil
}

// problemsFor says what the errors of the account system are on a form.
var problemsFor = []struct {
	err     error
	problem ui.Problem
}{
	{ErrHandleTaken, ui.Problem{Field: ui.FieldHandle, Code: ui.ProblemHandleTaken}},
	{ErrHandleInvalid, ui.Problem{Field: ui.FieldHandle, Code: ui.ProblemHandleInvalid}},
	{ErrHandleUnproven, ui.Problem{Field: ui.FieldHandle, Code: ui.ProblemHandleUnproven}},
	{ErrEmailTaken, ui.Problem{Field: ui.FieldEmail, Code: ui.ProblemEmailTaken}},
	{ErrEmailInvalid, ui.Problem{Field: ui.FieldEmail, Code: ui.ProblemEmailInvalid}},
	{ErrInviteInvalid, ui.Problem{Field: ui.FieldInvite, Code: ui.ProblemInviteInvalid}},
	{ErrCodeInvalid, ui.Problem{Field: ui.FieldCode, Code: ui.ProblemCodeWrong}},
	{ErrNameTaken, ui.Problem{Field: ui.FieldName, Code: ui.ProblemNameTaken}},
	{ErrNameInvalid, ui.Problem{Field: ui.FieldName, Code: ui.ProblemNameInvalid}},
	{ErrFactorLimit, ui.Problem{Code: ui.ProblemNotPossible}},
	{ErrPasswordWeak, ui.Problem{Field: ui.FieldNewPassword, Code: ui.ProblemPasswordWeak}},
}

// refusedFor shows a page again because of an error of the account system. One
// that is not named is returned.
func (v *visit) refusedFor(page ui.Page, err error) error {
	if errors.Is(err, ErrBusy) {
		return v.refused(http.StatusServiceUnavailable, page, ui.Problem{Code: ui.ProblemBusy})
	}
	for _, known := range problemsFor {
		if errors.Is(err, known.err) {
			p := known.problem
			if _, ok := page.(*ui.SignUpPage); ok && p.Field == ui.FieldNewPassword {
				p.Field = ui.FieldPassword
			}
			if p.Field == ui.FieldHandle && v.form.Has(ui.FieldOwnHandle) {
				p.Field = ui.FieldOwnHandle
			}
			return v.refused(http.StatusBadRequest, page, p)
		}
	}
	return err
}

// handleCheck tells the script of the sign-up page whether a handle can be had.
// The form is checked again when it is sent.
func (s *Server) handleCheck(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	s.pageHeaders(h, pageTargets{})
	h.Set("Content-Type", "application/json")
	answer := func(status int, v any) {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(v) // whoever asked is gone
	}
	problem := func(status int, code string) { answer(status, map[string]string{"problem": code}) }
	if !oneOf(r.Header, "Sec-Fetch-Site", "same-origin") {
		problem(http.StatusForbidden, ui.ProblemNotPossible)
		return
	}
	v := &visit{Server: s, w: w, r: r}
	start := s.now()
	if wait := s.limited(r.Context(), bucketHandleCheck, ipKey(originOf(r.Context()).IP), s.cfg.Limits.Rates.HandleCheckPerIP); wait > 0 {
		setRetryAfter(h, wait)
		problem(http.StatusTooManyRequests, ui.ProblemTooManyTries)
		return
	}
	handle, err := syntax.ParseHandle(strings.ToLower(v.value(ui.FieldHandle)))
	if err == nil {
		err = s.signUps().CheckHandle(r.Context(), handle)
	} else {
		err = ErrHandleInvalid
	}
	v.pad(start, padSignIn)
	switch {
	case err == nil:
		answer(http.StatusOK, map[string]bool{"available": true})
	case errors.Is(err, ErrHandleTaken):
		problem(http.StatusOK, ui.ProblemHandleTaken)
	case errors.Is(err, ErrHandleInvalid):
		problem(http.StatusOK, ui.ProblemHandleInvalid)
	default:
		s.cfg.Logger.ErrorContext(r.Context(), "oauth: a handle could not be checked", "error", err)
		problem(http.StatusInternalServerError, ui.ProblemBusy)
	}
}
