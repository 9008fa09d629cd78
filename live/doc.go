// Package live is topics: what happens in a room, on a board or in a game, told
// at once to those who watch, and readable later.
//
// Import it for messages that are not records of anybody's repository: those
// of a private room, notifications, moves. It works on the documents of any
// store, with a pds.Server (see Server.Live there) or without one.
//
//	err := hub.Create(ctx, live.Topic{Name: "com.example.chat/room/1", Owner: group})
//	entry, err := hub.Publish(ctx, "com.example.chat/room/1", map[string]any{"text": "hello"})
//
//	sub, err := hub.Subscribe(ctx, "com.example.chat/room/1", isMember, live.Options{Cursor: cursor})
//	defer sub.Close()
//	for {
//		events, err := sub.Next(ctx)
//		// ...
//	}
//
// # Messages
//
// The messages of a topic are numbered 1, 2, 3 and so on, without holes, in the
// order of their transactions. What Publish has acknowledged is durable. The
// functions [Append], [Redact], [Create] and [Delete] do the same inside a
// transaction of somebody else's, so that a message and what it is about are
// stored together or not at all; [Hub.Wake] makes it known afterwards.
//
// A message does not change. [Redact] removes its data for good: from the
// store with that transaction, from memory when the hub learns of it. An empty
// entry stays in its place, and the redaction itself takes the next number, so
// that whoever resumes after it learns of it as of any message.
//
// # Subscribers
//
// A subscriber is a position: the number of the last entry that it has. Each
// [Event] carries it as a cursor, an opaque text to resume with. Resumed
// there, a subscriber gets every later entry exactly once, in order, from the
// store or, for the newest, from memory that all share; after a crash and
// between processes, too. A client begins with a page of history and
// subscribes with that page's cursor.
//
// A subscriber that is not ready holds up nobody and takes no memory. One that
// is more than Limits.Behind entries behind, or whose entries are no longer
// kept, is sent one gap in their place and goes on from there.
//
// The [Rule] of a subscription is asked at the start, whenever [Hub.Recheck] is
// called because rights have changed, and once a minute. [Hub.Revoke] ends the
// subscriptions of somebody at once.
//
// # Signals
//
// A signal ([Hub.Signal]) says what is so for the moment: who is here, who is
// typing. It is the last value of a key, in memory alone, and ends after a
// time. Subscribers get the current ones when they come, then changes and ends;
// one that is slow gets the last value of each key.
//
// # Several processes
//
// Processes that share a store share its topics. What one publishes reaches the
// subscribers of another within Limits.Poll; Recheck, Revoke and signals
// concern one process only (rules are asked again within Limits.Recheck).
//
// Everything is bounded, see [Limits] and the constants. The package depends on
// package storage and nothing above it; livetest checks it on a store of yours.
package live
