package lookup_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pdskit/pdskit/internal/lookup"
)

var (
	errGone  = errors.New("there is no such thing")
	errLater = errors.New("not at the moment")
)

// source is what a cache fetches from. Its values are "key@n", where n says how
// many fetches there were.
type source struct {
	mu    sync.Mutex // guards following fields
	n     int
	err   error
	delay time.Duration
}

func (s *source) fetch(_ context.Context, key string) (string, error) {
	s.mu.Lock()
	s.n++
	n, err, delay := s.n, s.err, s.delay
	s.mu.Unlock()
	time.Sleep(delay) // of a synctest bubble
	return fmt.Sprintf("%s@%d", key, n), err
}

func (s *source) set(err error, delay time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err, s.delay = err, delay
}

func (s *source) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.n
}

func newCache(s *source, change ...func(*lookup.Config[string, string])) *lookup.Cache[string, string] {
	cfg := lookup.Config[string, string]{
		Fetch: s.fetch, NotFound: errGone, Cost: func(v string) int { return len(v) },
		StaleTTL: time.Minute, MaxTTL: time.Hour, ErrorTTL: 10 * time.Second,
		MaxEntries: 100, MaxBytes: 10_000, Clock: time.Now,
	}
	for _, fn := range change {
		fn(&cfg)
	}
	return lookup.New(cfg)
}

func want(t *testing.T, c *lookup.Cache[string, string], key, value string, wantErr error) {
	t.Helper()
	got, err := c.Get(t.Context(), key)
	if !errors.Is(err, wantErr) || err == nil && got.Value != value {
		t.Errorf("%s is %q, %v; want %q, %v", key, got.Value, err, value, wantErr)
	}
}

func TestAges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(source)
		c := newCache(s)
		want(t, c, "a", "a@1", nil)
		time.Sleep(time.Minute - 1)
		want(t, c, "a", "a@1", nil)
		time.Sleep(time.Nanosecond)
		want(t, c, "a", "a@1", nil) // stale, and being renewed
		c.Wait()
		want(t, c, "a", "a@2", nil)
		time.Sleep(time.Hour)
		want(t, c, "a", "a@3", nil) // too old to be used
		if res, err := c.Get(t.Context(), "a"); err != nil || !res.At.Equal(time.Now()) {
			t.Errorf("it was fetched at %v, %v", res.At, err)
		}
	})
}

func TestFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(source)
		c := newCache(s)
		s.set(errLater, 0)
		want(t, c, "a", "", errLater)
		s.set(nil, 0)
		time.Sleep(10*time.Second - 1)
		want(t, c, "a", "", errLater) // remembered
		time.Sleep(time.Nanosecond)
		want(t, c, "a", "a@2", nil)

		// A value outlives failures to renew it, which are not tried all the time.
		time.Sleep(time.Minute)
		s.set(errLater, 0)
		for range 3 {
			want(t, c, "a", "a@2", nil)
			c.Wait()
		}
		if n := s.count(); n != 3 {
			t.Errorf("%d fetches", n)
		}
		time.Sleep(10 * time.Second)
		s.set(errGone, 0)
		want(t, c, "a", "a@2", nil)
		c.Wait()
		want(t, c, "a", "", errGone) // but not that there is none
		if v, ok := c.Peek("a"); ok {
			t.Errorf("%q can be seen", v)
		}

		forgetful := newCache(s, func(cfg *lookup.Config[string, string]) { cfg.ErrorTTL = -1 })
		for n := range 2 {
			before := s.count()
			if want(t, forgetful, "a", "", errGone); s.count() != before+1 {
				t.Errorf("lookup %d does not fetch", n)
			}
		}
	})
}

func TestShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{delay: time.Second}
		c := newCache(s)
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() { want(t, c, "a", "a@1", nil) })
		}
		// Who leaves does not end it for the others.
		ctx, cancel := context.WithCancel(t.Context())
		wg.Go(func() {
			if _, err := c.Get(ctx, "a"); !errors.Is(err, context.Canceled) {
				t.Errorf("a caller that left got %v", err)
			}
		})
		synctest.Wait()
		cancel()
		wg.Wait()
		if n := s.count(); n != 1 {
			t.Errorf("%d fetches", n)
		}
	})
}

// What began earlier does not take the place of what began later.
func TestRefreshAndForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &source{delay: time.Second}
		c := newCache(s)
		var wg sync.WaitGroup
		wg.Go(func() { want(t, c, "a", "a@1", nil) })
		synctest.Wait()
		wg.Go(func() { want(t, c, "b", "b@2", nil) })
		synctest.Wait()
		if n := s.count(); n != 2 {
			t.Fatalf("%d fetches", n)
		}
		s.set(nil, 0)
		if res, err := c.Refresh(t.Context(), "a"); err != nil || res.Value != "a@3" {
			t.Errorf("refreshed: %q, %v", res.Value, err)
		}
		c.Forget("b")
		if _, ok := c.Peek("b"); ok {
			t.Error("what was forgotten can be seen")
		}
		wg.Wait() // the slow ones come in
		want(t, c, "a", "a@3", nil)
		want(t, c, "b", "b@4", nil)
	})
}

func TestPut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(source)
		c := newCache(s)
		c.Put("a", "brought", time.Now().Add(-time.Minute))
		c.Put("a", "too late", time.Now())
		if v, ok := c.Peek("a"); !ok || v != "brought" {
			t.Errorf("%q, %v", v, ok)
		}
		want(t, c, "a", "brought", nil) // stale: it is renewed
		c.Wait()
		want(t, c, "a", "a@1", nil)
		c.Put("b", "old", time.Now().Add(-time.Hour))
		want(t, c, "b", "b@2", nil)
	})
}

func TestBounds(t *testing.T) {
	s := new(source)
	for name, change := range map[string]func(*lookup.Config[string, string]){
		"entries": func(cfg *lookup.Config[string, string]) { cfg.MaxEntries = 10 },
		"bytes": func(cfg *lookup.Config[string, string]) {
			cfg.Cost, cfg.MaxBytes = func(string) int { return 98 }, 1000 // and two of the key
		},
	} {
		c := newCache(s, change)
		for i := range 30 {
			want(t, c, fmt.Sprintf("%02d", i), fmt.Sprintf("%02d@%d", i, s.count()+1), nil)
			if _, ok := c.Peek("00"); !ok { // what is used stays
				t.Fatalf("%s: it has forgotten what was used", name)
			}
		}
		var kept []string
		for i := range 30 {
			if _, ok := c.Peek(fmt.Sprintf("%02d", i)); ok {
				kept = append(kept, fmt.Sprintf("%02d", i))
			}
		}
		if got := strings.Join(kept, " "); got != "00 21 22 23 24 25 26 27 28 29" {
			t.Errorf("%s: it has kept %s", name, got)
		}
	}
}

// As many stale things are renewed at a time as the package says, and no more.
func TestRenewalsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := new(source)
		c := newCache(s)
		for i := range 50 {
			want(t, c, fmt.Sprint(i), fmt.Sprintf("%d@%d", i, i+1), nil)
		}
		time.Sleep(time.Minute)
		s.set(nil, time.Second)
		for range 2 {
			for i := range 50 {
				want(t, c, fmt.Sprint(i), fmt.Sprintf("%d@%d", i, i+1), nil)
			}
		}
		synctest.Wait()
		if n := s.count(); n != 50+32 {
			t.Errorf("%d renewals at a time", n-50)
		}
		c.Wait()
	})
}
