package adopt_test

import (
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/pdskit/pdskit/pds/adopt"
)

// However large an account is, no transaction may be larger than the contract
// allows, which the counting store sees to. PDSKIT_BIG makes it really large.
func TestAdoptionOfALargeAccount(t *testing.T) {
	n := 1000
	if os.Getenv("PDSKIT_BIG") != "" {
		n = 30_000
	} else if testing.Short() {
		t.Skip("takes a second")
	}
	r := newReference(t)
	m := r.add("alice", "")
	changes := map[string]any{}
	for i := range n {
		changes[fmt.Sprintf("app.bsky.feed.post/%08d", i)] = post(fmt.Sprintf("post %d, as long as posts are on average, which is not much", i))
	}
	m.commit(changes)
	exec(t, r.events, "DELETE FROM repo_seq WHERE seq = ?", r.lastSeq()) // larger than any real one
	r.close()
	h := newHeir(t)
	start := time.Now()
	report, err := adopt.Run(t.Context(), h.options(r))
	ok(t, err)
	if report.Records != int64(n) || len(report.Findings) > 0 {
		t.Errorf("report %+v", report)
	}
	h.check(t, m)
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	t.Logf("%d records in %v, %d MB from the system", n, time.Since(start).Round(time.Millisecond), mem.Sys>>20)
}
