package live_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/pdskit/pdskit/live"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/sqlite"
)

// Publishing without subscribers, in a store without fsync.
func BenchmarkPublish(b *testing.B) {
	h := benchHub(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h.Publish(b.Context(), room, map[string]string{"text": "hello, everybody"}); err != nil {
			b.Fatal(err)
		}
	}
}

// One message to all subscribers, per delivery: they wait for it, take it and
// its encoded form.
func BenchmarkFanOut(b *testing.B) {
	for _, n := range []int{10, 500} {
		b.Run(fmt.Sprint(n, " subscribers"), func(b *testing.B) {
			h := benchHub(b)
			rounds := b.N/n + 1
			var ready, done sync.WaitGroup
			got := make(chan struct{}, n)
			for range n {
				s, err := h.Subscribe(b.Context(), room, live.Public(), live.Options{})
				if err != nil {
					b.Fatal(err)
				}
				ready.Add(1)
				done.Go(func() {
					defer s.Close()
					ready.Done()
					for seen := 0; seen < rounds; {
						events, err := s.Next(b.Context())
						if err != nil {
							b.Error(err)
							return
						}
						for _, ev := range events {
							_ = ev.JSON()
							got <- struct{}{}
						}
						seen += len(events)
					}
				})
			}
			ready.Wait()
			b.ReportAllocs()
			b.ResetTimer()
			for range rounds {
				if _, err := h.Publish(b.Context(), room, map[string]string{"text": "hello, everybody"}); err != nil {
					b.Fatal(err)
				}
				for range n {
					<-got
				}
			}
			done.Wait()
		})
	}
}

func benchHub(b *testing.B) *live.Hub {
	b.Helper()
	store, err := sqlite.OpenMemory(sqlite.Options{})
	if err != nil {
		b.Fatal(err)
	}
	h, err := live.New(live.Config{Store: storage.DocsOf(store)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		h.Close()
		if err := store.Close(); err != nil {
			b.Error(err)
		}
	})
	if err := h.Create(b.Context(), live.Topic{Name: room}); err != nil {
		b.Fatal(err)
	}
	return h
}
