package dpop_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
	"time"

	"github.com/pdskit/pdskit/oauth/internal/dpop"
)

// BenchmarkCheck is a whole check at a resource server. Compare with
// BenchmarkSignatureAlone, which nothing can go below.
func BenchmarkCheck(b *testing.B) {
	bench := newBench(b)
	r := httptest.NewRequest("POST", "/", http.NoBody)
	r.Header.Set("DPoP", bench.proof().Sign(b, bench.signer))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := bench.checker.Check(r, htu, dpop.TokenHash(token)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSignatureAlone(b *testing.B) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	digest := sha256.Sum256([]byte("text"))
	signature, err := ecdsa.SignASN1(rand.Reader, key, digest[:])
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if !ecdsa.VerifyASN1(&key.PublicKey, digest[:], signature) {
			b.Fatal("does not verify")
		}
	}
}

func BenchmarkReplayCache(b *testing.B) {
	cache := dpop.NewReplayCache(1 << 16)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		// One proof every 10 ms: 30,000 at a time.
		if err := cache.Once("key", strconv.Itoa(i), now.Add(10e6*time.Duration(i))); err != nil {
			b.Fatal(err)
		}
		i++
	}
}

func BenchmarkNonce(b *testing.B) {
	n, err := dpop.NewNonces([32]byte{1}, 0)
	if err != nil {
		b.Fatal(err)
	}
	now := time.Unix(1_800_000_000, 0)
	b.Run("next", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = n.Next(now)
		}
	})
	nonce := n.Next(now)
	b.Run("check", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if !n.Check(nonce, now) {
				b.Fatal("refused")
			}
		}
	})
}
