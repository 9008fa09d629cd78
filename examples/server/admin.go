package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/pdskit/pdskit/xrpc"
)

// admin talks to a running server as its administrator.
type admin struct {
	base      string
	password  string
	bypassKey string // may be empty
	json      bool
	yes       bool // nothing is asked
	in        io.Reader
	out       io.Writer
	set       *settings
	adoption  adoptFlags
	client    *http.Client
}

// command is an administration command: its words in order, then those that
// the operator chooses.
type command struct {
	name      string
	arguments string // as the usage shows them
	help      string
	more      string // what "server help COMMAND" says besides; may be empty
	min, max  int    // arguments
	run       func(a *admin, ctx context.Context, args []string) error
}

// many is for commands that take any number of arguments.
const many = 1000

// commands lists the administration commands. ACCOUNT is a DID, a handle or an
// e-mail address.
func commands() []command {
	return []command{
		{"health", "", "version and state of the server", "", 0, 0, (*admin).health},
		{"account list", "[STATUS]", "all accounts, or the active, deactivated, takendown or pending ones", "", 0, 1, (*admin).listAccounts},
		{"account show", "ACCOUNT", "everything about one account", "", 1, 1, (*admin).showAccount},
		{"account create", "HANDLE EMAIL", "a new account; prints its password", moreCreate, 2, 2, (*admin).createAccount},
		{"account reset", "ACCOUNT [mail]", "a new password, which is printed, or a code by mail to choose one", moreReset, 1, 2, (*admin).resetPassword},
		{"account handle", "ACCOUNT HANDLE", "another handle, also a reserved one", "", 2, 2, (*admin).setHandle},
		{"account email", "ACCOUNT EMAIL", "another e-mail address, not confirmed yet", "", 2, 2, (*admin).setEmail},
		{"account takedown", "ACCOUNT [REF]", "take an account down", moreTakedown, 1, 2, (*admin).takedown},
		{"account untakedown", "ACCOUNT", "undo that", "", 1, 1, (*admin).untakedown},
		{"account deactivate", "ACCOUNT", "hide an account, as its owner can", moreDeactivate, 1, 1, (*admin).deactivate},
		{"account activate", "ACCOUNT", "undo that", "", 1, 1, (*admin).activate},
		{"account delete", "ACCOUNT", "delete an account, for good", moreDelete, 1, 1, (*admin).deleteAccount},
		{"account export", "ACCOUNT [FILE]", "everything that is stored for an account, as a ZIP archive", moreExport, 1, 2, (*admin).exportAccount},
		{"account move-in", "DID-OR-HANDLE [HANDLE]", "move an account here from another server; asks for its password there", moreMoveIn, 1, 2, (*admin).moveIn},
		{"invite list", "[open]", "invite codes, or those that can still be used", "", 0, 1, (*admin).listInvites},
		{"invite create", "[USES]", "an invite code", "", 0, 1, (*admin).createInvite},
		{"invite disable", "CODE...", "make invite codes useless", "", 1, many, (*admin).disableInvites},
		{"key list", "", "public keys: the server's, and the signing keys of accounts", moreKeys, 0, 0, (*admin).listKeys},
		{"key backup", "FILE", "copy the master key, which seals all signing keys", moreKeys, 1, 1, (*admin).backupKey},
		{"key rotate", "ACCOUNT", "give an account a new signing key", moreRotate, 1, 1, (*admin).rotateKey},
		{"crawl", "[RELAY...]", "ask relays to come: those of PDS_CRAWLERS, or those named", "", 0, many, (*admin).crawl},
		{"firehose", "[CURSOR]", "events as they come, or from a cursor on (0: all)", "", 0, 1, (*admin).firehose},
		{"seq show", "", "the number of the newest event", moreSeq, 0, 0, (*admin).showSeq},
		{"seq raise", "NUMBER", "let the numbers of events go on above a number", moreSeq, 1, 1, (*admin).raiseSeq},
		{"audit", "[BEFORE]", "what administrators and moderators did, newest first, or before an entry", "", 0, 1, (*admin).audit},
		{"job list", "[dead]", "work that waits, runs or was given up, or the last alone", "", 0, 1, (*admin).listJobs},
		{"job retry", "KIND NAME", "begin work that was given up anew", "", 2, 2, (*admin).retryJob},
		{"usage", "", "how much each account stores, and all of them", "", 0, 0, (*admin).usage},
		{"doctor", "[all]", "look for what is wrong, with some accounts or all", moreDoctor, 0, 1, (*admin).diagnose},
		{"backup", "DIR", "copy everything into a folder, which must be empty or new, while the server serves", moreBackup, 1, 1, (*admin).backup},
		{"restore", "DIR", "put a backup into the data directory, which must be empty or new", moreRestore, 1, 1, (*admin).restoreBackup},
		{"adopt", "-from DIR [-blobs DIR] [-temp-blobs DIR] [-dry-run] [-account DID]...", "take over a data directory of the reference server", moreAdopt, 0, 0, (*admin).adopt},
		{"clock accept", "", "trust a clock that has jumped ahead", moreClock, 0, 0, (*admin).acceptClock},
	}
}

