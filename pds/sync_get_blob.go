package pds

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

type getBlobParams struct {
	DID syntax.DID `json:"did"`
	CID string     `json:"cid"`
}

// getBlob serves blobs that records refer to. It keeps browsers from ever
// treating one as part of this site.
func (s *Server) getBlob() xrpc.Method {
	return xrpc.QueryBody("com.atproto.sync.getBlob", s.anyReader(),
		func(ctx context.Context, p *getBlobParams) (*xrpc.Body, error) {
			c, err := cid.Decode(p.CID)
			if err != nil {
				return nil, xrpc.InvalidRequest("Malformed CID: %s", p.CID).WithCause(err)
			}
			var blob storage.Blob
			err = s.store.View(ctx, func(tx storage.Tx) error {
				blob, err = servedBlob(ctx, tx, p.DID, c)
				return err
			})
			if err != nil {
				return nil, err
			}
			return s.blobBody(ctx, &blob)
		})
}

func errServedBlobNotFound() *xrpc.Error {
	return xrpc.NewError(http.StatusBadRequest, "BlobNotFound", "Blob not found")
}

// servedBlob returns a blob that the caller may fetch: one that something
// public refers to and that is not taken down.
func servedBlob(ctx context.Context, tx storage.Tx, did syntax.DID, c cid.Cid) (storage.Blob, error) {
	if _, err := readableAccount(ctx, tx, did); err != nil {
		return storage.Blob{}, err
	}
	b, err := tx.Blob(did, c)
	if errors.Is(err, storage.ErrNotFound) || (err == nil && b.TakedownRef != "") {
		return b, errServedBlobNotFound()
	}
	if err != nil || (b.Public && !b.Temporary) {
		return b, err
	}
	// Records may have come before the blob, by an import.
	referenced, err := tx.BlobReferenced(did, c)
	if err == nil && !referenced {
		err = errServedBlobNotFound()
	}
	return b, err
}

// blobBody answers for a blob: whole, a part of it, or not at all if the
// client has it.
func (s *Server) blobBody(ctx context.Context, b *storage.Blob) (*xrpc.Body, error) {
	name := b.CID.String()
	etag := `"` + name + `"`
	h := http.Header{
		"Accept-Ranges":           {"bytes"},
		"Content-Disposition":     {`attachment; filename="` + name + `"`},
		"Content-Security-Policy": {"default-src 'none'; sandbox"},
		"Etag":                    {etag},
		"X-Content-Type-Options":  {"nosniff"},
	}
	body := &xrpc.Body{ContentType: b.MimeType, Length: b.Size, Header: h}
	if body.ContentType == "" {
		body.ContentType = "application/octet-stream"
	}
	var ask http.Header
	if r := xrpc.RequestFrom(ctx); r != nil {
		ask = r.Header
	}
	if etagListed(ask.Get("If-None-Match"), etag) {
		body.Status, body.Length = http.StatusNotModified, 0
		body.Reader = http.NoBody
		return body, nil
	}
	from, length := int64(0), b.Size
	if ifRange := ask.Get("If-Range"); ifRange == "" || ifRange == etag {
		switch f, n, err := parseRange(ask.Get("Range"), b.Size); {
		case errors.Is(err, errRangeOutside):
			return nil, xrpc.NewError(http.StatusRequestedRangeNotSatisfiable, "InvalidRequest", "Range not satisfiable").
				WithHeader("Content-Range", "bytes */"+strconv.FormatInt(b.Size, 10))
		case err == nil:
			from, length = f, n
			body.Status, body.Length = http.StatusPartialContent, n
			h.Set("Content-Range", "bytes "+strconv.FormatInt(f, 10)+"-"+
				strconv.FormatInt(f+n-1, 10)+"/"+strconv.FormatInt(b.Size, 10))
		}
	}
	if isHead(ctx) {
		body.Reader = http.NoBody
		return body, nil
	}
	r, err := s.blobs.Open(ctx, b.Key, from, length)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, errServedBlobNotFound().WithCause(err) // deleted since the View
	}
	if err != nil {
		return nil, err
	}
	body.Reader = r
	return body, nil
}

// etagListed reports whether an If-None-Match header names the tag.
func etagListed(header, etag string) bool {
	for item := range strings.SplitSeq(header, ",") {
		item = strings.TrimSpace(item)
		if item == "*" || strings.TrimPrefix(item, "W/") == etag {
			return true
		}
	}
	return false
}

var (
	errRangeIgnored = errors.New("pds: no range to be served")
	errRangeOutside = errors.New("pds: the range lies outside")
)

// parseRange reads a Range header (RFC 9110, section 14.2) that asks for one
// part of size bytes. errRangeIgnored says that the whole is to be served:
// there is no such header, it is malformed, or it asks for several parts.
func parseRange(header string, size int64) (from, length int64, err error) {
	spec, ok := strings.CutPrefix(header, "bytes=")
	if !ok || strings.Contains(spec, ",") {
		return 0, 0, errRangeIgnored
	}
	first, last, ok := strings.Cut(strings.TrimSpace(spec), "-")
	if !ok {
		return 0, 0, errRangeIgnored
	}
	if first == "" { // the last so many bytes
		n, err := parseOffset(last)
		if err != nil {
			return 0, 0, err
		}
		if n = min(n, size); n == 0 {
			return 0, 0, errRangeOutside
		}
		return size - n, n, nil
	}
	if from, err = parseOffset(first); err != nil {
		return 0, 0, err
	}
	end := size - 1
	if last != "" {
		to, err := parseOffset(last)
		if err != nil || to < from {
			return 0, 0, errRangeIgnored
		}
		end = min(end, to)
	}
	if from >= size {
		return 0, 0, errRangeOutside
	}
	return from, end - from + 1, nil
}

// parseOffset reads digits. A number too large for a file is the largest.
func parseOffset(text string) (int64, error) {
	if text == "" || strings.Trim(text, "0123456789") != "" {
		return 0, errRangeIgnored
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if errors.Is(err, strconv.ErrRange) {
		return n, nil
	}
	return n, err
}
