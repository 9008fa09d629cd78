package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/storage"
)

// plcLog keeps the development PLC directory's log in the server's own store.
type plcLog struct{ docs storage.DocStore }

const docPLC = "dev-plc"

// plcPage is how many entries Load reads at a time.
const plcPage = 500

// Append adds an entry. Keys count up for each DID, after its last one.
func (l plcLog) Append(did syntax.DID, entry identity.LogEntry) error {
	value, err := json.Marshal(entry)
	if err != nil {
		return err
	}
	return l.docs.Update(context.Background(), func(tx storage.Docs) error {
		prefix := string(did) + "/"
		last, err := tx.ScanDocs(docPLC, storage.Scan{From: prefix, To: string(did) + "0", Reverse: true, Limit: 1})
		if err != nil {
			return err
		}
		n := 0
		if len(last) > 0 {
			if _, err := fmt.Sscanf(last[0].Key[len(prefix):], "%d", &n); err != nil {
				return err
			}
			n++
		}
		_, err = tx.PutDoc(storage.Doc{Kind: docPLC, Key: fmt.Sprintf("%s%08d", prefix, n), Value: value})
		return err
	})
}

// Load calls fn for every entry, those of one DID in their order.
func (l plcLog) Load(fn func(did syntax.DID, entry identity.LogEntry) error) error {
	from := ""
	for {
		var page []storage.Doc
		err := l.docs.View(context.Background(), func(tx storage.Docs) (err error) {
			page, err = tx.ScanDocs(docPLC, storage.Scan{From: from, Limit: plcPage})
			return err
		})
		if err != nil {
			return err
		}
		for _, d := range page {
			var entry identity.LogEntry
			if err := json.Unmarshal(d.Value, &entry); err != nil {
				return fmt.Errorf("PLC log, %s: %w", d.Key, err)
			}
			if err := fn(entry.DID, entry); err != nil {
				return err
			}
			from = d.Key + "\x00"
		}
		if len(page) < plcPage {
			return nil
		}
	}
}
