package pds

import (
	"context"
	"fmt"
	"io"
	"runtime/debug"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/repo"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

type getRepoParams struct {
	DID   syntax.DID `json:"did"`
	Since syntax.TID `json:"since"`
}

// getRepo exports a repository: the commit first, then what is newer than
// since, newest first.
func (s *Server) getRepo() xrpc.Method {
	return xrpc.QueryBody("com.atproto.sync.getRepo", s.anyReader(),
		func(ctx context.Context, p *getRepoParams) (*xrpc.Body, error) {
			return s.exportRepo(ctx, p.DID, p.Since)
		})
}

// getCheckout is the deprecated form of getRepo without since.
func (s *Server) getCheckout() xrpc.Method {
	return xrpc.QueryBody("com.atproto.sync.getCheckout", s.activeReader(),
		func(ctx context.Context, p *didParams) (*xrpc.Body, error) {
			return s.exportRepo(ctx, p.DID, "")
		})
}

// exportRepo returns a CAR of a repository as it is in one state of the store.
func (s *Server) exportRepo(ctx context.Context, did syntax.DID, since syntax.TID) (*xrpc.Body, error) {
	body := &xrpc.Body{ContentType: carType, Length: -1}
	if isHead(ctx) {
		if _, err := s.viewHead(ctx, did); err != nil {
			return nil, err
		}
		body.Write = func(io.Writer) error { return nil } // is not called
		return body, nil
	}
	sp, err := s.exports.open(xrpc.ClientKey(ctx))
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, sp.close)
	go s.fillSpool(ctx, sp, func(tx storage.Tx) error { return exportTo(ctx, tx, sp, did, since) })
	body.Write = sp.drain
	return body, nil
}

// fillSpool runs fn in a View and finishes the spool.
func (s *Server) fillSpool(ctx context.Context, sp *spool, fn func(tx storage.Tx) error) {
	err := context.Canceled
	defer func() {
		if v := recover(); v != nil {
			s.log.ErrorContext(ctx, "panic in an export", "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
			err = fmt.Errorf("panic in an export: %v", v)
		}
		sp.finish(err)
	}()
	select {
	case sp.pool.fills <- struct{}{}:
	case <-ctx.Done():
		err = ctx.Err()
		return
	}
	defer func() { <-sp.pool.fills }()
	err = s.store.View(ctx, fn)
}

// exportTo writes a repository that the caller may read as a CAR.
func exportTo(ctx context.Context, tx storage.Tx, w io.Writer, did syntax.DID, since syntax.TID) error {
	if _, err := readableHead(ctx, tx, did); err != nil {
		return err
	}
	return writeRepo(tx, w, did, since)
}

// writeRepo writes a repository as a CAR, whatever the state of its account.
func writeRepo(tx storage.Tx, w io.Writer, did syntax.DID, since syntax.TID) error {
	head, err := tx.Head(did)
	if err != nil {
		return err
	}
	car, err := repo.NewCARWriter(w, head.CID)
	if err != nil {
		return err
	}
	for b, err := range tx.Export(did, since) {
		if err != nil {
			return err
		}
		if err := car.WriteBlock(repo.Block(b)); err != nil {
			return err
		}
	}
	return nil
}
