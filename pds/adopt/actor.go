package adopt

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/repo"
	"github.com/pdskit/pdskit/storage"
)

// keyBytes is the length of a file with a signing key, a raw K-256 one.
const keyBytes = 32

// readKey reads a signing key.
func readKey(path string) (*atcrypto.PrivateKeyK256, error) {
	f, err := openFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, keyBytes+1))
	if err != nil {
		return nil, err
	}
	return atcrypto.ParsePrivateBytesK256(raw)
}

// actor is the store of one account.
type actor struct {
	ctx context.Context
	db  *database
	src *reader
	did string

	blockOf, recordOf *sql.Stmt // by CID, by URI

	indexed int64 // rows of the index of records
	found   int64 // of those, the ones that the tree has
	differs int64 // records of the tree that the index does not have like this
}

// openActor opens the store of an account and fills in what it holds. The
// caller closes it when the account has been adopted.
func (r *reader) openActor(ctx context.Context, out *pds.AdoptedAccount) (a *actor, err error) {
	did := string(out.DID)
	if strings.ContainsAny(did, `/\`) {
		return nil, faultf(pds.FaultAccount, "%q is no DID", did)
	}
	dir := r.actorDir(did)
	key, err := readKey(filepath.Join(dir, "key"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, faultf(pds.FaultKey, "there is no file %s", filepath.Join(dir, "key"))
	case err != nil:
		return nil, faultf(pds.FaultKey, "%s: %v", filepath.Join(dir, "key"), err)
	}
	out.Key = key
	db, err := openDatabase(ctx, filepath.Join(dir, "store.sqlite"), r.temp)
	if err != nil {
		return nil, sourceFault(ctx, err)
	}
	a = &actor{ctx: ctx, db: db, src: r, did: did}
	a.blockOf, err = db.PrepareContext(ctx, "SELECT content FROM repo_block WHERE cid = ?")
	if err == nil {
		a.recordOf, err = db.PrepareContext(ctx, "SELECT repoRev, takedownRef FROM record WHERE uri = ?")
	}
	if err == nil {
		err = a.describe(out)
	}
	if err != nil {
		return nil, errors.Join(sourceFault(ctx, err), a.Close())
	}
	return a, nil
}

// Close closes the store.
func (a *actor) Close() error {
	var errs []error
	for _, stmt := range []*sql.Stmt{a.blockOf, a.recordOf} {
		if stmt != nil {
			errs = append(errs, stmt.Close())
		}
	}
	return errors.Join(append(errs, a.db.Close())...)
}

func (a *actor) describe(out *pds.AdoptedAccount) error {
	var head, rev string
	err := a.db.QueryRowContext(a.ctx, "SELECT cid, rev FROM repo_root WHERE did = ?", a.did).Scan(&head, &rev)
	if errors.Is(err, sql.ErrNoRows) {
		return faultf(pds.FaultRepository, "there is no repository")
	}
	if err != nil {
		return sourceFault(a.ctx, err)
	}
	out.Repo = pds.AdoptedRepo{Block: a.block, Record: a.record}
	if out.Repo.Head, err = cid.Decode(head); err != nil {
		return faultf(pds.FaultRepository, "the head %q is malformed", head)
	}
	if out.Repo.Rev, err = syntax.ParseTID(rev); err != nil {
		return faultf(pds.FaultRepository, "the rev %q is malformed", rev)
	}
	if err := a.db.QueryRowContext(a.ctx, "SELECT count(*) FROM record").Scan(&a.indexed); err != nil {
		return sourceFault(a.ctx, err)
	}
	out.Blobs = a.blobs()
	return each(a.ctx, a.db, func(scan func(...any) error) error {
		var text string
		if err := scan(&text); err != nil {
			return err
		}
		out.Preferences = append(out.Preferences, json.RawMessage(text))
		return nil
	}, "SELECT valueJson FROM account_pref ORDER BY id")
}

// block is the source of the repository's blocks.
func (a *actor) block(c cid.Cid) ([]byte, error) {
	var data []byte
	err := a.blockOf.QueryRowContext(a.ctx, c.String()).Scan(&data)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, repo.ErrBlockNotFound
	}
	return data, sourceFault(a.ctx, err)
}

// record returns what the index of records says of one.
func (a *actor) record(p storage.RecordPath) (rev syntax.TID, takedown string, err error) {
	var text string
	var mark sql.NullString
	err = a.recordOf.QueryRowContext(a.ctx, "at://"+a.did+"/"+p.String()).Scan(&text, &mark)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		a.differs++
		return "", "", nil
	case err != nil:
		return "", "", sourceFault(a.ctx, err)
	}
	a.found++
	if rev, err = syntax.ParseTID(text); err != nil {
		rev = ""
	}
	return rev, mark.String, nil
}

// blobs are the blobs that the account lists.
func (a *actor) blobs() iter.Seq2[pds.AdoptedBlob, error] {
	return func(yield func(pds.AdoptedBlob, error) bool) {
		enough := false
		err := each(a.ctx, a.db, func(scan func(...any) error) error {
			var text, created string
			var b pds.AdoptedBlob
			var temp, takedown sql.NullString
			err := scan(&text, &b.MimeType, &temp, &created, &takedown)
			if err == nil {
				b.CID, err = cid.Decode(text)
			}
			if err == nil {
				b.CreatedAt, err = parseTime(sql.NullString{String: created})
			}
			if err != nil {
				return err
			}
			b.TakedownRef = takedown.String
			b.Open = func() (io.ReadCloser, error) { return a.openBlob(text, temp.String, takedown.String != "") }
			if enough = !yield(b, nil); enough {
				return errEnough
			}
			return nil
		}, "SELECT cid, mimeType, tempKey, createdAt, takedownRef FROM blob ORDER BY cid")
		if err != nil && !enough {
			yield(pds.AdoptedBlob{}, err)
		}
	}
}

// errEnough ends a query whose rows nobody wants any more.
var errEnough = errors.New("adopt: enough rows")

// openBlob opens the bytes of a blob where the reference server keeps them.
func (a *actor) openBlob(c, temp string, takenDown bool) (io.ReadCloser, error) {
	places := []string{filepath.Join(a.src.Blobs, a.did, c)}
	if temp != "" && filepath.IsLocal(temp) {
		places = append(places, filepath.Join(a.src.TempBlobs, a.did, temp))
	}
	if takenDown {
		places = append(places, filepath.Join(a.src.Quarantine, a.did, c))
	}
	var err error
	for _, path := range places {
		var f *os.File
		if f, err = openFile(path); err == nil || !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
	}
	return nil, err
}
