package adminui

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/oauth/ui"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// rowsPerPage is how long the lists are.
const rowsPerPage = 50

func errNoAccount() error {
	return xrpc.NewError(http.StatusNotFound, "NotFound", "There is no such account here.")
}

// showAccounts lists the accounts in the order of their creation, or leads to
// the one that was searched for.
func (h *handler) showAccounts(v *visit) error {
	query := v.r.URL.Query()
	p := &accountsPage{base: h.base(v, "accounts"), Query: strings.TrimPrefix(strings.TrimSpace(query.Get("q")), "@")}
	if p.Query != "" {
		found, err := h.find(v, p.Query)
		if err == nil {
			http.Redirect(v.w, v.r, p.AccountLink(string(found.DID)), http.StatusSeeOther)
			return nil
		}
		if refused, ok := errors.AsType[*xrpc.Error](err); !ok || refused.Status != http.StatusNotFound {
			return err
		}
		p.Problems = []ui.Problem{{Field: "q", Text: "No account has this handle, DID or e-mail address."}}
		h.render(v, http.StatusNotFound, p)
		return nil
	}
	var after storage.AccountCursor
	if text := query.Get("after"); text != "" {
		at, did, _ := strings.Cut(text, " ")
		n, err := strconv.ParseInt(at, 10, 64)
		if err != nil {
			return xrpc.InvalidRequest("This is no page of the list.")
		}
		after = storage.AccountCursor{CreatedAt: n, DID: syntax.DID(did)}
	}
	list, next, err := h.srv.ListAccountDetails(v.r.Context(), after, rowsPerPage)
	if err != nil {
		return err
	}
	p.Accounts = list
	if len(list) == rowsPerPage {
		p.Next = p.Link("accounts?after=" + url.QueryEscape(strconv.FormatInt(next.CreatedAt, 10)+" "+string(next.DID)))
	}
	h.render(v, http.StatusOK, p)
	return nil
}

// find returns an account by DID, handle or e-mail address, or errNoAccount.
func (h *handler) find(v *visit, id string) (pds.AccountDetails, error) {
	d, err := h.srv.AccountDetails(v.r.Context(), id)
	if refused, ok := errors.AsType[*xrpc.Error](err); ok && refused.Name == "AccountNotFound" {
		err = errNoAccount()
	}
	return d, err
}

// named returns the account of the request's path.
func (h *handler) named(v *visit) (pds.AccountDetails, error) {
	did, err := syntax.ParseDID(v.r.PathValue("did"))
	if err != nil {
		return pds.AccountDetails{}, errNoAccount()
	}
	return h.find(v, string(did))
}

func (h *handler) showAccount(v *visit) error {
	a, err := h.named(v)
	if err != nil {
		return err
	}
	h.render(v, http.StatusOK, &accountPage{base: h.base(v, "accounts"), Shown: a})
	return nil
}

// change does something with the account of the request's path, under an entry
// of the audit log, and returns to its page.
func (h *handler) change(v *visit, what, detail, notice string, do func(a *pds.AccountDetails) error) error {
	a, err := h.named(v)
	if err != nil {
		return err
	}
	if err := h.audit(v, what, string(a.DID), detail, func() error { return do(&a) }); err != nil {
		return err
	}
	return h.leave(v, "accounts/"+url.PathEscape(string(a.DID)), notice)
}

// maxReference is the length of the longest reference of a takedown, in bytes.
const maxReference = 200

func (h *handler) takeDown(v *visit) error {
	ref := strings.TrimSpace(v.r.PostFormValue("reference"))
	if len(ref) > maxReference {
		return xrpc.InvalidRequest("A reference has at most %d characters.", maxReference)
	}
	return h.change(v, "take down", ref, "The account is taken down.", func(a *pds.AccountDetails) error {
		return h.srv.TakeDownAccount(v.r.Context(), a.DID, ref, v.by())
	})
}

func (h *handler) restore(v *visit) error {
	return h.change(v, "restore", "", "The takedown has ended.", func(a *pds.AccountDetails) error {
		return h.srv.RestoreAccount(v.r.Context(), a.DID, v.by())
	})
}

// setInvites lets an account invite others, or not.
func (h *handler) setInvites(v *visit) error {
	what, notice := "enable invites", "The codes that the account earns from now on work."
	disabled := v.r.PostFormValue("disabled") == "true"
	if disabled {
		what, notice = "disable invites", "The codes that the account earns from now on do not work."
	}
	return h.change(v, what, "", notice, func(a *pds.AccountDetails) error {
		return h.srv.SetInvitesDisabled(v.r.Context(), a.DID, disabled)
	})
}

// mailReset sends the account's owner a code for a new password.
func (h *handler) mailReset(v *visit) error {
	return h.change(v, "mail a password reset", "", "A code for a new password is on its way to the account's address.", func(a *pds.AccountDetails) error {
		if a.Email == "" {
			return xrpc.InvalidRequest("The account has no e-mail address.")
		}
		return h.srv.MailPasswordReset(v.r.Context(), a.Email)
	})
}

// confirmation is what has to be entered to delete an account.
func confirmation(a *pds.AccountDetails) string {
	if a.Handle != "" {
		return string(a.Handle)
	}
	return string(a.DID)
}

func (h *handler) showDelete(v *visit) error {
	a, err := h.named(v)
	if err != nil {
		return err
	}
	h.render(v, http.StatusOK, &deletePage{base: h.base(v, "accounts"), Shown: a, Confirm: confirmation(&a)})
	return nil
}

func (h *handler) deleteAccount(v *visit) error {
	a, err := h.named(v)
	if err != nil {
		return err
	}
	if strings.TrimSpace(v.r.PostFormValue("confirm")) != confirmation(&a) {
		p := &deletePage{base: h.base(v, "accounts"), Shown: a, Confirm: confirmation(&a)}
		p.Problems = []ui.Problem{{Field: "confirm", Text: "This is not the name of the account."}}
		h.render(v, http.StatusBadRequest, p)
		return nil
	}
	err = h.audit(v, "delete", string(a.DID), string(a.Handle), func() error {
		return h.srv.DeleteAccount(v.r.Context(), a.DID, v.by())
	})
	if err != nil {
		return err
	}
	return h.leave(v, "accounts", "The account is deleted.")
}
