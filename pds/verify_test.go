package pds_test

import (
	"context"
	"strings"
	"testing"

	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/xrpc"
)

// The built-in methods fit their lexicons, and a method that does not fit is
// named.
func TestVerify(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	if err := srv.Verify(); err != nil {
		t.Error(err)
	}
	const nsid = "com.atproto.server.describeServer" // a query
	srv.Replace(xrpc.Procedure(nsid, xrpc.Public(), func(context.Context, *xrpc.None) (*xrpc.None, error) {
		return nil, nil
	}))
	if err := srv.Verify(); err == nil || !strings.Contains(err.Error(), nsid) {
		t.Errorf("a procedure in place of a query: %v", err)
	}
}
