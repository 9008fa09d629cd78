package pds_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/storage"
)

// TestHousekeepingShows deletes an account and lets documents expire.
func TestHousekeepingShows(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t, keepReports, func(c *pds.Config) { c.Limits.ReportAge = time.Hour })
	alice, bob := srv.CreateAccount("alice"), srv.CreateAccount("bob")
	alice.CreateRecord("com.example.note", map[string]any{"$type": "com.example.note", "text": "hi"})
	ok(t, post(t, srv, createReportNSID, "Bearer "+bob.Access, aReport(reasonSpam), nil))
	before, err := srv.Stats(t.Context())
	ok(t, err)
	ok(t, srv.DeleteAccount(t.Context(), alice.DID, pds.By{}))
	srv.Clock.Advance(2 * time.Hour)
	srv.RunTasks(t.Context())
	after, err := srv.Stats(t.Context())
	ok(t, err)
	if after.DeletedAccounts != 1 || after.Totals.Accounts != 1 {
		t.Errorf("%d accounts deleted, %d left", after.DeletedAccounts, after.Totals.Accounts)
	}
	if after.Totals.CollectedRows <= before.Totals.CollectedRows || after.Totals.ExpiredDocs <= before.Totals.ExpiredDocs {
		t.Errorf("collected %d and %d before, %d and %d after", before.Totals.CollectedRows, before.Totals.ExpiredDocs,
			after.Totals.CollectedRows, after.Totals.ExpiredDocs)
	}
}

// slowTotals is a store whose totals take a second.
type slowTotals struct {
	storage.Store
	clock *pdstest.Clock
	reads int
}

func (s *slowTotals) Unwrap() storage.Store { return s.Store }

func (s *slowTotals) Totals(context.Context) (storage.Totals, error) {
	s.reads++
	s.clock.Advance(time.Second)
	return storage.Totals{Accounts: int64(s.reads)}, nil
}

func TestTotalsAreReadSeldom(t *testing.T) {
	t.Parallel()
	slow := &slowTotals{}
	srv := pdstest.New(t, func(c *pds.Config) { slow.Store, c.Store = c.Store, slow })
	slow.clock = srv.Clock
	read := func(want int64) {
		t.Helper()
		st, err := srv.Stats(t.Context())
		ok(t, err)
		if st.Totals.Accounts != want {
			t.Errorf("totals of reading %d, want %d", st.Totals.Accounts, want)
		}
	}
	read(1)
	read(1)
	srv.Clock.Advance(90 * time.Second)
	read(1)
	srv.Clock.Advance(time.Minute) // the reading took a second and what the test took for it
	read(2)
}

func TestReady(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	call := func(name string) int {
		t.Helper()
		resp, err := http.Get(srv.URL + "/xrpc/" + name)
		ok(t, err)
		ok(t, resp.Body.Close())
		return resp.StatusCode
	}
	if status := call("_ready"); status != http.StatusOK {
		t.Errorf("status %d", status)
	}
	ok(t, srv.Shutdown(t.Context()))
	if ready, healthy := call("_ready"), call("_health"); ready != http.StatusServiceUnavailable || healthy != http.StatusOK {
		t.Errorf("while it shuts down: ready %d, health %d", ready, healthy)
	}
}
