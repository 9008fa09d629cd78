package pds_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
)

const (
	createAccount  = "com.atproto.server.createAccount"
	getServiceAuth = "com.atproto.server.getServiceAuth"
	uploadBlobNSID = "com.atproto.repo.uploadBlob"
)

// publicKey returns the key that an account's identity names.
func publicKey(t *testing.T, srv *pdstest.PDS, did syntax.DID) atcrypto.PublicKey {
	t.Helper()
	id, err := srv.Config.Directory.LookupDID(t.Context(), did)
	ok(t, err)
	key, err := id.PublicKey()
	ok(t, err)
	return key
}

func TestGetServiceAuth(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	now := srv.Clock.Now().Unix()
	key := publicKey(t, srv, alice.DID)
	plc := "did:plc:" + strings.Repeat("a", 24)
	for _, c := range []struct {
		name, aud, exp, lxm string
		status              int // 0: 200
		errName             string
		life                int64 // seconds
	}{
		{name: "did:plc", aud: plc, life: 60},
		{name: "did:plc with service", aud: plc + "#bsky_appview", life: 60},
		{name: "did:web", aud: "did:web:api.example.com", life: 60},
		{name: "did:web with service", aud: "did:web:api.example.com#bsky_chat", lxm: "app.bsky.feed.getFeed", life: 60},
		{name: "did:web with port", aud: "did:web:example.com%3A8080", status: 400, errName: "InvalidRequest"},
		{name: "did:web with path", aud: "did:web:example.com:u:alice", status: 400, errName: "InvalidRequest"},
		{name: "no DID", aud: "https://api.example.com", status: 400, errName: "InvalidRequest"},
		{name: "empty fragment", aud: plc + "#", status: 400, errName: "InvalidRequest"},
		{name: "no aud", status: 400, errName: "InvalidRequest"},
		{name: "lxm no NSID", aud: plc, lxm: "nope", status: 400, errName: "InvalidRequest"},

		{name: "exp in the past", aud: plc, exp: fmt.Sprint(now - 1), status: 400, errName: "BadExpiration"},
		{name: "exp zero", aud: plc, exp: "0", status: 400, errName: "BadExpiration"},
		{name: "exp a minute ahead", aud: plc, exp: fmt.Sprint(now + 60), life: 60},
		{name: "exp far, no lxm", aud: plc, exp: fmt.Sprint(now + 90), status: 400, errName: "BadExpiration"},
		{name: "exp an hour ahead", aud: plc, exp: fmt.Sprint(now + 3600), lxm: "app.bsky.feed.getFeed", life: 3600},
		{name: "exp over an hour", aud: plc, exp: fmt.Sprint(now + 3630), lxm: "app.bsky.feed.getFeed", status: 400, errName: "BadExpiration"},
		{name: "exp huge", aud: plc, exp: "9223372036854775807", lxm: "app.bsky.feed.getFeed", status: 400},

		{name: "protected", aud: plc, lxm: "com.atproto.server.updateEmail", status: 400, errName: "InvalidRequest"},
		{name: "protected, other case", aud: plc, lxm: "com.atproto.server.UPDATEEMAIL", status: 400, errName: "InvalidRequest"},
		{name: "privileged by full session", aud: plc, lxm: createAccount, life: 60},
	} {
		params := url.Values{}
		for k, v := range map[string]string{"aud": c.aud, "exp": c.exp, "lxm": c.lxm} {
			if v != "" {
				params.Set(k, v)
			}
		}
		var out struct{ Token string }
		err := get(t, srv, getServiceAuth, "Bearer "+alice.Access, params, &out)
		if c.status != 0 {
			var e *pdstest.Error
			if !errors.As(err, &e) || e.Status != c.status || c.errName != "" && e.Name != c.errName {
				t.Errorf("%s: %v, want %d %s", c.name, err, c.status, c.errName)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if h := segmentOf(t, out.Token, 0); h["typ"] != "JWT" || h["alg"] != "ES256K" || len(h) != 2 {
			t.Errorf("%s: header %v", c.name, h)
		}
		claims := claimsOf(t, out.Token)
		life := int64(claims["exp"].(float64)) - now
		if claims["iss"] != string(alice.DID) || claims["aud"] != c.aud || claims["jti"] == "" || claims["iat"] == nil ||
			life < c.life || life > c.life+30 {
			t.Errorf("%s: claims %v", c.name, claims)
		}
		if lxm, has := claims["lxm"]; has != (c.lxm != "") || has && lxm != c.lxm {
			t.Errorf("%s: lxm %v", c.name, lxm)
		}
		input, sig := out.Token[:strings.LastIndexByte(out.Token, '.')], out.Token[strings.LastIndexByte(out.Token, '.')+1:]
		raw, err := base64.RawURLEncoding.DecodeString(sig)
		ok(t, err)
		if err := key.HashAndVerify([]byte(input), raw); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	ok(t, post(t, srv, "com.atproto.server.deactivateAccount", "Bearer "+alice.Access, map[string]any{}, nil))
	ok(t, get(t, srv, getServiceAuth, "Bearer "+alice.Access, url.Values{"aud": {plc}}, nil))
}

// jwtOf makes a service token from any header and claims.
func jwtOf(t *testing.T, key atcrypto.PrivateKey, header, claims map[string]any) string {
	t.Helper()
	input := segment(t, header) + "." + segment(t, claims)
	sig, err := key.HashAndSign([]byte(input))
	ok(t, err)
	return input + "." + base64.RawURLEncoding.EncodeToString(sig)
}

// highS returns the other signature that goes with a K-256 signature.
func highS(t *testing.T, token string) string {
	t.Helper()
	i := strings.LastIndexByte(token, '.')
	sig, err := base64.RawURLEncoding.DecodeString(token[i+1:])
	ok(t, err)
	order := []byte{ // of secp256k1
		0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe,
		0xba, 0xae, 0xdc, 0xe6, 0xaf, 0x48, 0xa0, 0x3b, 0xbf, 0xd2, 0x5e, 0x8c, 0xd0, 0x36, 0x41, 0x41,
	}
	borrow := 0
	for j := 31; j >= 0; j-- {
		d := int(order[j]) - int(sig[32+j]) - borrow
		borrow = 0
		if d < 0 {
			d, borrow = d+256, 1
		}
		sig[32+j] = byte(d)
	}
	return token[:i+1] + base64.RawURLEncoding.EncodeToString(sig)
}

func TestServiceTokenVerification(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	mallory, err := atcrypto.GeneratePrivateKeyK256()
	ok(t, err)
	p256, err := atcrypto.GeneratePrivateKeyP256()
	ok(t, err)
	var server struct{ DID string }
	ok(t, get(t, srv, "com.atproto.server.describeServer", "", nil, &server))

	type token struct {
		key            atcrypto.PrivateKey
		header, claims map[string]any
		change         func(string) string
	}
	for i, c := range []struct {
		name    string
		change  func(*token)
		errName string // empty: accepted
	}{
		{"good", func(*token) {}, ""},
		{"audience with service", func(k *token) { k.claims["aud"] = server.DID + "#atproto_pds" }, ""},
		{"no typ", func(k *token) { delete(k.header, "typ") }, ""},
		{"no jti", func(k *token) { delete(k.claims, "jti") }, ""},
		{"unknown claim", func(k *token) { k.claims["foo"] = []int{1} }, ""},
		{"fractional exp", func(k *token) { k.claims["exp"] = float64(k.claims["exp"].(int64)) + 0.5 }, ""},
		{"high S", func(k *token) { k.change = func(s string) string { return highS(t, s) } }, ""},

		{"two parts", func(k *token) { k.change = func(s string) string { return s[:strings.LastIndexByte(s, '.')] } }, "BadJwt"},
		{"no exp", func(k *token) { delete(k.claims, "exp") }, "BadJwt"},
		{"exp a string", func(k *token) { k.claims["exp"] = "soon" }, "BadJwt"},
		{"no iss", func(k *token) { delete(k.claims, "iss") }, "BadJwt"},
		{"no aud", func(k *token) { delete(k.claims, "aud") }, "BadJwt"},
		{"aud a list", func(k *token) { k.claims["aud"] = []string{server.DID} }, "BadJwt"},
		{"critical extension", func(k *token) { k.header["crit"] = []string{"b64"} }, "BadJwt"},
		{"exp beyond an hour", func(k *token) { k.claims["exp"] = k.claims["iat"].(int64) + 3700 }, "BadJwt"},
		{"access token", func(k *token) { k.header["typ"] = "at+jwt" }, "BadJwtType"},
		{"refresh token", func(k *token) { k.header["typ"] = "refresh+jwt" }, "BadJwtType"},
		{"DPoP proof", func(k *token) { k.header["typ"] = "dpop+jwt" }, "BadJwtType"},
		{"expired", func(k *token) { k.claims["exp"] = k.claims["iat"].(int64) - 1 }, "JwtExpired"},
		{"no lxm", func(k *token) { delete(k.claims, "lxm") }, "BadJwtLexiconMethod"},
		{"other lxm", func(k *token) { k.claims["lxm"] = uploadBlobNSID }, "BadJwtLexiconMethod"},
		{"other aud", func(k *token) { k.claims["aud"] = "did:web:elsewhere.example.com" }, "BadJwtAudience"},
		{"other service", func(k *token) { k.claims["aud"] = server.DID + "#atproto_labeler" }, "BadJwtAudience"},
		{"iss no DID", func(k *token) { k.claims["iss"] = "outsider.example.com" }, "BadJwtIss"},
		{"iss empty", func(k *token) { k.claims["iss"] = "" }, "BadJwtIss"},
		{"iss with fragment", func(k *token) { k.claims["iss"] = string(k.claims["iss"].(syntax.DID)) + "#atproto_labeler" }, "BadJwtIss"},
		{"iss unknown", func(k *token) { k.claims["iss"] = "did:plc:" + strings.Repeat("a", 24) }, "BadJwtIss"},
		{"other key", func(k *token) { k.key = mallory }, "BadJwtSignature"},
		{"other curve", func(k *token) { k.key, k.header["alg"] = p256, "ES256" }, "BadJwtSignature"},
		{"alg of another curve", func(k *token) { k.header["alg"] = "ES256" }, "BadJwtSignature"},
		{"alg none", func(k *token) { k.header["alg"] = "none" }, "BadJwtSignature"},
		{"no alg", func(k *token) { delete(k.header, "alg") }, "BadJwtSignature"},
		{"signature of zeros", func(k *token) {
			k.change = func(s string) string {
				return s[:strings.LastIndexByte(s, '.')+1] + base64.RawURLEncoding.EncodeToString(make([]byte, 64))
			}
		}, "BadJwtSignature"},
		{"short signature", func(k *token) {
			k.change = func(s string) string { return s[:strings.LastIndexByte(s, '.')+1] + "AAAA" }
		}, "BadJwtSignature"},
	} {
		t.Run(c.name, func(t *testing.T) {
			handle := fmt.Sprintf("user%d%s", i, srv.Config.HandleDomains[0])
			o := newOutsider(t, srv, syntax.Handle(handle))
			now := srv.Clock.Now().Unix()
			k := &token{
				key: o.Key, header: map[string]any{"typ": "JWT", "alg": "ES256K"},
				claims: map[string]any{
					"iss": o.DID, "aud": server.DID, "lxm": createAccount, "iat": now, "exp": now + 60, "jti": handle,
				},
				change: func(s string) string { return s },
			}
			c.change(k)
			bearer := "Bearer " + k.change(jwtOf(t, k.key, k.header, k.claims))
			in := with(signUp(srv, fmt.Sprint("user", i)), "did", o.DID)
			err := post(t, srv, createAccount, bearer, in, nil)
			if c.errName != "" {
				wantError(t, err, 401, c.errName)
				return
			}
			ok(t, err)
			// The token is good for one account: not even after that one is gone.
			ok(t, post(t, srv, "com.atproto.admin.deleteAccount", adminAuth, map[string]any{"did": o.DID}, nil))
			err = post(t, srv, createAccount, bearer, in, nil)
			wantError(t, err, 401, "BadJwt")
			if _, found := account(t, srv, o.DID); found {
				t.Error("a token that was used before made an account")
			}
		})
	}
}

// A sign-up that was refused leaves the token good for another try.
func TestServiceTokenSurvivesRefusedSignUp(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	srv.CreateAccount("taken")
	o := newOutsider(t, srv, "mover.test")
	bearer := o.token(t, srv, createAccount)
	wantError(t, post(t, srv, createAccount, bearer, with(signUp(srv, "taken"), "did", o.DID, "email", "x@example.com"), nil), 400, "")
	ok(t, post(t, srv, createAccount, bearer, with(signUp(srv, "mover"), "did", o.DID), nil))
}

func TestServiceTokenWithRotatedKey(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	o := newOutsider(t, srv, "mover.test")
	// The server gets to know the old key.
	_, err := srv.Config.Directory.LookupDID(t.Context(), o.DID)
	ok(t, err)
	old := o.token(t, srv, createAccount)
	o.Key, err = atcrypto.GeneratePrivateKeyK256()
	ok(t, err)
	pub, err := o.Key.PublicKey()
	ok(t, err)
	ok(t, o.registry.Update(t.Context(), o.DID, func(op *identity.Operation) error {
		op.VerificationMethods["atproto"] = pub.DIDKey()
		return nil
	}))
	in := with(signUp(srv, "mover"), "did", o.DID)
	fresh := o.token(t, srv, createAccount)
	wantBad := in
	ok(t, post(t, srv, createAccount, fresh, in, nil))
	// What the old key signed is no good any more.
	ok(t, post(t, srv, "com.atproto.admin.deleteAccount", adminAuth, map[string]any{"did": o.DID}, nil))
	wantError(t, post(t, srv, createAccount, old, wantBad, nil), 401, "BadJwtSignature")
}

func TestUploadBlobByServiceToken(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	token := func(lxm string) string {
		var server struct{ DID string }
		ok(t, get(t, srv, "com.atproto.server.describeServer", "", nil, &server))
		var out struct{ Token string }
		alice.Get(getServiceAuth, url.Values{"aud": {server.DID}, "lxm": {lxm}}, &out)
		return "Bearer " + out.Token
	}
	upload := func(auth string) error {
		h := http.Header{"Authorization": {auth}, "Content-Type": {"text/plain"}}
		_, err := srv.Call(t.Context(), http.MethodPost, uploadBlobNSID, nil, h, []byte("a blob"))
		return err
	}
	ok(t, upload(token(uploadBlobNSID)))
	wantError(t, upload(token("com.atproto.repo.createRecord")), 401, "BadJwtLexiconMethod")
	// Other methods take no service tokens, whatever they say.
	wantError(t, post(t, srv, "com.atproto.repo.createRecord", token("com.atproto.repo.createRecord"), map[string]any{
		"repo": alice.DID, "collection": "com.example.note", "record": map[string]any{},
	}, nil), 400, "InvalidToken")
	wantError(t, upload(newOutsider(t, srv, "mover.test").token(t, srv, uploadBlobNSID)), 401, "AccountNotFound")
	bearer := token(uploadBlobNSID)
	setTakedown(t, srv, alice.DID, true)
	wantError(t, upload(bearer), 401, "AccountTakedown")
}

func TestModerationServiceToken(t *testing.T) {
	t.Parallel()
	// The moderation service has its own identity with a key for labels.
	base := pdstest.New(t)
	labels, err := atcrypto.GeneratePrivateKeyK256()
	ok(t, err)
	labelsPub, err := labels.PublicKey()
	ok(t, err)
	mod := newOutsider(t, base, "mod.example.com")
	ok(t, mod.registry.Update(t.Context(), mod.DID, func(op *identity.Operation) error {
		op.VerificationMethods["atproto_label"] = labelsPub.DIDKey()
		return nil
	}))
	srv := base.Another(func(c *pds.Config) { c.ModService.DID = mod.DID })
	alice := srv.CreateAccount("alice")
	var server struct{ DID string }
	ok(t, get(t, srv, "com.atproto.server.describeServer", "", nil, &server))

	const method = "com.atproto.admin.getSubjectStatus"
	params := url.Values{"did": {string(alice.DID)}}
	token := func(iss string, key atcrypto.PrivateKey, lxm string) string {
		now := srv.Clock.Now().Unix()
		return "Bearer " + jwtOf(t, key, map[string]any{"typ": "JWT", "alg": "ES256K"},
			map[string]any{"iss": iss, "aud": server.DID, "lxm": lxm, "iat": now, "exp": now + 60, "jti": "x"})
	}
	outsider := newOutsider(t, srv, "outsider.example.com")
	for _, c := range []struct {
		name, auth string
		status     int // 0: accepted
		errName    string
	}{
		{"administrator", adminAuth, 0, ""},
		{"service", token(string(mod.DID), mod.Key, method), 0, ""},
		{"labeler", token(string(mod.DID)+"#atproto_labeler", labels, method), 0, ""},
		{"labeler with the account's key", token(string(mod.DID)+"#atproto_labeler", mod.Key, method), 401, "BadJwtSignature"},
		{"service with the label key", token(string(mod.DID), labels, method), 401, "BadJwtSignature"},
		{"other fragment", token(string(mod.DID)+"#atproto_pds", mod.Key, method), 401, "UntrustedIss"},
		{"other service", token(string(outsider.DID), outsider.Key, method), 401, "UntrustedIss"},
		{"other method", token(string(mod.DID), mod.Key, "com.atproto.admin.sendEmail"), 401, "BadJwtLexiconMethod"},
		{"session", "Bearer " + alice.Access, 401, "BadJwtType"},
		{"nobody", "", 401, "AuthMissing"},
		{"wrong password", "Basic " + base64.StdEncoding.EncodeToString([]byte("admin:wrong")), 401, "AuthenticationRequired"},
		{"wrong user", "Basic " + base64.StdEncoding.EncodeToString([]byte("root:"+pdstest.AdminPassword)), 401, "AuthenticationRequired"},
	} {
		err := get(t, srv, method, c.auth, params, nil)
		var e *pdstest.Error
		switch {
		case c.status == 0 && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.status != 0 && (!errors.As(err, &e) || e.Status != c.status || e.Name != c.errName):
			t.Errorf("%s: %v, want %d %s", c.name, err, c.status, c.errName)
		}
	}
	// All methods of moderators, and no other one of this namespace.
	for _, m := range srv.Methods() {
		if !strings.HasPrefix(m.NSID(), "com.atproto.admin.") {
			continue
		}
		verb, in := http.MethodPost, any(map[string]any{})
		if m.Type() == "query" {
			verb, in = http.MethodGet, nil
			params.Set("dids", string(alice.DID))
		}
		_, err := srv.Call(t.Context(), verb, m.NSID(), params, http.Header{"Authorization": {token(string(mod.DID), mod.Key, m.NSID())}}, in)
		want := pass
		if authMatrix()[m.NSID()].class == authAdmin {
			want = badToken
		}
		if got := authAnswer(err); got != want {
			t.Errorf("%s by the moderation service: %q (%v), want %q", m.NSID(), got, err, want)
		}
	}
	// Methods of the administrator alone.
	const adminMethod = "com.atproto.admin.deleteAccount"
	in := map[string]any{"did": alice.DID}
	wantError(t, post(t, srv, adminMethod, token(string(mod.DID), mod.Key, adminMethod), in, nil), 400, "InvalidToken")
	wantError(t, post(t, srv, adminMethod, "Bearer "+alice.Access, in, nil), 401, "AuthenticationRequired")
}

func TestNoAdministratorWithoutPassword(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t, func(c *pds.Config) { c.AdminPassword = "" })
	for _, password := range []string{"", "x"} {
		auth := "Basic " + base64.StdEncoding.EncodeToString([]byte("admin:"+password))
		wantError(t, get(t, srv, "com.atproto.admin.getSubjectStatus", auth, url.Values{"did": {"did:web:x.test"}}, nil),
			401, "AuthenticationRequired")
	}
}

func TestAdminPasswordWithColons(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t, func(c *pds.Config) { c.AdminPassword = "a:b:c" })
	alice := srv.CreateAccount("alice")
	auth := "Basic " + base64.StdEncoding.EncodeToString([]byte("admin:a:b:c"))
	ok(t, get(t, srv, "com.atproto.admin.getSubjectStatus", auth, url.Values{"did": {string(alice.DID)}}, nil))
}

func TestReserveSigningKey(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t, func(c *pds.Config) { c.Limits.ReservedKeys = 3 })
	reserve := func(did syntax.DID) (string, error) {
		in := map[string]any{}
		if did != "" {
			in["did"] = did
		}
		var out struct{ SigningKey string }
		err := post(t, srv, "com.atproto.server.reserveSigningKey", "", in, &out)
		return out.SigningKey, err
	}
	o := newOutsider(t, srv, "mover.test")
	first, err := reserve(o.DID)
	ok(t, err)
	if _, err := atcrypto.ParsePublicDIDKey(first); err != nil {
		t.Errorf("%q: %v", first, err)
	}
	again, err := reserve(o.DID)
	ok(t, err)
	if again != first {
		t.Errorf("the same DID got %s and %s", first, again)
	}
	other, err := reserve("")
	ok(t, err)
	last, err := reserve("")
	ok(t, err)
	if first == other || other == last {
		t.Errorf("keys %s, %s, %s", first, other, last)
	}
	_, err = reserve("")
	wantError(t, err, 503, "NotEnoughResources")
	_, err = reserve(o.DID)
	ok(t, err)

	// The key is used when the DID is brought in, and then no longer reserved.
	ok(t, post(t, srv, createAccount, o.token(t, srv, createAccount), with(signUp(srv, "mover"), "did", o.DID), nil))
	if a, _ := account(t, srv, o.DID); a.KeyID != first {
		t.Errorf("the account has the key %s, reserved was %s", a.KeyID, first)
	}
	_, err = reserve("")
	ok(t, err)
	// Reservations expire.
	srv.Clock.Advance(7*24*time.Hour + time.Second)
	for range 3 {
		_, err = reserve("")
		ok(t, err)
	}
}

