package oauth_test

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/oauth"
)

const (
	alicePassword = "correct horse alice"
	bobPassword   = "correct horse bob"
)

// people is an account system that can do everything that this package knows
// of.
type people struct {
	clock  *fakeClock
	server func() *oauth.Server

	mu           sync.Mutex // guards following
	accounts     map[syntax.DID]*person
	mails        []mail
	made         int
	checks       int // calls of SignIn
	checking     func()
	resetWasSlow func()
}

type person struct {
	oauth.Account
	password     string
	appPasswords []oauth.AppPassword
	legacy       []oauth.LegacySession
	codes        map[string]string // by purpose
}

type mail struct{ to, purpose, code string }

var (
	_ oauth.Accounts           = (*people)(nil)
	_ oauth.SignUps            = (*people)(nil)
	_ oauth.PasswordResets     = (*people)(nil)
	_ oauth.Reactivations      = (*people)(nil)
	_ oauth.EmailManager       = (*people)(nil)
	_ oauth.HandleManager      = (*people)(nil)
	_ oauth.PasswordChanger    = (*people)(nil)
	_ oauth.AppPasswordManager = (*people)(nil)
	_ oauth.LegacySessions     = (*people)(nil)
	_ oauth.Deactivator        = (*people)(nil)
	_ oauth.Deleter            = (*people)(nil)
	_ oauth.Exporter           = (*people)(nil)
)

func newPeople() *people {
	p := &people{accounts: map[syntax.DID]*person{}}
	p.add(alice, "alice", alicePassword)
	p.add(bob, "bob", bobPassword)
	return p
}

func (p *people) add(did syntax.DID, name, password string) *person {
	one := &person{Account: oauth.Account{
		DID: did, Handle: syntax.Handle(name + ".example.com"), Email: name + "@mail.example.org", EmailConfirmed: true,
	}, password: password, codes: map[string]string{}}
	p.accounts[did] = one
	return one
}

// change changes an account.
func (p *people) change(did syntax.DID, fn func(*person)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fn(p.accounts[did])
}

// checked returns how many passwords were checked.
func (p *people) checked() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.checks
}

// lastMail returns the mail that was sent last.
func (p *people) lastMail() mail {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.mails) == 0 {
		return mail{}
	}
	return p.mails[len(p.mails)-1]
}

// send makes a code for an account and mails it.
func (p *people) send(one *person, purpose string) {
	p.made++
	one.codes[purpose] = fmt.Sprintf("CODE-%05d", p.made)
	p.mails = append(p.mails, mail{one.Email, purpose, one.codes[purpose]})
}

// use takes a code, once.
func (p *people) use(one *person, purpose, code string) error {
	if one.codes[purpose] == "" || one.codes[purpose] != strings.ToUpper(code) {
		return oauth.ErrCodeInvalid
	}
	delete(one.codes, purpose)
	return nil
}

func (p *people) Account(_ context.Context, did syntax.DID) (oauth.Account, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	one := p.accounts[did]
	if one == nil {
		return oauth.Account{}, oauth.ErrAccountNotFound
	}
	return one.Account, nil
}

func (p *people) SignIn(_ context.Context, identifier, password string) (oauth.Account, error) {
	p.mu.Lock()
	p.checks++
	checking := p.checking
	var found oauth.Account
	err := oauth.ErrWrongCredentials
	for _, one := range p.accounts {
		if (identifier == string(one.Handle) || identifier == one.Email || identifier == string(one.DID)) && password == one.password {
			found, err = one.Account, nil
		}
	}
	p.mu.Unlock()
	if checking != nil {
		checking()
	}
	return found, err
}

func (p *people) HandleDomains() []string { return []string{".example.com", ".example.net"} }
func (p *people) InviteRequired() bool    { return true }

func (p *people) CheckHandle(_ context.Context, handle syntax.Handle) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, one := range p.accounts {
		if one.Handle == handle {
			return oauth.ErrHandleTaken
		}
	}
	if strings.HasPrefix(string(handle), "admin.") {
		return oauth.ErrHandleInvalid
	}
	return nil
}

