package pds

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// commitSized is an event as large as that of a typical record write.
func commitSized() storage.Event {
	did := syntax.DID("did:plc:aaaaaaaaaaaaaaaaaaaaaaaa")
	ev := commitEvent{did: did, rev: "3jui7kd54zh2y", since: "3jui7kd54zh2x", blocks: noise(6500)}
	return cause{actor: did}.event(did, eventCommit, ev.encode())
}

func fill(b *testing.B, l *eventLog, n int) {
	b.Helper()
	ev := commitSized()
	for n > 0 {
		k := min(n, 400)
		err := l.store.Update(b.Context(), func(tx storage.Tx) error {
			for range k {
				if err := tx.Append(ev); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
		n -= k
	}
}

// serveBench serves the firehose over HTTP and returns a function that dials
// it and reads until n events must have come, as bytes.
func serveBench(b *testing.B, l *eventLog) (dial func(cursor string) (read func(n int))) {
	b.Helper()
	s, err := xrpc.NewServer(xrpc.Config{})
	if err != nil {
		b.Fatal(err)
	}
	s.Handle(xrpc.Subscription(subscribeReposNSID, xrpc.Public(),
		func(ctx context.Context, p *subscribeReposParams, stream *xrpc.Stream) error {
			return l.serve(ctx, p.Cursor, streamWriter{stream})
		}))
	hs := httptest.NewServer(s)
	b.Cleanup(hs.Close)
	ev := commitSized()
	frame, err := eventFrame(&ev)
	if err != nil {
		b.Fatal(err)
	}
	const head = 4 // of a server's WebSocket frame of this size
	return func(cursor string) func(n int) {
		conn, err := net.Dial("tcp", hs.Listener.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { conn.Close() })
		fmt.Fprintf(conn, "GET /xrpc/%s%s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", subscribeReposNSID, cursor)
		buf := make([]byte, 1<<20)
		n, end := 0, 0
		for end == 0 {
			k, err := conn.Read(buf[n : n+1])
			if err != nil {
				b.Fatal(err)
			}
			if n += k; n >= 4 && string(buf[n-4:n]) == "\r\n\r\n" {
				end = n
			}
		}
		return func(n int) {
			left := int64(n) * int64(head+len(frame))
			for left > 0 {
				k, err := conn.Read(buf)
				if left -= int64(k); err != nil {
					if err != io.EOF {
						b.Error(err)
					}
					return
				}
			}
		}
	}
}

// Replay of old events from the store over HTTP, per event.
func BenchmarkFirehoseReplay(b *testing.B) {
	l := newEventLog(b, Limits{})
	fill(b, l, b.N)
	dial := serveBench(b, l)
	b.ReportAllocs()
	b.ResetTimer()
	dial("?cursor=0")(b.N)
}

// Live events over HTTP, per event and subscriber. The events are in the ring
// before the clock starts, so that what is measured is sending.
func BenchmarkFirehoseFanOut(b *testing.B) {
	for _, subscribers := range []int{1, 8} {
		b.Run(fmt.Sprint(subscribers, " subscribers"), func(b *testing.B) {
			l := newEventLog(b, Limits{RingBytes: 1 << 30})
			last := l.append(someEvents(1)...)
			_ = last
			fd := l.join(b.Context())
			defer l.leave(fd)
			<-fd.ready
			events := b.N/subscribers + 1
			fill(b, l, events)
			seq, err := l.lastSeq(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			l.waitRing(seq)
			dial := serveBench(b, l)
			b.ReportAllocs()
			b.ResetTimer()
			done := make(chan struct{})
			for range subscribers {
				read := dial(fmt.Sprintf("?cursor=%d", last))
				go func() { read(events); done <- struct{}{} }()
			}
			for range subscribers {
				<-done
			}
		})
	}
}
