package identity

import (
	"context"
	"errors"
	"fmt"

	atid "github.com/bluesky-social/indigo/atproto/identity"
	"github.com/bluesky-social/indigo/atproto/syntax"
)

// ErrNoLexiconAuthority says that nobody publishes the lexicons of a namespace.
var ErrNoLexiconAuthority = errors.New("identity: nobody publishes lexicons of this authority")

// LexiconAuthority returns the DID that publishes the lexicon of an NSID: DNS
// has it as "did=" in a TXT record of "_lexicon." and the NSID's authority as a
// domain, com.example.blog.post at _lexicon.blog.example.com. A parent domain
// does not count. The answer is not cached. If there is no record the error
// matches ErrNoLexiconAuthority.
func (r *Resolver) LexiconAuthority(ctx context.Context, nsid syntax.NSID) (syntax.DID, error) {
	nsid, err := syntax.ParseNSID(nsid.String())
	if err != nil {
		return "", err
	}
	did, err := r.askDNS(ctx, r.dns, "_lexicon."+nsid.Normalize().Authority())
	switch {
	case errors.Is(err, atid.ErrHandleNotFound):
		return "", fmt.Errorf("%w: %s", ErrNoLexiconAuthority, nsid.Authority())
	case err != nil:
		// It does not concern a handle, as the error would say.
		return "", fmt.Errorf("identity: authority of %s: %v", nsid, err) //nolint:errorlint // on purpose
	}
	return did, nil
}
