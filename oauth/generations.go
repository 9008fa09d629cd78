package oauth

import (
	"errors"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/storage"
)

// accountDoc holds the generation of an account. Everything that somebody could
// use later notes the generation that it was made in, and is void in another:
// raising it ends all of it in one small transaction, also what is just being
// made, although the account system is no part of the transaction.
type accountDoc struct {
	Generation int64     `json:"generation"`
	Raised     time.Time `json:"raised"` // a password that was checked before may be an old one
}

// generations are those of an account and of who acts for it.
type generations struct {
	Account int64 `json:"account"`
	Actor   int64 `json:"actor"`
}

// loadGenerations returns the generations of now.
func loadGenerations(docs storage.Docs, account, actor syntax.DID) (g generations, err error) {
	if g.Account, err = loadGeneration(docs, account); err != nil {
		return g, err
	}
	g.Actor = g.Account
	if actor != account {
		g.Actor, err = loadGeneration(docs, actor)
	}
	return g, err
}

// loadGeneration returns the generation of an account.
func loadGeneration(docs storage.Docs, did syntax.DID) (int64, error) {
	var doc accountDoc
	_, err := load(docs, kindAccount, did.String(), &doc)
	if errors.Is(err, storage.ErrNotFound) {
		return 0, nil
	}
	return doc.Generation, err
}

// EndSessionsIn ends all sessions of an account, as [Server.EndSessions] does, as
// part of a transaction on the server's store: for an account system in the same
// store, which changes a password, say, and ends what it opened in one step.
func (s *Server) EndSessionsIn(docs storage.Docs, account syntax.DID) error {
	var doc accountDoc
	version, err := load(docs, kindAccount, account.String(), &doc)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	doc.Generation, doc.Raised = doc.Generation+1, s.now()
	return save(docs, kindAccount, account.String(), version, time.Time{}, doc)
}
