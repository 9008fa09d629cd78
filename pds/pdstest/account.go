package pdstest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/bluesky-social/indigo/atproto/atclient"
	"github.com/bluesky-social/indigo/atproto/syntax"
)

// Account is an account on a test server.
type Account struct {
	PDS      *PDS `json:"-"`
	DID      syntax.DID
	Handle   syntax.Handle
	Email    string
	Password string
	Access   string // token
	Refresh  string // token
}

// CreateAccount signs up an account by com.atproto.server.createAccount: the
// name is the first part of its handle and of its address at example.com. If the
// server requires invite codes, it makes one for the account.
func (p *PDS) CreateAccount(name string) *Account {
	p.t.Helper()
	a := &Account{PDS: p, Email: name + "@example.com", Password: "password of " + name}
	in := map[string]any{
		"handle": name + p.Config.HandleDomains[0], "email": a.Email, "password": a.Password,
	}
	if p.Config.InviteRequired {
		codes, err := p.CreateInvites(p.t.Context(), 1, 1)
		if err != nil {
			p.t.Fatal(err)
		}
		in["inviteCode"] = codes[0]
	}
	var out session
	p.Post("com.atproto.server.createAccount", "", in, &out)
	a.take(out)
	return a
}

// Login opens a new session for the account and uses its tokens.
func (a *Account) Login() {
	a.PDS.t.Helper()
	var out session
	a.PDS.Post("com.atproto.server.createSession", "",
		map[string]any{"identifier": string(a.DID), "password": a.Password}, &out)
	a.take(out)
}

type session struct {
	DID        syntax.DID    `json:"did"`
	Handle     syntax.Handle `json:"handle"`
	AccessJwt  string        `json:"accessJwt"`
	RefreshJwt string        `json:"refreshJwt"`
}

func (a *Account) take(s session) {
	a.DID, a.Handle, a.Access, a.Refresh = s.DID, s.Handle, s.AccessJwt, s.RefreshJwt
}

// Client returns an indigo client that is signed in as the account, with a
// session of its own.
func (a *Account) Client() *atclient.APIClient {
	a.PDS.t.Helper()
	c, err := atclient.LoginWithPasswordHost(a.PDS.t.Context(), a.PDS.URL, string(a.DID), a.Password, "", nil)
	if err != nil {
		a.PDS.t.Fatalf("pdstest: sign in as %s: %v", a.Handle, err)
	}
	return c
}

// CreateRecord writes a record and returns its URI and CID.
func (a *Account) CreateRecord(collection string, record map[string]any) (uri, cid string) {
	a.PDS.t.Helper()
	var out struct{ URI, CID string }
	a.Post("com.atproto.repo.createRecord",
		map[string]any{"repo": a.DID, "collection": collection, "record": record}, &out)
	return out.URI, out.CID
}

// Post calls a procedure as the account, see [PDS.Post].
func (a *Account) Post(nsid string, in, out any) {
	a.PDS.t.Helper()
	a.PDS.Post(nsid, "Bearer "+a.Access, in, out)
}

// Get calls a query as the account, see [PDS.Get].
func (a *Account) Get(nsid string, params url.Values, out any) {
	a.PDS.t.Helper()
	a.PDS.Get(nsid, "Bearer "+a.Access, params, out)
}

// TryPost calls a procedure as the account. An answer other than 200 is an
// [*Error]; out may be nil.
func (a *Account) TryPost(nsid string, in, out any) error {
	data, err := a.PDS.Call(a.PDS.t.Context(), http.MethodPost, nsid, nil, authHeader("Bearer "+a.Access), in)
	return decode(data, err, out)
}

// TryGet calls a query as the account, like [Account.TryPost].
func (a *Account) TryGet(nsid string, params url.Values, out any) error {
	data, err := a.PDS.Call(a.PDS.t.Context(), http.MethodGet, nsid, params, authHeader("Bearer "+a.Access), nil)
	return decode(data, err, out)
}

// Error is an answer other than 200.
type Error struct {
	Status  int
	Name    string `json:"error"`
	Message string `json:"message"`
}

func (e *Error) Error() string { return fmt.Sprintf("%d %s: %s", e.Status, e.Name, e.Message) }

// Call sends one XRPC request and returns the body of a 200 answer, or an
// [*Error]. A body of type []byte goes out as it is, with the content type in
// header; anything else but nil as JSON.
func (p *PDS) Call(ctx context.Context, method, nsid string, params url.Values, header http.Header, body any) ([]byte, error) {
	var reader io.Reader
	if header = header.Clone(); header == nil {
		header = http.Header{}
	}
	switch b := body.(type) {
	case nil:
	case []byte:
		reader = bytes.NewReader(b)
	default:
		data, err := json.Marshal(b)
		if err != nil {
			return nil, err
		}
		reader = bytes.NewReader(data)
		header.Set("Content-Type", "application/json")
	}
	u := p.URL + "/xrpc/" + nsid
	if len(params) > 0 {
		u += "?" + params.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, method, u, reader)
	if err != nil {
		return nil, err
	}
	r.Header = header
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		e := &Error{Status: resp.StatusCode}
		if json.Unmarshal(data, e) != nil {
			e.Message = string(data)
		}
		return nil, e
	}
	return data, nil
}

// Post calls a procedure and fails the test unless it succeeds. The
// Authorization header is left out if authorization is empty; out may be nil.
func (p *PDS) Post(nsid, authorization string, in, out any) {
	p.t.Helper()
	data, err := p.Call(p.t.Context(), http.MethodPost, nsid, nil, authHeader(authorization), in)
	p.require(nsid, decode(data, err, out))
}

// Get calls a query and fails the test unless it succeeds, like [PDS.Post].
func (p *PDS) Get(nsid, authorization string, params url.Values, out any) {
	p.t.Helper()
	data, err := p.Call(p.t.Context(), http.MethodGet, nsid, params, authHeader(authorization), nil)
	p.require(nsid, decode(data, err, out))
}

func authHeader(authorization string) http.Header {
	h := http.Header{}
	if authorization != "" {
		h.Set("Authorization", authorization)
	}
	return h
}

func decode(data []byte, err error, out any) error {
	if err == nil && out != nil {
		err = json.Unmarshal(data, out)
	}
	return err
}

func (p *PDS) require(nsid string, err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatalf("%s: %v", nsid, err)
	}
}
