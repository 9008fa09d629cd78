package sqlite

// References to blobs live in two scopes: those of records in the scope of
// their generation, all others in a scope of the account. accounts.other_refs
// counts the distinct CIDs of the account's scope, generations.refs those of
// the generation that the account's scope lacks. So the sum for the published
// generation is right at once when a generation is published.

// otherScope is the scope of an account's references that are not records'.
func otherScope(account int64) int64 { return -account }

func (t *tx) hasRef(scope int64, c string) (bool, error) {
	_, found, err := t.one("SELECT 1 FROM refs WHERE scope = ? AND cid = ?", scope, c)
	return found, err
}

// gainedRef notes that a scope refers to a CID to which it did not before.
func (t *tx) gainedRef(scope, account int64, c string) error {
	_, err := t.exec("INSERT INTO missing (scope, cid) SELECT ?, ? WHERE NOT EXISTS (SELECT 1 FROM blobs WHERE account = ? AND cid = ?)",
		scope, c, account, c)
	return err
}

// lostRef notes that a scope does not refer to a CID any more.
func (t *tx) lostRef(scope int64, c string) error {
	_, err := t.exec("DELETE FROM missing WHERE scope = ? AND cid = ?", scope, c)
	return err
}

// All scopes of an account; its arguments are the account and its own scope.
const scopesOf = "(SELECT id FROM generations WHERE account = ? AND state <> 2 UNION ALL SELECT ?)"

// gainedBlob notes that an account has a blob.
func (t *tx) gainedBlob(account int64, c string) error {
	_, err := t.exec("DELETE FROM missing WHERE scope IN "+scopesOf+" AND cid = ?", account, otherScope(account), c)
	return err
}

// lostBlob notes that an account has a blob no more.
func (t *tx) lostBlob(account int64, c string) error {
	_, err := t.exec("INSERT INTO missing (scope, cid) SELECT s.id, ? FROM "+scopesOf+
		" s WHERE EXISTS (SELECT 1 FROM refs WHERE scope = s.id AND cid = ?)", c, account, otherScope(account), c)
	return err
}

func (t *tx) insertRef(scope int64, c, uri, rev string) error {
	_, err := t.exec("INSERT OR IGNORE INTO refs (scope, cid, uri, rev) VALUES (?,?,?,?)", scope, c, uri, rev)
	return err
}

// refsOf returns the CIDs that a URI refers to.
func (t *tx) refsOf(scope int64, uri string) ([]string, error) {
	var list []string
	err := t.each(func(r *rows) bool {
		list = append(list, r.str(0))
		return true
	}, "SELECT cid FROM refs WHERE scope = ? AND uri = ?", scope, uri)
	return list, err
}

// addRef adds a reference of a record.
func (g *generation) addRef(c, path, rev string) error {
	known, err := g.t.hasRef(g.id, c)
	if err != nil {
		return err
	}
	if !known {
		if err := g.t.gainedRef(g.id, g.account, c); err != nil {
			return err
		}
		other, err := g.t.hasRef(otherScope(g.account), c)
		if err != nil {
			return err
		}
		if !other {
			g.refs++
		}
	}
	return g.t.insertRef(g.id, c, path, rev)
}

// removeRefs removes the references of a record.
func (g *generation) removeRefs(path string) error {
	list, err := g.t.refsOf(g.id, path)
	if err != nil {
		return err
	}
	if _, err := g.t.exec("DELETE FROM refs WHERE scope = ? AND uri = ?", g.id, path); err != nil {
		return err
	}
	for _, c := range list {
		still, err := g.t.hasRef(g.id, c)
		if err != nil {
			return err
		}
		if still {
			continue
		}
		if err := g.t.lostRef(g.id, c); err != nil {
			return err
		}
		other, err := g.t.hasRef(otherScope(g.account), c)
		if err != nil {
			return err
		}
		if !other {
			g.refs--
		}
	}
	return nil
}

// countOther corrects the totals of an account after its own scope gained
// (by 1) or lost (by -1) a CID.
func (t *tx) countOther(account int64, c string, by int) error {
	if _, err := t.exec("UPDATE accounts SET other_refs = other_refs + ? WHERE id = ?", by, account); err != nil {
		return err
	}
	t.w.forgetAll()
	_, err := t.exec(`UPDATE generations SET refs = refs - ? WHERE account = ? AND state <> 2
		AND EXISTS (SELECT 1 FROM refs WHERE scope = generations.id AND cid = ?)`, by, account, c)
	return err
}
