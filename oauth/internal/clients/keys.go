package clients

import (
	"context"

	"github.com/pdskit/pdskit/oauth/internal/jose"
)

// HasKey reports whether a client still publishes a key: one with that key id
// and thumbprint. Sessions whose key is gone end. The answer may be as old as
// the cache allows. An error says that the keys could not be had, which is no
// reason to end anything.
func (r *Resolver) HasKey(ctx context.Context, c *Client, keyID, jkt string) (bool, error) {
	keys, err := r.keysOf(ctx, c, (*lookup[*jose.KeySet]).get)
	if err != nil {
		return false, err
	}
	key := find(keys, keyID)
	return key != nil && key.Thumbprint() == jkt, nil
}

// findKey returns the key of a client with an id. If it is not there, the keys
// are fetched anew, unless that was done lately: clients change keys without
// telling anybody. The error is ErrUnknownKey as a refusal, or that of a fetch.
func (r *Resolver) findKey(ctx context.Context, c *Client, keyID string) (*jose.Key, error) {
	keys, err := r.keysOf(ctx, c, (*lookup[*jose.KeySet]).get)
	if err != nil {
		return nil, err
	}
	if key := find(keys, keyID); key != nil {
		return key, nil
	}
	if c.Metadata.JWKSURI == "" && c.Class == Discoverable {
		if c, err = r.documents.renew(ctx, c.ID); err != nil {
			return nil, err
		}
	}
	if keys, err = r.keysOf(ctx, c, (*lookup[*jose.KeySet]).renew); err != nil {
		return nil, err
	}
	if key := find(keys, keyID); key != nil {
		return key, nil
	}
	return nil, &Error{Code: CodeInvalidClient, Description: "the client publishes no key with this kid", Err: ErrUnknownKey}
}

// keysOf returns the keys of a client, those elsewhere by a method of the
// lookup. They are nil if it has none.
func (r *Resolver) keysOf(
	ctx context.Context, c *Client, by func(*lookup[*jose.KeySet], context.Context, string) (*jose.KeySet, error),
) (*jose.KeySet, error) {
	if c.Metadata.JWKSURI == "" {
		return c.keys, nil
	}
	return by(r.keySets, ctx, c.Metadata.JWKSURI)
}

func find(keys *jose.KeySet, keyID string) *jose.Key {
	if keys == nil {
		return nil
	}
	return keys.Find(keyID)
}
