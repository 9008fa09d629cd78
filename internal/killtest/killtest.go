// Package killtest lets a test see what is left of a process that was killed:
// it runs the test again in a child process and ends that with SIGKILL at some
// moment.
package killtest

import (
	"bufio"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// Run runs the test in a child process with further variables of the
// environment, by which it knows what it is, and gives read each line that it
// prints. When read has returned true a number of times the child is killed, and
// read gets what it has printed by then. The test fails if the child ends by
// itself.
func Run(t *testing.T, env []string, times int, read func(line string) bool) {
	t.Helper()
	var pattern []string
	for part := range strings.SplitSeq(t.Name(), "/") {
		pattern = append(pattern, "^"+regexp.QuoteMeta(part)+"$")
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run="+strings.Join(pattern, "/"), "-test.timeout=60s")
	cmd.Env = append(os.Environ(), env...)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var said strings.Builder
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		said.WriteString(lines.Text() + "\n")
		if read(lines.Text()) {
			if times--; times == 0 {
				_ = cmd.Process.Kill() // what the pipe still holds is read
			}
		}
	}
	err = cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); times > 0 || !ok || exit.Exited() {
		text := said.String()
		t.Fatalf("the child was not killed, it ended with %v after saying %s", err, text[max(0, len(text)-4000):])
	}
}
