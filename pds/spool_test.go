package pds

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"testing"
	"testing/synctest"

	"github.com/pdskit/pdskit/xrpc"
)

func openSpool(t *testing.T, p *spoolPool) *spool {
	t.Helper()
	s, err := p.open("")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

// The bytes come out as they went in, whether they pass through memory, the
// file or both, and whoever is faster.
func TestSpoolKeepsBytes(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	const mem = 4 * spoolChunk
	for _, size := range []int{0, 1, spoolChunk - 1, spoolChunk, spoolChunk + 1, mem, mem + 1, 20*spoolChunk + 17} {
		for _, at := range []struct {
			name string
			gap  int // chunks written ahead of the reader; negative: all
		}{{"reader keeps up", 0}, {"reader lags", 7}, {"reader comes after", -1}} {
			p := newSpoolPool(1, mem, 1<<30)
			s := openSpool(t, p)
			in := noise(size)
			var out bytes.Buffer
			read := func() {
				b, err := s.next()
				if err != nil {
					t.Fatal(err)
				}
				out.Write(b)
			}
			for i := 0; i < size; {
				n := min(1+rand.IntN(3*spoolChunk), size-i)
				if _, err := s.Write(in[i : i+n]); err != nil {
					t.Fatal(err)
				}
				i += n
				for at.gap >= 0 && i/spoolChunk-out.Len()/spoolChunk > at.gap {
					read()
				}
			}
			s.finish(nil)
			if err := s.drain(&out); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(in, out.Bytes()) {
				t.Errorf("%d bytes, %s: %d bytes came out, or others", size, at.name, out.Len())
			}
			if p.disk.Load() != 0 || len(p.slots) != 0 {
				t.Errorf("%d bytes, %s: %d bytes and %d places are still taken", size, at.name, p.disk.Load(), len(p.slots))
			}
		}
	}
	left, err := os.ReadDir(os.TempDir())
	if err != nil || len(left) != 0 {
		t.Errorf("files are left behind: %v, %v", left, err)
	}
}

// A file is used again from its start once the reader has caught up.
func TestSpoolFileDoesNotGrowWithTheExport(t *testing.T) {
	s := openSpool(t, newSpoolPool(1, spoolChunk, 4*spoolChunk))
	defer s.close()
	chunk := noise(spoolChunk)
	for range 50 {
		for range 4 { // one to memory, three to the file
			if _, err := s.Write(chunk); err != nil {
				t.Fatal(err)
			}
		}
		for range 4 {
			if b, err := s.next(); err != nil || !bytes.Equal(b, chunk) {
				t.Fatalf("%d bytes, %v", len(b), err)
			}
		}
	}
}

func TestSpoolLimits(t *testing.T) {
	p := newSpoolPool(2, spoolChunk, 3*spoolChunk)
	a, b := openSpool(t, p), openSpool(t, p)
	var refused *xrpc.Error
	if _, err := p.open(""); !errors.As(err, &refused) || refused.Status != 503 || refused.Name != "NotEnoughResources" {
		t.Errorf("a third of two spools: %v", err)
	}
	// Memory takes one chunk of each, the files three of both together.
	if _, err := a.Write(noise(4 * spoolChunk)); err != nil {
		t.Errorf("at the limit of the disk: %v", err)
	}
	if _, err := b.Write(noise(spoolChunk)); err != nil {
		t.Errorf("at the limit of memory: %v", err)
	}
	if _, err := b.Write(noise(spoolChunk)); !errors.Is(err, errSpoolFull) {
		t.Errorf("beyond the limit of the disk: %v", err)
	}
	a.close()
	a.close()
	if _, err := a.Write(noise(spoolChunk)); !errors.Is(err, errSpoolClosed) {
		t.Errorf("write without a reader: %v", err)
	}
	if _, err := b.Write(noise(1)); err == nil {
		_, err = b.Write(noise(spoolChunk))
		if err != nil {
			t.Errorf("room was not given back: %v", err)
		}
	}
	b.close()
	if p.disk.Load() != 0 || len(p.slots) != 0 {
		t.Errorf("%d bytes and %d places are still taken", p.disk.Load(), len(p.slots))
	}
}

// A short export that waits for a slow client takes no place.
func TestSpoolGivesPlaceBackEarly(t *testing.T) {
	for _, tc := range []struct {
		size  int
		taken int
	}{{spoolChunk, 0}, {spoolChunk + 1, 1}} {
		p := newSpoolPool(1, 4*spoolChunk, 0)
		s := openSpool(t, p)
		if _, err := s.Write(noise(tc.size)); err != nil {
			t.Fatal(err)
		}
		s.finish(nil)
		if len(p.slots) != tc.taken {
			t.Errorf("%d finished bytes take %d places, want %d", tc.size, len(p.slots), tc.taken)
		}
		var out bytes.Buffer
		if err := s.drain(&out); err != nil || out.Len() != tc.size || len(p.slots) != 0 {
			t.Errorf("%d bytes came out, %v; %d places taken", out.Len(), err, len(p.slots))
		}
	}
}

func TestSpoolErrors(t *testing.T) {
	p := newSpoolPool(1, spoolChunk, 0)
	failure := errors.New("disk on fire")
	s := openSpool(t, p)
	if _, err := s.Write(noise(spoolChunk + 5)); err != nil {
		t.Fatal(err)
	}
	s.finish(failure)
	if b, err := s.next(); err != nil || len(b) != spoolChunk {
		t.Errorf("what was written before: %d bytes, %v", len(b), err)
	}
	if _, err := s.next(); !errors.Is(err, failure) {
		t.Errorf("the writer's error: %v", err)
	}
	s.close()
	if _, err := s.next(); !errors.Is(err, errSpoolClosed) {
		t.Errorf("next after close: %v", err)
	}

	s = openSpool(t, p)
	if _, err := s.Write(noise(spoolChunk)); err != nil {
		t.Fatal(err)
	}
	if err := s.drain(failingWriter{failure}); !errors.Is(err, failure) {
		t.Errorf("the client's error: %v", err)
	}
	if _, err := s.Write(noise(spoolChunk)); !errors.Is(err, errSpoolClosed) {
		t.Errorf("writing for a client that is gone: %v", err)
	}
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

// Readers wait for the writer, and are woken when somebody closes the spool.
func TestSpoolWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSpoolPool(2, spoolChunk, 0)
		s, gone := openSpool(t, p), openSpool(t, p)
		got := make(chan error, 2)
		go func() { got <- s.drain(io.Discard) }()
		go func() { got <- gone.drain(io.Discard) }()
		synctest.Wait()
		s.finish(nil)
		if err := <-got; err != nil {
			t.Errorf("end of the writer: %v", err)
		}
		gone.close()
		if err := <-got; !errors.Is(err, errSpoolClosed) {
			t.Errorf("closed by somebody else: %v", err)
		}
	})
}

