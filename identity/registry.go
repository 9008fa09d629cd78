package identity

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	atid "github.com/bluesky-social/indigo/atproto/identity"
	"github.com/bluesky-social/indigo/atproto/syntax"
)

// updateAttempts is how often Update and Tombstone start over when somebody
// else's operation came in between.
const updateAttempts = 3

var (
	// ErrTombstoned says that an identity has ended and cannot be changed.
	ErrTombstoned = errors.New("identity: DID is tombstoned")
	// ErrNotRotationKey says that the server's key may not sign for a DID.
	ErrNotRotationKey = errors.New("identity: server key is no rotation key of the DID")
)

// NewIdentity describes a did:plc identity to create.
type NewIdentity struct {
	// Handle becomes the first alsoKnownAs entry; empty means no handle.
	Handle syntax.Handle
	// SigningKey signs the repo. Required.
	SigningKey atcrypto.PublicKey
	// PDS is the server's URL, the endpoint of ServicePDS. Required.
	PDS string
	// RecoveryKey is the user's own rotation key as did:key; empty means none.
	RecoveryKey string
	// Services are further services; ServicePDS is set from PDS.
	Services map[string]Service
}

// Registry creates and changes did:plc identities on behalf of a server. Its
// methods are safe for concurrent use.
type Registry interface {
	// New signs a genesis operation for an identity and returns its DID.
	// Nothing is submitted, so the DID can be recorded first.
	New(ctx context.Context, id NewIdentity) (syntax.DID, *Operation, error)

	// Submit sends a signed operation. An operation that the log holds
	// already, not nullified, is no error, so a crashed caller may repeat it.
	Submit(ctx context.Context, did syntax.DID, op *Operation) error

	// Update reads the last operation, lets change modify a copy of it, signs
	// the result with the server's key and submits it; services and keys that
	// change leaves alone are carried over. If change makes no difference
	// nothing is submitted. Change may run more than once, when others write at
	// the same time; an error of it ends the update. Errors may match
	// ErrTombstoned, ErrNotRotationKey, indigo's ErrDIDNotFound, or be a
	// *PLCError.
	Update(ctx context.Context, did syntax.DID, change func(*Operation) error) error

	// Sign is Update without the submission, for identities that somebody else
	// is to change: it returns the signed operation, even one that makes no
	// difference. Its errors are those of Update; what change has made of the
	// operation may also match ErrInvalidOperation or ErrOperationTooLarge.
	Sign(ctx context.Context, did syntax.DID, change func(*Operation) error) (*Operation, error)

	// Tombstone ends an identity. One that has ended is no error.
	Tombstone(ctx context.Context, did syntax.DID) error

	// RotationKeys returns the did:keys for a new identity, the most powerful
	// first: the user's recovery key if not empty, the operator's, the server's.
	RotationKeys(recovery string) []string

	// Exists reports whether a DID is registered and not tombstoned.
	Exists(ctx context.Context, did syntax.DID) (bool, error)
}

// PLCRegistry is a Registry over a PLC directory.
type PLCRegistry struct {
	// Fixed at creation.
	client   *PLCClient
	key      atcrypto.PrivateKey
	didKey   string
	recovery string
	err      error // what was wrong with the keys; every signing method returns it
}

var _ Registry = (*PLCRegistry)(nil)

// NewPLCRegistry returns a registry that signs with the rotation key and, if
// recoveryDIDKey is not empty, lists that key above it in new identities. Keys
// that cannot be used are reported by the methods that would need them.
func NewPLCRegistry(client *PLCClient, rotation atcrypto.PrivateKey, recoveryDIDKey string) *PLCRegistry {
	r := &PLCRegistry{client: client, key: rotation, recovery: recoveryDIDKey}
	pub, err := rotation.PublicKey()
	if err != nil {
		r.err = fmt.Errorf("identity: rotation key: %w", err)
		return r
	}
	r.didKey = pub.DIDKey()
	if recoveryDIDKey != "" {
		if _, err := atcrypto.ParsePublicDIDKey(recoveryDIDKey); err != nil {
			r.err = fmt.Errorf("identity: recovery key: %w", err)
		}
	}
	return r
}

// RotationKeys implements Registry. A key that occurs twice is listed once.
func (r *PLCRegistry) RotationKeys(recovery string) []string {
	keys := make([]string, 0, 3)
	for _, k := range []string{recovery, r.recovery, r.didKey} {
		if k != "" && !slices.Contains(keys, k) {
			keys = append(keys, k)
		}
	}
	return keys
}

