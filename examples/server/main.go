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
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

const usage = `usage: server [-env-file FILE] [COMMAND]

Without a command, or with "serve", it runs the server until SIGINT or SIGTERM.
All configuration comes from environment variables, or from FILE with lines
NAME=value. With no PDS_* name at all it runs in development mode: it listens
on http://localhost:2583, keeps its data in ./pds-data and is its own PLC
directory. "server help env" lists the names.

Administration, by talking to the running server:

  health                         version and state of the server
  account list                   all accounts
  account show DID-OR-HANDLE     one account
  account create HANDLE EMAIL    a new account; prints its password
  account takedown DID [REF]     take an account down
  account restore DID            undo that
  account delete DID             delete an account, for good
  invite create [USES]           an invite code
  clock accept                   trust a clock that had jumped ahead

Each takes -url URL, if the server is not where the configuration says, and
-json, for programs. The administrator's password comes from the configuration.

  help [env]                     this text, or the environment variables
`

// run is main without the process around it.
func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("server", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() { fmt.Fprint(stderr, usage) }
	envFile := flags.String("env-file", "", "file with lines NAME=value")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	err := dispatch(ctx, flags.Args(), environ, *envFile, stdout, stderr)
	var misuse usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &misuse):
		fmt.Fprintf(stderr, "server: %v\n\n%s", err, usage)
		return 2
	}
	fmt.Fprintln(stderr, "server:", err)
	return 1
}

// usageError is a mistake on the command line.
type usageError string

func (e usageError) Error() string { return string(e) }

func dispatch(ctx context.Context, args, environ []string, envFile string, stdout, stderr io.Writer) error {
	command := "serve"
	if len(args) > 0 {
		command, args = args[0], args[1:]
	}
	if command == "help" {
		if len(args) == 1 && args[0] == "env" {
			return printSettings(stdout)
		}
		_, err := fmt.Fprint(stdout, usage)
		return err
	}
	env, err := readEnvironment(environ, envFile)
	if err != nil {
		return err
	}
	set, warnings, err := readSettings(env)
	if err != nil {
		return err
	}
	if command == "serve" {
		if len(args) > 0 {
			return usageError(fmt.Sprintf("serve takes no %q", args[0]))
		}
		return serve(ctx, set, warnings, stderr)
	}
	return administer(ctx, command, args, set, stdout, stderr)
}
