package lane_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/pdskit/pdskit/internal/lane"
)

func TestOrderAndValue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := lane.New[string, []int](10, 100)
		ctx := t.Context()
		hold := make(chan struct{})
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				err := g.Do(ctx, "a", func(_ context.Context, v *[]int) (bool, error) {
					if i == 0 {
						<-hold
					}
					*v = append(*v, i)
					return true, nil
				})
				if err != nil {
					t.Error(err)
				}
			})
			synctest.Wait() // so that callers arrive in order
		}
		close(hold)
		wg.Wait()
		_ = g.Do(ctx, "a", func(_ context.Context, v *[]int) (bool, error) {
			for i, got := range *v {
				if i != got {
					t.Fatalf("order %v", *v)
				}
			}
			if len(*v) != 50 {
				t.Fatalf("%d ran", len(*v))
			}
			return true, nil
		})
	})
}

func TestCancelWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := lane.New[string, int](10, 100)
		hold := make(chan struct{})
		go g.Do(t.Context(), "a", func(context.Context, *int) (bool, error) { <-hold; return true, nil })
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		got := make(chan error)
		go func() {
			got <- g.Do(ctx, "a", func(context.Context, *int) (bool, error) { t.Error("ran"); return true, nil })
		}()
		synctest.Wait()
		cancel()
		if err := <-got; !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		close(hold)
		if err := g.Do(t.Context(), "a", func(context.Context, *int) (bool, error) { return true, nil }); err != nil {
			t.Fatal(err)
		}
	})
}

func TestPanicIsContainedAndDropsTheValue(t *testing.T) {
	g := lane.New[string, int](10, 100)
	err := g.Do(t.Context(), "a", func(_ context.Context, v *int) (bool, error) { *v = 7; panic("boom") })
	var p *lane.PanicError
	if !errors.As(err, &p) || p.Value != "boom" || len(p.Stack) == 0 {
		t.Fatalf("%v", err)
	}
	_ = g.Do(t.Context(), "a", func(_ context.Context, v *int) (bool, error) {
		if *v != 0 {
			t.Errorf("value %d survived", *v)
		}
		return true, nil
	})
}

func TestReentry(t *testing.T) {
	g := lane.New[string, int](10, 100)
	err := g.Do(t.Context(), "a", func(ctx context.Context, _ *int) (bool, error) {
		if err := g.Do(ctx, "b", func(context.Context, *int) (bool, error) { return true, nil }); err != nil {
			t.Errorf("another lane: %v", err)
		}
		return true, g.Do(ctx, "a", func(context.Context, *int) (bool, error) { return true, nil })
	})
	if !errors.Is(err, lane.ErrReentered) {
		t.Fatal(err)
	}
}

// Lanes of another group are others, though they have the same key.
func TestGroupsAreApart(t *testing.T) {
	a, b := lane.New[string, int](3, 2), lane.New[string, int](3, 2)
	err := a.Do(t.Context(), "x", func(ctx context.Context, _ *int) (bool, error) {
		return true, b.Do(ctx, "x", func(ctx context.Context, _ *int) (bool, error) {
			if err := a.Do(ctx, "x", func(context.Context, *int) (bool, error) { return true, nil }); !errors.Is(err, lane.ErrReentered) {
				t.Errorf("back in the first: %v", err)
			}
			return true, nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := lane.New[int, int](3, 2)
		for i := range 100 {
			_ = g.Do(t.Context(), i, func(context.Context, *int) (bool, error) { return true, nil })
		}
		if g.Len() != 3 {
			t.Fatalf("%d lanes are kept, want 3", g.Len())
		}
		_ = g.Do(t.Context(), 99, func(context.Context, *int) (bool, error) { return false, nil })
		if g.Len() != 2 {
			t.Fatalf("%d lanes are kept after one was dropped, want 2", g.Len())
		}
		hold := make(chan struct{})
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				_ = g.Do(t.Context(), 1, func(context.Context, *int) (bool, error) { <-hold; return true, nil })
			})
		}
		synctest.Wait()
		err := g.Do(t.Context(), 1, func(context.Context, *int) (bool, error) { return true, nil })
		if !errors.Is(err, lane.ErrFull) {
			t.Fatalf("a third caller waits: %v", err)
		}
		close(hold)
		wg.Wait()
	})
}

func TestEnter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := lane.New[string, struct{}](0, 100)
		var order []int
		leave, err := g.Enter(t.Context(), "a")
		if err != nil || !g.Busy("a") || g.Busy("b") {
			t.Fatalf("%v, busy %v %v", err, g.Busy("a"), g.Busy("b"))
		}
		for i := range 3 {
			go func() {
				leave, err := g.Enter(t.Context(), "a")
				if err != nil {
					t.Error(err)
					return
				}
				order = append(order, i)
				leave()
			}()
			synctest.Wait() // so that callers arrive in order
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := g.Enter(ctx, "a"); !errors.Is(err, context.Canceled) {
			t.Errorf("after the end of the context: %v", err)
		}
		leave()
		synctest.Wait()
		if len(order) != 3 || order[0] != 0 || order[1] != 1 || order[2] != 2 || g.Busy("a") || g.Len() != 0 {
			t.Errorf("order %v, busy %v, %d lanes", order, g.Busy("a"), g.Len())
		}
	})
}
