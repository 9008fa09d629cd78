// Command server is a PDS made of pdskit's parts.
//
// Without any configuration it runs in development mode. In production it
// reads the environment variables that self-hosters of the reference server
// know (PDS_HOSTNAME and so on), or a file of them: see "server help".
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
}

const usageHead = `usage: server [-env-file FILE] [COMMAND]

Without a command, or with "serve", it runs the server until SIGINT or SIGTERM.
All configuration comes from environment variables, or from FILE with lines
NAME=value. With no PDS_* name at all it runs in development mode: it listens
on http://localhost:2583, on this machine only, keeps its data in ./pds-data
and is its own PLC directory. PDS_DEV_MODE=true does the same and lets PDS_PORT,
PDS_DATA_DIRECTORY and others be chosen. For a public server these are required:

  PDS_HOSTNAME, PDS_DATA_DIRECTORY, PDS_JWT_SECRET, PDS_ADMIN_PASSWORD,
  PDS_PLC_ROTATION_KEY_K256_PRIVATE_KEY_HEX

Administration, by talking to the running server (a backup is also made of one
that is stopped; a restore needs one that is):

`

const usageTail = `
Each takes -url URL, if the server is not where the configuration says, and
-json, for programs. The administrator's password comes from the configuration.

  help        this text
  help env    all environment variables
`

func usage() string {
	var b strings.Builder
	b.WriteString(usageHead)
	w := tabwriter.NewWriter(&b, 0, 4, 2, ' ', 0)
	for _, c := range commands() {
		fmt.Fprintf(w, "  %s\t%s\n", strings.TrimSpace(c.name+" "+c.arguments), c.help)
	}
	w.Flush() // a Builder takes everything
	b.WriteString(usageTail)
	return b.String()
}

// run is main without the process around it.
func run(ctx context.Context, args, environ []string, stdin io.Reader, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("server", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	envFile := flags.String("env-file", "", "file with lines NAME=value")
	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		_, err = io.WriteString(stdout, usage())
	case err != nil:
		err = usageError(err.Error())
	default:
		err = dispatch(ctx, flags.Args(), environ, *envFile, stdin, stdout, stderr)
	}
	var misuse usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &misuse):
		fmt.Fprintf(stderr, "server: %v\nTry \"server help\".\n", err)
		return 2
	}
	fmt.Fprintln(stderr, "server:", err)
	return 1
}

// usageError is a mistake on the command line.
type usageError string

func (e usageError) Error() string { return string(e) }

func dispatch(ctx context.Context, args, environ []string, envFile string, stdin io.Reader, stdout, stderr io.Writer) error {
	configure := func() (*settings, []string, error) {
		env, err := readEnvironment(environ, envFile)
		if err != nil {
			return nil, nil, err
		}
		set, warnings, err := readSettings(env)
		if err == nil {
			set.envFile, set.warnings = envFile, warnings
			if set.blobDir == "" {
				set.blobDir = filepath.Join(set.dataDir, "blobs")
			}
		}
		return set, warnings, err
	}
	switch {
	case len(args) == 2 && slices.Contains([]string{"-h", "-help", "--help"}, args[1]):
		_, err := io.WriteString(stdout, usage())
		return err
	case len(args) == 0 || args[0] == "serve":
		if len(args) > 1 {
			return usageError(fmt.Sprintf("serve takes no %q", args[1]))
		}
		set, warnings, err := configure()
		if err != nil {
			return err
		}
		return serve(ctx, set, warnings, stderr)
	case len(args) == 1 && args[0] == "help":
		_, err := io.WriteString(stdout, usage())
		return err
	case len(args) == 2 && args[0] == "help" && args[1] == "env":
		return printSettings(stdout)
	}
	return administer(ctx, args, func() (*settings, error) {
		set, _, err := configure()
		return set, err
	}, stdin, stdout)
}
