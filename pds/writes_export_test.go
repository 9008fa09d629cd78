package pds

import "context"

// Background work on blobs, for tests that do not want to wait for Run.

func (s *Server) DeleteReleasedBlobs(ctx context.Context) error {
	_, err := s.deleteReleasedBlobs(ctx)
	return err
}

func (s *Server) SweepTemporaryBlobs(ctx context.Context) error {
	_, err := s.sweepTemporaryBlobs(ctx)
	return err
}

func (s *Server) SweepOrphanedBlobs(ctx context.Context) error {
	_, err := s.sweepOrphanedBlobs(ctx)
	return err
}