// New implements Registry. Errors match ErrInvalidOperation or
// ErrOperationTooLarge if the identity cannot be registered as it is.
func (r *PLCRegistry) New(_ context.Context, id NewIdentity) (syntax.DID, *Operation, error) {
	if r.err != nil {
		return "", nil, r.err
	}
	if id.SigningKey == nil {
		return "", nil, fmt.Errorf("%w: no signing key", ErrInvalidOperation)
	}
	if id.PDS == "" {
		return "", nil, fmt.Errorf("%w: no PDS endpoint", ErrInvalidOperation)
	}
	op := &Operation{
		Type:                TypeOperation,
		RotationKeys:        r.RotationKeys(id.RecoveryKey),
		VerificationMethods: map[string]string{KeyAtproto: id.SigningKey.DIDKey()},
		AlsoKnownAs:         []string{},
		Services:            make(map[string]Service, len(id.Services)+1),
	}
	maps.Copy(op.Services, id.Services)
	op.Services[ServicePDS] = Service{Type: ServicePDSType, Endpoint: id.PDS}
	if id.Handle != "" {
		op.SetHandle(id.Handle)
	}
	if err := op.Sign(r.key); err != nil {
		return "", nil, err
	}
	if err := op.Validate(); err != nil {
		return "", nil, err
	}
	did, err := op.DID()
	return did, op, err
}

// Submit implements Registry.
func (r *PLCRegistry) Submit(ctx context.Context, did syntax.DID, op *Operation) error {
	err := r.client.Submit(ctx, did, op)
	if refused, ok := errors.AsType[*PLCError](err); !ok || refused.Status >= 500 {
		return err
	}
	// A directory refuses what it holds already: that is success.
	id, cidErr := op.CID()
	if cidErr != nil {
		return err
	}
	entries, logErr := r.client.AuditLog(ctx, did)
	if logErr != nil {
		return err
	}
	for i := range entries {
		if entries[i].CID == id.String() && !entries[i].Nullified {
			return nil
		}
	}
	return err
}

// Update implements Registry.
func (r *PLCRegistry) Update(ctx context.Context, did syntax.DID, change func(*Operation) error) error {
	return r.follow(ctx, did, func(last *Operation) (*Operation, error) {
		op, err := changed(did, last, change)
		if err != nil || op.SameContent(last) {
			return nil, err
		}
		return op, nil
	})
}

// Sign implements Registry.
func (r *PLCRegistry) Sign(ctx context.Context, did syntax.DID, change func(*Operation) error) (*Operation, error) {
	if r.err != nil {
		return nil, r.err
	}
	last, err := r.client.LastOperation(ctx, did)
	if err != nil {
		return nil, err
	}
	op, err := changed(did, last, change)
	if err != nil {
		return nil, err
	}
	id, err := last.CID()
	if err != nil {
		return nil, err
	}
	if err := r.signAfter(did, last, id.String(), op); err != nil {
		return nil, err
	}
	return op, nil
}

// changed returns a copy of the last operation with a change.
func changed(did syntax.DID, last *Operation, change func(*Operation) error) (*Operation, error) {
	if last.Type == TypeTombstone {
		return nil, fmt.Errorf("%w: %s", ErrTombstoned, did)
	}
	op := last.Normalize()
	if err := change(op); err != nil {
		return nil, err
	}
	if op.Type != TypeOperation {
		return nil, fmt.Errorf("%w: an update is a %s", ErrInvalidOperation, TypeOperation)
	}
	return op, nil
}

// signAfter signs op as the one that follows last, whose CID is prev.
func (r *PLCRegistry) signAfter(did syntax.DID, last *Operation, prev string, op *Operation) error {
	if !slices.Contains(last.Normalize().RotationKeys, r.didKey) {
		return fmt.Errorf("%w: %s", ErrNotRotationKey, did)
	}
	op.Prev, op.Sig, op.Legacy = &prev, "", nil
	if err := op.Sign(r.key); err != nil {
		return err
	}
	return op.Validate()
}

// Tombstone implements Registry.
func (r *PLCRegistry) Tombstone(ctx context.Context, did syntax.DID) error {
	return r.follow(ctx, did, func(last *Operation) (*Operation, error) {
		if last.Type == TypeTombstone {
			return nil, nil
		}
		return &Operation{Type: TypeTombstone}, nil
	})
}

// follow makes an operation from the last one, signs and submits it. If the
// directory refuses because the log has moved on, it starts over.
func (r *PLCRegistry) follow(ctx context.Context, did syntax.DID, build func(last *Operation) (*Operation, error)) error {
	if r.err != nil {
		return r.err
	}
	var refused error
	for tried, prev := 0, ""; ; tried++ {
		last, err := r.client.LastOperation(ctx, did)
		if err != nil {
			return err
		}
		id, err := last.CID()
		if err != nil {
			return err
		}
		if refused != nil && (id.String() == prev || tried >= updateAttempts) {
			return refused
		}
		prev = id.String()
		op, err := build(last)
		if err != nil || op == nil {
			return err
		}
		if err := r.signAfter(did, last, prev, op); err != nil {
			return err
		}
		if refused = r.Submit(ctx, did, op); refused == nil {
			return nil
		}
		if answer, ok := errors.AsType[*PLCError](refused); !ok || answer.Status >= 500 {
			return refused
		}
	}
}

// Exists implements Registry.
func (r *PLCRegistry) Exists(ctx context.Context, did syntax.DID) (bool, error) {
	last, err := r.client.LastOperation(ctx, did)
	switch {
	case errors.Is(err, atid.ErrDIDNotFound):
		return false, nil
	case err != nil:
		return false, err
	}
	return last.Type != TypeTombstone, nil
}
