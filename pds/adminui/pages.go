package adminui

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/oauth/ui"
	"github.com/pdskit/pdskit/pds"
)

// texts are what the catalogues of oauth/ui have not.
var texts = map[string]map[string]string{"en": {"notice.admin": "{text}", "manager.sections": "Administration"}}

// sections are the entries of the navigation, by path.
var sections = []struct{ path, title string }{
	{"", "Overview"},
	{"accounts", "Accounts"},
	{"invites", "Invite codes"},
	{"jobs", "Jobs"},
	{"reports", "Reports"},
	{"events", "Events"},
	{"audit", "Audit log"},
}

// base is what every page has that somebody sees who is signed in.
type base struct {
	ui.Frame
	ui.Manager
	path string
	csrf string
}

// base returns what a page of a section has, by the path of the section.
func (h *handler) base(v *visit, section string) base {
	b := base{path: h.opts.Path}
	if v.session == nil {
		return b
	}
	b.csrf = v.session.csrf
	if text := v.session.takeNotice(); text != "" {
		b.Notice, b.NoticeArgs = "admin", ui.Args{"text": text}
	}
	b.Account = ui.Account{DisplayName: "Administrator", DID: h.host}
	if v.account != nil {
		b.Account = ui.Account{DisplayName: "Administrator", DID: string(v.account.DID)}
		if !v.account.Handle.IsInvalidHandle() {
			b.Account.Handle = string(v.account.Handle)
		}
	}
	for _, s := range sections {
		b.Sections = append(b.Sections, ui.Section{Code: "admin_" + s.path, Title: s.title, URL: h.opts.Path + s.path, Here: s.path == section})
	}
	form := b.To("sign-out")
	b.SignOut = &form
	return b
}

// To is a form that goes to a path, with fields by name and value.
func (b *base) To(path string, fields ...string) ui.Form {
	f := ui.Form{Action: b.path + path, Hidden: []ui.HiddenField{{Name: ui.FieldCSRF, Value: b.csrf}}}
	for i := 0; i+1 < len(fields); i += 2 {
		f.Hidden = append(f.Hidden, ui.HiddenField{Name: fields[i], Value: fields[i+1]})
	}
	return f
}

// Link is the address of a path.
func (b *base) Link(path string) string { return b.path + path }

// AccountLink is the address of an account's page.
func (b *base) AccountLink(id string) string { return b.path + "accounts/" + url.PathEscape(id) }

// When shows a time to the minute.
func (b *base) When(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.UTC().Format("2006-01-02 15:04")
}

// Number groups digits.
func (b *base) Number(n int64) string {
	text := strconv.FormatInt(n, 10)
	var out strings.Builder
	for i, r := range text {
		if i > 0 && (len(text)-i)%3 == 0 && text[i-1] != '-' {
			out.WriteRune('\u202f')
		}
		out.WriteRune(r)
	}
	return out.String()
}

// Count is a number with the word for what is counted.
func (b *base) Count(n int64, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return b.Number(n) + " " + more
}

// Managed returns nil for who is not signed in: the page then has no
// navigation.
func (b *base) Managed() *ui.Manager {
	if b.SignOut == nil {
		return nil
	}
	return &b.Manager
}

// signInPage asks for the administrator's password, or an administrator's
// account.
type signInPage struct {
	ui.Frame
	Form     ui.Form
	Password bool           // whether there is one
	Account  string         // address at which accounts sign in; "": they cannot
	Ready    []readyAccount // those of administrators that are signed in
	others   []readyAccount
}

// readyAccount is an account that has signed in lately.
type readyAccount struct {
	DID  syntax.DID
	Name string
}

func (p *signInPage) isReady(did syntax.DID) bool {
	return slices.ContainsFunc(p.Ready, func(one readyAccount) bool { return one.DID == did })
}

func (*signInPage) Name() string { return "admin-sign-in" }

// errorPage says why something was not done.
type errorPage struct {
	base
	Status  int
	Message string
}

func (*errorPage) Name() string { return "admin-error" }

// homePage is the state of the server.
type homePage struct {
	base
	Stats *pds.Stats
}

func (*homePage) Name() string { return "admin-home" }

// accountsPage lists accounts.
type accountsPage struct {
	base
	Query    string
	Accounts []pds.AccountDetails
	Next     string // address of the next page
}

func (*accountsPage) Name() string { return "admin-accounts" }

// accountPage is one account.
type accountPage struct {
	base
	Shown pds.AccountDetails
}

func (*accountPage) Name() string { return "admin-account" }

// Active reports whether the account is neither taken down nor deactivated.
func (p *accountPage) Active() bool { return p.Shown.Status == "active" }

// deletePage asks whether an account is to be deleted.
type deletePage struct {
	base
	Shown   pds.AccountDetails
	Confirm string // what has to be entered
}

func (*deletePage) Name() string { return "admin-delete" }

// invitesPage lists invite codes, and makes some.
type invitesPage struct {
	base
	Invites []*pds.Invite
	Made    []string
	Next    string
}

func (*invitesPage) Name() string { return "admin-invites" }

// jobsPage lists jobs.
type jobsPage struct {
	base
	Dead  bool
	Jobs  []pds.JobInfo
	Next  string
	Other string // address of the jobs that are not listed
}

func (*jobsPage) Name() string { return "admin-jobs" }

// eventsPage lists the newest events.
type eventsPage struct {
	base
	Events []*pds.Event
}

func (*eventsPage) Name() string { return "admin-events" }

// auditPage lists entries of the audit log.
type auditPage struct {
	base
	Entries []pds.AuditEntry
	Next    string
}

func (*auditPage) Name() string { return "admin-audit" }
