// Package scope is the language of atproto OAuth scopes: what an app asks for,
// what a user grants, and what a token allows.
//
// A scope text holds values with spaces between them:
//
//	atproto transition:generic
//	atproto repo:app.bsky.feed.post?action=create blob:image/* include:com.example.authBasic
//
// [Parse] makes a [Set] of it, and the Set answers questions:
//
//	set, err := scope.Parse("atproto repo:com.example.note?action=create")
//	// ...
//	set.Allows(scope.Repo{Collection: "com.example.note", Action: scope.Create}) // true
//	set.Missing(scope.Blob{MimeType: "image/png"})                                // "blob:image/png"
//
// There are three ways in, for three kinds of text: [Parse] for the program's
// own, where an unknown value is a mistake; [ParseRequest] for what a client
// asks for, where unknown values are left out and reported; [ParseGranted] for
// what a token or session carries, where they grant nothing.
//
// The values "include:" refer to permission sets, which are published elsewhere
// and change. They allow nothing by themselves: [Set.Expand] replaces them by
// what the set holds today.
//
// A [Grammar] with kinds of its own reads values of further resources. All of
// this is pure: no function here does I/O, and sets do not change once made, so
// that any number of goroutines may use them.
//
// The rules are those of the atproto permission specification, with these
// choices where it is open, or where the reference implementation differs:
// "transition:chat.bsky" counts only together with "transition:generic"; a call
// of any method at all (a token without a method) needs both, or "rpc:*" for
// the audience; the namespace chat.bsky is recognized in any case; canonical
// texts write % as %25, and + in parameters as %2B, so that they can be read
// again.
package scope
