package main

import (
	"bytes"
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
	"strings"
	"text/tabwriter"
	"time"
)

// admin talks to a running server as its administrator.
type admin struct {
	base     string
	password string
	json     bool
	out      io.Writer
	client   *http.Client
}

// administer runs one administration command.
func administer(ctx context.Context, command string, args []string, set *settings, stdout, stderr io.Writer) error {
	if set.development {
		// The secrets are in the data; a command must not make any.
		found, err := loadExistingSecrets(set, filepath.Join(set.dataDir, "secrets.json"))
		if err != nil || !found {
			return errors.Join(errors.New("no development server has run in this folder: start it, or set the PDS_* names"), err)
		}
	}
	flags := flag.NewFlagSet("server "+command, flag.ContinueOnError)
	flags.SetOutput(stderr)
	base := flags.String("url", fmt.Sprintf("http://localhost:%d", set.port), "address of the running server")
	asJSON := flags.Bool("json", false, "print JSON, for programs")
	// Flags may stand before or after the words of the command.
	var words []string
	for {
		if err := flags.Parse(args); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil
			}
			return usageError(err.Error())
		}
		if flags.NArg() == 0 {
			break
		}
		words, args = append(words, flags.Arg(0)), flags.Args()[1:]
	}
	a := &admin{
		base: strings.TrimSuffix(*base, "/"), password: set.adminPassword, json: *asJSON, out: stdout,
		client: &http.Client{Timeout: 30 * time.Second},
	}
	return a.command(ctx, append([]string{command}, words...))
}

func (a *admin) command(ctx context.Context, words []string) error {
	arg := func(i int) string {
		if i < len(words) {
			return words[i]
		}
		return ""
	}
	name := strings.Join(words[:min(2, len(words))], " ")
	for _, c := range []struct {
		name     string
		min, max int // words in all
		run      func() error
	}{
		{"health", 1, 1, func() error { return a.health(ctx) }},
		{"account list", 2, 2, func() error { return a.listAccounts(ctx) }},
		{"account show", 3, 3, func() error { return a.showAccount(ctx, arg(2)) }},
		{"account create", 4, 4, func() error { return a.createAccount(ctx, arg(2), arg(3)) }},
		{"account takedown", 3, 4, func() error { return a.takedown(ctx, arg(2), true, arg(3)) }},
		{"account restore", 3, 3, func() error { return a.takedown(ctx, arg(2), false, "") }},
		{"account delete", 3, 3, func() error { return a.deleteAccount(ctx, arg(2)) }},
		{"invite create", 2, 3, func() error { return a.createInvite(ctx, arg(2)) }},
		{"clock accept", 2, 2, func() error { return a.acceptClock(ctx) }},
	} {
		if c.name != name {
			continue
		}
		if len(words) < c.min || len(words) > c.max {
			return usageError(fmt.Sprintf("wrong number of words after %q", c.name))
		}
		return c.run()
	}
	return usageError(fmt.Sprintf("unknown command %q", name))
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
	r.SetBasicAuth("admin", a.password)
	if in != nil {
		r.Header.Set("Content-Type", "application/json")
	}
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

func (a *admin) health(ctx context.Context) error {
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
	Active bool   `json:"active"`
	Status string `json:"status,omitempty"`
	Rev    string `json:"rev,omitempty"`
}

func (r accountRow) cells() []string {
	status := "active"
	if !r.Active {
		status = r.Status
	}
	return []string{r.DID, r.Handle, status, r.Rev}
}

var accountHeader = []string{"DID", "HANDLE", "STATUS", "REV"}

// handle fills in the handle, which only describeRepo tells; accounts that are
// not active keep it to themselves.
func (a *admin) handle(ctx context.Context, row *accountRow) error {
	if !row.Active {
		return nil
	}
	var d struct{ Handle string }
	err := a.call(ctx, http.MethodGet, "/xrpc/com.atproto.repo.describeRepo", url.Values{"repo": {row.DID}}, nil, &d)
	row.Handle = d.Handle
	return err
}

func (a *admin) listAccounts(ctx context.Context) error {
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
			if err := a.handle(ctx, &row); err != nil {
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

func (a *admin) showAccount(ctx context.Context, identifier string) error {
	did, err := a.resolve(ctx, identifier)
	if err != nil {
		return err
	}
	var row accountRow
	if err := a.call(ctx, http.MethodGet, "/xrpc/com.atproto.sync.getRepoStatus", url.Values{"did": {did}}, nil, &row); err != nil {
		return err
	}
	if err := a.handle(ctx, &row); err != nil {
		return err
	}
	return a.print(row, accountHeader, row.cells())
}

// resolve returns the DID of a DID or handle.
func (a *admin) resolve(ctx context.Context, identifier string) (string, error) {
	if strings.HasPrefix(identifier, "did:") {
		return identifier, nil
	}
	var out struct{ DID string }
	err := a.call(ctx, http.MethodGet, "/xrpc/com.atproto.identity.resolveHandle", url.Values{"handle": {identifier}}, nil, &out)
	return out.DID, err
}

func (a *admin) createAccount(ctx context.Context, handle, email string) error {
	in := map[string]any{"handle": handle, "email": email, "password": strings.ToLower(rand.Text())}
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
	if err := a.call(ctx, http.MethodPost, "/xrpc/com.atproto.server.createAccount", nil, in, &out); err != nil {
		return err
	}
	out.Password = in["password"]
	return a.print(out, []string{"DID", out.DID}, []string{"handle", out.Handle}, []string{"password", fmt.Sprint(out.Password)})
}

func (a *admin) takedown(ctx context.Context, identifier string, applied bool, ref string) error {
	did, err := a.resolve(ctx, identifier)
	if err != nil {
		return err
	}
	state := map[string]any{"applied": applied}
	if ref != "" {
		state["ref"] = ref
	}
	in := map[string]any{
		"subject":  map[string]any{"$type": "com.atproto.admin.defs#repoRef", "did": did},
		"takedown": state,
	}
	if err := a.call(ctx, http.MethodPost, "/xrpc/com.atproto.admin.updateSubjectStatus", nil, in, nil); err != nil {
		return err
	}
	return a.showAccount(ctx, did)
}

func (a *admin) deleteAccount(ctx context.Context, identifier string) error {
	did, err := a.resolve(ctx, identifier)
	if err != nil {
		return err
	}
	if err := a.call(ctx, http.MethodPost, "/xrpc/com.atproto.admin.deleteAccount", nil, map[string]any{"did": did}, nil); err != nil {
		return err
	}
	return a.print(map[string]string{"deleted": did}, []string{"deleted", did})
}

func (a *admin) newInvite(ctx context.Context, uses int) (string, error) {
	var out struct{ Code string }
	err := a.call(ctx, http.MethodPost, "/xrpc/com.atproto.server.createInviteCode", nil, map[string]any{"useCount": uses}, &out)
	return out.Code, err
}

func (a *admin) createInvite(ctx context.Context, uses string) error {
	n := 1
	if uses != "" {
		if _, err := fmt.Sscanf(uses, "%d", &n); err != nil || n < 1 {
			return usageError(fmt.Sprintf("%q is no number of uses", uses))
		}
	}
	code, err := a.newInvite(ctx, n)
	if err != nil {
		return err
	}
	return a.print(map[string]any{"code": code, "uses": n}, []string{code})
}

func (a *admin) acceptClock(ctx context.Context) error {
	if err := a.call(ctx, http.MethodPost, "/admin/clock/accept", nil, nil, nil); err != nil {
		return err
	}
	return a.print(map[string]bool{"accepted": true}, []string{"the clock is accepted as it is now"})
}
