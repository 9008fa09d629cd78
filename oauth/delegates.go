package oauth

import (
	"context"
	"slices"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/oauth/ui"
)

// Delegates is implemented by [Accounts] where somebody may act for the account
// of another, as a member does for a group. Who is signed in can then choose such
// an account in place of the own one, and what comes of it says both: the tokens
// have the account as subject and the other as actor (RFC 8693 section 4.1), and
// what was consented to is remembered for the two together.
//
// Without it every session belongs to the account that has authorized it.
type Delegates interface {
	// ActsFor returns the accounts that an active account, or a guest, may act
	// for, without itself. Those that are active are offered, the first [MaxDelegated]. If it
	// fails, none is offered.
	ActsFor(ctx context.Context, actor syntax.DID) ([]Account, error)

	// MayAct reports whether one account may act for another now. It is asked at
	// each step of an authorization, for each code and at each refresh; what
	// ActsFor has returned counts for nothing. If it says no, the session ends;
	// an error ends nothing.
	MayAct(ctx context.Context, account, actor syntax.DID) (bool, error)
}

// MaxDelegated is how many accounts are offered to somebody who may act for them.
const MaxDelegated = 100

// mayAct reports whether one account may act for another, which every account
// does for itself.
func (s *Server) mayAct(ctx context.Context, account, actor syntax.DID) (bool, error) {
	if account == actor {
		return true, nil
	}
	d, ok := s.cfg.Accounts.(Delegates)
	if !ok {
		return false, nil
	}
	return d.MayAct(ctx, account, actor)
}

// present is an account that the visit can be about: one that is signed in on
// the device, or one that such an account may act for.
type present struct {
	signIn  signIn // of the actor
	account Account
	actor   Account // the account itself, unless somebody acts for it
}

func (p *present) acting() bool { return p.account.DID != p.actor.DID }

func (p *present) choice() choice { return choice{p.account.DID, p.actor.DID} }

// offered returns what somebody who is signed in can choose from: the own
// account and those to act for, as far as the request is for them.
func (v *visit) offered(si signIn, a Account) []present {
	var list []present
	if a.Status != Guest && v.hintFits(a) {
		list = append(list, present{si, a, a})
	}
	d, ok := v.cfg.Accounts.(Delegates)
	if !ok || !a.Status.mayAct() {
		return list
	}
	others, err := d.ActsFor(v.r.Context(), a.DID)
	if err != nil {
		// Nobody is kept from the own account by it.
		v.cfg.Logger.ErrorContext(v.r.Context(), "oauth: looking up whom an account acts for failed", "did", a.DID, "error", err)
		return list
	}
	for _, other := range others[:min(len(others), MaxDelegated)] {
		if other.DID != a.DID && other.Status == Active && v.hintFits(other) {
			list = append(list, present{si, other, a})
		}
	}
	return list
}

// fits reports whether the request can be for somebody who signs in, or for an
// account that this one may act for.
func (v *visit) fits(a Account) bool {
	return a.Status != Guest && v.hintFits(a) || len(v.offered(signIn{}, a)) > 0
}

// own leaves out the accounts that somebody else acts for.
func own(list []present) []present {
	return slices.DeleteFunc(slices.Clone(list), func(p present) bool { return p.acting() })
}

// choice says for which account somebody goes on, and who it is. It comes from
// forms and addresses: nothing of it is true before [visit.ready] has looked.
type choice struct{ account, actor syntax.DID }

func (v *visit) choice() choice {
	c := choice{syntax.DID(v.value(ui.FieldAccount)), syntax.DID(v.value(ui.FieldActor))}
	if c.actor == "" {
		c.actor = c.account
	}
	return c
}

// fields are the parameters from which a choice is read again.
func (c choice) fields() []string {
	fields := []string{ui.FieldAccount, string(c.account)}
	if c.account != c.actor {
		fields = append(fields, ui.FieldActor, string(c.actor))
	}
	return fields
}

// views returns what pages show of an account, and of who acts for it, if it is
// not the account itself. The address of the account is not the actor's to see.
func (p *present) views() (account ui.Account, actor *ui.Account) {
	account = accountView(p.account)
	if p.acting() {
		account.Email, account.EmailConfirmed = "", false
		actor = new(accountView(p.actor))
	}
	return account, actor
}
