package pds

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/pdskit/pdskit/storage"
)

// Documents that are numbered: by number, and under numberedLast the last one
// that was given.
const numberedLast = "last"

func numberedKey(number int64) string { return fmt.Sprintf("%019d", number) }

// nextNumber gives the next number of a kind, and removes the document that lies
// keep numbers below it.
func nextNumber(tx storage.Docs, kind string, keep int) (int64, error) {
	last, err := tx.GetDoc(kind, numberedLast)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return 0, err
	}
	number := int64(0)
	if err == nil {
		if number, err = strconv.ParseInt(string(last.Value), 10, 64); err != nil {
			return 0, err
		}
	}
	number++
	last.Kind, last.Key, last.Value = kind, numberedLast, strconv.AppendInt(nil, number, 10)
	if _, err := tx.PutDoc(last); err != nil {
		return 0, err
	}
	return number, tx.DeleteDoc(kind, numberedKey(number-int64(keep)))
}

// scanNumbered returns documents of a kind with numbers below before, newest
// first: limit of them, at most MaxAuditList. Zero stands for the end, and for
// the highest limit.
func scanNumbered(tx storage.Docs, kind string, before int64, limit int) ([]storage.Doc, error) {
	if limit <= 0 || limit > MaxAuditList {
		limit = MaxAuditList
	}
	to := numberedLast // above all numbers
	if before > 0 {
		to = numberedKey(before)
	}
	return tx.ScanDocs(kind, storage.Scan{To: to, Reverse: true, Limit: limit})
}