func TestCheckAccountStatus(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	type status struct {
		Activated, ValidDid                            bool
		RepoCommit, RepoRev                            string
		RepoBlocks, IndexedRecords, PrivateStateValues int
		ExpectedBlobs, ImportedBlobs                   int
	}
	var st status
	alice.Get("com.atproto.server.checkAccountStatus", nil, &st)
	if !st.Activated || !st.ValidDid || st.RepoBlocks != 2 || st.IndexedRecords != 0 || st.RepoCommit == "" || st.RepoRev == "" {
		t.Errorf("fresh account: %+v", st)
	}
	alice.CreateRecord("com.example.note", map[string]any{"text": "hello"})
	var more status
	alice.Get("com.atproto.server.checkAccountStatus", nil, &more)
	if more.RepoBlocks != 3 || more.IndexedRecords != 1 || more.RepoCommit == st.RepoCommit || more.RepoRev <= st.RepoRev {
		t.Errorf("after a write: %+v", more)
	}
	// Brought in: neither active nor named by the identity.
	o := newOutsider(t, srv, "mover.test")
	var s sessionAnswer
	ok(t, post(t, srv, createAccount, o.token(t, srv, createAccount), with(signUp(srv, "mover"), "did", o.DID), &s))
	var brought status
	ok(t, get(t, srv, "com.atproto.server.checkAccountStatus", s.access(), nil, &brought))
	if brought.Activated || brought.ValidDid || brought.RepoBlocks != 2 {
		t.Errorf("brought account: %+v", brought)
	}
	o.moveHere(t, srv, s.access())
	ok(t, get(t, srv, "com.atproto.server.checkAccountStatus", s.access(), nil, &brought))
	if brought.Activated || !brought.ValidDid {
		t.Errorf("after the move: %+v", brought)
	}
}

func TestDescribeServer(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t, func(c *pds.Config) {
		c.InviteRequired = true
		c.Limits.BlobBytes = 12345
		c.Info = pds.Info{PrivacyPolicy: "https://example.com/privacy", TermsOfService: "https://example.com/tos", Contact: "x@example.com"}
	})
	data, err := srv.Call(t.Context(), http.MethodGet, "com.atproto.server.describeServer", nil, nil, nil)
	ok(t, err)
	did := "did:web:" + strings.ReplaceAll(strings.TrimPrefix(srv.URL, "http://"), ":", "%3A")
	want := `{"did":"` + did + `","availableUserDomains":[".test"],"inviteCodeRequired":true,"blobUploadLimit":12345,` +
		`"links":{"privacyPolicy":"https://example.com/privacy","termsOfService":"https://example.com/tos"},` +
		`"contact":{"email":"x@example.com"}}`
	if got := string(bytes.TrimSpace(data)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
