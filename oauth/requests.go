package oauth

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/oauth/scope"
	"github.com/pdskit/pdskit/storage"
)

// requestURIPrefix begins the request_uri of pushed requests, before the id.
const requestURIPrefix = "urn:ietf:params:oauth:request_uri:"

// authRequest is a request that a client has pushed and nobody has authorized
// yet. It is gone as soon as somebody has.
type authRequest struct {
	ClientID string     `json:"client"`
	Auth     clientAuth `json:"auth"`
	Params   params     `json:"params"`
	JKT      string     `json:"jkt,omitempty"`    // of the DPoP key; empty until the token request if Config.DPoPAtToken
	Device   string     `json:"device,omitempty"` // that has opened it
	Created  time.Time  `json:"created"`
	Expires  time.Time  `json:"expires"`

	key string // of the document
}

// clientAuth is how a client has authenticated. What belongs to a request or a
// session must be authenticated the same way ever after.
type clientAuth struct {
	Method string `json:"method"` // "none" or "private_key_jwt"
	Alg    string `json:"alg,omitempty"`
	KeyID  string `json:"kid,omitempty"`
	JKT    string `json:"jkt,omitempty"`
}

// params are the parameters of a request, valid in themselves and for the
// client.
type params struct {
	RedirectURI   string   `json:"redirect_uri"`
	State         string   `json:"state"`
	CodeChallenge string   `json:"code_challenge"` // S256
	ResponseMode  string   `json:"response_mode"`  // "query", "fragment" or "form_post"
	Scope         string   `json:"scope"`          // what can be granted, as the client wrote it
	LoginHint     string   `json:"login_hint,omitempty"`
	Prompt        string   `json:"prompt,omitempty"`
	Display       string   `json:"display,omitempty"`
	UILocales     []string `json:"ui_locales,omitempty"`
	MaxAge        *int     `json:"max_age,omitempty"` // seconds
}

// redirect is how an answer goes back to the client.
type redirect struct {
	URI    string // the client's, as it was registered
	Mode   string // "query", "fragment" or "form_post"
	Params url.Values
}

// location returns the address to redirect to, for the modes query and fragment.
func (r redirect) location() string {
	if r.Mode == "fragment" {
		return r.URI + "#" + r.Params.Encode()
	}
	separator := "?"
	if strings.Contains(r.URI, "?") {
		separator = "&"
		if strings.HasSuffix(r.URI, "?") || strings.HasSuffix(r.URI, "&") {
			separator = ""
		}
	}
	return r.URI + separator + r.Params.Encode()
}

// answer is the redirect of a request, with what every answer carries.
func (s *Server) answer(req *authRequest, name, value string) redirect {
	return redirect{URI: req.Params.RedirectURI, Mode: req.Params.ResponseMode, Params: url.Values{
		name:    {value},
		"iss":   {s.cfg.Issuer},
		"state": {req.Params.State},
	}}
}

// Errors of requests, for the pages.
var (
	// errRequestGone is for a request that is unknown, over, authorized
	// already, or was opened by another client or in another browser.
	errRequestGone = &Error{Code: codeInvalidRequest, Description: "the request has ended, please begin again in the app"}
	// errDeactivated and errTakenDown are for accounts that cannot authorize,
	// the second also for one that somebody may not act for.
	errDeactivated = errors.New("oauth: account is deactivated")
	errTakenDown   = errors.New("oauth: account is not available")
	// errEnded is for a sign-in that was overtaken by a change of password, a
	// takedown or the like.
	errEnded = errors.New("oauth: the sign-in has ended")
)

