package pds

import (
	"context"
	"iter"
	"slices"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/storage"
)

// exportDocuments is how many documents are read at once, of MaxDocumentBytes
// each.
const exportDocuments = 50

// ExportDocuments returns the documents of extensions that belong to an account
// and that its owner may have, by kind and key: all that were put by a [State]
// with the account as DocumentKey.Owner, but for Config.WithheldDocuments. They
// are read in pages, not in one moment. After an error there is no more.
func (s *Server) ExportDocuments(ctx context.Context, did syntax.DID) iter.Seq2[Document, error] {
	return func(yield func(Document, error) bool) {
		var kinds []string
		err := s.store.View(ctx, func(tx storage.Tx) (err error) {
			kinds, err = tx.OwnerKinds(did)
			return err
		})
		if err != nil {
			yield(Document{}, err)
			return
		}
		for _, kind := range kinds {
			// Kinds without a dot are the server's own.
			if strings.Contains(kind, ".") && !s.withheld(kind) && !s.exportKind(ctx, did, kind, yield) {
				return
			}
		}
	}
}

// exportKind yields the documents of a kind, and reports whether to go on.
func (s *Server) exportKind(ctx context.Context, did syntax.DID, kind string, yield func(Document, error) bool) bool {
	from := ""
	for {
		var page []Document
		err := s.View(ctx, func(st *State) (err error) {
			page, err = st.Scan(kind, did, storage.Scan{From: from, Limit: exportDocuments})
			return err
		})
		if err != nil {
			yield(Document{}, err)
			return false
		}
		for _, d := range page {
			if !yield(d, nil) {
				return false
			}
		}
		if len(page) < exportDocuments {
			return true
		}
		from = page[len(page)-1].Key + "\x00"
	}
}

// withheld reports whether the documents of a kind are not for their owner.
func (s *Server) withheld(kind string) bool {
	return slices.ContainsFunc(s.cfg.WithheldDocuments, func(pattern string) bool {
		prefix, all := strings.CutSuffix(pattern, "*")
		return pattern == kind || all && strings.HasPrefix(kind, prefix)
	})
}

// checkWithheld checks Config.WithheldDocuments.
func checkWithheld(patterns []string) error {
	for _, p := range patterns {
		kind := p
		if prefix, all := strings.CutSuffix(p, ".*"); all {
			kind = prefix
		}
		if err := (DocumentKey{Kind: kind}).check(); err != nil {
			return err
		}
	}
	return nil
}
