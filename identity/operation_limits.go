package identity

import (
	"errors"
	"fmt"
	"strings"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
)

// What a PLC directory takes in one operation. Lengths are in bytes.
const (
	// MaxOperationBytes is the longest signed operation in DAG-CBOR.
	MaxOperationBytes = 4000
	// MaxAlsoKnownAs is the most alsoKnownAs entries.
	MaxAlsoKnownAs = 10
	// MaxAlsoKnownAsBytes is the longest entry: "at://" and a handle.
	MaxAlsoKnownAsBytes = 258
	// MaxRotationKeys is the most rotation keys.
	MaxRotationKeys = 10
	// MaxServices is the most services.
	MaxServices = 10
	// MaxVerificationMethods is the most verification methods.
	MaxVerificationMethods = 10
	// MaxNameBytes is the longest name of a service or verification method.
	MaxNameBytes = 32
	// MaxKeyBytes is the longest did:key of a verification method.
	MaxKeyBytes = 256
	// MaxServiceTypeBytes is the longest type of a service.
	MaxServiceTypeBytes = 256
	// MaxServiceEndpointBytes is the longest endpoint of a service.
	MaxServiceEndpointBytes = 512
)

// ErrOperationTooLarge says that an operation exceeds what a directory takes.
var ErrOperationTooLarge = errors.New("identity: PLC operation too large")

// Validate checks what a PLC directory demands of a new operation besides its
// form: sizes, counts, keys that parse, no alsoKnownAs entry twice, no legacy
// create. It checks neither the signature nor the place in a log. Errors match
// ErrOperationTooLarge or ErrInvalidOperation.
func (o *Operation) Validate() error {
	data, err := o.encode(o.Sig != "")
	if err != nil {
		return err
	}
	if len(data) > MaxOperationBytes {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrOperationTooLarge, len(data), MaxOperationBytes)
	}
	switch o.Type {
	case TypeTombstone:
		return nil
	case TypeLegacyCreate:
		return fmt.Errorf("%w: legacy create operations are no longer taken", ErrInvalidOperation)
	}
	for _, c := range []struct {
		what   string
		n, max int
	}{
		{"alsoKnownAs entries", len(o.AlsoKnownAs), MaxAlsoKnownAs},
		{"rotation keys", len(o.RotationKeys), MaxRotationKeys},
		{"services", len(o.Services), MaxServices},
		{"verification methods", len(o.VerificationMethods), MaxVerificationMethods},
	} {
		if c.n > c.max {
			return fmt.Errorf("%w: %d %s, at most %d", ErrOperationTooLarge, c.n, c.what, c.max)
		}
	}
	seen := make(map[string]bool, len(o.AlsoKnownAs))
	for _, aka := range o.AlsoKnownAs {
		if len(aka) > MaxAlsoKnownAsBytes {
			return tooLong("alsoKnownAs entry", len(aka), MaxAlsoKnownAsBytes)
		}
		if seen[aka] {
			return fmt.Errorf("%w: duplicate alsoKnownAs entry %q", ErrInvalidOperation, aka)
		}
		seen[aka] = true
	}
	for _, key := range o.RotationKeys {
		if _, err := atcrypto.ParsePublicDIDKey(key); err != nil {
			return fmt.Errorf("%w: rotation key %q: %w", ErrInvalidOperation, key, err)
		}
	}
	for name, s := range o.Services {
		switch {
		case len(name) > MaxNameBytes:
			return tooLong("service name", len(name), MaxNameBytes)
		case len(s.Type) > MaxServiceTypeBytes:
			return tooLong("service type", len(s.Type), MaxServiceTypeBytes)
		case len(s.Endpoint) > MaxServiceEndpointBytes:
			return tooLong("service endpoint", len(s.Endpoint), MaxServiceEndpointBytes)
		}
	}
	for name, key := range o.VerificationMethods {
		if len(name) > MaxNameBytes {
			return tooLong("verification method name", len(name), MaxNameBytes)
		}
		if len(key) > MaxKeyBytes {
			return tooLong("verification method key", len(key), MaxKeyBytes)
		}
		if !isDIDKey(key) {
			return fmt.Errorf("%w: verification method %q is no did:key", ErrInvalidOperation, name)
		}
	}
	return nil
}

// isDIDKey reports whether key is a did:key in base58btc. Verification methods
// may be of any kind of key; only rotation keys must be of a curve of atproto.
func isDIDKey(key string) bool {
	encoded, ok := strings.CutPrefix(key, "did:key:z")
	return ok && encoded != "" && strings.Trim(encoded, base58) == ""
}

const base58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"

func tooLong(what string, n, limit int) error {
	return fmt.Errorf("%w: %s of %d bytes, at most %d", ErrOperationTooLarge, what, n, limit)
}
