package repo_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	indigo "github.com/bluesky-social/indigo/atproto/repo"
	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"
	"pgregory.net/rapid"

	"github.com/pdskit/pdskit/repo"
)

func testCommit() repo.Commit {
	return repo.Commit{DID: "did:plc:ewvi7nxzyoun6zhxrhs64oiz", Version: repo.CommitVersion, Rev: "3lhhvdkcby3e2", Data: leaf(1)}
}

func TestCommit(t *testing.T) {
	k256, err1 := atcrypto.GeneratePrivateKeyK256()
	p256, err2 := atcrypto.GeneratePrivateKeyP256()
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	prev := leaf(2)
	for name, key := range map[string]atcrypto.PrivateKey{"K256": k256, "P256": p256} {
		for _, prev := range []*cid.Cid{nil, &prev} {
			c := testCommit()
			c.Prev = prev
			c.Version = 0
			if err := c.Sign(key); err != nil {
				t.Fatal(err)
			}
			pub, err := key.PublicKey()
			if err != nil {
				t.Fatal(err)
			}
			b, err := c.Block()
			if err != nil || b.CID != repo.CIDOf(b.Data) {
				t.Fatal(err)
			}
			back, err := repo.ParseCommit(b.Data)
			if err != nil {
				t.Fatal(err)
			}
			if err := back.Verify(pub); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			again, err := back.Block()
			if err != nil || !bytes.Equal(again.Data, b.Data) {
				t.Errorf("%s: %x, want %x (%v)", name, again.Data, b.Data, err)
			}

			// indigo reads and verifies it, and signs the same bytes.
			var theirs indigo.Commit
			if err := theirs.UnmarshalCBOR(bytes.NewReader(b.Data)); err != nil {
				t.Fatal(err)
			}
			if err := theirs.VerifySignature(pub); err != nil {
				t.Errorf("%s: indigo: %v", name, err)
			}
			if unsigned, err := theirs.UnsignedBytes(); err != nil || !bytes.Equal(unsigned, c.UnsignedBytes()) {
				t.Errorf("%s: indigo signs %x, we %x (%v)", name, unsigned, c.UnsignedBytes(), err)
			}

			// Whatever changes, the signature no longer fits.
			for what, change := range map[string]func(*repo.Commit){
				"did":  func(c *repo.Commit) { c.DID = "did:plc:ewvi7nxzyoun6zhxrhs64oia" },
				"rev":  func(c *repo.Commit) { c.Rev = "3lhhvdkcby3e3" },
				"data": func(c *repo.Commit) { c.Data = leaf(3) },
				"prev": func(c *repo.Commit) { other := leaf(4); c.Prev = &other },
				"sig":  func(c *repo.Commit) { c.Sig = append(bytes.Clone(c.Sig[:63]), c.Sig[63]^1) },
				"none": func(c *repo.Commit) { c.Sig = nil },
			} {
				bad := *back
				change(&bad)
				if err := bad.Verify(pub); !errors.Is(err, repo.ErrInvalidSignature) {
					t.Errorf("%s: %s: %v", name, what, err)
				}
			}
		}
	}
}

func TestCommitFields(t *testing.T) {
	key, err := atcrypto.GeneratePrivateKeyK256()
	if err != nil {
		t.Fatal(err)
	}
	v0 := mustCID(t, "QmbWqxBEKC3P8tqsKc98xmWNzrzDtRLMiMPL8wBuTGsMnR")
	for what, change := range map[string]func(*repo.Commit){
		"version":     func(c *repo.Commit) { c.Version = 2 },
		"did":         func(c *repo.Commit) { c.DID = "did:plc" },
		"rev":         func(c *repo.Commit) { c.Rev = "3lhhvdkcby3e" },
		"no rev":      func(c *repo.Commit) { c.Rev = "" },
		"no data":     func(c *repo.Commit) { c.Data = cid.Undef },
		"data a blob": func(c *repo.Commit) { c.Data = rawLeaf(1) },
		"prev":        func(c *repo.Commit) { c.Prev = &v0 },
	} {
		c := testCommit()
		change(&c)
		if err := c.Sign(key); !errors.Is(err, repo.ErrInvalidCommit) {
			t.Errorf("sign, %s: %v", what, err)
		}
		c.Sig = []byte{1}
		if _, err := c.Block(); !errors.Is(err, repo.ErrInvalidCommit) {
			t.Errorf("block, %s: %v", what, err)
		}
	}
	unsigned := testCommit()
	if _, err := unsigned.Block(); !errors.Is(err, repo.ErrInvalidSignature) {
		t.Error(err)
	}
}

