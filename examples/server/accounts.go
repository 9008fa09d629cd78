package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/pds"
)

// eachAccount calls fn for every account, in order of their creation.
func (a *admin) eachAccount(ctx context.Context, fn func(d *pds.AccountDetails)) error {
	for cursor := ""; ; {
		var page struct {
			Cursor   string
			Accounts []pds.AccountDetails
		}
		if err := a.call(ctx, http.MethodGet, "/admin/accounts", url.Values{"cursor": {cursor}}, nil, &page); err != nil {
			return err
		}
		for i := range page.Accounts {
			fn(&page.Accounts[i])
		}
		if cursor = page.Cursor; cursor == "" {
			return nil
		}
	}
}

// find returns the account that an operator names.
func (a *admin) find(ctx context.Context, identifier string) (d pds.AccountDetails, err error) {
	var out struct{ Accounts []pds.AccountDetails }
	err = a.call(ctx, http.MethodGet, "/admin/accounts", url.Values{"id": {strings.TrimPrefix(identifier, "@")}}, nil, &out)
	if err == nil && len(out.Accounts) == 1 {
		return out.Accounts[0], nil
	}
	return d, fmt.Errorf("%q: %w (accounts are named by DID, handle or e-mail address; \"account list\" lists them)", identifier, err)
}

var accountStates = []string{"active", "deactivated", "takendown", "pending"}

func (a *admin) listAccounts(ctx context.Context, args []string) error {
	if len(args) > 0 && !slices.Contains(accountStates, args[0]) {
		return usageError("account list takes one of: " + strings.Join(accountStates, ", "))
	}
	all := []pds.AccountDetails{}
	rows := [][]string{{"DID", "HANDLE", "EMAIL", "STATUS", "CREATED", "RECORDS", "BLOBS"}}
	err := a.eachAccount(ctx, func(d *pds.AccountDetails) {
		if len(args) > 0 && d.Status != args[0] {
			return
		}
		all = append(all, *d)
		rows = append(rows, []string{
			string(d.DID), string(d.Handle), d.Email, d.Status, d.CreatedAt.Format(time.DateOnly),
			strconv.FormatInt(d.Records, 10), strconv.FormatInt(d.Blobs, 10),
		})
	})
	if err != nil {
		return err
	}
	return a.print(all, rows...)
}

func (a *admin) showAccount(ctx context.Context, args []string) error {
	d, err := a.find(ctx, args[0])
	if err != nil {
		return err
	}
	return a.printAccount(&d)
}

// printAccount prints everything about one account that is not nothing.
func (a *admin) printAccount(d *pds.AccountDetails) error {
	var rows [][]string
	row := func(name, value string) {
		if value != "" {
			rows = append(rows, []string{name, value})
		}
	}
	at := func(name string, t time.Time) {
		if !t.IsZero() {
			row(name, t.UTC().Format(time.RFC3339))
		}
	}
	row("DID", string(d.DID))
	row("handle", string(d.Handle))
	row("email", d.Email)
	at("  confirmed", d.EmailConfirmedAt)
	row("status", d.Status)
	row("  reference", d.TakedownRef)
	at("  deactivated", d.DeactivatedAt)
	at("  deleted after", d.DeleteAfter)
	at("created", d.CreatedAt)
	if !d.HasPassword {
		row("password", "none")
	}
	if d.InvitesDisabled {
		row("invites", "it may not make codes")
	}
	row("signing key", d.SigningKey)
	row("rev", string(d.Rev))
	row("head", d.Head)
	row("records", fmt.Sprintf("%d, %d bytes with the tree", d.Records, d.RepoBytes))
	row("blobs", fmt.Sprintf("%d, %d bytes", d.Blobs, d.BlobBytes))
	return a.print(d, rows...)
}

// show prints an account after it was changed.
func (a *admin) show(ctx context.Context, did syntax.DID) error {
	return a.showAccount(ctx, []string{string(did)})
}

func newPassword() string { return strings.ToLower(rand.Text()) }

func (a *admin) createAccount(ctx context.Context, args []string) error {
	in := map[string]any{"handle": args[0], "email": args[1], "password": newPassword()}
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
	err := visitor.call(ctx, http.MethodPost, "/xrpc/com.atproto.server.createAccount", nil, in, &out)
	if code, made := in["inviteCode"].(string); err != nil && made { // nobody else knows it
		return errors.Join(err, a.call(ctx, http.MethodPost, disableCodes, nil, map[string]any{"codes": []string{code}}, nil))
	}
	if err != nil {
		return err
	}
	out.Password = in["password"]
	return a.print(out, []string{"DID", out.DID}, []string{"handle", out.Handle}, []string{"password", fmt.Sprint(out.Password)})
}

