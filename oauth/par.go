package oauth

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/oauth/scope"
	"github.com/pdskit/pdskit/storage"
)

// Values of parameters.
const (
	grantCode    = "authorization_code"
	grantRefresh = "refresh_token"

	modeQuery    = "query"
	modeFragment = "fragment"
	modeFormPost = "form_post"

	promptNone          = "none"
	promptLogin         = "login"
	promptConsent       = "consent"
	promptSelectAccount = "select_account"
	promptCreate        = "create"
)

var (
	responseModes = []string{modeQuery, modeFragment, modeFormPost}
	displays      = []string{"page", "popup", "touch"}
)

// refusedParameters ask for what this server does not do.
var refusedParameters = []string{
	"nonce", "claims", "id_token_hint", "authorization_details", "request", "request_uri", "client_secret",
}

// push takes a request of a client, RFC 9126.
func (s *Server) push(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	if err := s.limitIP(w, r, "par", s.cfg.Limits.Rates.PARPerIP); err != nil {
		return err
	}
	f, err := readForm(w, r, s.cfg.Limits.BodyBytes)
	if err != nil {
		return err
	}
	c, err := s.readCaller(w, r, pathPAR, f, true)
	if err != nil {
		return err
	}
	if wait := s.limited(ctx, "par client", c.ID, s.cfg.Limits.Rates.PARPerClient); wait > 0 {
		return errLimited(w, wait)
	}
	req := authRequest{ClientID: c.ID, Auth: c.auth}
	if req.JKT, err = s.boundKey(c, f); err != nil {
		return err
	}
	if req.Params, err = s.readParams(ctx, c, f); err != nil {
		return err
	}
	if err := s.hook(ctx, Event{Kind: EventRequest, Client: c.ID, Scope: req.Params.Scope}); err != nil {
		return s.refusal(ctx, err)
	}

	id := randomID(prefixRequest, sizeID)
	refused, err := s.decide(ctx, func(docs storage.Docs) (refused, err error) {
		now := s.now()
		if err := c.recordOnce(docs, now); err != nil {
			return asRefusal(err)
		}
		burnt, err := wasSeen(docs, onceChallenge, req.Params.CodeChallenge, now)
		switch {
		case err != nil:
			return nil, err
		case burnt:
			return errorf(codeInvalidRequest, "the code_challenge was used before"), nil
		}
		req.Created, req.Expires = now, now.Add(s.cfg.Limits.RequestTTL)
		return nil, save(docs, kindRequest, hash(id), 0, req.Expires, req)
	})
	if err != nil {
		return err
	}
	if refused != nil {
		return refused
	}
	writeJSON(w, http.StatusCreated, map[string]any{
		"request_uri": requestURIPrefix + id,
		"expires_in":  int(s.cfg.Limits.RequestTTL.Seconds()),
	})
	return nil
}

// boundKey returns the thumbprint of the DPoP key that a request is bound to.
func (s *Server) boundKey(c *caller, f form) (string, error) {
	jkt := f["dpop_jkt"]
	switch {
	case jkt == "":
		jkt = c.jkt()
	case !isSHA256(jkt):
		return "", errorf(codeInvalidRequest, "dpop_jkt is not a thumbprint")
	case c.proof != nil && c.proof.JKT != jkt:
		return "", errorf(codeInvalidProof, "dpop_jkt is not the key of the DPoP proof")
	}
	if jkt == "" && !s.cfg.DPoPAtToken {
		return "", errorf(codeInvalidProof, "the DPoP proof is missing")
	}
	return jkt, nil
}

// readParams reads and checks the parameters of a request.
func (s *Server) readParams(ctx context.Context, c *caller, f form) (p params, err error) {
	for _, name := range refusedParameters {
		if f[name] != "" {
			return p, errorf(codeInvalidRequest, "%s is not supported", name)
		}
	}
	if f["response_type"] == "" {
		return p, errorf(codeInvalidRequest, "response_type is missing")
	} else if f["response_type"] != "code" {
		return p, errorf(codeUnsupportedResponseType, "response_type is not code")
	}
	for _, required := range []struct {
		name  string
		value *string
	}{
		{"redirect_uri", &p.RedirectURI},
		{"state", &p.State},
		{"code_challenge", &p.CodeChallenge},
	} {
		if *required.value, err = f.require(required.name); err != nil {
			return p, err
		}
	}
	switch {
	case !c.MatchRedirect(p.RedirectURI):
		return p, errorf(codeInvalidRequest, "redirect_uri is not one of the client's")
	case f["code_challenge_method"] != "S256":
		return p, errorf(codeInvalidRequest, "code_challenge_method is not S256")
	case !isSHA256(p.CodeChallenge):
		return p, errorf(codeInvalidRequest, "code_challenge is not a hash")
	}
	if err := p.readDisplay(f); err != nil {
		return p, err
	}
	if p.Prompt == promptNone && !c.trusted() {
		return p, errorf(codeInvalidRequest, "prompt none is for clients that authenticate")
	}
	if p.Prompt == promptCreate && !s.hasSignUp() {
		return p, errorf(codeInvalidRequest, "prompt create is not supported")
	}
	p.Scope, err = s.readScope(ctx, c, f["scope"])
	return p, err
}