// openRequest returns a pushed request and its client, and binds it to the
// device. The same device may open it again until it is authorized. Each time
// its life is counted anew, up to Limits.RequestMax. A request that another
// client or another device opens is removed, since its address has leaked.
//
// Errors are errRequestGone, another *Error about the client, or of the store.
func (s *Server) openRequest(ctx context.Context, clientID, requestURI, device string) (*authRequest, *client, error) {
	id, ok := strings.CutPrefix(requestURI, requestURIPrefix)
	if !ok || !isRandomID(id, prefixRequest, sizeID) || device == "" {
		return nil, nil, errRequestGone
	}
	var req authRequest
	var gone bool
	err := s.update(ctx, func(docs storage.Docs) error {
		gone = false
		now := s.now()
		version, err := loadRequest(docs, hash(id), now, &req)
		switch {
		case errors.Is(err, storage.ErrNotFound):
			gone = true
			return nil
		case err != nil:
			return err
		case req.ClientID != clientID, req.Device != "" && req.Device != device:
			gone = true
			return docs.DeleteDoc(kindRequest, req.key)
		}
		req.Device = device
		req.Expires = earlier(now.Add(s.cfg.Limits.RequestTTL), req.Created.Add(s.cfg.Limits.RequestMax))
		return save(docs, kindRequest, req.key, version, req.Expires, req)
	})
	if err != nil {
		return nil, nil, err
	}
	if gone {
		return nil, nil, errRequestGone
	}
	// Only now: nobody makes this server fetch something by a made-up address.
	c, err := s.client(ctx, clientID)
	return &req, c, err
}

// loadRequest loads a request that is still open.
func loadRequest(docs storage.Docs, key string, now time.Time, req *authRequest) (version int64, err error) {
	*req = authRequest{key: key}
	version, err = load(docs, kindRequest, key, req)
	if err == nil && !now.Before(req.Expires) {
		return 0, storage.ErrNotFound
	}
	return version, err
}

// peekRequest returns an open request and its client, for a browser that cannot
// show which device it is. Nothing changes.
func (s *Server) peekRequest(ctx context.Context, clientID, requestURI string) (*authRequest, *client, error) {
	id, ok := strings.CutPrefix(requestURI, requestURIPrefix)
	if !ok || !isRandomID(id, prefixRequest, sizeID) {
		return nil, nil, errRequestGone
	}
	var req authRequest
	err := s.view(ctx, func(docs storage.Docs) error {
		_, err := loadRequest(docs, hash(id), s.now(), &req)
		return err
	})
	if errors.Is(err, storage.ErrNotFound) || err == nil && req.ClientID != clientID {
		return nil, nil, errRequestGone
	}
	if err != nil {
		return nil, nil, err
	}
	c, err := s.client(ctx, clientID) // only now, as in openRequest
	if err == nil && !c.MatchRedirect(req.Params.RedirectURI) {
		return nil, nil, errRequestGone // it is registered no more
	}
	return &req, c, err
}

// requestKey returns the key of the request that a request_uri names.
func requestKey(requestURI string) string {
	return hash(strings.TrimPrefix(requestURI, requestURIPrefix))
}

// grantRequest authorizes a request: the client may do for account what the
// values of granted allow, of which those that it has not asked for are left
// out. actor is who has signed in on the device, mostly the same. inTx, if not
// nil, runs in the transaction, maybe twice; its error ends it and comes back.
//
// Errors are errRequestGone, errDeactivated, errTakenDown, errEnded, an *Error,
// or of the store or the account system.
func (s *Server) grantRequest(ctx context.Context, req *authRequest, device string, account, actor syntax.DID, granted []string, inTx func(storage.Docs) error) (redirect, error) {
	code, err := s.newGrant(ctx, req, account, actor, granted)
	if err != nil {
		return redirect{}, err
	}
	if err := s.allow(ctx, Event{Kind: EventConsent, Client: req.ClientID, Account: account, Actor: actor, Scope: code.Scope}); err != nil {
		return redirect{}, err
	}
	secret := randomID(prefixCode, sizeSecret)
	err = s.update(ctx, func(docs storage.Docs) error {
		now := s.now()
		var current authRequest
		_, err := loadRequest(docs, req.key, now, &current)
		switch {
		case errors.Is(err, storage.ErrNotFound):
			return errRequestGone
		case err != nil:
			return err
		case current.Device != device || current.ClientID != req.ClientID:
			return errRequestGone
		}
		if gens, err := loadGenerations(docs, account, actor); err != nil {
			return err
		} else if gens != code.Generations {
			return errEnded
		}
		if inTx != nil {
			if err := inTx(docs); err != nil {
				return err
			}
		}
		if err := docs.DeleteDoc(kindRequest, req.key); err != nil {
			return err
		}
		code.Request = current
		code.Device = device
		code.Expires = now.Add(s.cfg.Limits.CodeTTL)
		return save(docs, kindCode, hash(secret), 0, code.Expires, code)
	})
	if err != nil {
		return redirect{}, err
	}
	return s.answer(req, "code", secret), nil
}