func TestParseCommitErrors(t *testing.T) {
	c := testCommit()
	c.Sig = []byte{1, 2, 3}
	b, err := c.Block()
	if err != nil {
		t.Fatal(err)
	}
	for i := range b.Data {
		if _, err := repo.ParseCommit(b.Data[:i]); !errors.Is(err, repo.ErrInvalidCommit) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
	replace := func(old, with string) []byte { return bytes.Replace(b.Data, []byte(old), []byte(with), 1) }
	for what, data := range map[string][]byte{
		"unsigned":        c.UnsignedBytes(),
		"bytes behind":    append(bytes.Clone(b.Data), 0),
		"version 2":       replace("version\x03", "version\x02"),
		"version -1":      replace("version\x03", "version\x20"),
		"other field":     replace("data", "dada"),
		"field missing":   replace("\xa6", "\xa5"),
		"empty sig":       replace("sig\x43\x01\x02\x03", "sig\x40"),
		"sig is text":     replace("sig\x43\x01\x02\x03", "sig\x63abc"),
		"bad did":         replace("did:plc", "dod:plc"),
		"data null":       bytes.Replace(b.Data, append([]byte("data\xd8\x2a\x58\x25\x00"), c.Data.Bytes()...), []byte("data\xf6"), 1),
		"too large":       []byte(strings.Repeat("\xa6", repo.MaxCommitBytes+1)),
		"rev not minimal": replace("crev\x6d", "crev\x78\x0d"),
	} {
		if _, err := repo.ParseCommit(data); !errors.Is(err, repo.ErrInvalidCommit) {
			t.Errorf("%s: %v", what, err)
		}
	}
	// The size at the limit is that of a signature which fills it.
	c.Sig = make([]byte, repo.MaxCommitBytes-len(b.Data)+3-2)
	at, err := c.Block()
	if err != nil || len(at.Data) != repo.MaxCommitBytes {
		t.Fatalf("%d bytes, %v", len(at.Data), err)
	}
	if _, err := repo.ParseCommit(at.Data); err != nil {
		t.Error(err)
	}
	c.Sig = append(c.Sig, 0)
	if _, err := c.Block(); !errors.Is(err, repo.ErrInvalidCommit) {
		t.Error(err)
	}
}

func TestNextRev(t *testing.T) {
	at := time.UnixMicro(1_738_806_202_000_000)
	first := repo.NextRev("", at, 5)
	if first.Time() != at.UTC() || first.ClockID() != 5 {
		t.Errorf("%s is %v, clock %d", first, first.Time(), first.ClockID())
	}
	if got := repo.NextRev(first, at.Add(time.Second), 5); got.Time() != at.Add(time.Second).UTC() {
		t.Errorf("a clock that is ahead counts: %v", got.Time())
	}
	for _, step := range []time.Duration{0, -time.Microsecond, -time.Hour, -100 * 365 * 24 * time.Hour} {
		for _, clock := range []uint{0, 5, 6, 1023} {
			got := repo.NextRev(first, at.Add(step), clock)
			if got <= first || got.Time().Sub(at) > time.Microsecond || got.ClockID() != clock {
				t.Errorf("%v, clock %d: %s after %s", step, clock, got, first)
			}
		}
	}
	if got := repo.NextRev("", at, 1024+7).ClockID(); got != 7 {
		t.Errorf("clock %d", got)
	}
	top := syntax.NewTIDFromInteger(1<<63 - 1)
	below := syntax.NewTIDFromInteger(1<<63 - 2)
	if got := repo.NextRev(below, at, 0); got != top {
		t.Errorf("%s after %s", got, below)
	}
	if got := repo.NextRev(top, at, 0); got != top {
		t.Errorf("%s after %s", got, top)
	}
	rapid.Check(t, func(rt *rapid.T) {
		rev := syntax.TID("")
		for range 20 {
			now := time.UnixMicro(rapid.Int64().Draw(rt, "now") >> 8)
			next := repo.NextRev(rev, now, rapid.UintMax(5000).Draw(rt, "clock"))
			if _, err := syntax.ParseTID(string(next)); err != nil {
				t.Fatal(err)
			}
			if next <= rev && rev != top {
				t.Fatalf("%s after %s", next, rev)
			}
			rev = next
		}
	})
}
