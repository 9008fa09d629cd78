package pds_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
)

// TestRecentEvents reads the end of a log with crowds and gaps.
func TestRecentEvents(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	list, err := srv.RecentEvents(t.Context(), 10)
	if err != nil || len(list) != 0 {
		t.Fatalf("an empty log: %+v, %v", list, err)
	}
	a := srv.CreateAccount("alice")
	write := func(i int) {
		a.CreateRecord("com.example.note", map[string]any{"$type": "com.example.note", "text": fmt.Sprint(i)})
	}
	for i := range 30 {
		write(i)
	}
	check := func(limit, want int) {
		t.Helper()
		list, err := srv.RecentEvents(t.Context(), limit)
		ok(t, err)
		if len(list) != want {
			t.Fatalf("%d events, want %d", len(list), want)
		}
		for i, ev := range list {
			if i > 0 && ev.Seq >= list[i-1].Seq {
				t.Errorf("event %d comes after %d", ev.Seq, list[i-1].Seq)
			}
		}
		if list[0].Kind != pds.EventCommit || len(list[0].Commit.Ops) != 1 {
			t.Errorf("the newest event is %+v", list[0])
		}
		note, _ := list[0].Commit.Ops[0].Record.Value["text"].(string)
		if note != "29" && note != "30" {
			t.Errorf("the newest record is %q", note)
		}
	}
	all := len(srv.Events(34))
	check(200, all)
	check(10, 10)
	check(1, 1)
	srv.Clock.Advance(2 * time.Hour)
	a.Login()
	write(30)
	check(1, 1)
	check(5, 5)
	check(0, 1)
}
