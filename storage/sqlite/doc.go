// Package sqlite is the default [storage.Store]: one SQLite file, without cgo.
//
//	store, err := sqlite.Open("pds.db", sqlite.Options{})
//	if err != nil {
//		return err
//	}
//	defer store.Close()
//
// # Durability
//
// The database runs in WAL mode with synchronous=FULL. A single writer runs
// the closures of concurrent Updates in batches: one SQL transaction, a
// savepoint for each closure, one fsync, and then every Update returns. An
// Update alone pays one fsync; sixteen at once share it.
//
// A commit for which the disk has no room fails with [storage.ErrFull]. Nothing of
// it remains, reading goes on, and writing as soon as there is room.
//
// If a COMMIT or an fsync fails for another reason, nobody can say what is on the
// disk. The store is then poisoned: every method returns an error matching
// [ErrPoisoned] until the file is closed and opened again, which reads what is
// really there.
//
// # Ownership
//
// A Store owns its file. A second Open, by this process or another, fails with
// a [LockedError] that names the holder; the lock goes when the holder is
// killed. Reading the file with the sqlite3 shell beside a running store is
// fine: the views repositories, repository_records and account_blobs are made
// for it. The file must be on a local disk, because WAL needs shared memory.
//
// # Limits
//
// One file holds at most 2^31 generations (imports and new repositories) and
// 2^32 writes for each of them. Reads run on connections of their own, up to
// [Options.ReadConns] at a time, and never wait for the writer.
package sqlite
