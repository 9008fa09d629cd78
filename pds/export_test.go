package pds

import "context"

// Background work, for tests that do not want to wait for Run.

func (s *Server) SettlePendingAccounts(ctx context.Context) error {
	_, err := s.settlePendingAccounts(ctx)
	return err
}

func (s *Server) DeleteDueAccounts(ctx context.Context) error {
	_, err := s.deleteDueAccounts(ctx)
	return err
}
