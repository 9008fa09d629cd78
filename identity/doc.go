// Package identity resolves and changes atproto identities: DIDs, handles and
// the PLC directory, over an outbound HTTP client that cannot be steered into
// a private network.
//
// Import it to look up who an account is ([Resolver], which implements
// indigo's identity.Directory), to create and change did:plc identities
// ([PLCRegistry]), to run a PLC directory inside a process ([MemoryPLC]), or
// to fetch anything that a user named ([NewTransport], [NewClient]):
//
//	transport := identity.NewTransport(identity.TransportConfig{})
//	resolver, err := identity.NewResolver(identity.ResolverConfig{Transport: transport})
//	// ...
//	ident, err := resolver.LookupHandle(ctx, "alice.example.com")
//	fmt.Println(ident.DID, ident.PDSEndpoint())
//
// # Guarded fetching
//
// The transport speaks https only and refuses, at connect time, every address
// that is not public unicast, so a name that changes its address between check
// and use gains nothing. It ignores proxy variables. Hosts that the operator
// configured may be private and plain http; dev mode lifts the guard. A client
// adds limits of time, body size and redirects.
//
// # Limits
//
// Every body is capped (an overlong one is an error, never cut silently), the
// caches are bounded by entries and bytes, each fetch has a timeout, and equal
// lookups that run at once share one fetch. The constants of this package name
// all of them.
//
// # Errors
//
// Lookups return the sentinels of indigo's identity package (ErrDIDNotFound,
// ErrHandleNotFound, ErrHandleMismatch and so on) under errors.Is. An answer
// of a PLC directory that is not 200 is a [*PLCError] with its status and text.
//
// The rules come from the atproto specifications of DIDs, handles and
// identities and from the did:plc specification v0.1.
package identity
