package pds

import "context"

// RunTasks does what Run does, once, until nothing is left to do.
func (s *Server) RunTasks(ctx context.Context) {
	if _, err := s.jobs.RunDue(ctx); err != nil {
		s.log.ErrorContext(ctx, "jobs", "error", err)
	}
	for _, t := range s.tasks() {
		for s.runTask(ctx, t) {
		}
	}
}
