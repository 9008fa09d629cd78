package pds_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/oauth/scope"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// Who may call a method, as in the tables of the specification.
type authClass string

const (
	authNone    authClass = "none"
	authFull    authClass = "F"
	authAny     authClass = "S"
	authRefresh authClass = "refresh"
	authAdmin   authClass = "admin"
	authMod     authClass = "mod"
	authReader  authClass = "none, S, or admin"
	authSignUp  authClass = "none or service token"
	authUpload  authClass = "S or service token"
	authPrefs   authClass = "S or mod"
)

// authCase is the row of a method.
type authCase struct {
	class                                      authClass
	takendown, signupQueued, refuseDeactivated bool
	// What an OAuth caller without scopes gets: "any" for all is well; and the
	// scope that is missing, if one is.
	oauth, scope string
}

const (
	oauthNo    = "Forbidden"
	oauthAny   = "any"
	oauthScope = "ScopeMissingError"
)

// authMatrix has a row for each method of the server.
func authMatrix() map[string]authCase {
	server, repo, sync, identity, admin := "com.atproto.server.", "com.atproto.repo.", "com.atproto.sync.", "com.atproto.identity.", "com.atproto.admin."
	public := authCase{class: authNone}
	write := authCase{class: authAny, refuseDeactivated: true, oauth: oauthAny} // each write needs its scope
	reader := authCase{class: authReader, oauth: oauthAny}
	view := func(methods string) authCase {
		return authCase{class: authAny, oauth: oauthScope, scope: "rpc?lxm=" + methods + "&aud=" + url.QueryEscape(appViewDID+"#bsky_appview")}
	}
	leaver := authCase{class: authReader, takendown: true, oauth: oauthAny}
	return map[string]authCase{
		"app.bsky.actor.getPreferences": {class: authPrefs, takendown: true, oauth: oauthScope, scope: "rpc:app.bsky.actor.getPreferences?aud=*"},
		"app.bsky.actor.putPreferences": {class: authAny, oauth: oauthAny}, // the handler checks, after the body

		"app.bsky.actor.getProfile":            view("app.bsky.actor.getProfile"),
		"app.bsky.actor.getProfiles":           view("app.bsky.actor.getProfiles"),
		"app.bsky.feed.getActorLikes":          view("app.bsky.feed.getActorLikes"),
		"app.bsky.feed.getAuthorFeed":          view("app.bsky.feed.getAuthorFeed"),
		"app.bsky.feed.getFeed":                view("app.bsky.feed.getFeed&lxm=app.bsky.feed.getFeedSkeleton"),
		"app.bsky.feed.getPostThread":          view("app.bsky.feed.getPostThread"),
		"app.bsky.feed.getTimeline":            view("app.bsky.feed.getTimeline"),
		"app.bsky.notification.registerPush":   {class: authAny, signupQueued: true, oauth: oauthAny}, // the handler checks, after the body
		"app.bsky.notification.unregisterPush": {class: authAny, oauth: oauthAny},

		"com.atproto.moderation.createReport": {class: authAny, takendown: true, oauth: oauthScope, scope: "rpc:com.atproto.moderation.createReport?aud=did:web:reports.example.com%23atproto_labeler"},

		server + "activateAccount":          {class: authFull, oauth: oauthNo},
		server + "checkAccountStatus":       {class: authAny, oauth: oauthAny},
		server + "confirmEmail":             {class: authAny, oauth: oauthScope, scope: "account:email?action=manage"},
		server + "createAccount":            {class: authSignUp},
		server + "createAppPassword":        {class: authFull, oauth: oauthNo},
		server + "createInviteCode":         {class: authAdmin},
		server + "createInviteCodes":        {class: authAdmin},
		server + "createSession":            public,
		server + "deactivateAccount":        {class: authFull, takendown: true, oauth: oauthScope, scope: "account:status?action=manage"},
		server + "deleteAccount":            public,
		server + "deleteSession":            {class: authRefresh},
		server + "describeServer":           public,
		server + "getAccountInviteCodes":    {class: authFull, oauth: oauthNo},
		server + "getServiceAuth":           {class: authAny, takendown: true, oauth: oauthScope, scope: "rpc:com.atproto.server.createAccount?aud=*"},
		server + "getSession":               {class: authAny, signupQueued: true, oauth: oauthAny},
		server + "listAppPasswords":         {class: authAny, oauth: oauthNo},
		server + "refreshSession":           {class: authRefresh},
		server + "requestAccountDelete":     {class: authFull, oauth: oauthNo},
		server + "requestEmailConfirmation": {class: authAny, oauth: oauthScope, scope: "account:email?action=manage"},
		server + "requestEmailUpdate":       {class: authFull, oauth: oauthNo},
		server + "requestPasswordReset":     public,
		server + "reserveSigningKey":        public,
		server + "resetPassword":            public,
		server + "revokeAppPassword":        {class: authAny, oauth: oauthNo},
		server + "updateEmail":              {class: authFull, oauth: oauthNo},

		repo + "applyWrites":      write,
		repo + "createRecord":     write,
		repo + "deleteRecord":     write,
		repo + "putRecord":        write,
		repo + "describeRepo":     public,
		repo + "getRecord":        public,
		repo + "listRecords":      public,
		repo + "importRepo":       {class: authFull, oauth: oauthScope, scope: "account:repo?action=manage"},
		repo + "listMissingBlobs": {class: authAny, oauth: oauthAny},
		repo + "uploadBlob":       {class: authUpload, oauth: oauthScope, scope: "blob:application/octet-stream"},

		sync + "getBlob":         leaver,
		sync + "getRepo":         leaver,
		sync + "listBlobs":       leaver,
		sync + "getBlocks":       reader,
		sync + "getCheckout":     reader,
		sync + "getHead":         reader,
		sync + "getLatestCommit": reader,
		sync + "getRecord":       reader,
		sync + "getRepoStatus":   public,
		sync + "listRepos":       public,
		sync + "subscribeRepos":  public,

		identity + "getRecommendedDidCredentials": {class: authAny, oauth: oauthAny},
		identity + "refreshIdentity":              {class: authAny, oauth: oauthAny},
		identity + "requestPlcOperationSignature": {class: authFull, takendown: true, oauth: oauthScope, scope: "identity:*"},
		identity + "resolveDid":                   public,
		identity + "resolveHandle":                public,
		identity + "resolveIdentity":              public,
		identity + "signPlcOperation":             {class: authFull, takendown: true, oauth: oauthScope, scope: "identity:*"},
		identity + "submitPlcOperation":           {class: authAny, oauth: oauthScope, scope: "identity:*"},
		identity + "updateHandle":                 {class: authAny, oauth: oauthScope, scope: "identity:handle"},

		"com.atproto.temp.checkSignupQueue": {class: authAny, signupQueued: true, oauth: oauthNo},

		admin + "deleteAccount":           {class: authAdmin},
		admin + "disableAccountInvites":   {class: authMod},
		admin + "disableInviteCodes":      {class: authMod},
		admin + "enableAccountInvites":    {class: authMod},
		admin + "getAccountInfo":          {class: authMod},
		admin + "getAccountInfos":         {class: authMod},
		admin + "getInviteCodes":          {class: authMod},
		admin + "searchAccounts":          {class: authMod},
		admin + "getSubjectStatus":        {class: authMod},
		admin + "sendEmail":               {class: authMod},
		admin + "updateAccountEmail":      {class: authAdmin},
		admin + "updateAccountHandle":     {class: authAdmin},
		admin + "updateAccountPassword":   {class: authAdmin},
		admin + "updateAccountSigningKey": {class: authAdmin},
		admin + "updateSubjectStatus":     {class: authMod},
	}
}

