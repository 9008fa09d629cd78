package pds

import (
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"github.com/pdskit/pdskit/oauth"
	"github.com/pdskit/pdskit/oauth/ui"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// newOAuth makes the authorization server of this server, from what
// Config.OAuth leaves open.
func (s *Server) newOAuth() (*oauth.Server, error) {
	cfg := s.cfg.OAuth
	for field, set := range map[string]bool{
		"Issuer": cfg.Issuer != "", "Resource": cfg.Resource != "", "Audience": cfg.Audience != "",
		"Store": cfg.Store != nil, "Accounts": cfg.Accounts != nil, "Secret": cfg.Secret != nil, "Clock": cfg.Clock != nil,
	} {
		if set {
			return nil, fmt.Errorf("pds: Config.OAuth.%s: is set by the server", field)
		}
	}
	secret, err := hkdf.Key(sha256.New, s.cfg.Secret, nil, "oauth", oauth.MinSecretBytes)
	if err != nil {
		return nil, err
	}
	cfg.Issuer, cfg.Audience, cfg.Secret = s.public.String(), s.cfg.ServiceDID.String(), secret
	cfg.Store, cfg.Accounts, cfg.Clock = storage.DocsOf(s.store), s.accountsForOAuth(), s.clock.Now
	cfg.DevMode = cfg.DevMode || s.cfg.DevMode
	if cfg.Lexicons == nil && s.lexicons != nil {
		cfg.Lexicons = s.lexicons.resolver
	}
	if cfg.Transport == nil {
		cfg.Transport = s.cfg.Transport
	}
	if cfg.Logger == nil {
		cfg.Logger = s.log
	}
	if cfg.ClientIP == nil {
		proxies := append(xrpc.PrivateProxies(), s.cfg.TrustedProxies...)
		cfg.ClientIP = func(r *http.Request) netip.Addr { return xrpc.ForwardedIP(r, proxies) }
	}
	if s.cfg.SignInAlerts {
		cfg.Hook = s.noteOAuth(cfg.Hook)
	}
	cfg.Hook = s.cutEnded(cfg.Hook)
	if cfg.UI == nil {
		if cfg.UI, err = ui.New(ui.Options{Branding: s.branding()}); err != nil {
			return nil, err
		}
	}
	if !s.cfg.limitsRequests() {
		cfg.Limits.Rates = withoutRates()
	}
	if s.cfg.RemoteMembers {
		method, err := s.newRemoteMembers()
		if err != nil {
			return nil, err
		}
		cfg.SignInMethods = append(slices.Clone(cfg.SignInMethods), method)
	}
	out, err := oauth.New(cfg)
	if err != nil {
		return nil, fmt.Errorf("pds: Config.OAuth: %w", err)
	}
	return out, nil
}

// branding makes the pages those of this server.
func (s *Server) branding() ui.Branding {
	out := ui.Branding{Name: s.cfg.Info.Name, Colors: s.cfg.Info.Colors}
	for _, l := range []ui.FooterLink{
		{Rel: "canonical", URL: s.cfg.Info.HomeURL},
		{Rel: "terms-of-service", URL: s.cfg.Info.TermsOfService},
		{Rel: "privacy-policy", URL: s.cfg.Info.PrivacyPolicy},
		{Rel: "help", URL: s.cfg.Info.SupportURL},
	} {
		if l.URL != "" {
			out.Links = append(out.Links, l)
		}
	}
	return out
}

// withoutRates returns rates that limit nothing, for a server without limits.
func withoutRates() (r oauth.Rates) {
	for _, field := range reflect.ValueOf(&r).Elem().Fields() {
		field.Set(reflect.ValueOf(oauth.Rate{Points: -1}))
	}
	return r
}

// OAuth returns the server's authorization server, or nil if
// Config.WithoutOAuth is set.
func (s *Server) OAuth() *oauth.Server { return s.oauth }

// authenticateOAuth checks an access token with its DPoP proof, and the
// account. Whose account is taken down has no sessions.
func (s *Server) authenticateOAuth(r *http.Request) (*xrpc.Caller, error) {
	token, err := s.verifier.Verify(r)
	if refused, ok := errors.AsType[*oauth.Error](err); ok {
		return nil, s.oauthError(refused)
	}
	if token == nil || err != nil {
		return nil, err
	}
	account, err := s.callerAccount(r.Context(), token.Account)
	if err != nil {
		return nil, err
	}
	if account.TakedownRef != "" {
		return nil, errAccountTakedown()
	}
	caller := &xrpc.Caller{Account: token.Account, Actor: token.Actor, Client: token.Client, Kind: xrpc.KindOAuth}
	granted, err := s.cutToGrant(r.Context(), token.Scope, token.Account, token.Actor)
	if err != nil {
		s.noteActing(r.Context(), caller, err)
		return nil, err
	}
	caller.Scopes = strings.Fields(granted.String())
	caller.Detail = &credential{account: account, granted: granted, basis: basis{Session: token.Session}}
	return caller, nil
}

// oauthError turns an error of the verifier into the client's.
func (s *Server) oauthError(e *oauth.Error) *xrpc.Error {
	status := e.Status
	if status == 0 {
		status = http.StatusBadRequest
	}
	out := xrpc.NewError(status, e.Code, e.Description)
	h := http.Header{}
	s.verifier.Challenge(h, e)
	for name := range h {
		out = out.WithHeader(name, h.Get(name))
	}
	return out
}

// withNonce gives every answer the nonce for the client's next DPoP proof.
func (s *Server) withNonce(next http.Handler) http.Handler {
	if s.oauth == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.verifier.SetNonce(w.Header())
		next.ServeHTTP(w, r)
	})
}

// challenge is what an answer to a request without credentials asks for.
func (s *Server) challenge() string {
	if s.oauth == nil {
		return ""
	}
	h := http.Header{}
	s.verifier.Challenge(h, nil)
	return h.Get("WWW-Authenticate")
}
