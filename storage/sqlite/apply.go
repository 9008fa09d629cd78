package sqlite

import (
	"errors"

	"github.com/pdskit/pdskit/storage"
)

// Apply implements [storage.Repos].
func (t *tx) Apply(c *storage.Commit) error {
	if err := t.writable(); err != nil {
		return err
	}
	a, err := t.account(c.DID)
	if errors.Is(err, storage.ErrNotFound) {
		return storage.ErrConflict
	}
	if err != nil {
		return err
	}
	if a.version != c.AccountVersion || a.keyID != c.KeyID {
		return storage.ErrConflict
	}
	var g *generation
	head := ""
	if a.generation != 0 {
		if g, err = t.published(a.generation); err != nil {
			return err
		}
		head = g.head
	}
	if head != string(cidBytes(c.Base)) {
		return storage.ErrConflict
	}
	if c.Generation != 0 {
		return t.publish(c, a)
	}
	if g == nil {
		id, err := t.insertGeneration(a.id, published)
		if err != nil {
			return err
		}
		g = &generation{id: id, account: a.id, t: t, next: 1, ordered: true}
		if err := t.setGeneration(a, id); err != nil {
			return err
		}
	}
	t.w.forget(g.id) // until it is stored
	g.owner = c.DID
	if err := g.change(c); err != nil {
		return err
	}
	a.recent, a.hasRecent = g.recent, true
	if err := g.saveHead(&c.Head, published); err != nil {
		return err
	}
	t.w.remember(g)
	return nil
}

// change applies the changes of a commit.
func (g *generation) change(c *storage.Commit) error {
	rev := string(c.Head.Rev)
	if rev < g.maxRev {
		g.ordered = false // also for the nodes
	}
	if err := g.removeNodes(c.OldNodes); err != nil {
		return err
	}
	for _, p := range c.Deletes {
		if _, _, err := g.removeRecord(p); err != nil {
			return err
		}
	}
	known, err := g.known(c.NewNodes, c.Puts)
	if err != nil {
		return err
	}
	if err := g.addRecent(c.NewNodes, rev, known); err != nil {
		return err
	}
	for i := range c.Puts {
		if err := g.putRecord(&c.Puts[i], rev, known); err != nil {
			return err
		}
	}
	g.maxRev = max(g.maxRev, rev)
	return nil
}

// publish makes a staged generation the account's repository.
func (t *tx) publish(c *storage.Commit, a *accountRef) error {
	g, err := t.stagedGeneration(c.Generation)
	if err != nil {
		return err
	}
	if g.account != a.id {
		return storage.ErrNotFound
	}
	if a.generation != 0 {
		if _, err := t.exec("UPDATE generations SET state = 2 WHERE id = ?", a.generation); err != nil {
			return err
		}
	}
	if err := t.setGeneration(a, g.id); err != nil {
		return err
	}
	g.maxRev = max(g.maxRev, string(c.Head.Rev))
	if _, err := t.exec("UPDATE generations SET base_rev = ? WHERE id = ?", string(c.Head.Rev), g.id); err != nil {
		return err
	}
	return g.saveHead(&c.Head, published)
}

func (t *tx) setGeneration(a *accountRef, id int64) error {
	if _, err := t.raiseAccountsVersion(); err != nil {
		return err
	}
	t.memo = a
	a.generation, a.recent, a.hasRecent = id, nil, false
	_, err := t.exec("UPDATE accounts SET generation = ? WHERE id = ?", id, a.id)
	return err
}

// saveHead writes the totals with a new head.
func (g *generation) saveHead(h *storage.Head, state int) error {
	w := g.t.w
	w.encoded = appendRecent(w.encoded[:0], g.recent)
	_, err := g.t.exec(`UPDATE generations SET state = ?, next = ?, records = ?, nodes = ?, bytes = ?, dups = ?, refs = ?,
		max_rev = ?, ordered = ?, rev = ?, head = ?, data = ?, signed = ?, recent = ? WHERE id = ?`,
		state, g.next, g.records, g.nodes, g.bytes, g.dups, g.refs,
		g.maxRev, g.ordered, string(h.Rev), cidBytes(h.CID), cidBytes(h.Data), notNil(h.Commit), notNil(w.encoded), g.id)
	g.head = string(cidBytes(h.CID))
	return err
}