// Answers of the authentication.
const (
	pass        = ""
	missing     = "401 AuthMissing"
	required    = "401 AuthenticationRequired"
	badToken    = "400 InvalidToken"
	expired     = "400 ExpiredToken"
	takendown   = "401 AccountTakedown"
	deactivated = "401 AccountDeactivated"
)

// want returns the answer to a credential: pass, or status and name.
func (c authCase) want(credential string) string {
	if c.class == authNone {
		return pass
	}
	sessions := slices.Contains([]authClass{authFull, authAny, authReader, authUpload, authPrefs}, c.class)
	serviceOnly := c.class == authSignUp || c.class == authMod
	allow := func(ok bool, otherwise string) string {
		if ok {
			return pass
		}
		return otherwise
	}
	// What a good session token that the method does not take gets.
	refused := badToken
	switch {
	case serviceOnly:
		refused = "401 BadJwtType"
	case c.class == authAdmin:
		refused = required
	}
	switch credential {
	case "nothing":
		return allow(c.class == authReader || c.class == authSignUp, missing)
	case "unknown scheme", "malformed header", "two headers":
		if c.class == authReader || c.class == authSignUp {
			return required
		}
		return badToken
	case "garbage":
		if serviceOnly {
			return "401 BadJwt"
		}
		return badToken
	case "session":
		return allow(sessions, refused)
	case "app password", "privileged app password":
		return allow(sessions && c.class != authFull, refused)
	case "narrow session":
		return allow(sessions && c.takendown, refused)
	case "waiting session":
		return allow(sessions && c.signupQueued, refused)
	case "taken down":
		if !sessions {
			return refused
		}
		return allow(c.takendown, takendown)
	case "deactivated":
		if !sessions {
			return refused
		}
		return allow(!c.refuseDeactivated, deactivated)
	case "expired session":
		switch {
		case serviceOnly:
			return refused
		case c.class == authRefresh:
			return badToken // another type of token
		}
		return expired
	case "refresh token":
		switch {
		case c.class == authRefresh:
			return pass
		case serviceOnly:
			return "401 BadJwtType"
		}
		return badToken
	case "administrator":
		switch c.class {
		case authAdmin, authMod, authReader, authPrefs:
			return pass
		case authSignUp:
			return required
		}
		return badToken
	case "wrong administrator":
		return required
	case "service token":
		switch c.class {
		case authSignUp, authUpload:
			return pass
		case authMod, authPrefs:
			return "401 UntrustedIss"
		}
		return badToken
	case "OAuth", "OAuth with the scope", "OAuth with all other scopes":
		switch {
		case !sessions && c.class != authRefresh:
			return required
		case c.class == authRefresh:
			return badToken
		case c.oauth == oauthAny:
			return pass
		case c.oauth == oauthScope:
			return allow(credential == "OAuth with the scope", "403 "+oauthScope)
		}
		return "403 " + c.oauth
	}
	panic(credential)
}

