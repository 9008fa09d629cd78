package pds

import (
	"time"

	"github.com/pdskit/pdskit/internal/jobs"
)

// tasks lists the background work, see Run.
func (s *Server) tasks() []task {
	return []task{
		{name: "maintain storage", every: 10 * time.Second, run: s.maintain},
		{name: "finish interrupted sign-ups", every: time.Minute, run: s.settlePendingAccounts},
		{name: "finish interrupted changes of signing keys", every: time.Minute, run: s.finishKeyChanges},
		{name: "delete released blobs", every: 5 * time.Second, run: s.deleteReleasedBlobs},
		{name: "sweep temporary blobs", every: 10 * time.Minute, destructive: true, run: s.sweepTemporaryBlobs},
		{name: "find orphaned blobs", every: time.Hour, destructive: true, run: s.sweepOrphanedBlobs},
		{name: "measure the log of events", every: time.Minute, run: s.measureLog},
		{name: "prune events", every: time.Minute, destructive: true, run: s.pruneEvents},
		{name: "prune topics", every: time.Minute, destructive: true, run: s.live.Maintain},
	}
}

// jobHandlers lists the jobs of the server itself.
func (s *Server) jobHandlers() []jobs.Handler {
	list := append(s.mailJobs(), s.announcementJobs())
	if !s.cfg.KeepDeactivated {
		list = append(list, s.deletionJobs())
	}
	return list
}
