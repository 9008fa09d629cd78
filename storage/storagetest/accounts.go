package storagetest

import (
	"fmt"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/pdskit/pdskit/storage"
)

// sameAccount compares accounts, times as moments.
func (e *env) sameAccount(got, want storage.Account) {
	e.Helper()
	for _, a := range []*storage.Account{&got, &want} {
		for _, t := range []*time.Time{&a.EmailConfirmedAt, &a.CreatedAt, &a.DeactivatedAt, &a.DeleteAfter, &a.TokensAfter} {
			if !t.IsZero() {
				*t = t.UTC()
			}
		}
	}
	same(e, "the account", got, want)
}

// tryPut returns the error of PutAccount in an Update of its own that is then
// undone or kept as PutAccount fails or not.
func (e *env) tryPut(a storage.Account) error {
	return e.store.Update(background(), func(tx storage.Tx) error {
		_, err := tx.PutAccount(a)
		return err
	})
}

var accountCases = []testCase{
	{
		name: "accounts/round-trip",
		rule: "An account comes back as it was stored, by DID, handle and address; every field can be set and cleared.",
		run: func(e *env) {
			full := e.account(1)
			now := e.clock.Now().Truncate(time.Millisecond)
			full.EmailConfirmedAt = now.Add(1 * time.Minute)
			full.PasswordHash = "$argon2id$..."
			full.Pending = true
			full.DeactivatedAt = now.Add(2 * time.Minute)
			full.DeleteAfter = now.Add(3 * time.Minute)
			full.TakedownRef = "mod-1"
			full.TokensAfter = now.Add(4 * time.Minute)
			full.InvitesDisabled = true
			bare := storage.Account{DID: full.DID, CreatedAt: full.CreatedAt}
			for _, a := range []storage.Account{full, bare, full} {
				a.Version = full.Version
				e.put(&a)
				full.Version = a.Version
				e.view(func(tx storage.Tx) error {
					got, err := tx.Account(a.DID)
					if err != nil {
						return err
					}
					e.sameAccount(got, a)
					byHandle, err := tx.AccountByHandle(full.Handle)
					if a.Handle == "" {
						matches(e, "AccountByHandle", err, storage.ErrNotFound)
					} else {
						e.sameAccount(byHandle, a)
					}
					byEmail, err := tx.AccountByEmail(full.Email)
					if a.Email == "" {
						matches(e, "AccountByEmail", err, storage.ErrNotFound)
					} else {
						e.sameAccount(byEmail, a)
					}
					return nil
				})
			}
		},
	},
	{
		name: "accounts/missing",
		rule: "What is not there is ErrNotFound; the empty handle and address belong to nobody, however many accounts have none.",
		run: func(e *env) {
			for n := range 3 {
				e.put(&storage.Account{DID: didN(n), CreatedAt: e.clock.Now()})
			}
			e.view(func(tx storage.Tx) error {
				_, err := tx.Account(didN(9))
				matches(e, "Account", err, storage.ErrNotFound)
				_, err = tx.AccountByHandle("nobody.test")
				matches(e, "AccountByHandle", err, storage.ErrNotFound)
				_, err = tx.AccountByHandle("")
				matches(e, "AccountByHandle of no handle", err, storage.ErrNotFound)
				_, err = tx.AccountByEmail("")
				matches(e, "AccountByEmail of no address", err, storage.ErrNotFound)
				_, err = tx.Usage(didN(9))
				matches(e, "Usage", err, storage.ErrNotFound)
				return nil
			})
			e.refused(storage.ErrNotFound, func(tx storage.Tx) error { return tx.DeleteAccount(didN(9)) })
		},
	},
	{
		name: "accounts/unique",
		rule: "PutAccount returns ErrExists for a DID, handle or address that is taken; addresses are compared byte by byte.",
		run: func(e *env) {
			a, b := e.account(1), e.account(2)
			e.put(&a)
			e.put(&b)
			matches(e, "PutAccount with a taken DID", e.tryPut(storage.Account{DID: a.DID, CreatedAt: a.CreatedAt}), storage.ErrExists)
			for _, change := range []func(*storage.Account){
				func(c *storage.Account) { c.Handle = a.Handle },
				func(c *storage.Account) { c.Email = a.Email },
			} {
				fresh := e.account(3)
				change(&fresh)
				matches(e, "PutAccount of a new account with a taken name", e.tryPut(fresh), storage.ErrExists)
				old := b
				change(&old)
				matches(e, "PutAccount with a taken name", e.tryPut(old), storage.ErrExists)
			}
			c := e.account(3)
			c.Email = "USER1@example.com"
			e.put(&c)
		},
	},
	{
		name: "accounts/versions",
		rule: "PutAccount stores only over the version it names, else ErrConflict and nothing happens; every store raises the version.",
		run: func(e *env) {
			a := e.account(1)
			e.put(&a)
			first := a
			a.Handle = "new.test"
			e.put(&a)
			if a.Version <= first.Version {
				e.Fatalf("the version went from %d to %d", first.Version, a.Version)
			}
			first.Email = "stale@example.com"
			matches(e, "PutAccount with an old version", e.tryPut(first), storage.ErrConflict)
			gone := e.account(2)
			gone.Version = a.Version
			matches(e, "PutAccount with the version of no account", e.tryPut(gone), storage.ErrConflict)
			e.view(func(tx storage.Tx) error {
				got, err := tx.Account(a.DID)
				e.sameAccount(got, a)
				return err
			})
		},
	},
	{
		name: "accounts/deleted",
		rule: "A deleted account is invisible to every method at once, with its repository, blobs and documents, and its DID, handle and address are free.",
		run: func(e *env) {
			r := e.newRepo(1)
			blob := blobCID("b")
			rec := record("com.example.a/1", "one")
			rec.Blobs, rec.Backlink = append(rec.Blobs, blob), "target"
			r.apply([]storage.Record{rec})
			var gen storage.Generation
			e.update(func(tx storage.Tx) (err error) {
				if gen, err = tx.NewGeneration(r.did()); err != nil {
					return err
				}
				if _, err := tx.PutDoc(storage.Doc{Kind: "k", Key: "x", Owner: r.did()}); err != nil {
					return err
				}
				return tx.PutBlob(storage.Blob{Owner: r.did(), CID: blob, Key: "key", Temporary: true, CreatedAt: e.clock.Now()})
			})
			e.update(func(tx storage.Tx) error { return tx.DeleteAccount(r.did()) })
			gone := func() {
				e.Helper()
				e.view(func(tx storage.Tx) error { return invisible(e, tx, r, blob) })
			}
			gone()
			e.refused(storage.ErrNotFound, func(tx storage.Tx) error { return tx.Stage(gen, nil, nil) })
			e.refused(storage.ErrNotFound, func(tx storage.Tx) error { return tx.DeleteAccount(r.did()) })
			e.refused(storage.ErrConflict, func(tx storage.Tx) error { return tx.Apply(r.next(nil)) })
			e.refused(storage.ErrNotFound, func(tx storage.Tx) error { _, err := tx.NewGeneration(r.did()); return err })
			e.maintain(storage.Budget{})
			gone()
		},
	},
	{
		name: "accounts/returning",
		rule: "A DID that comes back after a deletion never meets leftovers, and its versions go on rising.",
		run: func(e *env) {
			r := e.newRepo(1)
			blob := blobCID("b")
			rec := record("com.example.a/1", "one")
			rec.Blobs = append(rec.Blobs, blob)
			r.apply([]storage.Record{rec})
			e.update(func(tx storage.Tx) error {
				if _, err := tx.PutDoc(storage.Doc{Kind: "k", Key: "x", Owner: r.did(), Value: []byte("old")}); err != nil {
					return err
				}
				if err := tx.SetBlobRefs(r.did(), "uri", append(rec.Blobs, blobCID("c"))); err != nil {
					return err
				}
				return tx.PutBlob(storage.Blob{Owner: r.did(), CID: blob, Key: "old-key", Size: 5, CreatedAt: e.clock.Now()})
			})
			e.update(func(tx storage.Tx) error { return tx.DeleteAccount(r.did()) })
			again := e.newRepo(1)
			if again.acct.Version <= r.acct.Version {
				e.Fatalf("the version went from %d to %d", r.acct.Version, again.acct.Version)
			}
			e.view(func(tx storage.Tx) error {
				u, err := tx.Usage(r.did())
				same(e, "the usage", u, storage.Usage{})
				if err != nil {
					return err
				}
				docs, err := tx.ScanOwner(r.did(), "k")
				same(e, "the number of old documents", len(docs), 0)
				if err != nil {
					return err
				}
				_, err = tx.Blob(r.did(), blob)
				matches(e, "Blob", err, storage.ErrNotFound)
				refs, err := tx.BlobReferenced(r.did(), blob)
				same(e, "whether the old blob is referenced", refs, false)
				return err
			})
			e.update(func(tx storage.Tx) error {
				_, err := tx.PutDoc(storage.Doc{Kind: "k", Key: "x", Owner: r.did(), Value: []byte("new")})
				return err
			})
			again.apply([]storage.Record{record("com.example.a/2", "two"), record("com.example.a/1", "again")})
			e.maintain(storage.Budget{})
			again.check()
			e.view(func(tx storage.Tx) error {
				docs, err := tx.ScanOwner(r.did(), "k")
				if err == nil && (len(docs) != 1 || string(docs[0].Value) != "new") {
					e.Fatalf("ScanOwner gives %v", docs)
				}
				return err
			})
		},
	},
	{
		name: "accounts/list",
		rule: "ListAccounts returns accounts in order of (CreatedAt, DID), after the cursor, without gaps or repeats, and at most limit.",
		run: func(e *env) {
			var want []syntax.DID
			at := e.clock.Now()
			for n := range 12 {
				a := e.account(n)
				a.CreatedAt = at.Add(time.Duration(n/3) * time.Millisecond) // three share a moment
				e.put(&a)
				want = append(want, a.DID)
			}
			e.update(func(tx storage.Tx) error { return tx.DeleteAccount(want[5]) })
			want = append(want[:5:5], want[6:]...)
			for _, limit := range []int{1, 2, 5, 11, 100} {
				var got []syntax.DID
				e.view(func(tx storage.Tx) error {
					var cursor storage.AccountCursor
					for {
						page, err := tx.ListAccounts(cursor, limit)
						if err != nil {
							return err
						}
						if len(page) > limit {
							return fmt.Errorf("%d accounts with limit %d", len(page), limit)
						}
						for i := range page {
							got = append(got, page[i].DID)
							cursor = page[i].Cursor()
						}
						if len(page) < limit {
							return nil
						}
					}
				})
				sameList(e, fmt.Sprintf("the list by %d", limit), got, want)
			}
		},
	},
}

