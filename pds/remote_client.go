package pds

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"
)

// remoteClient is this server as an OAuth client of another one, that asks for
// nothing but who somebody is. The session that this makes there is ended at
// once; its tokens are never kept.
type remoteClient struct {
	id, callback string
	http         *http.Client
	now          func() time.Time
	allowHTTP    bool
}

// remoteScope is what is asked for.
const remoteScope = "atproto"

// Bounds of talking to the server of a member.
const (
	remoteCallTime  = 5 * time.Second
	remoteTime      = 15 * time.Second // of all calls for one step
	maxRemoteAnswer = 64 << 10
)

// remoteAttempt is what is remembered while somebody is at the own server.
type remoteAttempt struct {
	DID      syntax.DID `json:"did"`
	Home     string     `json:"home"`   // the PDS of the DID
	Issuer   string     `json:"issuer"` // its authorization server
	Token    string     `json:"token"`
	Revoke   string     `json:"revoke,omitempty"`
	Verifier string     `json:"verifier"` // RFC 7636
	Key      []byte     `json:"key"`      // for DPoP proofs, made for this attempt
	Nonce    string     `json:"nonce,omitempty"`
}

// remoteServer is the metadata of an authorization server, RFC 8414 and the
// profile of atproto.
type remoteServer struct {
	Issuer    string   `json:"issuer"`
	Authorize string   `json:"authorization_endpoint"`
	PAR       string   `json:"pushed_authorization_request_endpoint"`
	Token     string   `json:"token_endpoint"`
	Revoke    string   `json:"revocation_endpoint"`
	Scopes    []string `json:"scopes_supported"`
	IssParam  bool     `json:"authorization_response_iss_parameter_supported"`
	ByURL     bool     `json:"client_id_metadata_document_supported"`
}

// begin pushes a request to the authorization server of a PDS, and returns the
// address to which the browser goes.
func (c *remoteClient) begin(ctx context.Context, did syntax.DID, home, state string) (*remoteAttempt, string, error) {
	meta, err := c.discover(ctx, home)
	if err != nil {
		return nil, "", err
	}
	key, err := atcrypto.GeneratePrivateKeyP256()
	if err != nil {
		return nil, "", err
	}
	a := &remoteAttempt{
		DID: did, Home: home, Issuer: meta.Issuer, Token: meta.Token, Revoke: meta.Revoke,
		Verifier: rand.Text() + rand.Text(), Key: key.Bytes(),
	}
	challenge := sha256.Sum256([]byte(a.Verifier))
	var pushed struct {
		RequestURI string `json:"request_uri"`
	}
	err = c.post(ctx, a, meta.PAR, url.Values{
		"client_id": {c.id}, "response_type": {"code"}, "redirect_uri": {c.callback}, "scope": {remoteScope}, "state": {state},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(challenge[:])}, "code_challenge_method": {"S256"}, "login_hint": {string(did)},
	}, &pushed)
	if err != nil {
		return nil, "", err
	}
	if pushed.RequestURI == "" {
		return nil, "", errors.New("the server has not taken the request")
	}
	to, err := url.Parse(meta.Authorize)
	if err != nil {
		return nil, "", err
	}
	query := to.Query()
	query.Set("client_id", c.id)
	query.Set("request_uri", pushed.RequestURI)
	to.RawQuery = query.Encode()
	return a, to.String(), nil
}

// discover finds the authorization server of a PDS.
func (c *remoteClient) discover(ctx context.Context, home string) (*remoteServer, error) {
	var resource struct {
		Resource string   `json:"resource"`
		Servers  []string `json:"authorization_servers"`
	}
	if err := c.get(ctx, home+"/.well-known/oauth-protected-resource", &resource); err != nil {
		return nil, err
	}
	if resource.Resource != home || len(resource.Servers) != 1 {
		return nil, errors.New("the server's metadata is of another one, or names no single authorization server")
	}
	issuer := resource.Servers[0]
	if origin, err := serviceURL(issuer, c.allowHTTP); err != nil || origin != issuer {
		return nil, fmt.Errorf("%.200q is no authorization server", issuer)
	}
	meta := &remoteServer{}
	if err := c.get(ctx, issuer+"/.well-known/oauth-authorization-server", meta); err != nil {
		return nil, err
	}
	if meta.Issuer != issuer || !meta.IssParam || !meta.ByURL || !slices.Contains(meta.Scopes, remoteScope) {
		return nil, errors.New("the authorization server is another one, or not one of atproto")
	}
	for _, endpoint := range []string{meta.Authorize, meta.PAR, meta.Token} {
		if !c.mayAsk(endpoint) {
			return nil, fmt.Errorf("the authorization server has no good endpoint at %.200q", endpoint)
		}
	}
	return meta, nil
}

