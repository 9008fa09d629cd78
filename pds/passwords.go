package pds

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"unicode/utf16"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/scrypt"

	"github.com/pdskit/pdskit/xrpc"
)

// Limits of passwords, in UTF-16 units, which is how the reference server
// counts.
const (
	maxNewPassword = 256 // of a password that is set
	maxPassword    = 512 // of a password that is tried
)

// What new password hashes cost; see also Limits.PasswordKiB.
const (
	argonTime    = 2
	argonThreads = 1
	argonSalt    = 16 // bytes
	argonKey     = 32 // bytes
)

// What stored hashes may cost at most, so that a bad row cannot exhaust the
// server.
const (
	maxArgonMemory  = 256 << 10 // KiB
	maxArgonTime    = 16
	maxArgonThreads = 16
	maxHashLength   = 512 // bytes, encoded
)

// Parameters of the reference server's hashes, "salt:key" in hexadecimal. The
// salt is the text, not the bytes that it stands for.
const (
	scryptN   = 16384
	scryptR   = 8
	scryptP   = 1
	scryptKey = 64
)

// errHasherBusy says that too many passwords are being hashed.
func errHasherBusy() *xrpc.Error {
	return xrpc.NewError(http.StatusServiceUnavailable, "NotEnoughResources", "Too many sign-ins at once, try again")
}

var errPasswordHash = errors.New("pds: a stored password hash is malformed")

// passwordLength counts a password as limits do.
func passwordLength(password string) int {
	n := 0
	for _, r := range password {
		n += max(utf16.RuneLen(r), 1)
	}
	return n
}

// passwordHasher hashes and verifies passwords, a few at a time. Its methods
// may be called concurrently; they return a 503 if too many callers wait.
type passwordHasher struct {
	memory  uint32        // KiB of a new hash; fixed at creation
	queue   int64         // fixed at creation
	slots   chan struct{} // one element for each hash that runs
	waiting atomic.Int64
}

// newPasswordHasher returns a hasher that keeps to the limits of passwords.
func newPasswordHasher(l Limits) *passwordHasher {
	return &passwordHasher{
		memory: uint32(l.PasswordKiB), queue: int64(l.PasswordQueue), slots: make(chan struct{}, l.PasswordHashes),
	}
}

