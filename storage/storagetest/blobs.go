package storagetest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"
	"github.com/pdskit/pdskit/storage"
)

func (e *env) blob(owner syntax.DID, content string) storage.Blob {
	return storage.Blob{
		Owner: owner, CID: blobCID(content), Key: "key/" + content, MimeType: "image/png", Size: int64(len(content)),
		CreatedAt: e.clock.Now().Truncate(time.Millisecond), Uploader: owner, Temporary: true,
	}
}

func (e *env) putBlob(b storage.Blob) {
	e.Helper()
	e.update(func(tx storage.Tx) error { return tx.PutBlob(b) })
}

// released are the keys in the queue.
func (e *env) released() (keys []string) {
	e.Helper()
	e.view(func(tx storage.Tx) (err error) { keys, err = tx.ReleasedBlobs(100); return err })
	slices.Sort(keys)
	return keys
}

func (e *env) usage(did syntax.DID) (u storage.Usage) {
	e.Helper()
	e.view(func(tx storage.Tx) (err error) { u, err = tx.Usage(did); return err })
	return u
}

// sorted are the CIDs in order of their text.
func sorted(contents ...string) []cid.Cid {
	var list []cid.Cid
	for _, c := range contents {
		list = append(list, blobCID(c))
	}
	slices.SortFunc(list, func(a, b cid.Cid) int { return strings.Compare(a.String(), b.String()) })
	return list
}

