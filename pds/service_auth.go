package pds

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	atid "github.com/bluesky-social/indigo/atproto/identity"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// Service tokens are JWTs by which one service calls another on behalf of an
// account, signed with the account's signing key.

const createAccountNSID = "com.atproto.server.createAccount"

// maxServiceTokenLife is how far ahead a service token may expire.
const maxServiceTokenLife = time.Hour

// serviceClaims are the claims of a service token.
type serviceClaims struct {
	IssuedAt int64  `json:"iat,omitempty"` // Unix seconds
	Issuer   string `json:"iss"`           // DID, or DID#fragment
	Audience string `json:"aud"`           // DID, or DID#service
	Expires  int64  `json:"exp"`           // Unix seconds
	Method   string `json:"lxm,omitempty"` // NSID of the only method that it is for
	ID       string `json:"jti,omitempty"`

	input string // what was signed
}

// Fragments of issuers, and the keys that sign for them.
const (
	labelerFragment = "atproto_labeler"
	labelerKey      = "atproto_label"
	accountKey      = "atproto"
)

// bearerKind says what kinds of Bearer tokens a method takes.
type bearerKind int

const (
	bearerSession bearerKind = iota // session tokens only
	bearerService                   // service tokens only
	bearerAny                       // either
)

// bearerOf returns what a method takes. Methods that the server does not own
// were added by the embedder and may be called by services.
func (s *Server) bearerOf(nsid string) bearerKind {
	switch nsid {
	case createAccountNSID,
		"com.atproto.admin.disableAccountInvites",
		"com.atproto.admin.disableInviteCodes",
		"com.atproto.admin.enableAccountInvites",
		"com.atproto.admin.getAccountInfo",
		"com.atproto.admin.getAccountInfos",
		"com.atproto.admin.getInviteCodes",
		"com.atproto.admin.getSubjectStatus",
		"com.atproto.admin.searchAccounts",
		"com.atproto.admin.sendEmail",
		"com.atproto.admin.updateSubjectStatus":
		return bearerService
	case "com.atproto.repo.uploadBlob", getPreferencesNSID:
		return bearerAny
	case putPreferencesNSID:
		return bearerSession
	}
	switch {
	case s.cfg.Delegation != nil && isRecordWrite(nsid):
		return bearerAny
	case ownedMethod(nsid):
		return bearerSession
	}
	return bearerAny
}

// isRecordWrite reports whether a method writes records.
func isRecordWrite(nsid string) bool {
	switch nsid {
	case "com.atproto.repo.createRecord", "com.atproto.repo.putRecord", "com.atproto.repo.deleteRecord", applyWritesNSID:
		return true
	}
	return false
}

// hasIssuer reports whether a token names an issuer, as service tokens do and
// session tokens do not.
func hasIssuer(token string) bool {
	t, err := parseJWT(token)
	if err != nil {
		return false
	}
	var c struct {
		Issuer any `json:"iss"`
	}
	return t.claims(&c) == nil && c.Issuer != nil
}

func errService(name, message string) *xrpc.Error {
	return xrpc.NewError(http.StatusUnauthorized, name, message)
}

// authenticateService verifies a service token for a method.
func (s *Server) authenticateService(ctx context.Context, token, nsid string) (*xrpc.Caller, error) {
	t, c, err := s.parseServiceToken(token, nsid)
	if err != nil {
		return nil, err
	}
	issuer, fragment, split := strings.Cut(c.Issuer, "#")
	did, err := syntax.ParseDID(issuer)
	if err != nil || split && fragment == "" {
		return nil, errService("BadJwtIss", "jwt issuer is not a DID")
	}
	moderator := s.isModerator(c.Issuer)
	switch {
	case isModerationMethod(nsid) && !moderator:
		return nil, errService("UntrustedIss", "Untrusted issuer")
	case split && !moderator:
		// A key of a part of the identity speaks for no account.
		return nil, errService("BadJwtIss", "jwt issuer may not have a fragment here")
	}
	name := accountKey
	if fragment == labelerFragment {
		name = labelerKey
	}
	if err := s.verifyServiceSignature(ctx, t, did, name); err != nil {
		return nil, err
	}
	return &xrpc.Caller{Account: did, Actor: did, Kind: xrpc.KindService, Detail: &credential{service: c, basis: s.serviceBasis()}}, nil
}

