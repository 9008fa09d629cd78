// Package adopt takes over a whole server: it reads the data directory of the
// reference PDS (@atproto/pds, versions 0.4.67 to 0.5) and writes it into the
// stores of a server of ours that is to take its place, under the same name and
// with the same secrets.
//
//	report, err := adopt.Run(ctx, adopt.Options{
//		From: adopt.SourceIn("/pds"), Store: store, Blobs: blobs, Keys: keys,
//	})
//
// What comes over: accounts with their status, names, addresses, passwords, app
// passwords, sessions, preferences, codes sent by mail and signing keys;
// repositories with their signed heads; blobs, takedowns of accounts, records
// and blobs; invite codes; reserved signing keys; the newest part of the log of
// events with its numbers. What does not: sessions, devices and consents of
// OAuth, whose users sign in again, and caches.
//
// # Reading only
//
// Nothing is ever written to the source. Its databases are opened as immutable
// files; one with a write-ahead log, as a server leaves behind that was
// killed, is copied into a temporary folder with its log and read there. A
// source that a server still has open is refused where the system can tell.
//
// # Verifying
//
// Every account is verified before it becomes visible: the head is signed by
// the account's key, every node and record of the tree has its hash, every blob
// too. Afterwards what was written is verified once more and counted. What is
// wrong with one account is a [Finding], and the others are adopted.
//
// # Interruption
//
// Run can be stopped at any moment, and called again with the same options: it
// goes on behind the accounts that are complete.
package adopt
