package livetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pdskit/pdskit/internal/killtest"
	"github.com/pdskit/pdskit/live"
	"github.com/pdskit/pdskit/storage"
)

// killDir names the folder of the store to the child that will be killed, and
// killCursor the position at which its subscriber resumes.
const (
	killDir    = "LIVETEST_KILL_DIR"
	killCursor = "LIVETEST_KILL_CURSOR"
)

// killRounds is how often the child is killed, at a random moment each time.
const killRounds = 4

// killAndResume: a child publishes and a subscriber in it gets messages, until
// the child is killed; the next child's subscriber resumes. Nothing that was
// acknowledged is lost, and nobody gets a message twice.
func killAndResume(t *testing.T, opts Options) {
	if dir := os.Getenv(killDir); dir != "" {
		killed(t, opts, dir)
		return
	}
	k := &killing{T: t, dir: t.TempDir(), acked: map[int64]string{}, delivered: map[int64]string{}}
	h, done := reopen(t, opts, k.dir)
	if err := h.Create(t.Context(), live.Topic{Name: topic}); err != nil {
		t.Fatal(err)
	}
	info, err := h.Topic(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	k.cursor = info.Cursor(0)
	done()
	for range killRounds {
		k.child()
	}
	// The rest, in this process.
	h, done = reopen(t, opts, k.dir)
	defer done()
	if info, err = h.Topic(t.Context(), topic); err != nil {
		t.Fatal(err)
	}
	sub, err := h.Subscribe(t.Context(), topic, live.Public(), live.Options{Cursor: k.cursor})
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	for int64(len(k.delivered)) < info.Last {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		events, err := sub.Next(ctx)
		cancel()
		if err != nil {
			t.Fatalf("after %d of %d: %v", len(k.delivered), info.Last, err)
		}
		for _, ev := range events {
			k.deliver(ev.Entry.Seq, string(ev.Entry.Data))
		}
	}
	for seq, text := range k.acked {
		if k.delivered[seq] != text {
			t.Errorf("message %d, %s, was acknowledged; delivered is %q", seq, text, k.delivered[seq])
		}
	}
	t.Logf("%d acknowledged, %d there, over %d kills", len(k.acked), info.Last, killRounds)
}

func reopen(t *testing.T, opts Options, dir string) (h *live.Hub, done func()) {
	t.Helper()
	store := opts.Reopen(t, dir, storage.SystemClock())
	h, err := live.New(live.Config{Store: storage.DocsOf(store), Limits: live.Limits{Behind: 1 << 40}})
	if err != nil {
		t.Fatal(err)
	}
	return h, func() {
		h.Close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	}
}

type killing struct {
	*testing.T
	dir    string
	cursor string

	acked, delivered map[int64]string
}

func (k *killing) deliver(seq int64, data string) {
	k.Helper()
	if old, twice := k.delivered[seq]; twice {
		k.Errorf("message %d was delivered twice, as %s and %s", seq, old, data)
	}
	if want := int64(len(k.delivered)) + 1; seq != want {
		k.Errorf("message %d was delivered, want %d", seq, want)
	}
	k.delivered[seq] = data
}

// killed is the child: it works until it is killed, and says what it did.
func killed(t *testing.T, opts Options, dir string) {
	h, done := reopen(t, opts, dir)
	defer done()
	var out sync.Mutex
	say := func(format string, args ...any) {
		out.Lock()
		defer out.Unlock()
		fmt.Printf("\n"+format+"\n", args...)
	}
	sub, err := h.Subscribe(t.Context(), topic, live.Public(), live.Options{Cursor: os.Getenv(killCursor)})
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				entry, err := h.Publish(ctx, topic, message{strconv.Itoa(rand.Int())})
				if err != nil {
					t.Error(err)
					return
				}
				say("acked %d %s", entry.Seq, entry.Data)
			}
		})
	}
	wg.Go(func() {
		for {
			events, err := sub.Next(ctx)
			if err != nil {
				return
			}
			for _, ev := range events {
				say("delivered %d %s %s", ev.Entry.Seq, ev.Cursor, ev.Entry.Data)
			}
		}
	})
	wg.Wait()
}

// child runs the child, kills it after some writes, and notes what it said.
func (k *killing) child() {
	k.Helper()
	env := []string{killDir + "=" + k.dir, killCursor + "=" + k.cursor}
	killtest.Run(k.T, env, 20+rand.IntN(200), func(line string) bool {
		fields := strings.SplitN(line, " ", 4)
		seq := int64(0)
		if len(fields) > 2 {
			seq, _ = strconv.ParseInt(fields[1], 10, 64)
		}
		switch {
		case fields[0] == "acked" && len(fields) == 3:
			k.acked[seq] = fields[2]
			return true
		case fields[0] == "delivered" && len(fields) == 4:
			k.deliver(seq, fields[3])
			k.cursor = fields[2]
		}
		return false
	})
}
