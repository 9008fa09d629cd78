package pds_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/storage"
)

// overtaken is a store on which something happens just before, or after, the
// first Update that does a certain thing, see probe.
type overtaken struct {
	storage.Store

	mu    sync.Mutex // guards following fields
	stage string
	after bool
	by    func()
}

func (s *overtaken) Unwrap() storage.Store { return s.Store }

func (s *overtaken) arm(stage string, after bool, by func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stage, s.after, s.by = stage, after, by
}

func (s *overtaken) Update(ctx context.Context, fn func(storage.Tx) error) error {
	s.mu.Lock()
	stage, after, by := s.stage, s.after, s.by
	s.mu.Unlock()
	if stage == "" {
		return s.Store.Update(ctx, fn)
	}
	p := &probe{did: map[string]bool{}}
	err := s.Store.Update(ctx, func(tx storage.Tx) error {
		p.Tx = tx
		if err := fn(p); err != nil || !p.did[stage] {
			return err
		}
		return errAgain
	})
	if !errors.Is(err, errAgain) {
		return err
	}
	s.arm("", false, nil)
	if after {
		defer by()
	} else {
		by()
	}
	return s.Store.Update(ctx, fn)
}

// A password that is reset keeps out who changes something at that moment and
// was let in before, in each way in which that is done.
func TestResetOvertakesChanges(t *testing.T) {
	t.Parallel()
	const newPassword = "what the owner has set"
	manager := func(a *pdstest.Account, section string, form url.Values) func(t *testing.T, overtake func()) error {
		return func(t *testing.T, overtake func()) error {
			p := newPerson(t, a.PDS, "atproto")
			pg := p.do(http.NewRequestWithContext(t.Context(), "GET", a.PDS.URL+"/account/sign-in", nil))
			p.submit(pg, "/sign-in", url.Values{"identifier": {string(a.Handle)}, "password": {a.Password}, "remember": {"1"}})
			pg = p.do(http.NewRequestWithContext(t.Context(), "GET", a.PDS.URL+"/account/"+string(a.DID)+"/"+section, nil))
			overtake()
			answer := p.submit(pg, "/"+section, form)
			if answer.status < 400 {
				return nil
			}
			return &pdstest.Error{Status: answer.status, Message: answer.text}
		}
	}
	method := func(a *pdstest.Account, nsid string, in any) func(t *testing.T, overtake func()) error {
		return func(t *testing.T, overtake func()) error {
			overtake()
			return post(t, a.PDS, nsid, "Bearer "+a.Access, in, nil)
		}
	}
	for name, c := range map[string]struct {
		stage  string
		after  bool
		change func(a *pdstest.Account) func(t *testing.T, overtake func()) error
		error  string // a part of the answer
	}{
		"an app password by a session": {"app-password", false, func(a *pdstest.Account) func(*testing.T, func()) error {
			return method(a, createAppPasswordNSID, map[string]any{"name": "x"})
		}, "ExpiredToken"},
		"an app password in the account manager": {"app-password", false, func(a *pdstest.Account) func(*testing.T, func()) error {
			return manager(a, "app-passwords", url.Values{"name": {"x"}})
		}, "400"},
		"a password in the account manager": {"oauth-device-account", true, func(a *pdstest.Account) func(*testing.T, func()) error {
			return manager(a, "password", url.Values{"password": {a.Password}, "new_password": {"what somebody else has set"}})
		}, "400"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := new(overtaken)
			srv := pdstest.New(t, func(cfg *pds.Config) {
				store.Store, cfg.Store = cfg.Store, store
			})
			a := srv.CreateAccount("alice")
			ok(t, post(t, srv, resetNSID, "", map[string]any{"email": a.Email}, nil))
			code := srv.Mail.Code(a.Email)
			happened := false
			err := c.change(a)(t, func() {
				store.arm(c.stage, c.after, func() {
					happened = true
					ok(t, post(t, srv, doResetNSID, "", map[string]any{"token": code, "password": newPassword}, nil))
				})
			})
			if !happened {
				t.Fatal("nothing was overtaken")
			}
			if err == nil || !strings.Contains(err.Error(), c.error) {
				t.Errorf("the change ends with %v", err)
			}
			session := login(t, srv, string(a.DID), newPassword)
			var list appPasswordList
			ok(t, get(t, srv, "com.atproto.server.listAppPasswords", session.access(), nil, &list))
			if len(list.Passwords) != 0 {
				t.Errorf("there is an app password: %v", list.Passwords)
			}
		})
	}
}
