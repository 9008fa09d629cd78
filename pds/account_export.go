package pds

import (
	"archive/zip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/storage"
)

// zipType is the media type of an export.
const zipType = "application/zip"

// exportBlobs is how many blobs are listed at once.
const exportBlobs = 500

// exportReadme is the file that explains the others.
const exportReadme = `This archive has what is stored for an account.

account.json      identity, address and dates
repo.car          the repository: all records, signed, as com.atproto.sync.getRepo has it
blobs.jsonl       the pictures and other files that records refer to, one line each
blobs/            the files themselves, by their CIDs
preferences.json  preferences of apps
documents.jsonl   what extensions of the server keep for the account, one line each
`

// ExportAccount writes everything that is stored for an account to w, as a ZIP
// archive that explains itself: the repository as a CAR, the blobs that its
// records refer to, preferences, and the documents of extensions that belong to
// the account, but for Config.WithheldDocuments. Secrets are no part of it:
// passwords, sessions and keys.
//
// The archive is written as it is read, with bounded memory, save some hundred
// bytes for each blob; its parts are not of one moment. It takes one of the
// exports of Limits.Exports, and slow writers hold up nobody. If there is an
// error, what was written is not a whole archive. An error for an account that is
// not there is an *xrpc.Error, AccountNotFound; the state of the account does not
// matter.
func (s *Server) ExportAccount(ctx context.Context, did syntax.DID, w io.Writer) error {
	account, err := s.callerAccount(ctx, did)
	if err != nil {
		return err
	}
	x := &accountExport{s: s, ctx: ctx, did: did, zip: zip.NewWriter(w)}
	for _, part := range []func() error{
		func() error { return x.text("README.txt", exportReadme) },
		func() error { return x.account(account) },
		x.repo, x.preferences, x.documents, x.blobList, x.blobs,
	} {
		if err := part(); err != nil {
			return err
		}
	}
	return x.zip.Close()
}

// accountExport is an archive that is being written.
type accountExport struct {
	s   *Server
	ctx context.Context
	did syntax.DID
	zip *zip.Writer
}

// file begins a file. Texts are compressed, the rest mostly is already.
func (x *accountExport) file(name string) (io.Writer, error) {
	method := zip.Deflate
	if name == "repo.car" || strings.HasPrefix(name, "blobs/") {
		method = zip.Store
	}
	return x.zip.CreateHeader(&zip.FileHeader{Name: name, Method: method, Modified: x.s.clock.Now().UTC()})
}

func (x *accountExport) text(name, text string) error {
	w, err := x.file(name)
	if err == nil {
		_, err = io.WriteString(w, text)
	}
	return err
}

