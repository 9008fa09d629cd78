// Package dpop checks proofs of possession (DPoP, RFC 9449) for authorization
// servers and resource servers: a signed statement in each request that its
// sender holds a key.
//
//	proof, err := checker.Check(r, "https://pds.example.com/oauth/token", "")
//	// err is an *Error; proof is nil if the request has none
//
// Two checks are left to the caller, who alone knows the rest: that the key is
// the one that the grant or token is bound to, and, last of all, that the proof
// has not been seen before. The second takes a store that several processes
// share, or a [ReplayCache].
package dpop