// scopesWithout returns broad scopes that do not include one.
func scopesWithout(needed string) (out []string) {
	needs, err := scope.Parse(needed)
	if err != nil {
		panic(err)
	}
	for _, broad := range []string{
		"transition:generic transition:chat.bsky", "transition:email", "repo:*", "blob:*/*", "blob:image/*", "rpc:*?aud=did:web:api.example.com%23x",
		"account:email?action=manage", "account:repo?action=manage", "account:status?action=manage", "account:repo", "account:status",
		"identity:*", "include:com.example.set",
	} {
		if set, err := scope.Parse(broad); err != nil {
			panic(err)
		} else if needs.IsEmpty() || !set.Contains(needs) {
			out = append(out, strings.Fields(broad)...)
		}
	}
	return out
}

func TestAuthMatrix(t *testing.T) {
	t.Parallel()
	var oauthAccount syntax.DID
	srv := pdstest.New(t, func(c *pds.Config) {
		c.ReportService = pds.Service{URL: "https://reports.example.com", DID: "did:web:reports.example.com"}
		c.Authenticators = []xrpc.Authenticator{xrpc.AuthenticatorFunc(func(r *http.Request) (*xrpc.Caller, error) {
			token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "DPoP ")
			if !ok {
				return nil, nil
			}
			scopes := []string{"atproto"}
			switch row := authMatrix()[xrpc.MethodFrom(r.Context())]; token {
			case "the-scope":
				scopes = append(scopes, row.scope)
			case "other-scopes":
				scopes = append(scopes, scopesWithout(row.scope)...)
			}
			return &xrpc.Caller{Account: oauthAccount, Actor: oauthAccount, Kind: xrpc.KindOAuth, Scopes: scopes}, nil
		})}
	}, withAppView(newService(t, answering(500, "", ""))))
	alice, carol, dave := srv.CreateAccount("alice"), srv.CreateAccount("carol"), srv.CreateAccount("dave")
	oauthAccount = alice.DID
	app := newAppPassword(t, alice, "plain", false)
	privileged := newAppPassword(t, alice, "privileged", true)
	stale := login(t, srv, string(alice.DID), alice.Password)
	srv.Clock.Advance(2 * 60 * 60 * 1e9)
	alice.Login()
	carol.Login()
	dave.Login()
	// Taken down without any change to the tokens, as if between two steps.
	editAccount(t, srv, carol.DID, func(a *storage.Account) { a.TakedownRef = "x" })
	var narrow sessionAnswer
	ok(t, post(t, srv, createSession, "", map[string]any{
		"identifier": carol.DID, "password": carol.Password, "allowTakendown": true,
	}, &narrow))
	editAccount(t, srv, dave.DID, func(a *storage.Account) { a.DeactivatedAt = srv.Clock.Now() })
	key := signingKeyOf(t, srv, alice.DID)
	var server struct{ DID string }
	ok(t, get(t, srv, "com.atproto.server.describeServer", "", nil, &server))
	service := func(nsid string) string {
		now := srv.Clock.Now().Unix()
		return jwtOf(t, key, map[string]any{"typ": "JWT", "alg": "ES256K"}, map[string]any{
			"iss": alice.DID, "aud": server.DID, "lxm": nsid, "iat": now, "exp": now + 60, "jti": nsid,
		})
	}
	waiting := sessionJWT(t, srv, "at+jwt", map[string]any{
		"scope": "com.atproto.signupQueued", "aud": server.DID, "sub": alice.DID,
		"iat": srv.Clock.Now().Unix(), "exp": srv.Clock.Now().Unix() + 60,
	})
	credentials := map[string]func(nsid string) []string{
		"nothing":                 func(string) []string { return nil },
		"unknown scheme":          func(string) []string { return []string{"Digest x"} },
		"malformed header":        func(string) []string { return []string{"Bearer"} },
		"two headers":             func(string) []string { return []string{"Bearer " + alice.Access, "Bearer " + alice.Access} },
		"garbage":                 func(string) []string { return []string{"Bearer x.y.z"} },
		"session":                 func(string) []string { return []string{"bearer " + alice.Access} },
		"app password":            func(string) []string { return []string{login(t, srv, string(alice.DID), app).access()} },
		"privileged app password": func(string) []string { return []string{login(t, srv, string(alice.DID), privileged).access()} },
		"expired session":         func(string) []string { return []string{stale.access()} },
		"refresh token":           func(string) []string { return []string{login(t, srv, string(alice.DID), alice.Password).refresh()} },
		"narrow session":          func(string) []string { return []string{narrow.access()} },
		"waiting session":         func(string) []string { return []string{"Bearer " + waiting} },
		"taken down":              func(string) []string { return []string{"Bearer " + carol.Access} },
		"deactivated":             func(string) []string { return []string{"Bearer " + dave.Access} },
		"administrator":           func(string) []string { return []string{adminAuth} },
		"wrong administrator": func(string) []string {
			return []string{"Basic " + base64.StdEncoding.EncodeToString([]byte("admin:wrong"))}
		},
		"service token": func(nsid string) []string { return []string{"Bearer " + service(nsid)} },
		"OAuth":         func(string) []string { return []string{"DPoP token"} },

		"OAuth with the scope":        func(string) []string { return []string{"DPoP the-scope"} },
		"OAuth with all other scopes": func(string) []string { return []string{"DPoP other-scopes"} },
	}
	// Parameters come before authentication: these are good for every query.
	params := url.Values{
		"did": {string(alice.DID)}, "repo": {string(alice.DID)}, "handle": {string(alice.Handle)},
		"identifier": {string(alice.DID)}, "collection": {"com.example.note"}, "rkey": {"x"},
		"cid":  {"bafyreihyrpefhacm6kkp4ql6j6udakdit7g3dmkzfriqfykhjw6cad5lrm"},
		"cids": {"bafyreihyrpefhacm6kkp4ql6j6udakdit7g3dmkzfriqfykhjw6cad5lrm"},
		"aud":  {"did:web:api.example.com"}, "lxm": {createAccount}, "dids": {string(alice.DID)},
		"actor": {string(alice.DID)}, "actors": {string(alice.DID)}, "uri": {"at://" + string(alice.DID) + "/app.bsky.feed.post/x"},
		"feed": {"at://" + string(alice.DID) + "/app.bsky.feed.generator/x"},
	}
	matrix := authMatrix()
	for _, m := range srv.Methods() {
		row, known := matrix[m.NSID()]
		delete(matrix, m.NSID())
		if !known {
			t.Errorf("%s has no row", m.NSID())
			continue
		}
		if m.Rule().IsPublic() != (row.class == authNone) {
			t.Errorf("%s: public is %v", m.NSID(), m.Rule().IsPublic())
		}
		if m.Type() == "subscription" {
			continue
		}
		verb, query := http.MethodPost, url.Values(nil)
		if m.Type() == "query" {
			verb, query = http.MethodGet, params
		}
		for name, header := range credentials {
			// Without a body; methods that want one say so after authentication.
			_, err := srv.Call(t.Context(), verb, m.NSID(), query, http.Header{"Authorization": header(m.NSID())}, nil)
			if got, want := authAnswer(err), row.want(name); got != want {
				t.Errorf("%s with %s: %q (%v), want %q", m.NSID(), name, got, err, want)
			}
		}
	}
	for nsid := range matrix {
		t.Errorf("%s is not registered", nsid)
	}
}