// One client has a quarter of the pool, whoever is not known all of it.
func TestSpoolsPerClient(t *testing.T) {
	p := newSpoolPool(8, spoolChunk, 0)
	var mine []*spool
	for range 2 {
		s, err := p.open("a")
		if err != nil {
			t.Fatal(err)
		}
		mine = append(mine, s)
	}
	if _, err := p.open("a"); err == nil {
		t.Error("a third of eight for one client")
	}
	if _, err := p.open("b"); err != nil {
		t.Errorf("another client: %v", err)
	}
	mine[0].close()
	mine[0].close()
	mine[1].finish(nil)
	for range 2 {
		if _, err := p.open("a"); err != nil {
			t.Errorf("after two have ended: %v", err)
		}
	}
	for range 5 {
		openSpool(t, p)
	}
	if _, err := p.open("c"); err == nil {
		t.Error("more than there are")
	}
	if len(p.byClient) != 2 {
		t.Errorf("counted: %v", p.byClient)
	}
}

func BenchmarkSpool(b *testing.B) {
	p := newSpoolPool(1, 1<<20, 1<<30)
	block := noise(350)
	b.SetBytes(int64(len(block)))
	s, _ := p.open("")
	go func() {
		for range b.N {
			_, _ = s.Write(block)
		}
		s.finish(nil)
	}()
	b.ReportAllocs()
	_ = s.drain(io.Discard)
}
