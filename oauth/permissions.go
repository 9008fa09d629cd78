package oauth

import (
	"strings"

	"github.com/pdskit/pdskit/oauth/scope"
	"github.com/pdskit/pdskit/oauth/ui"
)

// permissions returns the cards of the consent page for a requested scope, and
// the values that are not optional.
func (v *visit) permissions(requested string) (cards []ui.Permission, required []string, err error) {
	parse := func(values []string) (*scope.Set, error) { return v.cfg.Scopes.ParseGranted(strings.Join(values, " ")) }
	var plain, email, sets []string
	for value := range strings.FieldsSeq(requested) {
		one, err := parse([]string{value})
		if err != nil {
			return nil, nil, err
		}
		summary := one.Summary()
		switch {
		case len(summary.Includes) > 0:
			sets = append(sets, value)
			required = append(required, value)
		case isEmail(summary):
			email = append(email, value)
		default:
			plain = append(plain, value)
			required = append(required, value)
		}
	}
	set, err := parse(plain)
	if err != nil {
		return nil, nil, err
	}
	cards = append(cards, ui.Permission{Code: ui.PermissionIdentify})
	cards = append(cards, summaryCards(set.Summary())...)
	for _, value := range sets {
		one, err := parse([]string{value})
		if err != nil {
			return nil, nil, err
		}
		card, err := v.setCard(one)
		if err != nil {
			return nil, nil, err
		}
		cards = append(cards, card)
	}
	if len(email) > 0 {
		set, err := parse(email)
		if err != nil {
			return nil, nil, err
		}
		card := ui.Permission{Code: ui.PermissionEmailRead, Optional: true, Checked: true, Scope: strings.Join(email, " ")}
		if set.Allows(scope.Account{Attr: attrEmail, Action: scope.Manage}) {
			card.Code = ui.PermissionEmailManage
		}
		cards = append(cards, card)
	}
	return cards, required, nil
}

// Attributes of accounts that scopes name.
const (
	attrEmail  = "email"
	attrRepo   = "repo"
	attrStatus = "status"
)

// isEmail reports whether a scope is about the e-mail address and nothing else.
func isEmail(s scope.Summary) bool {
	return len(s.Accounts) == 1 && s.Accounts[0].Attr == attrEmail
}

// summaryCards returns a card for each part of a summary, those that can cost
// the account first.
func summaryCards(s scope.Summary) []ui.Permission {
	var cards []ui.Permission
	add := func(p ui.Permission) { cards = append(cards, p) }
	switch s.Identity {
	case "":
	case "*":
		add(ui.Permission{Code: ui.PermissionIdentityFull, Warning: true})
	default:
		add(ui.Permission{Code: ui.PermissionHandle, Warning: true})
	}
	for _, a := range s.Accounts {
		add(accountCard(a))
	}
	if s.Generic {
		add(ui.Permission{Code: ui.PermissionGeneric})
	}
	if s.Chat {
		add(ui.Permission{Code: ui.PermissionChat})
	}
	for _, card := range dataCards(s) {
		add(card)
	}
	if len(s.Others) > 0 {
		card := ui.Permission{Code: ui.PermissionOther}
		for _, other := range s.Others {
			card.Unknown = append(card.Unknown, other.String())
		}
		add(card)
	}
	return cards
}

func accountCard(a scope.AccountSummary) ui.Permission {
	switch {
	case a.Attr == attrRepo && a.Manage:
		return ui.Permission{Code: ui.PermissionRepoImport, Warning: true}
	case a.Attr == attrStatus && a.Manage:
		return ui.Permission{Code: ui.PermissionStatusManage, Warning: true}
	case a.Attr == attrEmail && a.Manage:
		return ui.Permission{Code: ui.PermissionEmailManage}
	case a.Attr == attrEmail:
		return ui.Permission{Code: ui.PermissionEmailRead}
	}
	action := "read"
	if a.Manage {
		action = "manage"
	}
	return ui.Permission{Code: ui.PermissionAccount, Args: ui.Args{"attr": a.Attr, "action": action}}
}

// dataCards returns the cards for records, files and services.
func dataCards(s scope.Summary) []ui.Permission {
	var cards []ui.Permission
	if rows := repoRows(s.Repos); len(rows) > 0 {
		card := ui.Permission{Code: ui.PermissionRepo, Repos: rows}
		if rows[0].Collection == "*" {
			card.Code = ui.PermissionRepoAll
		}
		cards = append(cards, card)
	}
	if len(s.Blobs) > 0 {
		cards = append(cards, ui.Permission{Code: ui.PermissionBlob, Blobs: s.Blobs})
	}
	if rows := rpcRows(s.RPCs); len(rows) > 0 {
		cards = append(cards, ui.Permission{Code: ui.PermissionRPC, RPCs: rows})
	}
	return cards
}

func repoRows(repos []scope.RepoSummary) []ui.RepoRow {
	var rows []ui.RepoRow
	for _, r := range repos {
		rows = append(rows, ui.RepoRow{Collection: r.Collection, Create: r.Create, Update: r.Update, Delete: r.Delete})
	}
	return rows
}

func rpcRows(rpcs []scope.RPCSummary) []ui.RPCRow {
	var rows []ui.RPCRow
	for _, r := range rpcs {
		rows = append(rows, ui.RPCRow{Audience: r.Audience, Methods: r.Methods, ButChat: r.ButChat})
	}
	return rows
}

// setCard returns the card of a permission set: its own words, and what it holds
// today.
func (v *visit) setCard(include *scope.Set) (ui.Permission, error) {
	nsid := include.Summary().Includes[0].Set
	set, err := v.sets.get(v.r.Context(), nsid, true)
	if err != nil {
		return ui.Permission{}, err
	}
	expanded, err := v.expandSet(v.r.Context(), include, true)
	if err != nil {
		return ui.Permission{}, err
	}
	s := expanded.Summary()
	return ui.Permission{
		Code: ui.PermissionPermissionSet, Set: string(nsid),
		Title: inLanguage(v.locale, set.Title, set.TitleLang), Detail: inLanguage(v.locale, set.Detail, set.DetailLang),
		Repos: repoRows(s.Repos), RPCs: rpcRows(s.RPCs),
	}, nil
}

// inLanguage returns the translation of a text for a locale, or the text.
func inLanguage(locale, text string, translations map[string]string) string {
	if t := translations[locale]; t != "" {
		return t
	}
	language, _, _ := strings.Cut(locale, "-")
	if t := translations[language]; t != "" {
		return t
	}
	return text
}