// isModerator reports whether an issuer is the moderation service of the
// configuration.
func (s *Server) isModerator(issuer string) bool {
	mod := string(s.cfg.ModService.DID)
	return mod != "" && (issuer == mod || issuer == mod+"#"+labelerFragment)
}

// isModerationMethod reports whether the only service that may call a method
// is the moderation service.
func isModerationMethod(nsid string) bool {
	return strings.HasPrefix(nsid, "com.atproto.admin.") || nsid == getPreferencesNSID
}

// parseServiceToken checks everything about a service token but its issuer
// and its signature.
func (s *Server) parseServiceToken(token, nsid string) (*jwt, *serviceClaims, error) {
	t, err := parseJWT(token)
	if err != nil {
		return nil, nil, errService("BadJwt", "poorly formatted jwt").WithCause(err)
	}
	switch t.header.Typ {
	case typAccess, typRefresh, typDPoP:
		return nil, nil, errService("BadJwtType", fmt.Sprintf("Invalid jwt type %q", t.header.Typ))
	}
	var raw struct { // numbers may come as 1e9
		IssuedAt *float64 `json:"iat"`
		Issuer   *string  `json:"iss"`
		Audience *string  `json:"aud"`
		Expires  *float64 `json:"exp"`
		Method   string   `json:"lxm"`
		ID       string   `json:"jti"`
	}
	if err := t.claims(&raw); err != nil || raw.Issuer == nil || raw.Audience == nil || raw.Expires == nil {
		return nil, nil, errService("BadJwt", "poorly formatted jwt claims")
	}
	now := float64(s.clock.Now().UnixMilli()) / 1000
	switch {
	case now >= *raw.Expires:
		return nil, nil, errService("JwtExpired", "jwt expired")
	case *raw.Expires > now+maxServiceTokenLife.Seconds():
		return nil, nil, errService("BadJwt", "jwt expires too late")
	case !s.isAudience(*raw.Audience):
		return nil, nil, errService("BadJwtAudience", "jwt audience does not match service did")
	case raw.Method == "":
		return nil, nil, errService("BadJwtLexiconMethod", "missing jwt lexicon method (\"lxm\"). must match: "+nsid)
	case raw.Method != nsid:
		return nil, nil, errService("BadJwtLexiconMethod", "bad jwt lexicon method (\"lxm\"). must match: "+nsid)
	}
	c := &serviceClaims{
		Issuer: *raw.Issuer, Audience: *raw.Audience, Expires: int64(*raw.Expires), Method: raw.Method, ID: raw.ID,
		input: t.input,
	}
	return t, c, nil
}

// isAudience reports whether a service token is meant for this server.
func (s *Server) isAudience(aud string) bool { return slices.Contains(s.audiences(), aud) }

// audiences are the names of this server as a service: its DID, and the entries
// of its document that lead here.
func (s *Server) audiences() []string {
	did := string(s.cfg.ServiceDID)
	out := []string{did, did + "#atproto_pds"}
	for name, service := range s.cfg.DocumentServices {
		if strings.TrimSuffix(service.Endpoint, "/") == s.public.String() {
			out = append(out, did+"#"+name)
		}
	}
	return out
}

// refreshLimit is how often a bad signature makes the server look up the
// issuer's document anew.
var refreshLimit = xrpc.Limit{Points: 3, Window: time.Minute}

// maxRefreshedDIDs bounds the memory of refreshLimit.
const maxRefreshedDIDs = 10_000