// run calls fn when there is a free slot.
func (h *passwordHasher) run(ctx context.Context, fn func()) error {
	select {
	case h.slots <- struct{}{}:
	default:
		if h.waiting.Add(1) > h.queue {
			h.waiting.Add(-1)
			return errHasherBusy()
		}
		defer h.waiting.Add(-1)
		select {
		case h.slots <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	defer func() { <-h.slots }()
	fn()
	return nil
}

// hash returns the encoded hash of a password with a random salt.
func (h *passwordHasher) hash(ctx context.Context, password string) (string, error) {
	salt := make([]byte, argonSalt)
	if _, err := rand.Read(salt); err != nil {
		return "", err
	}
	return h.hashWithSalt(ctx, password, salt)
}

func (h *passwordHasher) hashWithSalt(ctx context.Context, password string, salt []byte) (string, error) {
	p := argonParams{memory: h.memory, time: argonTime, threads: argonThreads, salt: salt}
	var key []byte
	if err := h.run(ctx, func() { key = p.key(password, argonKey) }); err != nil {
		return "", err
	}
	return p.prefix() + base64.RawStdEncoding.EncodeToString(key), nil
}

// verify reports whether a password has the hash. stale says that the hash is
// of an older kind and that the password ought to be hashed anew. An empty
// hash matches nothing, and takes as long as any other.
func (h *passwordHasher) verify(ctx context.Context, encoded, password string) (ok, stale bool, err error) {
	i, err := h.verifyAny(ctx, []string{encoded}, password)
	if err != nil || i < 0 {
		return false, false, err
	}
	p, _, err := parseArgon(encoded)
	stale = err != nil || p.memory != h.memory || p.time != argonTime || p.threads != argonThreads
	return true, stale, nil
}

// verifyAny returns the index of the first hash that the password has, or -1.
// Hashes that share kind, parameters and salt are computed once; if there is
// none at all, one is computed for the time that it takes.
func (h *passwordHasher) verifyAny(ctx context.Context, encoded []string, password string) (int, error) {
	computed := make(map[string]string, 1) // encoded hashes of password, by prefix
	found := -1
	for i, e := range encoded {
		if e == "" {
			continue
		}
		prefix := e[:strings.LastIndexAny(e, "$:")+1]
		got, ok := computed[prefix]
		if !ok {
			var err error
			if got, err = h.compute(ctx, e, password); err != nil {
				return -1, err
			}
			computed[prefix] = got
		}
		if subtle.ConstantTimeCompare([]byte(got), []byte(e)) == 1 && found < 0 {
			found = i
		}
	}
	if len(computed) == 0 {
		_, err := h.hashWithSalt(ctx, password, make([]byte, argonSalt))
		return -1, err
	}
	return found, nil
}

// compute hashes a password as a stored hash was made.
func (h *passwordHasher) compute(ctx context.Context, encoded, password string) (string, error) {
	if strings.HasPrefix(encoded, "$") {
		p, keyLen, err := parseArgon(encoded)
		if err != nil {
			return "", err
		}
		var key []byte
		if err := h.run(ctx, func() { key = p.key(password, uint32(keyLen)) }); err != nil {
			return "", err
		}
		return p.prefix() + base64.RawStdEncoding.EncodeToString(key), nil
	}
	salt, key, ok := strings.Cut(encoded, ":")
	if !ok || salt == "" || len(key) != hex.EncodedLen(scryptKey) || len(encoded) > maxHashLength {
		return "", errPasswordHash
	}
	var sum []byte
	var err error
	if e := h.run(ctx, func() {
		sum, err = scrypt.Key([]byte(password), []byte(salt), scryptN, scryptR, scryptP, scryptKey)
	}); e != nil {
		return "", e
	}
	if err != nil {
		return "", err
	}
	return salt + ":" + hex.EncodeToString(sum), nil
}

// argonParams says how an argon2id hash is made.
type argonParams struct {
	memory, time uint32
	threads      uint8
	salt         []byte
}

func (p *argonParams) key(password string, n uint32) []byte {
	return argon2.IDKey([]byte(password), p.salt, p.time, p.memory, p.threads, n)
}

// prefix is an encoded hash in PHC string format up to the hash itself.
func (p *argonParams) prefix() string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$",
		argon2.Version, p.memory, p.time, p.threads, base64.RawStdEncoding.EncodeToString(p.salt))
}

// parseArgon reads an argon2id hash in PHC string format and returns its
// parameters and the length of the hash in bytes.
func parseArgon(encoded string) (p argonParams, keyLen int, err error) {
	bad := func() (argonParams, int, error) { return argonParams{}, 0, errPasswordHash }
	if len(encoded) > maxHashLength {
		return bad()
	}
	parts := strings.Split(encoded, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != "v="+strconv.Itoa(argon2.Version) {
		return bad()
	}
	costs := strings.Split(parts[3], ",")
	if len(costs) != 3 {
		return bad()
	}
	for i, c := range []struct {
		name string
		most uint64
		set  func(uint64)
	}{
		{"m=", maxArgonMemory, func(v uint64) { p.memory = uint32(v) }},
		{"t=", maxArgonTime, func(v uint64) { p.time = uint32(v) }},
		{"p=", maxArgonThreads, func(v uint64) { p.threads = uint8(v) }},
	} {
		text, ok := strings.CutPrefix(costs[i], c.name)
		v, err := strconv.ParseUint(text, 10, 32)
		if !ok || err != nil || v == 0 || v > c.most {
			return bad()
		}
		c.set(v)
	}
	enc := base64.RawStdEncoding.Strict()
	if p.salt, err = enc.DecodeString(parts[4]); err != nil || len(p.salt) == 0 {
		return bad()
	}
	key, err := enc.DecodeString(parts[5])
	if err != nil || len(key) < 16 || parts[3] != fmt.Sprintf("m=%d,t=%d,p=%d", p.memory, p.time, p.threads) {
		return bad()
	}
	return p, len(key), nil
}
