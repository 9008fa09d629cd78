package pds_test

import (
	"context"
	"net/url"
	"testing"

	atid "github.com/bluesky-social/indigo/atproto/identity"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
)

// handlelessDirectory finds no handle, as where the server's own domain is in
// nobody's DNS.
type handlelessDirectory struct{ pds.Directory }

func (d handlelessDirectory) ResolveHandle(context.Context, syntax.Handle) (syntax.DID, error) {
	return "", atid.ErrHandleNotFound
}

func (d handlelessDirectory) LookupDID(ctx context.Context, did syntax.DID) (*atid.Identity, error) {
	return withoutHandle(d.Directory.LookupDID(ctx, did))
}

func (d handlelessDirectory) Refresh(ctx context.Context, did syntax.DID) (*atid.Identity, error) {
	return withoutHandle(d.Directory.Refresh(ctx, did))
}

func withoutHandle(id *atid.Identity, err error) (*atid.Identity, error) {
	if err != nil {
		return nil, err
	}
	changed := *id
	changed.Handle = syntax.HandleInvalid
	return &changed, nil
}

// A server knows the handles of its own domains without asking anybody.
func TestResolveIdentityOfOwnHandle(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t, func(cfg *pds.Config) { cfg.Directory = handlelessDirectory{cfg.Directory} })
	alice, bob := srv.CreateAccount("alice"), srv.CreateAccount("bob")
	resolve := func(identifier string) (did syntax.DID, handle syntax.Handle, err error) {
		var info struct {
			DID    syntax.DID
			Handle syntax.Handle
		}
		err = get(t, srv, "com.atproto.identity.resolveIdentity", "", url.Values{"identifier": {identifier}}, &info)
		return info.DID, info.Handle, err
	}
	for _, identifier := range []string{"alice.test", "Alice.TEST", alice.DID.String()} {
		if did, handle, err := resolve(identifier); did != alice.DID || handle != "alice.test" {
			t.Errorf("%s is %s, %s: %v", identifier, did, handle, err)
		}
	}
	_, _, err := resolve("nobody.test")
	wantError(t, err, 400, "HandleNotFound")

	// Who is not active has no handle.
	bob.Post("com.atproto.server.deactivateAccount", map[string]any{}, nil)
	_, _, err = resolve("bob.test")
	wantError(t, err, 400, "HandleNotFound")
	if did, handle, err := resolve(bob.DID.String()); did != bob.DID || handle != syntax.HandleInvalid {
		t.Errorf("%s is %s, %s: %v", bob.DID, did, handle, err)
	}
}
