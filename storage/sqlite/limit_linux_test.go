package sqlite_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/sqlite"
)

// A write that the system refuses gives an error, and what was acknowledged
// before is there after opening again.
func TestFileSizeLimit(t *testing.T) {
	if dir := os.Getenv("SQLITE_TEST_LIMIT_DIR"); dir != "" {
		writeToTheLimit(t, dir)
		return
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestFileSizeLimit$", "-test.v")
	cmd.Env = append(os.Environ(), "SQLITE_TEST_LIMIT_DIR="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	m := regexp.MustCompile(`acknowledged=(\d+)`).FindSubmatch(out)
	if m == nil {
		t.Fatalf("the child says %s", out)
	}
	acked, _ := strconv.Atoi(string(m[1]))
	if acked == 0 || bytes.Contains(out, []byte("--- SKIP")) {
		t.Fatalf("the child says %s", out)
	}
	wantPrefix(t, filepath.Join(dir, "pds.db"), acked)
}

func writeToTheLimit(t *testing.T, dir string) {
	signal.Ignore(syscall.SIGXFSZ)
	s, err := sqlite.Open(filepath.Join(dir, "pds.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	limit := syscall.Rlimit{Cur: 2 << 20, Max: 2 << 20}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		t.Fatal(err)
	}
	value := strings.Repeat("x", 20_000)
	n := 0
	for ; err == nil && n < 10_000; n++ {
		err = update(s, func(tx storage.Tx) error { return put(tx, fmt.Sprintf("%04d", n), value) })
	}
	if err == nil {
		t.Fatal("there is no limit")
	}
	if !errors.Is(err, sqlite.ErrPoisoned) {
		t.Logf("not poisoned: %v", err)
	}
	fmt.Printf("acknowledged=%d\n", n-1)
}