// findCommand returns the command that words begin with, and its arguments.
func findCommand(words []string) (command, []string, error) {
	for _, c := range commands() {
		name := strings.Fields(c.name)
		if len(words) < len(name) || !slices.Equal(name, words[:len(name)]) {
			continue
		}
		args := words[len(name):]
		if len(args) < c.min || len(args) > c.max {
			return c, nil, usageError(fmt.Sprintf("%s takes: %s", c.name, cmp.Or(c.arguments, "nothing")))
		}
		return c, args, nil
	}
	var group []string
	for _, c := range commands() {
		if len(words) > 0 && strings.HasPrefix(c.name, words[0]+" ") {
			group = append(group, c.name)
		}
	}
	if len(group) > 0 {
		return command{}, nil, usageError(fmt.Sprintf("%q is none of: %s", strings.Join(words[:min(2, len(words))], " "), strings.Join(group, ", ")))
	}
	return command{}, nil, usageError(fmt.Sprintf("unknown command %q", strings.Join(words[:min(2, len(words))], " ")))
}

// administer runs one administration command. configure reads the
// configuration; it is called when the command is known to be one.
func administer(ctx context.Context, args []string, configure func() (*settings, error), stdin io.Reader, stdout io.Writer) error {
	flags := flag.NewFlagSet("server "+args[0], flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	base := flags.String("url", "", "address of the running server")
	asJSON := flags.Bool("json", false, "print JSON, for programs")
	yes := flags.Bool("yes", false, "do not ask")
	var adoption adoptFlags
	if args[0] == "adopt" {
		adoption.register(flags)
	}
	// Flags may stand before or after the words of the command.
	var words []string
	for {
		if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
			return printHelp(stdout, words)
		} else if err != nil {
			return usageError(err.Error())
		}
		if flags.NArg() == 0 {
			break
		}
		words, args = append(words, flags.Arg(0)), flags.Args()[1:]
	}
	c, args, err := findCommand(words)
	if err != nil {
		return err
	}
	set, err := configure()
	if err != nil {
		return err
	}
	if set.development && c.name != "restore" && c.name != "adopt" {
		// The secrets are in the data; a command must not make any.
		found, err := loadExistingSecrets(set, filepath.Join(set.dataDir, secretsFile))
		if err != nil || !found {
			return errors.Join(fmt.Errorf("there is no %s: start the server in this folder first, or set the PDS_* names", filepath.Join(set.dataDir, secretsFile)), err)
		}
	}
	a := &admin{
		base:     strings.TrimSuffix(cmp.Or(*base, fmt.Sprintf("http://localhost:%d", set.port)), "/"),
		password: set.adminPassword, bypassKey: set.bypassKey, json: *asJSON, yes: *yes, in: stdin, out: stdout, set: set,
		adoption: adoption,
		client:   &http.Client{Timeout: 30 * time.Second},
	}
	return c.run(a, ctx, args)
}

// maxAnswer is how much of an answer is kept in memory.
const maxAnswer = 64 << 20

// call sends a request as the administrator and decodes the answer into out,
// which may be nil.
func (a *admin) call(ctx context.Context, method, path string, params url.Values, in, out any) error {
	body, err := a.send(ctx, method, path, params, in)
	if err != nil {
		return err
	}
	defer body.Close()
	data, err := io.ReadAll(io.LimitReader(body, maxAnswer))
	if err != nil {
		return err
	}
	if out == nil || len(data) == 0 {
		return nil
	}
	return json.Unmarshal(data, out)
}

// send sends a request as the administrator and returns the body of an answer
// that is a success.
func (a *admin) send(ctx context.Context, method, path string, params url.Values, in any) (io.ReadCloser, error) {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(data)
	}
	u := a.base + path
	if len(params) > 0 {
		u += "?" + params.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, method, u, body)
	if err != nil {
		return nil, err
	}
	if a.password != "" {
		r.SetBasicAuth("admin", a.password)
	}
	if a.bypassKey != "" {
		r.Header.Set(xrpc.BypassHeader, a.bypassKey)
	}
	if in != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	r.Header.Set("User-Agent", "pdskit server command") // for the audit log
	resp, err := a.client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("the server does not answer (is it running? -url says where): %w", err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	var e struct{ Error, Message string }
	if json.Unmarshal(data, &e) == nil && e.Error != "" {
		return nil, fmt.Errorf("%s: %s", e.Error, e.Message)
	}
	return nil, fmt.Errorf("the server answered %s", resp.Status)
}

// print writes v as JSON if that was asked for, else the rows as a table.
func (a *admin) print(v any, rows ...[]string) error {
	if a.json {
		enc := json.NewEncoder(a.out)
		enc.SetIndent("", "  ")
		return enc.Encode(v)
	}
	w := tabwriter.NewWriter(a.out, 0, 4, 2, ' ', 0)
	for _, r := range rows {
		if _, err := fmt.Fprintln(w, strings.Join(r, "\t")); err != nil {
			return err
		}
	}
	return w.Flush()
}

// confirm asks before something is done that cannot be undone.
func (a *admin) confirm(format string, args ...any) error {
	if a.yes {
		return nil
	}
	what := fmt.Sprintf(format, args...)
	if a.json { // a question would be no JSON
		return errors.New(what + ": say -yes to do that")
	}
	if _, err := fmt.Fprintf(a.out, "%s.\nType \"yes\" to go on: ", what); err != nil {
		return err
	}
	answer, err := bufio.NewReader(a.in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if strings.TrimSpace(answer) != "yes" {
		return errors.New("nothing was done (programs say -yes)")
	}
	return nil
}
