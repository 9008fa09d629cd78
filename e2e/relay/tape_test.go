package relay_test

import (
	"context"
	"slices"
	"strings"
	"sync"
)

// tape keeps what comes in and tells those who wait for it.
type tape[T any] struct {
	mu    sync.Mutex // guards following 2 fields
	items []T
	more  chan struct{} // closed when the next one comes
}

func (t *tape[T]) add(item T) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.items = append(t.items, item)
	if t.more != nil {
		close(t.more)
		t.more = nil
	}
}

func (t *tape[T]) all() []T {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.items)
}

// wait returns what there is as soon as it is enough, or when ctx ends.
func (t *tape[T]) wait(ctx context.Context, enough func([]T) bool) ([]T, error) {
	for {
		t.mu.Lock()
		items := slices.Clone(t.items)
		if t.more == nil {
			t.more = make(chan struct{})
		}
		more := t.more
		t.mu.Unlock()
		if enough(items) {
			return items, nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return items, ctx.Err()
		}
	}
}

// logLines is a writer for slog's handlers, which write a line at a time.
type logLines struct{ tape[string] }

func (l *logLines) Write(line []byte) (int, error) {
	l.add(strings.TrimSpace(string(line)))
	return len(line), nil
}
