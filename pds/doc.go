// Package pds assembles an atproto Personal Data Server: accounts, signed
// repositories, blobs, sessions and the firehose, served over XRPC.
//
// Import it to embed a PDS in a program of your own. The parts that hold data
// or reach the network are handed in, so that you keep control of them; the
// program in examples/minimal is fifty lines, the one in examples/server is
// complete. For tests there is pds/pdstest.
//
//	srv, err := pds.New(pds.Config{
//		PublicURL: "https://pds.example.com",
//		Store:     store,     // storage/sqlite, or your own
//		Blobs:     blobs,     // storage/blobs, or your own
//		Registry:  registry,  // identity.NewPLCRegistry
//		Directory: directory, // identity.NewResolver
//		Keys:      keys,      // pds.SealedKeys, or a key management service
//		Secret:    secret,
//	})
//	...
//	err = srv.ListenAndServe(ctx, ":2583")
//
// # Lifecycle
//
// [New] checks the configuration, does no network I/O and starts nothing. The
// [Server] is an http.Handler that works at once. [Server.Run] does the work
// between requests: it finishes what a crash interrupted, collects what was
// deleted, prunes events and tells crawlers of new ones.
// [Server.ListenAndServe] does both and shuts down in order when its context
// ends. The server closes none of the parts that it was given.
//
// # Writes
//
// All writes to repositories, by clients or by code in this process
// ([Server.Apply]), go through one path. The writes of an account are prepared
// one after another; each becomes one signed commit, which is stored together
// with its records, its references to blobs and its firehose event in one
// transaction of the store. A write is acknowledged, and its event sent, when
// that transaction is durable. N acknowledged writes are N records in the
// signed tree and N operations on the firehose, whatever runs at the same time
// and however the process ends.
//
// # Points of entry
//
// A program extends the server by replacing its parts in [Config]; by wrapping
// it in HTTP middleware (Config.Middleware); by registering methods ([Server.Handle],
// [Server.Replace]); by deciding ([Policy], [Delegation]), observing
// ([Server.Observe]) and scheduling ([Server.HandleJobs]); and by writing through
// [Server.Apply], [Server.UploadBlob], [Server.ImportRepo] and
// [Server.CreateAccount]. [Server.ServiceToken] lets it call other services in the
// name of an account. Subscriptions are streams in both directions, which
// browsers open with tickets ([Server.TicketMethod]). A method gets its caller
// from xrpc.CallerFrom. What an administrator changes by methods of the program's
// own goes into the audit log by [Server.Audit]. docs/extending.md shows most of it in
// one program that grows step by step.
//
// # Callers
//
// Methods that are called by people, here or on other servers, have the rule
// [Server.OwnMethodRule]. Other rules of added methods look at the Kind of the
// caller: xrpc.Required(nil) lets all of these in.
//
//   - KindSession and KindAppPassword: Account is an account of this server,
//     which may be deactivated but is not taken down. Scopes has one of
//     "com.atproto.access", "com.atproto.appPassPrivileged" and
//     "com.atproto.appPass".
//   - KindService: a service token for this server and method, signed with the
//     key of its issuer. Account is that issuer, which may be any account of
//     the network. Methods in the namespaces of com.atproto that are named
//     below get none, but for those that services call.
//   - KindTicket: one of the above, by its Origin, who opens a stream with a
//     ticket, see [Server.IssueTicket].
//   - KindAdmin: the administrator. Account and Actor are empty, so there is no
//     repository to write to.
//
// Refresh tokens open refreshSession and deleteSession only. The sessions of
// accounts that are taken down open only the built-in methods that need them,
// not what replaces those.
//
// # Methods
//
// The server implements com.atproto.server, repo, sync, identity and admin as
// far as docs/methods.md lists them, and the preferences of app.bsky.actor.
// Other methods under those com.atproto namespaces answer
// MethodNotImplemented.
//
// # Limits
//
// Everything that grows has a bound; [Limits] names them with their defaults,
// and docs/operating.md explains them.
//
// # Concurrency
//
// The methods of a Server may be called concurrently. Several servers in one
// process share nothing but what they are both given; several processes on one
// store are correct, since the store checks every commit, but the package
// storage/sqlite admits one process.
package pds
