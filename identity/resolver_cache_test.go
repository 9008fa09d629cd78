package identity_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	atid "github.com/bluesky-social/indigo/atproto/identity"
	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/pdskit/pdskit/identity"
)

func TestCacheAges(t *testing.T) {
	w := newWorld()
	w.pages[webURL] = text(docFor(webDID, "bob.example.com"))
	w.txt["_atproto.bob.example.com"] = []string{"did=" + webDID}
	r, clk := newResolver(t, w, nil)
	look := func(wantFetches int, wantErr error) {
		t.Helper()
		_, err := r.LookupDID(t.Context(), webDID)
		r.Wait()
		if !errors.Is(err, wantErr) {
			t.Errorf("err = %v, want %v", err, wantErr)
		}
		if n := w.count(webURL); n != wantFetches {
			t.Errorf("%d fetches, want %d", n, wantFetches)
		}
	}
	look(1, nil)
	clk.Add(identity.DefaultStaleTTL - 1)
	look(1, nil) // fresh
	clk.Add(1)
	look(2, nil) // stale: returned and renewed
	look(2, nil)
	w.set(func() { w.fail[webURL] = errors.New("down") })
	clk.Add(identity.DefaultStaleTTL)
	look(3, nil) // a failed renewal keeps the old result
	look(3, nil) // and is not repeated at once
	clk.Add(identity.DefaultErrorTTL)
	look(4, nil)
	clk.Add(identity.DefaultMaxTTL)
	look(5, atid.ErrDIDResolutionFailed)
	look(5, atid.ErrDIDResolutionFailed) // negative cache
	clk.Add(identity.DefaultErrorTTL)
	w.set(func() { delete(w.fail, webURL) })
	look(6, nil)
	w.set(func() { w.pages[webURL] = status(404) })
	clk.Add(identity.DefaultStaleTTL)
	look(7, nil)                 // still the old one, but the renewal saw the end
	look(7, atid.ErrDIDNotFound) // which counts
}

func TestPurgeAndRefresh(t *testing.T) {
	w := newWorld()
	w.pages[webURL] = text(docFor(webDID, "old.test"))
	w.txt["_atproto.old.test"] = []string{"did=" + webDID}
	w.txt["_atproto.new.test"] = []string{"did=" + webDID}
	r, clk := newResolver(t, w, nil)
	want := func(handle syntax.Handle) {
		t.Helper()
		if ident, err := r.LookupDID(t.Context(), webDID); err != nil || ident.Handle != handle {
			t.Fatalf("%+v, %v; want %s", ident, err, handle)
		}
	}
	want("old.test")
	w.set(func() { w.pages[webURL] = text(docFor(webDID, "new.test")) })
	want("old.test")
	if ident, err := r.Refresh(t.Context(), webDID); err != nil || ident.Handle != "new.test" {
		t.Fatalf("%+v, %v", ident, err)
	}
	want("new.test")
	w.set(func() { w.txt["_atproto.new.test"] = []string{"did=" + aliceDID} })
	want("new.test")
	if err := r.Purge(t.Context(), webDID); err != nil { // its handle too
		t.Fatal(err)
	}
	want("handle.invalid")
	w.set(func() { w.txt["_atproto.new.test"] = []string{"did=" + webDID} })
	if err := r.Purge(t.Context(), "New.test"); err != nil {
		t.Fatal(err)
	}
	want("new.test")
	if err := r.Purge(t.Context(), "neither"); err == nil {
		t.Error("Purge of neither")
	}

	// A new handle is believed before the document's hour is over.
	w.set(func() {
		w.pages[webURL] = text(docFor(webDID, "third.test"))
		w.txt["_atproto.third.test"] = []string{"did=" + webDID}
	})
	if _, err := r.LookupHandle(t.Context(), "third.test"); !errors.Is(err, atid.ErrHandleMismatch) {
		t.Errorf("at once: %v", err)
	}
	clk.Add(identity.DefaultErrorTTL)
	if ident, err := r.LookupHandle(t.Context(), "third.test"); err != nil || ident.Handle != "third.test" {
		t.Errorf("after a minute: %+v, %v", ident, err)
	}
}

func TestCacheIsBounded(t *testing.T) {
	w := newWorld()
	var dids []syntax.DID
	for i := range 20 {
		did := syntax.DID(fmt.Sprintf("did:web:h%d.test", i))
		size := 0
		if i >= 10 {
			size = 40_000 // ten of these are more than ten entries' share of memory
		}
		w.pages[fmt.Sprintf("https://h%d.test/.well-known/did.json", i)] = text(`{"id":"` + did.String() + `"}` + strings.Repeat(" ", size))
		dids = append(dids, did)
	}
	r, _ := newResolver(t, w, func(cfg *identity.ResolverConfig) { cfg.CacheSize = 10 })
	visit := func(list []syntax.DID) (fetches int) {
		t.Helper()
		before := 0
		for u := range w.pages {
			before += w.count(u)
		}
		for _, did := range list {
			if _, err := r.LookupDID(t.Context(), did); err != nil {
				t.Fatal(err)
			}
		}
		for u := range w.pages {
			fetches += w.count(u)
		}
		return fetches - before
	}
	visit(dids[:10])
	if n := visit(dids[:10]); n != 0 {
		t.Errorf("10 entries do not fit: %d fetches", n)
	}
	visit(dids[10:11]) // 80 kB: everything else has to go
	if n := visit(dids[10:11]); n != 0 {
		t.Error("one large entry does not fit")
	}
	if n := visit(dids[:10]); n != 10 {
		t.Errorf("%d of 10 entries had been dropped", n)
	}
	visit(dids[:1]) // now the newest
	visit([]syntax.DID{dids[0], "did:web:h1.test"})
}

