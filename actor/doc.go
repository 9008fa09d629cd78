// Package actor runs single-writer actors on a [pds.Server]: objects with a key,
// a durable state, alarms and messages, of which at most one call runs at a
// time.
//
// A program says once what a kind of actor is, and then calls actors by their
// ID, as if all of them were always there:
//
//	rooms := actor.Register(sys, actor.Kind[Room]{Name: "com.example.room", Alarm: closeRoom})
//	err := rooms.Do(ctx, "lobby", func(c *actor.Call[Room]) error {
//		c.State.Topic = "welcome"
//		c.SetAlarm(c.Now().Add(time.Hour))
//		return nil
//	})
//
// # What is guaranteed
//
// Calls of one actor run one after another, in the order in which they came,
// and each sees the state that the one before left. A call that returns nil has
// its state, alarm, messages and documents stored together, durably, before
// anybody sees them; a call that fails leaves nothing. The state in memory never
// runs ahead of the stored one. All of this holds as well if several processes
// serve the same store: a call that has worked on a state that another process
// has changed runs again on the new one.
//
// Because of that a function may run more than once, and has no effects but
// those on its Call. What is to happen elsewhere it sends as a message.
//
// Messages and alarms are durable jobs. Each takes effect exactly once on the
// actor that receives it, since it is removed in the transaction that stores the
// new state; it may be tried more than once before that. Messages have no order
// among themselves.
//
// An actor that nobody calls takes no memory but its document in the store.
// docs/actors.md has the contract in full, and compares it with others.
package actor
