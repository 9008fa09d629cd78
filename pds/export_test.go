package pds

import (
	"context"
	"errors"
	"fmt"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/oauth"
)

// Background work, for tests that do not want to wait for Run.

func (s *Server) SettlePendingAccounts(ctx context.Context) error {
	_, err := s.settlePendingAccounts(ctx)
	return err
}

func (s *Server) ExtendMigration(ctx context.Context, did syntax.DID) error {
	return s.extendMigration(ctx, did)
}

func (s *Server) FinishKeyChanges(ctx context.Context) error {
	_, err := s.finishKeyChanges(ctx)
	return err
}

// ObserveOnce shows an observer one batch of events as Run does. Unless release
// is set it does not store how far it is at the end, as if the process died
// then. It returns the number of the last event that was seen.
func (s *Server) ObserveOnce(ctx context.Context, name string, release bool) (int64, error) {
	for _, named := range s.observers {
		if named.name == name {
			o := &observation{namedObserver: named, s: s}
			_, err := o.batch(ctx)
			if release {
				err = errors.Join(err, o.release(ctx))
			}
			return o.seq, err
		}
	}
	return 0, fmt.Errorf("no observer %q", name)
}

// OAuthAccounts is what the server gives its authorization server.
func (s *Server) OAuthAccounts() oauth.Accounts { return &oauthAccounts{s} }