// readDisplay reads the parameters that say what the pages show, and how the
// answer comes back.
func (p *params) readDisplay(f form) error {
	p.ResponseMode = f["response_mode"]
	or(&p.ResponseMode, modeQuery)
	isWeb := strings.HasPrefix(p.RedirectURI, "https://") || strings.HasPrefix(p.RedirectURI, "http://")
	switch {
	case !slices.Contains(responseModes, p.ResponseMode):
		return errorf(codeInvalidRequest, "response_mode is not supported")
	case p.ResponseMode == modeFormPost && !isWeb:
		return errorf(codeInvalidRequest, "response_mode form_post needs a redirect_uri of the web")
	}
	switch p.Prompt = f["prompt"]; p.Prompt {
	case "", promptNone, promptLogin, promptConsent, promptSelectAccount, promptCreate:
	default:
		return errorf(codeInvalidRequest, "prompt is not supported")
	}
	if hint := f["login_hint"]; strings.HasPrefix(hint, "did:") {
		did, err := syntax.ParseDID(hint)
		if err != nil {
			return errorf(codeInvalidRequest, "login_hint is not a DID")
		}
		p.LoginHint = did.String()
	} else if hint != "" {
		handle, err := syntax.ParseHandle(hint)
		if err != nil {
			return errorf(codeInvalidRequest, "login_hint is neither a handle nor a DID")
		}
		p.LoginHint = handle.Normalize().String()
	}
	if display := f["display"]; slices.Contains(displays, display) {
		p.Display = display
	}
	if age := f["max_age"]; age != "" {
		seconds, err := strconv.ParseUint(age, 10, 31)
		if err != nil {
			return errorf(codeInvalidRequest, "max_age is not a number of seconds")
		}
		p.MaxAge = new(int(seconds))
	}
	for locale := range strings.FieldsSeq(f["ui_locales"]) {
		if _, err := syntax.ParseLanguage(locale); err == nil && len(p.UILocales) < maxLocales {
			p.UILocales = append(p.UILocales, locale)
		}
	}
	return nil
}

// maxLocales is how many languages of ui_locales are looked at.
const maxLocales = 20

// readScope returns the values that a client may ask for and that this server
// knows, as they were written.
func (s *Server) readScope(ctx context.Context, c *caller, text string) (string, error) {
	declared := c.Scopes()
	for value := range strings.FieldsSeq(text) {
		switch {
		case value == "openid":
			return "", errorf(codeInvalidScope, "openid is not supported")
		case !slices.Contains(declared, value):
			return "", errorf(codeInvalidScope, "the scope has a value that the client's metadata do not declare")
		}
	}
	set, _, err := s.cfg.Scopes.ParseRequest(text)
	if err != nil {
		return "", errorf(codeInvalidScope, "the scope is too long")
	}
	if !set.Has(scope.Atproto) {
		return "", errorf(codeInvalidScope, "the scope does not have atproto")
	}
	if _, err := s.expandSet(ctx, set, true); err != nil {
		return "", err
	}
	return set.Source(), nil
}

// hasSignUp reports whether people can make accounts.
func (s *Server) hasSignUp() bool { return is[SignUps](s.cfg.Accounts) }

// isSHA256 reports whether a text is a SHA-256 in base64url.
func isSHA256(text string) bool {
	const length = 43
	return len(text) == length && isUnreserved(text, "-_") && strings.IndexByte("AEIMQUYcgkosw048", text[length-1]) >= 0
}

// isUnreserved reports whether a text has nothing but letters, digits and the
// characters of more.
func isUnreserved(text, more string) bool {
	for i := range len(text) {
		c := text[i]
		isAlnum := c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !isAlnum && strings.IndexByte(more, c) < 0 {
			return false
		}
	}
	return true
}
