// Package oauth is the authorization server of the AT Protocol and the verifier
// of its tokens. A PDS of package pds has one built in; import this package to
// give any other program one, with its own table of users, or to protect a
// service by tokens of a server elsewhere.
//
// # A server
//
// Two methods say who the users are; the rest has defaults:
//
//	server, err := oauth.New(oauth.Config{
//		Issuer:   "https://auth.example.com",
//		Store:    storage.DocsOf(db), // sqlite.Open("oauth.db"), or one of your own
//		Accounts: users,              // yours: Account(did) and SignIn(name, password)
//		Secret:   secret,             // 32 bytes that stay the same
//	})
//	// ...
//	api := server.Verifier().Protect(yours, nil) // TokenFrom(ctx) says who and what
//	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
//		if server.Handles(r.URL.Path) {
//			server.ServeHTTP(w, r)
//		} else {
//			api.ServeHTTP(w, r)
//		}
//	})
//
// [Server] is an http.Handler at the root of its host, and answers on that host
// only. It starts nothing in the background. What expires in the store is removed
// by storage.Store's Maintain, which somebody has to call from time to time;
// the server does not depend on it.
//
// # What happens when somebody signs in to an app
//
//  1. The app's client_id is the address of a document about the app, which the
//     server fetches. There is no registration.
//  2. The app pushes what it wants to POST /oauth/par, with a proof of its DPoP
//     key, and gets a request_uri.
//  3. It opens GET /oauth/authorize in a browser with that request_uri and nothing
//     else. Somebody signs in, reads what the app asks for and agrees. The pages
//     come from package oauth/ui, or from a UI of your own.
//  4. The browser goes back to the app with a code, which is good for a minute,
//     once, for this app, this key and this code_verifier.
//  5. The app exchanges the code at POST /oauth/token for an access token and a
//     refresh token. This makes a session: see [Server.Sessions].
//  6. It calls the resource with the access token and a proof for each request.
//     [Verifier] checks both. The token lives for 15 minutes; refreshing replaces
//     both tokens, and using an old one again ends the session.
//  7. POST /oauth/revoke, [Server.EndSession], or [Server.EndSessions] end it. The
//     access token dies in the same moment.
//
// Each step is one transaction of the store, so that of several that race one
// wins. A kill or a restart between two steps loses nothing and brings nothing
// back that was used.
//
// # Whose the users are
//
// Before it trusts a token, an app resolves the DID of the user, and looks whether
// it leads to the server. The DID document needs a service with the id
// "#atproto_pds", the type "AtprotoPersonalDataServer" and Config.Resource as its
// endpoint; from there /.well-known/oauth-protected-resource, which the server
// serves, leads to the issuer. That the documents say so, and that handles lead to
// the DIDs, is up to the program.
//
// # What an account system may offer besides
//
// A value of Config.Accounts that implements more than [Accounts] gets more pages:
//
//	SignUps             sign-up, and the parameter prompt=create
//	PasswordResets      forgotten passwords, and /.well-known/change-password
//	Reactivations       the question to reactivate a deactivated account
//	EmailManager        change and confirm the address        \
//	HandleManager       change the handle                      |
//	PasswordChanger     change the password                    |
//	AppPasswordManager  passwords for single apps              |  of the account
//	LegacySessions      sessions that are not OAuth's          |  manager, /account
//	Deactivator         deactivate the account                 |
//	Deleter             delete the account                     |
//	Exporter            download the account's data           /
//
// [SecondFactor] (package oauth/totp has one), [SignInMethod], [ClientPolicy],
// [Hook], [Lexicons] and [Limiter] are fields of [Config].
//
// An account system that changes a password, takes an account down, deactivates
// or deletes it calls [Server.EndSessions] or [Server.Forget].
//
// # A verifier alone
//
// [NewVerifier] protects a service by tokens that a server elsewhere has issued
// with Config.Stateless. It fetches the issuer's keys, and knows of the end of a
// session only when the token expires, after five minutes.
//
// # Rules
//
// RFC 6749 and OAuth 2.1 (draft), RFC 7009, 7523, 7636, 7638, 8252, 8414, 9068,
// 9126, 9207, 9449, 9700, 9728, client ID metadata documents (draft), and the
// OAuth and permission specifications of the AT Protocol, as of November 2026.
// docs/oauth-security.md lists attacks, what stops them and the tests. Limits are
// in [Limits] and in the constants of this package.
package oauth