// mayAsk reports whether an endpoint is one to send secrets, or people, to.
func (c *remoteClient) mayAsk(endpoint string) bool {
	_, err := serviceURL(endpoint, c.allowHTTP)
	return err == nil
}

// finish takes what the browser came back with, and returns nil if it proves
// that its user is the attempt's DID.
func (c *remoteClient) finish(ctx context.Context, a *remoteAttempt, values url.Values) error {
	// An answer of another server must not be taken for this one's (RFC 9207).
	if len(values["iss"]) != 1 || values.Get("iss") != a.Issuer {
		return errors.New("the answer is not of the server that was asked")
	}
	if values.Has("error") || len(values["code"]) != 1 || values.Get("code") == "" {
		return fmt.Errorf("the server answers %.100q", values.Get("error"))
	}
	var token struct {
		Access string `json:"access_token"`
		Type   string `json:"token_type"`
		Sub    string `json:"sub"`
		Scope  string `json:"scope"`
	}
	err := c.post(ctx, a, a.Token, url.Values{
		"client_id": {c.id}, "grant_type": {"authorization_code"}, "code": {values.Get("code")},
		"redirect_uri": {c.callback}, "code_verifier": {a.Verifier},
	}, &token)
	if err != nil {
		return err
	}
	if c.mayAsk(a.Revoke) && token.Access != "" {
		// What was to be proved is proved; the session is over. If the server does
		// not listen, nobody has the token any more.
		_ = c.post(ctx, a, a.Revoke, url.Values{"client_id": {c.id}, "token": {token.Access}}, nil)
	}
	switch {
	case !strings.EqualFold(token.Type, "DPoP") || !slices.Contains(strings.Fields(token.Scope), remoteScope):
		return errors.New("the server's token is not one of atproto")
	case token.Sub != string(a.DID):
		return errors.New("somebody else has signed in")
	}
	return nil
}

func (c *remoteClient) get(ctx context.Context, address string, out any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	r.Header.Set("Accept", "application/json")
	_, _, err = c.do(r, out)
	return err
}

// post sends a form with a DPoP proof, twice if the server asks for its nonce.
func (c *remoteClient) post(ctx context.Context, a *remoteAttempt, address string, form url.Values, out any) error {
	for try := 0; ; try++ {
		proof, err := c.proof(a, address)
		if err != nil {
			return err
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(form.Encode()))
		if err != nil {
			return err
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Accept", "application/json")
		r.Header.Set("DPoP", proof)
		name, header, err := c.do(r, out)
		if nonce := header.Get("DPoP-Nonce"); nonce != "" && len(nonce) < maxRemoteState/4 {
			a.Nonce = nonce
		}
		if name != "use_dpop_nonce" || try > 0 {
			return err
		}
	}
}

// do sends a request and decodes the answer; name is that of an OAuth error.
func (c *remoteClient) do(r *http.Request, out any) (name string, header http.Header, err error) {
	resp, err := c.http.Do(r)
	if err != nil {
		return "", nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", resp.Header, err
	}
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusCreated {
		var failed struct {
			Error string `json:"error"`
		}
		_ = json.Unmarshal(body, &failed) // it may be a page
		return failed.Error, resp.Header, fmt.Errorf("%s answers %d %.100q", r.URL.Host, resp.StatusCode, failed.Error)
	}
	if out == nil {
		return "", resp.Header, nil
	}
	return "", resp.Header, json.NewDecoder(bytes.NewReader(body)).Decode(out)
}

// proof is a DPoP proof (RFC 9449 section 4.2) for a POST without access token.
func (c *remoteClient) proof(a *remoteAttempt, address string) (string, error) {
	key, err := atcrypto.ParsePrivateBytesP256(a.Key)
	if err != nil {
		return "", err
	}
	pub, err := key.PublicKey()
	if err != nil {
		return "", err
	}
	jwk, err := pub.JWK()
	if err != nil {
		return "", err
	}
	u, err := url.Parse(address)
	if err != nil {
		return "", err
	}
	u.RawQuery, u.Fragment = "", ""
	header := struct {
		Typ string        `json:"typ"`
		Alg string        `json:"alg"`
		JWK *atcrypto.JWK `json:"jwk"`
	}{"dpop+jwt", "ES256", jwk}
	claims := struct {
		ID       string `json:"jti"`
		Method   string `json:"htm"`
		URL      string `json:"htu"`
		IssuedAt int64  `json:"iat"`
		Nonce    string `json:"nonce,omitempty"`
	}{rand.Text(), http.MethodPost, u.String(), c.now().Unix(), a.Nonce}
	return signJWT(header, &claims, key.HashAndSign)
}
