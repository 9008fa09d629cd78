package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/xrpc"
)

// admin talks to a running server as its administrator.
type admin struct {
	base      string
	password  string
	bypassKey string // may be empty
	json      bool
	in        io.Reader
	out       io.Writer
	set       *settings
	client    *http.Client
}

// command is an administration command: its words in order, then those that
// the operator chooses.
type command struct {
	name      string
	arguments string // as the usage shows them
	help      string
	min, max  int // arguments
	run       func(a *admin, ctx context.Context, args []string) error
}

// commands lists the administration commands.
func commands() []command {
	return []command{
		{"health", "", "version and state of the server", 0, 0, (*admin).health},
		{"account list", "", "all accounts", 0, 0, (*admin).listAccounts},
		{"account show", "DID-OR-HANDLE", "one account", 1, 1, (*admin).showAccount},
		{"account create", "HANDLE EMAIL", "a new account; prints its password", 2, 2, (*admin).createAccount},
		{"account takedown", "DID-OR-HANDLE [REF]", "take an account down", 1, 2, (*admin).takedown},
		{"account restore", "DID", "undo that; handles do not resolve meanwhile", 1, 1, (*admin).restore},
		{"account delete", "DID-OR-HANDLE", "delete an account, for good", 1, 1, (*admin).deleteAccount},
		{"account move-in", "DID-OR-HANDLE [HANDLE]", "move an account here from another server; asks for its password there", 1, 2, (*admin).moveIn},
		{"account rotate-key", "DID-OR-HANDLE", "give an account a new signing key", 1, 1, (*admin).rotateKey},
		{"invite create", "[USES]", "an invite code", 0, 1, (*admin).createInvite},
		{"firehose", "[CURSOR]", "events as they come, or from a cursor on (0: all)", 0, 1, (*admin).firehose},
		{"audit", "[BEFORE]", "what administrators and moderators did, newest first, or before an entry", 0, 1, (*admin).audit},
		{"job list", "[dead]", "work that waits, runs or was given up, or the last alone", 0, 1, (*admin).listJobs},
		{"job retry", "KIND NAME", "begin work that was given up anew", 2, 2, (*admin).retryJob},
		{"usage", "", "how much each account stores, and all of them", 0, 0, (*admin).usage},
		{"doctor", "[all]", "look for what is wrong, with some accounts or all", 0, 1, (*admin).diagnose},
		{"backup", "DIR", "copy everything into a folder, which must be empty or new, while the server serves", 1, 1, (*admin).backup},
		{"restore", "DIR", "put a backup into the data directory, which must be empty or new", 1, 1, (*admin).restoreBackup},
		{"clock accept", "", "trust a clock that has jumped ahead", 0, 0, (*admin).acceptClock},
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
		if len(words) == 1 && strings.HasPrefix(c.name, words[0]+" ") {
			group = append(group, c.name)
		}
	}
	if len(group) > 0 {
		return command{}, nil, usageError(fmt.Sprintf("%q is the beginning of: %s", words[0], strings.Join(group, ", ")))
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
	// Flags may stand before or after the words of the command.
	var words []string
	for {
		if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
			_, err := io.WriteString(stdout, usage())
			return err
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
	if set.development && c.name != "restore" {
		// The secrets are in the data; a command must not make any.
		found, err := loadExistingSecrets(set, filepath.Join(set.dataDir, secretsFile))
		if err != nil || !found {
			return errors.Join(fmt.Errorf("there is no %s: start the server in this folder first, or set the PDS_* names", filepath.Join(set.dataDir, secretsFile)), err)
		}
	}
	a := &admin{
		base:     strings.TrimSuffix(cmp.Or(*base, fmt.Sprintf("http://localhost:%d", set.port)), "/"),
		password: set.adminPassword, bypassKey: set.bypassKey, json: *asJSON, in: stdin, out: stdout, set: set,
		client: &http.Client{Timeout: 30 * time.Second},
	}
	return c.run(a, ctx, args)
}

// call sends a request as the administrator and decodes the answer into out,
// which may be nil.
func (a *admin) call(ctx context.Context, method, path string, params url.Values, in, out any) error {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(data)
	}
	u := a.base + path
	if len(params) > 0 {
		u += "?" + params.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, method, u, body)
	if err != nil {
		return err
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
		return fmt.Errorf("the server does not answer (is it running? -url says where): %w", err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		var e struct{ Error, Message string }
		if json.Unmarshal(data, &e) == nil && e.Error != "" {
			return fmt.Errorf("%s: %s", e.Error, e.Message)
		}
		return fmt.Errorf("the server answered %s", resp.Status)
	}
	if out == nil || len(data) == 0 {
		return nil
	}
	return json.Unmarshal(data, out)
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

func (a *admin) health(ctx context.Context, _ []string) error {
	var out struct {
		Version string `json:"version"`
		Clock   string `json:"clock,omitempty"`
	}
	if err := a.call(ctx, http.MethodGet, "/xrpc/_health", nil, nil, &out); err != nil {
		return err
	}
	rows := [][]string{{"version", out.Version}, {"storage", "answers"}}
	if out.Clock != "" {
		rows = append(rows, []string{"clock", out.Clock})
	}
	return a.print(out, rows...)
}

type accountRow struct {
	DID    string `json:"did"`
	Handle string `json:"handle,omitempty"`
	Email  string `json:"email,omitempty"`
	Active bool   `json:"active"`
	Status string `json:"status,omitempty"`
	Rev    string `json:"rev,omitempty"`
}

func (r accountRow) cells() []string {
	status := "active"
	if !r.Active {
		status = r.Status
	}
	return []string{r.DID, r.Handle, r.Email, status, r.Rev}
}

var accountHeader = []string{"DID", "HANDLE", "EMAIL", "STATUS", "REV"}

// describe fills in what only the administrator gets to know.
func (a *admin) describe(ctx context.Context, row *accountRow) error {
	var info struct{ Handle, Email string }
	err := a.call(ctx, http.MethodGet, "/xrpc/com.atproto.admin.getAccountInfo", url.Values{"did": {row.DID}}, nil, &info)
	row.Handle, row.Email = info.Handle, info.Email
	return err
}

func (a *admin) listAccounts(ctx context.Context, _ []string) error {
	all := []accountRow{}
	cursor := ""
	for {
		var page struct {
			Cursor string
			Repos  []accountRow
		}
		err := a.call(ctx, http.MethodGet, "/xrpc/com.atproto.sync.listRepos",
			url.Values{"limit": {"1000"}, "cursor": {cursor}}, nil, &page)
		if err != nil {
			return err
		}
		for _, row := range page.Repos {
			if err := a.describe(ctx, &row); err != nil {
				return err
			}
			all = append(all, row)
		}
		if cursor = page.Cursor; cursor == "" {
			break
		}
	}
	rows := [][]string{accountHeader}
	for _, r := range all {
		rows = append(rows, r.cells())
	}
	return a.print(all, rows...)
}

func (a *admin) showAccount(ctx context.Context, args []string) error {
	did, err := a.resolve(ctx, args[0])
	if err != nil {
		return err
	}
	var row accountRow
	if err := a.call(ctx, http.MethodGet, "/xrpc/com.atproto.sync.getRepoStatus", url.Values{"did": {did}}, nil, &row); err != nil {
		return err
	}
	if err := a.describe(ctx, &row); err != nil {
		return err
	}
	return a.print(row, accountHeader, row.cells())
}

// resolve returns the DID of a DID or handle. Handles of accounts that are
// taken down do not resolve.
func (a *admin) resolve(ctx context.Context, identifier string) (string, error) {
	if strings.HasPrefix(identifier, "did:") {
		return identifier, nil
	}
	var out struct{ DID string }
	err := a.call(ctx, http.MethodGet, "/xrpc/com.atproto.identity.resolveHandle", url.Values{"handle": {identifier}}, nil, &out)
	if err != nil {
		return "", fmt.Errorf("%w (an account that is taken down goes by its DID, see \"account list\")", err)
	}
	return out.DID, nil
}

func (a *admin) createAccount(ctx context.Context, args []string) error {
	in := map[string]any{"handle": args[0], "email": args[1], "password": strings.ToLower(rand.Text())}
	var server struct{ InviteCodeRequired bool }
	if err := a.call(ctx, http.MethodGet, "/xrpc/com.atproto.server.describeServer", nil, nil, &server); err != nil {
		return err
	}
	if server.InviteCodeRequired {
		code, err := a.newInvite(ctx, 1)
		if err != nil {
			return err
		}
		in["inviteCode"] = code
	}
	var out struct {
		DID      string `json:"did"`
		Handle   string `json:"handle"`
		Password any    `json:"password"`
	}
	visitor := *a
	visitor.password = "" // signing up is for those who are nobody yet
	if err := visitor.call(ctx, http.MethodPost, "/xrpc/com.atproto.server.createAccount", nil, in, &out); err != nil {
		return err
	}
	out.Password = in["password"]
	return a.print(out, []string{"DID", out.DID}, []string{"handle", out.Handle}, []string{"password", fmt.Sprint(out.Password)})
}

func (a *admin) takedown(ctx context.Context, args []string) error {
	state := map[string]any{"applied": true}
	if len(args) > 1 {
		state["ref"] = args[1]
	}
	return a.setTakedown(ctx, args[0], state)
}

func (a *admin) restore(ctx context.Context, args []string) error {
	return a.setTakedown(ctx, args[0], map[string]any{"applied": false})
}

func (a *admin) setTakedown(ctx context.Context, identifier string, state map[string]any) error {
	did, err := a.resolve(ctx, identifier)
	if err != nil {
		return err
	}
	in := map[string]any{
		"subject":  map[string]any{"$type": "com.atproto.admin.defs#repoRef", "did": did},
		"takedown": state,
	}
	if err := a.call(ctx, http.MethodPost, "/xrpc/com.atproto.admin.updateSubjectStatus", nil, in, nil); err != nil {
		return err
	}
	return a.showAccount(ctx, []string{did})
}

func (a *admin) deleteAccount(ctx context.Context, args []string) error {
	did, err := a.resolve(ctx, args[0])
	if err != nil {
		return err
	}
	if err := a.call(ctx, http.MethodPost, "/xrpc/com.atproto.admin.deleteAccount", nil, map[string]any{"did": did}, nil); err != nil {
		return err
	}
	return a.print(map[string]string{"deleted": did}, []string{"deleted", did})
}

func (a *admin) rotateKey(ctx context.Context, args []string) error {
	did, err := a.resolve(ctx, args[0])
	if err != nil {
		return err
	}
	var key struct {
		SigningKey string `json:"signingKey"`
	}
	if err := a.call(ctx, http.MethodPost, "/xrpc/com.atproto.server.reserveSigningKey", nil, map[string]any{"did": did}, &key); err != nil {
		return err
	}
	in := map[string]any{"did": did, "signingKey": key.SigningKey}
	if err := a.call(ctx, http.MethodPost, "/xrpc/com.atproto.admin.updateAccountSigningKey", nil, in, nil); err != nil {
		return err
	}
	return a.print(in, []string{"DID", did}, []string{"signing key", key.SigningKey})
}

// audit prints a page of the audit log.
func (a *admin) audit(ctx context.Context, args []string) error {
	params := url.Values{"limit": {"100"}}
	if len(args) > 0 {
		params.Set("before", args[0])
	}
	var out struct {
		Entries []pds.AuditEntry `json:"entries"`
	}
	if err := a.call(ctx, http.MethodGet, "/admin/audit", params, nil, &out); err != nil {
		return err
	}
	rows := [][]string{{"NUMBER", "TIME", "ACTOR", "ACTION", "SUBJECT", "DETAIL", "RESULT"}}
	for _, e := range out.Entries {
		rows = append(rows, []string{
			strconv.FormatInt(e.Number, 10), e.Time.Format(time.RFC3339), e.Actor, e.Action, e.Subject,
			strconv.Quote(e.Detail), cmp.Or(e.Result, "cut off, or not done yet"),
		})
	}
	return a.print(out.Entries, rows...)
}

func (a *admin) newInvite(ctx context.Context, uses int) (string, error) {
	var out struct{ Code string }
	err := a.call(ctx, http.MethodPost, "/xrpc/com.atproto.server.createInviteCode", nil, map[string]any{"useCount": uses}, &out)
	return out.Code, err
}

func (a *admin) createInvite(ctx context.Context, args []string) error {
	n := 1
	if len(args) > 0 {
		var err error
		if n, err = strconv.Atoi(args[0]); err != nil || n < 1 {
			return usageError(fmt.Sprintf("%q is no number of uses", args[0]))
		}
	}
	code, err := a.newInvite(ctx, n)
	if err != nil {
		return err
	}
	return a.print(map[string]any{"code": code, "uses": n}, []string{code})
}

func (a *admin) acceptClock(ctx context.Context, _ []string) error {
	if err := a.call(ctx, http.MethodPost, "/admin/clock/accept", nil, nil, nil); err != nil {
		return err
	}
	return a.print(map[string]bool{"accepted": true}, []string{"the clock is accepted as it is now"})
}
