package sqlite

import (
	"sync"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/pdskit/pdskit/storage"
)

// Nearly every transaction begins with an account, which seldom changes. So
// accounts are remembered together with the number that every change of one
// raises (meta.last_version): a transaction that sees the same number in the
// database sees the same accounts.

// maxCachedAccounts is how many accounts are remembered, at about 500 bytes each.
const maxCachedAccounts = 4096

// cachedAccount is an account with what leads to its rows.
type cachedAccount struct {
	storage.Account
	id         int64
	generation int64
}

func (a *cachedAccount) ref() *accountRef {
	return &accountRef{did: a.DID, id: a.id, generation: a.generation, version: a.Version, keyID: a.KeyID}
}

// accountCache is safe for concurrent use.
type accountCache struct {
	mu      sync.Mutex // guards following 2 fields
	version int64
	found   map[syntax.DID]cachedAccount // as of version
}

// get returns an account as it is at a version.
func (c *accountCache) get(version int64, did syntax.DID) (cachedAccount, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if version != c.version {
		return cachedAccount{}, false
	}
	a, ok := c.found[did]
	return a, ok
}

// put remembers an account as it is at a version that has been stored.
func (c *accountCache) put(version int64, a cachedAccount) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case version < c.version:
		return
	case version > c.version || c.found == nil || len(c.found) >= maxCachedAccounts:
		c.version, c.found = version, make(map[syntax.DID]cachedAccount)
	}
	c.found[a.DID] = a
}

// readAccountsVersion makes sure that accountsVersion is known. That of a View
// is known from its beginning.
func (t *tx) readAccountsVersion() error {
	if t.accountsVersion != 0 {
		return t.usable()
	}
	r, _, err := t.one(sqlVersion)
	if err != nil {
		return err
	}
	t.accountsVersion = r.int(0)
	return nil
}

// raiseAccountsVersion gives the number of a change of the accounts. Whatever
// changes a column of accountColumns, or generation, calls it.
func (t *tx) raiseAccountsVersion() (int64, error) {
	t.accountsVersion, t.memo = 0, nil
	r, _, err := t.one("UPDATE meta SET last_version = last_version + 1 RETURNING last_version")
	if err != nil {
		return 0, err
	}
	return r.int(0), nil
}
