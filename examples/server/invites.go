package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// inviteCode is com.atproto.server.defs#inviteCode.
type inviteCode struct {
	Code       string `json:"code"`
	Available  int    `json:"available"` // uses in all
	Disabled   bool   `json:"disabled"`
	ForAccount string `json:"forAccount"`
	CreatedBy  string `json:"createdBy"`
	CreatedAt  string `json:"createdAt"`
	Uses       []struct {
		UsedBy string `json:"usedBy"`
		UsedAt string `json:"usedAt"`
	} `json:"uses"`
}

func (c *inviteCode) state() string {
	switch {
	case c.Disabled:
		return "disabled"
	case len(c.Uses) >= c.Available:
		return "used up"
	}
	return "open"
}

const disableCodes = "/xrpc/com.atproto.admin.disableInviteCodes"

// eachInvite calls fn for every code, the newest first.
func (a *admin) eachInvite(ctx context.Context, fn func(c *inviteCode)) error {
	for cursor := ""; ; {
		var page struct {
			Cursor string
			Codes  []inviteCode
		}
		err := a.call(ctx, http.MethodGet, "/xrpc/com.atproto.admin.getInviteCodes", url.Values{"limit": {"500"}, "cursor": {cursor}}, nil, &page)
		if err != nil {
			return err
		}
		for i := range page.Codes {
			fn(&page.Codes[i])
		}
		if cursor = page.Cursor; cursor == "" {
			return nil
		}
	}
}

// listInvites prints all codes, the newest first.
func (a *admin) listInvites(ctx context.Context, args []string) error {
	onlyOpen := len(args) > 0
	if onlyOpen && args[0] != "open" {
		return usageError("invite list takes: [open]")
	}
	all := []inviteCode{}
	rows := [][]string{{"CODE", "STATE", "USED", "FOR", "CREATED", "BY"}}
	err := a.eachInvite(ctx, func(c *inviteCode) {
		if onlyOpen && c.state() != "open" {
			return
		}
		all = append(all, *c)
		rows = append(rows, []string{c.Code, c.state(), fmt.Sprintf("%d of %d", len(c.Uses), c.Available), c.ForAccount, c.CreatedAt, c.CreatedBy})
	})
	if err != nil {
		return err
	}
	return a.print(all, rows...)
}

// disableInvites makes codes useless. The method passes over unknown ones, such
// as a mistyped one that goes on working.
func (a *admin) disableInvites(ctx context.Context, codes []string) error {
	unknown := slices.Clone(codes)
	err := a.eachInvite(ctx, func(c *inviteCode) {
		unknown = slices.DeleteFunc(unknown, func(code string) bool { return code == c.Code })
	})
	if err != nil {
		return err
	}
	if len(unknown) > 0 {
		return fmt.Errorf("nothing was done, since there is no code %s", strings.Join(unknown, ", "))
	}
	if err := a.call(ctx, http.MethodPost, disableCodes, nil, map[string]any{"codes": codes}, nil); err != nil {
		return err
	}
	return a.print(map[string]any{"disabled": codes}, []string{"disabled", strings.Join(codes, " ")})
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
