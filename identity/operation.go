package identity

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// The types of PLC operations.
const (
	// TypeOperation creates or updates an identity.
	TypeOperation = "plc_operation"
	// TypeTombstone ends an identity.
	TypeTombstone = "plc_tombstone"
	// TypeLegacyCreate is the first form of a genesis operation. It occurs in
	// old logs; a directory takes no new ones.
	TypeLegacyCreate = "create"
)

// The names and type that atproto uses in PLC operations and DID documents.
const (
	// KeyAtproto names the verification method that signs an account's repo.
	KeyAtproto = "atproto"
	// ServicePDS names the service entry of an account's server.
	ServicePDS = "atproto_pds"
	// ServicePDSType is the type of the ServicePDS entry.
	ServicePDSType = "AtprotoPersonalDataServer"
)

var (
	// ErrInvalidOperation says that a PLC operation has the wrong form.
	ErrInvalidOperation = errors.New("identity: invalid PLC operation")
	// ErrUnsigned says that an operation needs a signature first.
	ErrUnsigned = errors.New("identity: PLC operation is not signed")
	// ErrNotGenesis says that a genesis operation (prev null, no tombstone) was
	// needed.
	ErrNotGenesis = errors.New("identity: not a genesis operation")
)

// Service is one service entry of a PLC operation.
type Service struct {
	Type     string `json:"type"`
	Endpoint string `json:"endpoint"`
}

// Operation is a PLC operation of any type. A tombstone has only Prev and Sig;
// a legacy create has Legacy, Sig and a nil Prev, and [Operation.Normalize]
// gives its modern form. Nil maps and slices count as empty. An Operation is
// plain data: it may be read concurrently, not written.
type Operation struct {
	// Type is TypeOperation, TypeTombstone or TypeLegacyCreate.
	Type string
	// RotationKeys are the did:keys that may sign the next operation, the most
	// powerful first.
	RotationKeys []string
	// VerificationMethods maps names to did:keys; atproto uses KeyAtproto.
	VerificationMethods map[string]string
	// AlsoKnownAs lists URIs; the first at:// URI is the handle.
	AlsoKnownAs []string
	// Services maps names to services; atproto uses ServicePDS.
	Services map[string]Service
	// Prev is the CID of the operation before this one, nil for a genesis.
	Prev *string
	// Sig is the signature in base64url without padding; empty if unsigned.
	Sig string
	// Legacy holds the fields of a legacy create; nil for other types.
	Legacy *LegacyCreate
}

// LegacyCreate is what a genesis operation of the first form holds.
type LegacyCreate struct {
	SigningKey  string
	RecoveryKey string
	Handle      string
	Service     string
}

// Normalize returns a deep copy in the modern form: a legacy create becomes the
// plc_operation that means the same, with the same prev and signature (which
// then does not match its bytes any more); others are just copied.
func (o *Operation) Normalize() *Operation {
	c := &Operation{
		Type:                o.Type,
		RotationKeys:        slices.Clone(o.RotationKeys),
		VerificationMethods: maps.Clone(o.VerificationMethods),
		AlsoKnownAs:         slices.Clone(o.AlsoKnownAs),
		Services:            maps.Clone(o.Services),
		Sig:                 o.Sig,
	}
	if o.Prev != nil {
		c.Prev = new(*o.Prev)
	}
	if o.Type == TypeLegacyCreate && o.Legacy != nil {
		l := o.Legacy
		c.Type = TypeOperation
		c.RotationKeys = []string{l.RecoveryKey, l.SigningKey}
		c.VerificationMethods = map[string]string{KeyAtproto: l.SigningKey}
		c.AlsoKnownAs = []string{withATPrefix(l.Handle)}
		c.Services = map[string]Service{ServicePDS: {Type: ServicePDSType, Endpoint: withHTTPPrefix(l.Service)}}
	}
	if c.Type == TypeOperation {
		if c.RotationKeys == nil {
			c.RotationKeys = []string{}
		}
		if c.AlsoKnownAs == nil {
			c.AlsoKnownAs = []string{}
		}
		if c.VerificationMethods == nil {
			c.VerificationMethods = map[string]string{}
		}
		if c.Services == nil {
			c.Services = map[string]Service{}
		}
	}
	return c
}

