package pds_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pdskit/pdskit/live"
	"github.com/pdskit/pdskit/pds/pdstest"
)

// pipes is a listener whose connections are pipes in memory: what nobody reads
// stalls its writer at once.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error { p.once.Do(func() { close(p.done) }); return nil }

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

func (p *pipes) dial() net.Conn {
	client, server := net.Pipe()
	p.conns <- server
	return client
}

// crowd is subscribers of a room over WebSockets.
type crowd struct {
	*testing.T
	srv   *pdstest.PDS
	pipes *pipes

	mu        sync.Mutex // guards following field
	latencies []time.Duration

	present  atomic.Int64 // subscribers that get messages
	ready    atomic.Int64 // those that know that all are present
	received atomic.Int64
	reading  sync.WaitGroup
}

// Texts of messages that are not counted.
const (
	whoIsThere = "who is there?"
	allAre     = "all are"
)

func newCrowd(t *testing.T) *crowd {
	t.Helper()
	c := &crowd{T: t, srv: newLiveServer(t, live.Public()), pipes: &pipes{conns: make(chan net.Conn), done: make(chan struct{})}}
	hs := &http.Server{Handler: c.srv}
	var serving sync.WaitGroup
	serving.Go(func() { _ = hs.Serve(c.pipes) }) // until it is closed
	t.Cleanup(func() {
		if err := hs.Close(); err != nil {
			t.Error(err)
		}
		serving.Wait()
		c.reading.Wait()
	})
	return c
}

// open begins a subscription and returns its connection, after the handshake.
func (c *crowd) open() (net.Conn, *bufio.Reader) {
	c.Helper()
	conn := c.pipes.dial()
	c.Cleanup(func() { _ = conn.Close() })
	_, err := fmt.Fprintf(conn, "GET /xrpc/%s?topic=%s HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: xrpc.v1.json\r\n\r\n", watchNSID, roomTopic)
	ok(c, err)
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	ok(c, err)
	if resp.StatusCode != http.StatusSwitchingProtocols {
		c.Fatalf("status %s", resp.Status)
	}
	return conn, r
}

// stamped is a message that says when it was published.
type stamped struct {
	At   int64  `json:"at"`
	Text string `json:"text"`
}

// join adds a subscriber that reads.
func (c *crowd) join() {
	c.Helper()
	conn, r := c.open()
	c.reading.Go(func() {
		present := false
		for {
			opcode, frame, err := readServerFrame(r)
			if err != nil {
				return // the test is over
			}
			if opcode == 9 { // a ping, on a slow machine: a pong, masked by zeros
				pong := append([]byte{0x8a, 0x80 | byte(len(frame)), 0, 0, 0, 0}, frame...)
				if _, err := conn.Write(pong); err != nil {
					return
				}
				continue
			}
			var m struct {
				Payload struct {
					Type string  `json:"$type"`
					Data stamped `json:"data"`
				} `json:"payload"`
			}
			if err := json.Unmarshal(frame, &m); err != nil || !strings.HasSuffix(m.Payload.Type, "#message") {
				c.Errorf("frame %s, %v", frame, err)
				return
			}
			switch m.Payload.Data.Text {
			case whoIsThere:
				if !present {
					present = true
					c.present.Add(1)
				}
				continue
			case allAre:
				c.ready.Add(1)
				continue
			}
			late := time.Since(time.UnixMicro(m.Payload.Data.At))
			c.mu.Lock()
			c.latencies = append(c.latencies, late)
			c.mu.Unlock()
			c.received.Add(1)
		}
	})
}

// readServerFrame reads a frame as servers send them, unmasked.
func readServerFrame(r *bufio.Reader) (opcode byte, frame []byte, err error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	size := int(head[1])
	if size == 126 {
		var long [2]byte
		if _, err := io.ReadFull(r, long[:]); err != nil {
			return 0, nil, err
		}
		size = int(binary.BigEndian.Uint16(long[:]))
	}
	frame = make([]byte, size)
	_, err = io.ReadFull(r, frame)
	return head[0] & 0x0f, frame, err
}

// gather waits until all subscribers get messages: a handshake is over before
// the subscription has begun.
func (c *crowd) gather(subscribers int) {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.Context(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for _, phase := range []struct {
		text  string
		count *atomic.Int64
		again bool
	}{{whoIsThere, &c.present, true}, {allAre, &c.ready, false}} {
		for first := true; phase.count.Load() < int64(subscribers); first = false {
			if first || phase.again {
				_, err := c.srv.Live().Publish(ctx, roomTopic, stamped{time.Now().UnixMicro(), phase.text})
				ok(c, err)
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				c.Fatalf("%d of %d subscribers get messages", phase.count.Load(), subscribers)
			}
		}
	}
}

// run publishes at a rate and waits until everybody has everything. It returns
// the 99th percentile of the time from before Publish to the client, and the
// memory in use.
func (c *crowd) run(subscribers, messages, rate int) (p99 time.Duration, heap uint64) {
	c.Helper()
	ctx, cancel := context.WithTimeout(c.Context(), 2*time.Minute)
	defer cancel()
	c.mu.Lock()
	c.latencies = make([]time.Duration, 0, subscribers*messages)
	c.mu.Unlock()
	c.received.Store(0)
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	text := strings.Repeat("x", 200)
	for range messages {
		<-tick.C
		_, err := c.srv.Live().Publish(ctx, roomTopic, stamped{time.Now().UnixMicro(), text})
		ok(c, err)
	}
	for c.received.Load() < int64(subscribers*messages) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			c.Fatalf("%d of %d messages were delivered", c.received.Load(), subscribers*messages)
		}
	}
	var mem runtime.MemStats
	runtime.GC()
	runtime.GC() // what pools held is gone after the second
	runtime.ReadMemStats(&mem)
	c.mu.Lock()
	defer c.mu.Unlock()
	slices.Sort(c.latencies)
	return c.latencies[len(c.latencies)*99/100], mem.HeapAlloc
}

// TestCrowd: 500 subscribers of one room, 50 messages a second, all delivered.
// A subscriber that takes nothing changes neither the time that messages take
// nor the memory.
func TestCrowd(t *testing.T) {
	subscribers, messages := 500, 150
	if testing.Short() {
		subscribers, messages = 50, 25
	}
	const rate = 50
	c := newCrowd(t)
	for range subscribers {
		c.join()
	}
	c.gather(subscribers)
	c.run(subscribers, rate/2, rate) // to warm up
	before, heapBefore := c.run(subscribers, messages, rate)
	conn, _ := c.open()
	defer conn.Close()
	after, heapAfter := c.run(subscribers, messages, rate)
	t.Logf("%d subscribers, %d messages/s: p99 %v, heap %.1f MB; with one that stalls: p99 %v, heap %.1f MB",
		subscribers, rate, before, float64(heapBefore)/1e6, after, float64(heapAfter)/1e6)
	// A subscriber that held up the others would cost the whole write timeout.
	if limit := 4*before + 2*time.Second; after > limit {
		t.Errorf("p99 went from %v to %v", before, after)
	}
	if limit := heapBefore + heapBefore/4 + 8<<20; heapAfter > limit {
		t.Errorf("memory went from %d to %d bytes", heapBefore, heapAfter)
	}
}
