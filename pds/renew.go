package pds

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/oauth"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// Streams go on for longer than a request. So their callers are looked at again
// from time to time, and when something has happened to them.

// ServiceStreamLife is how long a caller that is known by a service token may use
// a stream: nobody tells this server when a session ends elsewhere.
const ServiceStreamLife = time.Hour

// basis is what the rights of a caller rest on, as far as it can end while the
// account stays as it is. It is stored with tickets.
type basis struct {
	// Session is the key of a session, or the ID of one of OAuth. It is empty for
	// session tokens that do not name theirs.
	Session string `json:"session,omitempty"`

	// Epoch and IssuedAt are those of a session token.
	Epoch    *int64 `json:"epoch,omitempty"`
	IssuedAt int64  `json:"issuedAt,omitempty"`

	// Until is when a caller with a service token has to come with another.
	Until time.Time `json:"until,omitzero"`
}

func (c *sessionClaims) basis() basis {
	return basis{Session: c.Session, Epoch: c.Epoch, IssuedAt: c.IssuedAt}
}

func (s *Server) serviceBasis() basis { return basis{Until: s.clock.Now().Add(ServiceStreamLife)} }

// Recheck looks again at everything that somebody has open, as an account or as
// who acts for one: streams, whose callers must still be good and pass the rule
// of the method, and subscriptions of topics with the DID as live.Options.Client,
// whose rule is asked. What may not go on is cut, within a second. The server
// does so itself when sessions end and accounts change; a program does when it
// has taken rights away, see [State.Recheck]. Without a call, and for the streams
// of other processes, a minute may pass.
func (s *Server) Recheck(dids ...syntax.DID) {
	s.xrpc.Recheck(dids...)
	for _, did := range dids {
		s.live.RecheckClient(string(did))
	}
}

// cutEnded returns a hook that looks at the streams of OAuth sessions that have
// ended, after another, which may be nil.
func (s *Server) cutEnded(other oauth.Hook) oauth.Hook {
	return func(ctx context.Context, e oauth.Event) error {
		if e.Kind == oauth.EventEnded {
			defer s.Recheck(e.Account, e.Actor)
		}
		if other != nil {
			return other(ctx, e)
		}
		return nil
	}
}

// renew returns the caller of a stream as its credential makes it now, or why it
// may not go on. What it was not allowed when it came it does not get later.
// Callers of foreign authenticators go on while their account is not taken down.
func (s *Server) renew(ctx context.Context, c *xrpc.Caller) (*xrpc.Caller, error) {
	cred, own := c.Detail.(*credential)
	kind := c.OriginKind()
	switch {
	case kind == xrpc.KindAdmin:
		return c, nil
	case own && kind == xrpc.KindOAuth:
		return s.renewOAuth(ctx, c, cred)
	}
	var a storage.Account
	err := s.store.View(ctx, func(tx storage.Tx) (err error) {
		a, err = tx.Account(c.Account)
		there := err == nil && !a.Pending
		switch {
		case err != nil && !errors.Is(err, storage.ErrNotFound):
			return err
		case there && a.TakedownRef != "":
			return errAccountTakedown()
		case !own:
			return nil
		case kind != xrpc.KindService && !there:
			return errAccountNotFound()
		case kind != xrpc.KindService:
			return cred.basis.sessionLasts(tx, &a)
		case there && !a.Active():
			return errAccountDeactivated()
		case !s.clock.Now().Before(cred.basis.Until):
			return errService("JwtExpired", "it is too long since the service token was checked")
		}
		return nil
	})
	if err != nil || !own || kind == xrpc.KindService {
		return c, err
	}
	// Rules look at the account of now.
	renewed, detail := *c, *cred
	detail.account = &a
	renewed.Detail = &detail
	return &renewed, nil
}

// sessionLasts returns the client's error if the session of a token has ended.
func (b *basis) sessionLasts(tx storage.Docs, a *storage.Account) error {
	if (&sessionClaims{Epoch: b.Epoch, IssuedAt: b.IssuedAt}).outdated(a) {
		return errTokenRevoked()
	}
	if b.Session == "" {
		return nil
	}
	_, _, err := findSession(tx, a.DID, b.Session)
	return err
}

// renewOAuth is renew for a caller with an access token.
func (s *Server) renewOAuth(ctx context.Context, c *xrpc.Caller, cred *credential) (*xrpc.Caller, error) {
	token, err := s.oauth.Current(ctx, cred.basis.Session)
	if refused, ok := errors.AsType[*oauth.Error](err); ok {
		return nil, s.oauthError(refused)
	}
	if err != nil {
		return nil, err
	}
	account, err := s.callerAccount(ctx, c.Account)
	if err != nil {
		return nil, err
	}
	if account.TakedownRef != "" {
		return nil, errAccountTakedown()
	}
	now, err := s.cutToGrant(ctx, cred.granted.Intersect(token.Scope), c.Account, c.Actor)
	if err != nil {
		s.noteActing(ctx, c, err)
		return nil, err
	}
	renewed := *c
	renewed.Scopes = strings.Fields(now.String())
	renewed.Detail = &credential{account: account, granted: now, basis: cred.basis}
	if c.Kind == xrpc.KindTicket {
		err = s.requireOwnRPC(&renewed, xrpc.MethodFrom(ctx))
	}
	return &renewed, err
}