func withATPrefix(handle string) string {
	if strings.HasPrefix(handle, "at://") {
		return handle
	}
	handle = strings.TrimPrefix(strings.TrimPrefix(handle, "http://"), "https://")
	return "at://" + handle
}

func withHTTPPrefix(url string) string {
	if strings.HasPrefix(url, "http://") || strings.HasPrefix(url, "https://") {
		return url
	}
	return "https://" + url
}

// SameContent reports whether two operations mean the same, their prev and
// signatures apart. Order counts in lists.
func (o *Operation) SameContent(other *Operation) bool {
	a, b := o.Normalize(), other.Normalize()
	return a.Type == b.Type &&
		slices.Equal(a.RotationKeys, b.RotationKeys) &&
		maps.Equal(a.VerificationMethods, b.VerificationMethods) &&
		slices.Equal(a.AlsoKnownAs, b.AlsoKnownAs) &&
		maps.Equal(a.Services, b.Services)
}

// SetHandle puts the handle first in AlsoKnownAs, in place of the first at://
// entry; other entries stay.
func (o *Operation) SetHandle(handle syntax.Handle) {
	uri := "at://" + handle.Normalize().String()
	rest := make([]string, 0, len(o.AlsoKnownAs)+1)
	rest = append(rest, uri)
	replaced := false
	for _, aka := range o.AlsoKnownAs {
		if !replaced && strings.HasPrefix(aka, "at://") {
			replaced = true
			continue
		}
		if aka != uri {
			rest = append(rest, aka)
		}
	}
	o.AlsoKnownAs = rest
}

// MarshalJSON writes the wire form that a PLC directory takes.
func (o Operation) MarshalJSON() ([]byte, error) {
	var sig *string
	if o.Sig != "" {
		sig = &o.Sig
	}
	switch o.Type {
	case TypeOperation:
		n := o.Normalize()
		return json.Marshal(struct {
			Type                string             `json:"type"`
			RotationKeys        []string           `json:"rotationKeys"`
			VerificationMethods map[string]string  `json:"verificationMethods"`
			AlsoKnownAs         []string           `json:"alsoKnownAs"`
			Services            map[string]Service `json:"services"`
			Prev                *string            `json:"prev"`
			Sig                 *string            `json:"sig,omitempty"`
		}{n.Type, n.RotationKeys, n.VerificationMethods, n.AlsoKnownAs, n.Services, n.Prev, sig})
	case TypeTombstone:
		return json.Marshal(struct {
			Type string  `json:"type"`
			Prev *string `json:"prev"`
			Sig  *string `json:"sig,omitempty"`
		}{o.Type, o.Prev, sig})
	case TypeLegacyCreate:
		if o.Legacy == nil {
			return nil, fmt.Errorf("%w: legacy create without its fields", ErrInvalidOperation)
		}
		return json.Marshal(struct {
			Type        string  `json:"type"`
			SigningKey  string  `json:"signingKey"`
			RecoveryKey string  `json:"recoveryKey"`
			Handle      string  `json:"handle"`
			Service     string  `json:"service"`
			Prev        *string `json:"prev"`
			Sig         *string `json:"sig,omitempty"`
		}{o.Type, o.Legacy.SigningKey, o.Legacy.RecoveryKey, o.Legacy.Handle, o.Legacy.Service, o.Prev, sig})
	}
	return nil, fmt.Errorf("%w: type %q", ErrInvalidOperation, o.Type)
}

// UnmarshalJSON is ParseOperation.
func (o *Operation) UnmarshalJSON(data []byte) error {
	op, err := ParseOperation(data)
	if err != nil {
		return err
	}
	*o = *op
	return nil
}