func (p *people) SignUp(ctx context.Context, a oauth.NewAccount) (oauth.Account, error) {
	if err := p.CheckHandle(ctx, a.Handle); err != nil {
		return oauth.Account{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, one := range p.accounts {
		if one.Email == a.Email {
			return oauth.Account{}, oauth.ErrEmailTaken
		}
	}
	switch {
	case a.Invite != "welcome":
		return oauth.Account{}, oauth.ErrInviteInvalid
	case a.Password == "password":
		return oauth.Account{}, oauth.ErrPasswordWeak
	}
	one := p.add(syntax.DID(fmt.Sprintf("did:plc:new%021d", len(p.accounts))), "x", a.Password)
	one.Handle, one.Email, one.EmailConfirmed = a.Handle, a.Email, false
	return one.Account, nil
}

func (p *people) RequestPasswordReset(_ context.Context, email string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, one := range p.accounts {
		if one.Email == email {
			if p.resetWasSlow != nil {
				p.resetWasSlow()
			}
			p.send(one, "reset")
		}
	}
	return nil
}

func (p *people) ResetPassword(ctx context.Context, code, password string) error {
	p.mu.Lock()
	for did, one := range p.accounts {
		if p.use(one, "reset", code) == nil {
			one.password = password
			p.mu.Unlock()
			return p.server().EndSessions(ctx, did)
		}
	}
	p.mu.Unlock()
	return oauth.ErrCodeInvalid
}

func (p *people) Reactivate(_ context.Context, did syntax.DID) error {
	p.change(did, func(one *person) { one.Status = oauth.Active })
	return nil
}

func (p *people) RequestEmailChange(_ context.Context, did syntax.DID) (sent bool, err error) {
	p.change(did, func(one *person) {
		if sent = one.EmailConfirmed; sent {
			p.send(one, "email")
		}
	})
	return sent, nil
}

func (p *people) ChangeEmail(_ context.Context, did syntax.DID, email, code string) (err error) {
	p.change(did, func(one *person) {
		if one.EmailConfirmed {
			if err = p.use(one, "email", code); err != nil {
				return
			}
		}
		for _, other := range p.accounts {
			if other.Email == email {
				err = oauth.ErrEmailTaken
				return
			}
		}
		one.Email, one.EmailConfirmed = email, false
		clear(one.codes) // those sent to the old address are void
	})
	return err
}

func (p *people) RequestEmailConfirmation(_ context.Context, did syntax.DID) error {
	p.change(did, func(one *person) { p.send(one, "confirm") })
	return nil
}

func (p *people) ConfirmEmail(_ context.Context, did syntax.DID, code string) (err error) {
	p.change(did, func(one *person) {
		if err = p.use(one, "confirm", code); err == nil {
			one.EmailConfirmed = true
		}
	})
	return err
}

func (p *people) ChangeableDomains() []string { return p.HandleDomains() }

func (p *people) ChangeHandle(ctx context.Context, did syntax.DID, handle syntax.Handle) error {
	if err := p.CheckHandle(ctx, handle); err != nil {
		return err
	}
	if handle == "elsewhere.example.org" {
		return oauth.ErrHandleUnproven
	}
	p.change(did, func(one *person) { one.Handle = handle })
	return nil
}

func (p *people) ChangePassword(_ context.Context, did syntax.DID, password string) error {
	if password == "password" {
		return oauth.ErrPasswordWeak
	}
	p.change(did, func(one *person) { one.password = password })
	return nil
}

func (p *people) AppPasswords(_ context.Context, did syntax.DID) (list []oauth.AppPassword, err error) {
	p.change(did, func(one *person) { list = slices.Clone(one.appPasswords) })
	return list, nil
}

func (p *people) CreateAppPassword(_ context.Context, did syntax.DID, name string, privileged bool) (password string, err error) {
	p.change(did, func(one *person) {
		if slices.ContainsFunc(one.appPasswords, func(a oauth.AppPassword) bool { return a.Name == name }) {
			err = oauth.ErrNameTaken
			return
		}
		one.appPasswords = append(one.appPasswords, oauth.AppPassword{Name: name, Privileged: privileged, Created: time.Unix(1e9, 0)})
		one.legacy = append(one.legacy, oauth.LegacySession{ID: "legacy-1", AppPassword: name, Created: time.Unix(1e9, 0)})
		password = "abcd-efgh-ijkl-mnop"
	})
	return password, err
}

func (p *people) RevokeAppPassword(_ context.Context, did syntax.DID, name string) error {
	p.change(did, func(one *person) {
		one.appPasswords = slices.DeleteFunc(one.appPasswords, func(a oauth.AppPassword) bool { return a.Name == name })
	})
	return nil
}

func (p *people) LegacySessions(_ context.Context, did syntax.DID) (list []oauth.LegacySession, err error) {
	p.change(did, func(one *person) { list = slices.Clone(one.legacy) })
	return list, nil
}

func (p *people) EndLegacySession(_ context.Context, did syntax.DID, id string) error {
	p.change(did, func(one *person) {
		one.legacy = slices.DeleteFunc(one.legacy, func(s oauth.LegacySession) bool { return s.ID == id })
	})
	return nil
}

func (p *people) Deactivate(_ context.Context, did syntax.DID) error {
	p.change(did, func(one *person) { one.Status = oauth.Deactivated })
	return nil
}

func (p *people) RequestDeletion(_ context.Context, did syntax.DID) error {
	p.change(did, func(one *person) { p.send(one, "delete") })
	return nil
}

func (p *people) Delete(_ context.Context, did syntax.DID, code string) (err error) {
	p.change(did, func(one *person) {
		if err = p.use(one, "delete", code); err == nil {
			delete(p.accounts, did)
		}
	})
	return err
}

func (p *people) Exports(context.Context, syntax.DID) ([]oauth.Export, error) {
	return []oauth.Export{{Code: "repo", FileName: "repo.car", MediaType: "application/vnd.ipld.car", Size: 8}}, nil
}

func (p *people) OpenExport(_ context.Context, did syntax.DID, code string) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader("the repo")), nil
}

// sleeps records what the server would have slept.
type sleeps struct {
	mu    sync.Mutex // guards following
	total time.Duration
	last  time.Duration
}

func (s *sleeps) sleep(_ context.Context, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total += d
	s.last = d
}

// took returns how long the server slept last, and forgets it.
func (s *sleeps) took() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.last
	s.last = 0
	return d
}
