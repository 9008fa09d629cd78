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
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	os.Exit(run(ctx, os.Args[1:], os.Environ(), os.Stdin, os.Stdout, os.Stderr))
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
	case len(args) == 0 || args[0] == "serve":
		if len(args) == 2 && slices.Contains([]string{"-h", "-help", "--help"}, args[1]) {
			return printHelp(stdout, nil)
		}
		if len(args) > 1 {
			return usageError(fmt.Sprintf("serve takes no %q", args[1]))
		}
		set, warnings, err := configure()
		if err != nil {
			return err
		}
		return serve(ctx, set, warnings, stderr)
	case args[0] == "help" && len(args) == 2 && args[1] == "env":
		return printSettings(stdout)
	case args[0] == "help":
		return printHelp(stdout, args[1:])
	}
	return administer(ctx, args, func() (*settings, error) {
		set, _, err := configure()
		return set, err
	}, stdin, stdout)
}