// authAnswer returns status and name of an error if it comes from
// authentication.
func authAnswer(err error) string {
	var e *pdstest.Error
	if !errors.As(err, &e) {
		return pass
	}
	if e.Status == 401 || e.Status == 403 || e.Name == "InvalidToken" || e.Name == "ExpiredToken" {
		return fmt.Sprintf("%d %s", e.Status, e.Name)
	}
	return pass
}

// Methods that an embedder adds or puts in place of others get ordinary
// sessions, app passwords and service tokens, nothing less and nothing narrow.
func TestAuthOfAddedMethods(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	answer := func(ctx context.Context, _ *xrpc.None) (*map[string]string, error) {
		c := xrpc.CallerFrom(ctx)
		return &map[string]string{"kind": c.Kind.String(), "account": string(c.Account), "scopes": strings.Join(c.Scopes, " ")}, nil
	}
	const added, replaced = "com.example.who", "com.atproto.server.checkAccountStatus"
	srv.Handle(xrpc.Query(added, xrpc.Required(nil), answer))
	srv.Replace(xrpc.Query(replaced, xrpc.Required(nil), func(ctx context.Context, _ *xrpc.None) (*struct {
		Activated bool `json:"activated"`
	}, error) {
		return nil, xrpc.InvalidRequest("reached")
	}))
	alice, carol := srv.CreateAccount("alice"), srv.CreateAccount("carol")
	editAccount(t, srv, carol.DID, func(a *storage.Account) { a.TakedownRef = "x" })
	var narrow sessionAnswer
	ok(t, post(t, srv, createSession, "", map[string]any{
		"identifier": carol.DID, "password": carol.Password, "allowTakendown": true,
	}, &narrow))
	app := login(t, srv, string(alice.DID), newAppPassword(t, alice, "plain", false))
	service := newOutsider(t, srv, "outsider.example.com")

	for _, c := range []struct{ name, auth, added, replaced string }{
		{"session", "Bearer " + alice.Access, "session", pass},
		{"app password", app.access(), "app-password", pass},
		{"administrator", adminAuth, "admin", pass},
		{"service", service.token(t, srv, added), "service", badToken},
		{"service, other method", service.token(t, srv, replaced), "401 BadJwtLexiconMethod", badToken},
		{"refresh token", "Bearer " + alice.Refresh, badToken, badToken},
		{"narrow session", narrow.access(), badToken, badToken},
		{"taken down", "Bearer " + carol.Access, takendown, takendown},
		{"nothing", "", missing, missing},
	} {
		var out map[string]string
		err := get(t, srv, added, c.auth, nil, &out)
		got := authAnswer(err)
		if err == nil {
			got = out["kind"]
		}
		if got != c.added {
			t.Errorf("%s, added method: %q (%v), want %q", c.name, got, err, c.added)
		}
		if got := authAnswer(get(t, srv, replaced, c.auth, nil, nil)); got != c.replaced {
			t.Errorf("%s, replaced method: %q, want %q", c.name, got, c.replaced)
		}
	}
}