func (x *accountExport) json(name string, v any) error {
	w, err := x.file(name)
	if err != nil {
		return err
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func (x *accountExport) account(a *storage.Account) error {
	return x.json("account.json", struct {
		DID            syntax.DID    `json:"did"`
		Handle         syntax.Handle `json:"handle,omitempty"`
		Email          string        `json:"email,omitempty"`
		EmailConfirmed time.Time     `json:"emailConfirmedAt,omitzero"`
		Created        time.Time     `json:"createdAt"`
		Status         string        `json:"status,omitempty"`
		Server         string        `json:"server"`
		Exported       time.Time     `json:"exportedAt"`
	}{a.DID, a.Handle, a.Email, a.EmailConfirmedAt, a.CreatedAt, statusOf(a), x.s.public.String(), x.s.clock.Now().UTC()})
}

// repo writes the repository, if there is one, from a spool: nobody waits for w
// inside of a View.
func (x *accountExport) repo() error {
	err := x.s.store.View(x.ctx, func(tx storage.Tx) error {
		_, err := tx.Head(x.did)
		return err
	})
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	w, err := x.file("repo.car")
	if err != nil {
		return err
	}
	sp, err := x.s.spoolRepo(x.ctx, x.did)
	if err != nil {
		return err
	}
	return sp.drain(w)
}

// spoolRepo begins to read a repository, whatever the state of its account. The
// spool ends with ctx.
func (s *Server) spoolRepo(ctx context.Context, did syntax.DID) (*spool, error) {
	sp, err := s.exports.open(did.String())
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, sp.close)
	go s.fillSpool(ctx, sp, func(tx storage.Tx) error { return writeRepo(tx, sp, did, "") })
	return sp, nil
}

func (x *accountExport) preferences() error {
	out := getPreferencesOutput{Preferences: []json.RawMessage{}}
	err := x.s.store.View(x.ctx, func(tx storage.Tx) error {
		prefs, _, err := storedPreferences(tx, x.did)
		for _, p := range prefs {
			out.Preferences = append(out.Preferences, p.text)
		}
		return err
	})
	if err != nil {
		return err
	}
	return x.json("preferences.json", out)
}

// exportedDocument is a line of documents.jsonl.
type exportedDocument struct {
	Kind    string          `json:"kind"`
	Key     string          `json:"key"`
	Expires time.Time       `json:"expires,omitzero"`
	Value   json.RawMessage `json:"value,omitempty"` // if it is JSON
	Bytes   []byte          `json:"bytes,omitempty"` // base64, if it is not
}

func (x *accountExport) documents() error {
	w, err := x.file("documents.jsonl")
	if err != nil {
		return err
	}
	lines := json.NewEncoder(w)
	for d, err := range x.s.ExportDocuments(x.ctx, x.did) {
		if err != nil {
			return err
		}
		line := exportedDocument{Kind: d.Kind, Key: d.Key, Expires: d.Expires}
		if json.Valid(d.Value) {
			line.Value = d.Value
		} else {
			line.Bytes = d.Value
		}
		if err := lines.Encode(line); err != nil {
			return err
		}
	}
	return nil
}

// exportedBlob is a line of blobs.jsonl.
type exportedBlob struct {
	CID      string    `json:"cid"`
	MimeType string    `json:"mimeType"`
	Size     int64     `json:"size"`
	Created  time.Time `json:"createdAt"`
	File     string    `json:"file"`
}

func (x *accountExport) blobList() error {
	w, err := x.file("blobs.jsonl")
	if err != nil {
		return err
	}
	lines := json.NewEncoder(w)
	return x.eachBlob(func(b *storage.Blob) error {
		cid := b.CID.String()
		return lines.Encode(exportedBlob{cid, b.MimeType, b.Size, b.CreatedAt, "blobs/" + cid})
	})
}

func (x *accountExport) blobs() error {
	return x.eachBlob(func(b *storage.Blob) error {
		r, err := x.s.blobs.Open(x.ctx, b.Key, 0, -1)
		if errors.Is(err, storage.ErrNotFound) {
			return nil // deleted since it was listed
		}
		if err != nil {
			return err
		}
		defer r.Close()
		w, err := x.file("blobs/" + b.CID.String())
		if err == nil {
			_, err = io.Copy(w, r)
		}
		return err
	})
}

// eachBlob calls fn for each blob that records refer to and that is there, by
// CID, outside of a View. Those that are taken down are left out.
func (x *accountExport) eachBlob(fn func(*storage.Blob) error) error {
	after := ""
	for {
		var page []storage.Blob
		count := 0
		err := x.s.store.View(x.ctx, func(tx storage.Tx) error {
			page = page[:0]
			refs, err := tx.ListBlobRefs(x.did, "", after, exportBlobs)
			if err != nil {
				return err
			}
			count = len(refs)
			for _, c := range refs {
				b, err := tx.Blob(x.did, c)
				switch {
				case errors.Is(err, storage.ErrNotFound): // a record has come without it
				case err != nil:
					return err
				case b.TakedownRef == "":
					page = append(page, b)
				}
			}
			if count > 0 {
				after = refs[count-1].String()
			}
			return nil
		})
		if err != nil {
			return err
		}
		for i := range page {
			if err := fn(&page[i]); err != nil {
				return err
			}
		}
		if count < exportBlobs {
			return nil
		}
	}
}

// serveExport answers GET /admin/export with an archive of the account that the
// parameter names, by DID or handle.
func (s *Server) serveExport(w http.ResponseWriter, r *http.Request) error {
	a, err := s.accountByIdentifier(r.Context(), r.URL.Query().Get("account"))
	if err != nil {
		return err
	}
	entry := AuditEntry{Actor: adminUser, Client: r.UserAgent(), Action: "account export", Subject: string(a.DID)}
	began := false
	err = s.Audit(r.Context(), entry, func(ctx context.Context) error {
		return s.ExportAccount(ctx, a.DID, writerFunc(func(p []byte) (int, error) {
			if !began {
				began = true
				w.Header().Set("Content-Type", zipType)
				w.Header().Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": exportName(&a)}))
			}
			return w.Write(p)
		}))
	})
	if err != nil && began {
		s.log.ErrorContext(r.Context(), "an export was cut off", "did", a.DID, "error", err)
		panic(http.ErrAbortHandler) //nolint:forbidigo // how net/http is told to cut the connection
	}
	return err
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// exportName is the file name of an account's archive.
func exportName(a *storage.Account) string {
	name := string(a.Handle)
	if name == "" {
		name = strings.ReplaceAll(string(a.DID), ":", "-")
	}
	return name + ".zip"
}
