// Package pdskit is the root of an SDK for making your own atproto Personal
// Data Server. It holds no code: import the packages below it, each of which
// has one reason to be imported.
//
//   - [github.com/pdskit/pdskit/pds]: a whole server. Start here: give
//     pds.New a Config, serve the result.
//   - [github.com/pdskit/pdskit/pds/pdstest]: a server in one line for the
//     tests of anything that talks to one.
//   - [github.com/pdskit/pdskit/xrpc]: methods, errors, authentication and
//     event streams; import it to add methods of your own to a server. Its
//     catalog of schemas is xrpc/lexicons.
//   - [github.com/pdskit/pdskit/storage]: the contract of the database;
//     import it to write a store, and prove it with storage/storagetest. The
//     stores that are there: storage/sqlite and, for the bytes of blobs,
//     storage/blobs.
//   - [github.com/pdskit/pdskit/identity]: DIDs and handles, resolved and
//     changed, and a PLC directory in memory.
//   - [github.com/pdskit/pdskit/oauth]: the atproto OAuth authorization
//     server, also for programs that are no PDS.
//   - [github.com/pdskit/pdskit/live]: topics, which are messages with history
//     and resume, and signals such as who is typing; also for programs that are
//     no PDS. live/livetest checks a store.
//   - [github.com/pdskit/pdskit/actor]: objects with a key, of which one call
//     runs at a time, with durable state, alarms and messages. actor/actortest
//     checks a store.
//   - [github.com/pdskit/pdskit/repo]: records, trees, commits and CAR files
//     as pure functions; import it to read or make repositories without a
//     server.
//
// The examples folder has a program for each idea, from one of fifty lines
// to a server for production. The docs folder goes from an empty main.go to a
// moderated board (extending.md), tells how a server is run (operating.md) and
// how it is built (architecture.md), why things are as they are (decisions.md)
// and where they pinch (rough-edges.md).
//
// # Imports point one way
//
// repo, identity, xrpc and storage do not import each other, except that
// storage knows repo. oauth builds on storage and identity, live on storage, pds
// on all of them, and nothing on pds but what is above it. A test of this package
// fails when an import points another way.
//
// # Vocabulary
//
// DIDs, handles, record keys and the like are the types of
// github.com/bluesky-social/indigo/atproto/syntax, keys those of its atcrypto,
// identities those of its identity, and CIDs those of
// github.com/ipfs/go-cid. There is no second copy of these here.
package pdskit