// resetPassword gives an account a new password, or lets it be mailed a code
// to choose one.
func (a *admin) resetPassword(ctx context.Context, args []string) error {
	mailed := len(args) > 1
	if mailed && args[1] != "mail" {
		return usageError("account reset takes: ACCOUNT [mail]")
	}
	d, err := a.find(ctx, args[0])
	if err != nil {
		return err
	}
	if mailed {
		if d.Email == "" {
			return fmt.Errorf("%s has no e-mail address", args[0])
		}
		if err := a.call(ctx, http.MethodPost, "/xrpc/com.atproto.server.requestPasswordReset", nil, map[string]any{"email": d.Email}, nil); err != nil {
			return err
		}
		return a.print(map[string]string{"did": string(d.DID), "mailed": d.Email}, []string{"DID", string(d.DID)}, []string{"a code is mailed to", d.Email})
	}
	in := map[string]string{"did": string(d.DID), "password": newPassword()}
	if err := a.call(ctx, http.MethodPost, "/xrpc/com.atproto.admin.updateAccountPassword", nil, in, nil); err != nil {
		return err
	}
	return a.print(in, []string{"DID", in["did"]}, []string{"handle", string(d.Handle)}, []string{"password", in["password"]})
}

// setHandle gives an account another handle, also a reserved one.
func (a *admin) setHandle(ctx context.Context, args []string) error {
	return a.change(ctx, args[0], "com.atproto.admin.updateAccountHandle", "did", map[string]any{"handle": args[1]})
}

// setEmail gives an account another e-mail address, not confirmed yet.
func (a *admin) setEmail(ctx context.Context, args []string) error {
	return a.change(ctx, args[0], "com.atproto.admin.updateAccountEmail", "account", map[string]any{"email": args[1]})
}

// change calls a method with the DID of an account in a field of its input.
func (a *admin) change(ctx context.Context, identifier, method, field string, in map[string]any) error {
	d, err := a.find(ctx, identifier)
	if err != nil {
		return err
	}
	in[field] = string(d.DID)
	if err := a.call(ctx, http.MethodPost, "/xrpc/"+method, nil, in, nil); err != nil {
		return err
	}
	return a.show(ctx, d.DID)
}

func (a *admin) takedown(ctx context.Context, args []string) error {
	state := map[string]any{"applied": true}
	if len(args) > 1 {
		state["ref"] = args[1]
	}
	return a.setStatus(ctx, args[0], "takedown", state)
}

func (a *admin) untakedown(ctx context.Context, args []string) error {
	return a.setStatus(ctx, args[0], "takedown", map[string]any{"applied": false})
}

func (a *admin) deactivate(ctx context.Context, args []string) error {
	return a.setStatus(ctx, args[0], "deactivated", map[string]any{"applied": true})
}

func (a *admin) activate(ctx context.Context, args []string) error {
	return a.setStatus(ctx, args[0], "deactivated", map[string]any{"applied": false})
}

func (a *admin) setStatus(ctx context.Context, identifier, what string, state map[string]any) error {
	d, err := a.find(ctx, identifier)
	if err != nil {
		return err
	}
	in := map[string]any{
		"subject": map[string]any{"$type": "com.atproto.admin.defs#repoRef", "did": d.DID},
		what:      state,
	}
	if err := a.call(ctx, http.MethodPost, "/xrpc/com.atproto.admin.updateSubjectStatus", nil, in, nil); err != nil {
		return err
	}
	return a.show(ctx, d.DID)
}

func (a *admin) deleteAccount(ctx context.Context, args []string) error {
	d, err := a.find(ctx, args[0])
	if err != nil {
		return err
	}
	err = a.confirm("%s (%s) is deleted for good, with %d records and %d blobs", cmp.Or(string(d.Handle), "an account without a handle"), d.DID, d.Records, d.Blobs)
	if err != nil {
		return err
	}
	if err := a.call(ctx, http.MethodPost, "/xrpc/com.atproto.admin.deleteAccount", nil, map[string]any{"did": d.DID}, nil); err != nil {
		return err
	}
	return a.print(map[string]string{"deleted": string(d.DID)}, []string{"deleted", string(d.DID)})
}
