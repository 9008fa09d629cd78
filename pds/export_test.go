package pds

import (
	"context"

	"github.com/bluesky-social/indigo/atproto/syntax"
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