var blobCases = []testCase{
	{
		name: "blobs/round-trip",
		rule: "A blob's metadata comes back as stored, for its owner alone; totals follow.",
		run: func(e *env) {
			a, b := e.account(1), e.account(2)
			e.put(&a)
			e.put(&b)
			want := e.blob(a.DID, "content")
			want.Uploader, want.Temporary, want.Public, want.TakedownRef = didN(7), false, true, "mod"
			e.putBlob(want)
			e.view(func(tx storage.Tx) error {
				got, err := tx.Blob(a.DID, want.CID)
				if err != nil {
					return err
				}
				got.CreatedAt = got.CreatedAt.UTC()
				same(e, "the blob", got, want)
				_, err = tx.Blob(b.DID, want.CID)
				matches(e, "Blob of another owner", err, storage.ErrNotFound)
				_, err = tx.Blob(didN(9), want.CID)
				matches(e, "Blob of no account", err, storage.ErrNotFound)
				return nil
			})
			same(e, "the usage", e.usage(a.DID), storage.Usage{Blobs: 1, BlobBytes: want.Size})
			e.refused(storage.ErrNotFound, func(tx storage.Tx) error { return tx.PutBlob(e.blob(didN(9), "x")) })
		},
	},
	{
		name: "blobs/released",
		rule: "A replaced key, a deleted blob and a collected account release their keys; a key is used while it belongs to a blob or waits in the queue.",
		run: func(e *env) {
			a, b := e.account(1), e.account(2)
			e.put(&a)
			e.put(&b)
			one := e.blob(a.DID, "one")
			e.putBlob(one)
			one.Temporary = false
			e.putBlob(one) // the same key is not released
			sameList(e, "the queue", e.released(), nil)
			one.Key, one.Size = "key/one-again", 9
			e.putBlob(one)
			sameList(e, "the queue", e.released(), []string{"key/one"})
			same(e, "the usage", e.usage(a.DID), storage.Usage{Blobs: 1, BlobBytes: 9})
			e.update(func(tx storage.Tx) error {
				if err := tx.DeleteBlob(a.DID, blobCID("not there")); err != nil {
					return err
				}
				return tx.DeleteBlob(a.DID, one.CID)
			})
			sameList(e, "the queue", e.released(), []string{"key/one", "key/one-again"})
			same(e, "the usage", e.usage(a.DID), storage.Usage{})
			e.putBlob(e.blob(b.DID, "two"))
			e.update(func(tx storage.Tx) error { return tx.DeleteAccount(b.DID) })
			e.maintain(storage.Budget{KeepAll: true})
			sameList(e, "the queue", e.released(), []string{"key/one", "key/one-again", "key/two"})
			e.putBlob(e.blob(a.DID, "three"))
			e.view(func(tx storage.Tx) error {
				for key, want := range map[string]bool{"key/one": true, "key/two": true, "key/three": true, "key/never": false} {
					used, err := tx.BlobKeyUsed(key)
					if err != nil {
						return err
					}
					same(e, "whether "+key+" is used", used, want)
				}
				some, err := tx.ReleasedBlobs(2)
				same(e, "the length of a limited queue", len(some), 2)
				return err
			})
			e.update(func(tx storage.Tx) error { return tx.ForgetReleasedBlobs([]string{"key/one", "key/two", "key/never"}) })
			sameList(e, "the queue", e.released(), []string{"key/one-again"})
			e.view(func(tx storage.Tx) error {
				used, err := tx.BlobKeyUsed("key/one")
				same(e, "whether a forgotten key is used", used, false)
				return err
			})
		},
	},
	{
		name: "blobs/references",
		rule: "References follow records and SetBlobRefs; distinct CIDs are counted once, stored or not; they end with what refers.",
		run: func(e *env) {
			r := e.newRepo(1)
			with := func(path string, blobs ...string) storage.Record {
				rec := record(path, path+" with "+strings.Join(blobs, ","))
				for _, b := range blobs {
					rec.Blobs = append(rec.Blobs, blobCID(b))
				}
				return rec
			}
			check := func(contents ...string) {
				e.Helper()
				same(e, "the number of referenced blobs", e.usage(r.did()).ReferencedBlobs, int64(len(contents)))
				e.view(func(tx storage.Tx) error {
					for _, c := range []string{"a", "b", "c", "d"} {
						ref, err := tx.BlobReferenced(r.did(), blobCID(c))
						if err != nil {
							return err
						}
						same(e, "whether "+c+" is referenced", ref, slices.Contains(contents, c))
					}
					return nil
				})
			}
			set := func(uri string, contents ...string) {
				e.Helper()
				e.update(func(tx storage.Tx) error { return tx.SetBlobRefs(r.did(), uri, sorted(contents...)) })
			}
			r.apply([]storage.Record{with("com.example.a/1", "a", "b"), with("com.example.a/2", "b", "c")})
			check("a", "b", "c")
			set("urn:x", "c", "d")
			check("a", "b", "c", "d")
			r.apply(nil, "com.example.a/2")
			check("a", "b", "c", "d")
			set("urn:y", "b")
			set("urn:x")
			check("a", "b")
			r.apply([]storage.Record{with("com.example.a/1", "d", "d")})
			check("b", "d")

			g := r.begin()
			records := []storage.Record{with("com.example.a/9", "a", "b"), with("com.example.a/8", "c")}
			for i := range records {
				records[i].Rev = revN(r.rev + 1)
			}
			r.stage(g, nil, records)
			set("urn:z", "c")
			check("b", "c", "d")
			set("urn:y")
			check("c", "d")
			c := r.publishing(g)
			e.update(func(tx storage.Tx) error { return tx.Apply(c) })
			r.published(c, nil, records)
			check("a", "b", "c")
			set("urn:z")
			check("a", "b", "c")
			r.apply(nil, "com.example.a/9")
			check("c")
			e.refused(storage.ErrNotFound, func(tx storage.Tx) error { return tx.SetBlobRefs(didN(9), "x", nil) })
		},
	},
	{
		name: "blobs/list-refs",
		rule: "ListBlobRefs returns the distinct CIDs that records with a rev above since refer to, in order of their text, after the given one.",
		run: func(e *env) {
			r := e.newRepo(1)
			for n, contents := range [][]string{{"a", "b"}, {"b", "c"}, {"d"}} {
				rec := record(fmt.Sprintf("com.example.a/%d", n), fmt.Sprint("value ", n))
				for _, c := range contents {
					rec.Blobs = append(rec.Blobs, blobCID(c))
				}
				r.apply([]storage.Record{rec})
			}
			e.update(func(tx storage.Tx) error { return tx.SetBlobRefs(r.did(), "urn:x", sorted("other")) })
			e.view(func(tx storage.Tx) error {
				for since, want := range map[syntax.TID][]cid.Cid{
					"":      sorted("a", "b", "c", "d"),
					revN(1): sorted("b", "c", "d"),
					revN(2): sorted("d"),
					revN(3): nil,
				} {
					for _, limit := range []int{1, 2, 10} {
						var got []cid.Cid
						after := ""
						for {
							page, err := tx.ListBlobRefs(r.did(), since, after, limit)
							if err != nil {
								return err
							}
							if len(page) > limit {
								e.Fatalf("%d CIDs with limit %d", len(page), limit)
							}
							if len(page) == 0 {
								break
							}
							got = append(got, page...)
							after = page[len(page)-1].String()
						}
						sameList(e, fmt.Sprintf("the list since %q by %d", since, limit), got, want)
					}
				}
				return nil
			})
		},
	},
	{
		name: "blobs/missing",
		rule: "ListMissingBlobs returns one reference for each CID that is not stored, records' by their AT URI, in order of the CID's text.",
		run: func(e *env) {
			r := e.newRepo(1)
			rec := record("com.example.a/1", "value")
			rec.Blobs = sorted("a", "b", "c")
			again := record("com.example.a/2", "again")
			again.Blobs = sorted("c")
			r.apply([]storage.Record{rec, again})
			e.update(func(tx storage.Tx) error { return tx.SetBlobRefs(r.did(), "urn:x", sorted("c", "d", "e")) })
			e.putBlob(e.blob(r.did(), "b"))
			e.putBlob(e.blob(r.did(), "e"))
			want := sorted("a", "c", "d")
			record := "at://" + string(r.did()) + "/com.example.a/"
			for _, limit := range []int{1, 2, 10} {
				var got []cid.Cid
				e.view(func(tx storage.Tx) error {
					after := ""
					for {
						page, err := tx.ListMissingBlobs(r.did(), after, limit)
						if err != nil {
							return err
						}
						if len(page) == 0 {
							return nil
						}
						for _, ref := range page {
							got = append(got, ref.CID)
							ok := map[cid.Cid][]string{
								blobCID("a"): {record + "1"},
								blobCID("c"): {record + "1", record + "2", "urn:x"},
								blobCID("d"): {"urn:x"},
							}[ref.CID]
							if !slices.Contains(ok, ref.URI) {
								e.Errorf("%s is said to be referred to by %q", ref.CID, ref.URI)
							}
						}
						after = page[len(page)-1].CID.String()
					}
				})
				sameList(e, fmt.Sprintf("the list by %d", limit), got, want)
			}
		},
	},
	{
		name: "blobs/temporary",
		rule: "ListTemporaryBlobs returns temporary blobs of all accounts created before a time, oldest first.",
		run: func(e *env) {
			a, b := e.account(1), e.account(2)
			e.put(&a)
			e.put(&b)
			var contents []string
			for n, owner := range []syntax.DID{a.DID, b.DID, a.DID, b.DID} {
				blob := e.blob(owner, fmt.Sprint("blob", n))
				blob.Temporary = n != 2
				e.putBlob(blob)
				e.clock.Pass(time.Minute)
			}
			find := func(before time.Time, limit int) []string {
				e.Helper()
				contents = nil
				e.view(func(tx storage.Tx) error {
					list, err := tx.ListTemporaryBlobs(before, limit)
					for _, b := range list {
						contents = append(contents, b.Key)
					}
					return err
				})
				return contents
			}
			now := e.clock.Now()
			sameList(e, "all", find(now, 10), []string{"key/blob0", "key/blob1", "key/blob3"})
			sameList(e, "two", find(now, 2), []string{"key/blob0", "key/blob1"})
			sameList(e, "those before the second", find(now.Add(-3*time.Minute), 10), []string{"key/blob0"})
			sameList(e, "those before the first", find(now.Add(-4*time.Minute), 10), nil)
		},
	},
}
