package blobs_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"github.com/pdskit/pdskit/storage/blobs"
	"golang.org/x/sys/unix"
)

// Environment of a child process, which runs one of these tests again.
const (
	childDir  = "PDSKIT_BLOBS_CHILD_DIR"
	childMode = "PDSKIT_BLOBS_CHILD_MODE"
)

func TestMain(m *testing.M) {
	switch os.Getenv(childMode) {
	case "writers":
		writeForever(os.Getenv(childDir))
	case "limit":
		os.Exit(writeBeyondLimit(os.Getenv(childDir)))
	default:
		os.Exit(m.Run())
	}
}

func child(t *testing.T, mode, dir string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), childMode+"="+mode, childDir+"="+dir)
	cmd.Stderr = t.Output()
	return cmd
}

// writeForever has four writers put blobs and print "key hash" for each that
// was acknowledged.
func writeForever(dir string) {
	d, err := blobs.NewDisk(dir, blobs.DiskOptions{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for w := range 4 {
		go func() {
			for i := 0; ; i++ {
				data := strings.Repeat(fmt.Sprintf("%d of %d;", i, w), 1+rand.IntN(20_000))
				key := fmt.Sprintf("%x/%d-%d-%d", rand.Uint32()&0xff, os.Getpid(), w, i)
				info, err := d.Put(context.Background(), key, strings.NewReader(data))
				if err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
				fmt.Printf("%s %x\n", key, info.SHA256)
			}
		}()
	}
	select {}
}

// TestKill kills a process with writers at random moments: what it
// acknowledged is there and whole, and what it did not is there whole or not
// at all.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	acked := map[string]string{}
	for range 4 {
		cmd := child(t, "writers", dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		left := 5 + rand.IntN(60)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if key, sum, ok := strings.Cut(lines.Text(), " "); ok && len(sum) == 2*sha256.Size {
				acked[key] = sum
			}
			if left--; left == 0 {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := cmd.Wait(); err == nil || left > 0 {
			t.Fatalf("the child ended by itself: %v", err)
		}

		d, err := blobs.NewDisk(dir, blobs.DiskOptions{})
		if err != nil {
			t.Fatal(err)
		}
		stored := list(t, d, "", 10)
		if paths := files(t, dir); len(paths) != len(stored) {
			t.Fatalf("%d files, %d blobs", len(paths), len(stored))
		}
		sums := map[string]string{}
		for _, key := range stored {
			data := read(t, d, key, 0, -1)
			if end := data[strings.LastIndexByte(data[:len(data)-1], ';')+1:]; !strings.HasPrefix(data, end) {
				t.Fatalf("%s is cut", key)
			}
			sum := sha256.Sum256([]byte(data))
			sums[key] = hex.EncodeToString(sum[:])
		}
		for key, sum := range acked {
			if sums[key] != sum {
				t.Fatalf("%s was acknowledged with %s and has %s", key, sum, sums[key])
			}
		}
	}
	t.Logf("%d acknowledged", len(acked))
}

// writeBeyondLimit has the system refuse what is written after the first
// 100,000 bytes of a file.
func writeBeyondLimit(dir string) int {
	signal.Ignore(syscall.SIGXFSZ)
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 100_000, Max: 100_000}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	d, err := blobs.NewDisk(dir, blobs.DiskOptions{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	for _, size := range []int{100_000, 100_001, 10_000_000} {
		_, err := d.Put(context.Background(), fmt.Sprint(size), io.LimitReader(zeros{}, int64(size)))
		if errors.Is(err, unix.EFBIG) != (size > 100_000) {
			fmt.Fprintf(os.Stderr, "%d bytes: %v\n", size, err)
			return 1
		}
	}
	return 0
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := child(t, "limit", dir).Run(); err != nil {
		t.Fatal(err)
	}
	if got := files(t, dir); len(got) != 1 || got[0] != "10/100000" {
		t.Fatalf("left: %q", got)
	}
}