// newGrant looks at what the store does not know: the accounts, and what the
// granted scopes mean today.
func (s *Server) newGrant(ctx context.Context, req *authRequest, account, actor syntax.DID, granted []string) (*codeDoc, error) {
	code := &codeDoc{Account: account, Actor: actor}
	err := s.view(ctx, func(docs storage.Docs) (err error) {
		code.Generations, err = loadGenerations(docs, account, actor)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := s.checkActive(ctx, account, actor); err != nil {
		return nil, err
	}
	var kept []string
	for value := range strings.FieldsSeq(req.Params.Scope) {
		if slices.Contains(granted, value) {
			kept = append(kept, value)
		}
	}
	code.Scope = strings.Join(kept, " ")
	if !slices.Contains(kept, scope.Atproto) {
		return nil, errorf(codeAccessDenied, "the scope atproto was not granted")
	}
	set, err := s.cfg.Scopes.ParseGranted(code.Scope)
	if err != nil {
		return nil, errorf(codeInvalidScope, "the scope is too long")
	}
	expanded, err := s.expandSet(ctx, set, true)
	if err != nil {
		return nil, err
	}
	code.Expanded = expanded.Source()
	return code, s.sets.keep(ctx, set)
}

// checkActive returns nil if both accounts can authorize something, and the one
// may act for the other.
func (s *Server) checkActive(ctx context.Context, account, actor syntax.DID) error {
	may, err := s.mayAct(ctx, account, actor)
	if err != nil {
		return err
	}
	if !may {
		return errTakenDown
	}
	var deactivated error
	for _, did := range distinct(account, actor) {
		a, err := s.cfg.Accounts.Account(ctx, did)
		switch {
		case errors.Is(err, ErrAccountNotFound):
			return errTakenDown
		case err != nil:
			return err
		case a.Status == Active || a.Status == Guest && did != account:
		case a.Status == Deactivated:
			deactivated = errDeactivated
		default:
			return errTakenDown
		}
	}
	return deactivated
}

// denyRequest ends a request with an error for the client, such as
// "access_denied".
func (s *Server) denyRequest(ctx context.Context, req *authRequest, code, description string) (redirect, error) {
	err := s.update(ctx, func(docs storage.Docs) error {
		var current authRequest
		if _, err := loadRequest(docs, req.key, s.now(), &current); errors.Is(err, storage.ErrNotFound) {
			return errRequestGone
		} else if err != nil {
			return err
		}
		return docs.DeleteDoc(kindRequest, req.key)
	})
	if err != nil {
		return redirect{}, err
	}
	r := s.answer(req, "error", code)
	if description != "" {
		r.Params.Set("error_description", plain(description))
	}
	return r, nil
}

// codeDoc is what an authorization code stands for: the request and what was
// granted. Once used it names the session that was made of it, for as long as
// that can exist.
type codeDoc struct {
	Request     authRequest `json:"request"`
	Device      string      `json:"device"`
	Account     syntax.DID  `json:"account"`
	Actor       syntax.DID  `json:"actor"`
	Generations generations `json:"generations"`
	Scope       string      `json:"scope"`    // that was granted, as the client wrote it
	Expanded    string      `json:"expanded"` // the same with permission sets replaced
	Expires     time.Time   `json:"expires"`

	Session string `json:"session,omitempty"` // of a used code
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// distinct returns both DIDs, or one if they are the same.
func distinct(account, actor syntax.DID) []syntax.DID {
	if account == actor {
		return []syntax.DID{account}
	}
	return []syntax.DID{account, actor}
}