// verifyServiceSignature checks a signature with a key of an identity. If the
// key that is known does not fit, the identity is resolved anew, once: the key
// may have been changed.
func (s *Server) verifyServiceSignature(ctx context.Context, t *jwt, did syntax.DID, name string) error {
	ident, err := s.cfg.Directory.LookupDID(ctx, did)
	if err != nil {
		return issuerFailure(err)
	}
	key, ok := verifiedBy(t, ident, name)
	if ok {
		return nil
	}
	// The key may be a new one: look again, but not at every bad signature.
	allowed, err := s.seldom.Take(ctx, "service-key", string(did), 1, refreshLimit)
	if err == nil && allowed.Allowed {
		if ident, err = s.cfg.Directory.Refresh(ctx, did); err != nil {
			return issuerFailure(err)
		}
		if ident.Keys[name].PublicKeyMultibase != key {
			if _, ok := verifiedBy(t, ident, name); ok {
				return nil
			}
		}
	}
	return errService("BadJwtSignature", "jwt signature does not match jwt issuer")
}

// issuerFailure is the answer when an issuer cannot be resolved. That nobody
// could tell is not the client's fault.
func issuerFailure(err error) error {
	if errors.Is(err, atid.ErrDIDNotFound) {
		return errService("BadJwtIss", "could not resolve jwt issuer").WithCause(err)
	}
	return xrpc.NewError(http.StatusBadGateway, "UpstreamFailure", "could not resolve jwt issuer").WithCause(err)
}

// verifiedBy reports whether a token is signed by the named key of an
// identity, and which key that is.
func verifiedBy(t *jwt, ident *atid.Identity, name string) (multibase string, ok bool) {
	multibase = ident.Keys[name].PublicKeyMultibase
	key, err := ident.GetPublicKey(name)
	if err != nil || t.header.Alg != jwtAlgorithm(key) {
		return multibase, false
	}
	// Some implementations make signatures with a high S.
	return multibase, key.HashAndVerifyLenient([]byte(t.input), t.signature) == nil
}

// jwtAlgorithm names the algorithm of a key in the header of a JWT.
func jwtAlgorithm(key atcrypto.PublicKey) string {
	switch key.(type) {
	case *atcrypto.PublicKeyK256:
		return "ES256K"
	case *atcrypto.PublicKeyP256:
		return "ES256"
	}
	return ""
}

// signServiceToken makes a service token of an account. method may be empty.
func (s *Server) signServiceToken(key atcrypto.PrivateKey, issuer syntax.DID, aud, method string, expires time.Time) (string, error) {
	pub, err := key.PublicKey()
	if err != nil {
		return "", err
	}
	id := make([]byte, 16)
	_, _ = rand.Read(id) // never fails
	header := sessionHeader{Typ: "JWT", Alg: jwtAlgorithm(pub)}
	claims := serviceClaims{
		IssuedAt: s.clock.Now().Unix(), Issuer: string(issuer), Audience: aud, Expires: expires.Unix(),
		Method: method, ID: hex.EncodeToString(id),
	}
	return signJWT(header, &claims, key.HashAndSign)
}

// docServiceID is the kind of the documents that remember service tokens which
// may be used once only, by a hash of issuer and id.
const docServiceID = "service-jti"

// spendServiceToken marks the service token of a caller as used. It returns
// the client's error if it was used before, and does nothing for callers
// without a service token.
func (s *Server) spendServiceToken(tx storage.Docs, caller *xrpc.Caller) error {
	if caller == nil {
		return nil
	}
	c := credentialOf(caller).service
	if c == nil {
		return nil
	}
	id := c.Issuer + "\x00" + c.ID
	if c.ID == "" {
		id = c.input // without an id, what was signed is its id
	}
	sum := sha256.Sum256([]byte(id))
	doc := storage.Doc{Kind: docServiceID, Key: hex.EncodeToString(sum[:]), Expires: time.Unix(c.Expires+1, 0)}
	_, err := tx.PutDoc(doc)
	if errors.Is(err, storage.ErrConflict) {
		return errService("BadJwt", "jwt was used before")
	}
	return err
}