// invisible checks that no method finds anything of a deleted account.
func invisible(e *env, tx storage.Tx, r *repo, blob blobID) error {
	e.Helper()
	did := r.did()
	_, err := tx.Account(did)
	matches(e, "Account", err, storage.ErrNotFound)
	_, err = tx.AccountByHandle(r.acct.Handle)
	matches(e, "AccountByHandle", err, storage.ErrNotFound)
	_, err = tx.AccountByEmail(r.acct.Email)
	matches(e, "AccountByEmail", err, storage.ErrNotFound)
	_, err = tx.Usage(did)
	matches(e, "Usage", err, storage.ErrNotFound)
	_, err = tx.Head(did)
	matches(e, "Head", err, storage.ErrNotFound)
	_, err = tx.Record(did, "com.example.a", "1")
	matches(e, "Record", err, storage.ErrNotFound)
	_, err = tx.Block(did, r.head.CID)
	matches(e, "Block", err, storage.ErrNotFound)
	_, err = tx.Blob(did, blob)
	matches(e, "Blob", err, storage.ErrNotFound)
	_, err = tx.GetDoc("k", "x")
	matches(e, "GetDoc", err, storage.ErrNotFound)
	for _, err := range tx.Export(did, "") {
		matches(e, "Export", err, storage.ErrNotFound)
	}
	count := func(what string, n int, err error) {
		e.Helper()
		if n != 0 || (err != nil && !isNotFound(err)) {
			e.Fatalf("%s finds %d of a deleted account (%v)", what, n, err)
		}
	}
	accounts, err := tx.ListAccounts(storage.AccountCursor{}, 10)
	count("ListAccounts", len(accounts), err)
	records, err := tx.ListRecords(did, "com.example.a", storage.Range{Limit: 10})
	count("ListRecords", len(records), err)
	records, err = tx.ListRecordsSince(did, "", 10)
	count("ListRecordsSince", len(records), err)
	records, err = tx.ListBacklinks(did, "com.example.a", "target", 10)
	count("ListBacklinks", len(records), err)
	collections, err := tx.ListCollections(did)
	count("ListCollections", len(collections), err)
	refs, err := tx.ListBlobRefs(did, "", "", 10)
	count("ListBlobRefs", len(refs), err)
	missing, err := tx.ListMissingBlobs(did, "", 10)
	count("ListMissingBlobs", len(missing), err)
	temporary, err := tx.ListTemporaryBlobs(e.clock.Now().Add(time.Hour), 10)
	count("ListTemporaryBlobs", len(temporary), err)
	docs, err := tx.ScanDocs("k", storage.Scan{Limit: 10})
	count("ScanDocs", len(docs), err)
	docs, err = tx.ScanOwner(did, "k")
	count("ScanOwner", len(docs), err)
	return nil
}