func TestCacheEvictsTheOldest(t *testing.T) {
	w := newWorld()
	for _, h := range []string{"a", "b", "c"} {
		w.pages["https://"+h+".test/.well-known/did.json"] = text(`{"id":"did:web:` + h + `.test"}`)
	}
	r, _ := newResolver(t, w, func(cfg *identity.ResolverConfig) { cfg.CacheSize = 2 })
	for _, h := range []string{"a", "b", "a", "c", "a", "b"} {
		if _, err := r.LookupDID(t.Context(), syntax.DID("did:web:"+h+".test")); err != nil {
			t.Fatal(err)
		}
	}
	for h, want := range map[string]int{"a": 1, "b": 2, "c": 1} {
		if n := w.count("https://" + h + ".test/.well-known/did.json"); n != want {
			t.Errorf("%s: %d fetches, want %d", h, n, want)
		}
	}
}

// Equal lookups share a fetch; one that gives up does not spoil it; a refresh
// does not wait for it and is not overwritten by it.
func TestSharedFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		gate := make(chan struct{})
		var first atomic.Bool
		w.pages[webURL] = func(rw http.ResponseWriter, _ *http.Request) {
			if first.CompareAndSwap(false, true) {
				<-gate
				text(docFor(webDID, "old.test"))(rw, nil)
				return
			}
			text(docFor(webDID, "new.test"))(rw, nil)
		}
		r, err := identity.NewResolver(identity.ResolverConfig{Transport: w, DNS: w, Timeout: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := r.LookupDID(ctx, webDID); !errors.Is(err, context.Canceled) {
				t.Errorf("the one that gave up: %v", err)
			}
		})
		synctest.Wait()
		for range 10 {
			wg.Go(func() {
				ident, err := r.LookupDID(t.Context(), webDID)
				if err != nil || ident.AlsoKnownAs[0] != "at://old.test" {
					t.Errorf("one that waited: %+v, %v", ident, err)
				}
			})
		}
		synctest.Wait()
		cancel()
		synctest.Wait()
		if n := w.count(webURL); n != 1 {
			t.Errorf("%d fetches", n)
		}
		if ident, err := r.Refresh(t.Context(), webDID); err != nil || ident.AlsoKnownAs[0] != "at://new.test" {
			t.Errorf("refresh: %+v, %v", ident, err)
		}
		close(gate)
		wg.Wait()
		synctest.Wait()
		if ident, err := r.LookupDID(t.Context(), webDID); err != nil || ident.AlsoKnownAs[0] != "at://new.test" {
			t.Errorf("afterwards: %+v, %v", ident, err)
		}
	})
}

func TestResolverConcurrent(t *testing.T) {
	w := newWorld()
	for i := range 8 {
		did := fmt.Sprintf("did:web:h%d.test", i)
		w.pages[fmt.Sprintf("https://h%d.test/.well-known/did.json", i)] = text(docFor(did, fmt.Sprintf("h%d.test", i)))
		w.txt[fmt.Sprintf("_atproto.h%d.test", i)] = []string{"did=" + did}
	}
	r, clk := newResolver(t, w, func(cfg *identity.ResolverConfig) { cfg.CacheSize = 5 })
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 100 {
				host := fmt.Sprintf("h%d.test", (g+i)%8)
				did := syntax.DID("did:web:" + host)
				var ident *atid.Identity
				var err error
				switch i % 5 {
				case 0:
					ident, err = r.Refresh(t.Context(), did)
				case 1:
					ident, err = r.LookupHandle(t.Context(), syntax.Handle(host))
				case 2:
					_ = r.Purge(t.Context(), did.AtIdentifier())
					clk.Add(10 * time.Minute)
					continue
				default:
					ident, err = r.LookupDID(t.Context(), did)
				}
				if err != nil || ident.DID != did || ident.Handle.String() != host {
					t.Errorf("%s: %+v, %v", host, ident, err)
				}
			}
		})
	}
	wg.Wait()
	r.Wait()
}

func BenchmarkLookupCached(b *testing.B) {
	w := newWorld()
	w.pages[webURL] = text(docFor(webDID, "bob.example.com"))
	w.txt["_atproto.bob.example.com"] = []string{"did=" + webDID}
	r, err := identity.NewResolver(identity.ResolverConfig{Transport: w, DNS: w})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.LookupDID(b.Context(), webDID); err != nil {
			b.Fatal(err)
		}
	}
}
