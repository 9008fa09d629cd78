package pds

import (
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// What programs do with the data of an account that nobody signs in to: what the
// methods uploadBlob, importRepo and getServiceAuth do for those who have a
// session.

// UploadBlob stores a blob for an account, whose records may refer to it from
// then on; one that no record refers to is removed after Limits.TemporaryBlob.
// Its type is the one that the bytes show, or else mimeType. by.Actor is
// required: whoever uploads a blob for a group may publish it there.
//
// Errors that a client would see are of type *[xrpc.Error], such as
// AccountNotFound, AccountTakedown and PayloadTooLarge (see Limits.BlobBytes).
// The Policy is asked.
func (s *Server) UploadBlob(ctx context.Context, account syntax.DID, mimeType string, body io.Reader, by By) (storage.Blob, error) {
	if by.Actor == "" {
		return storage.Blob{}, errors.New("pds: an upload needs an actor")
	}
	if err := s.mayReceive(ctx, account); err != nil {
		return storage.Blob{}, err
	}
	b, err := s.storeBlob(ctx, account, by.cause(), &xrpc.Upload{
		ContentType: mimeType, Length: -1, Reader: http.MaxBytesReader(nil, io.NopCloser(body), s.cfg.Limits.BlobBytes),
	})
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		err = xrpc.NewError(http.StatusRequestEntityTooLarge, "PayloadTooLarge", "request entity too large").WithCause(err)
	}
	if err != nil {
		return storage.Blob{}, err
	}
	return b, s.extendMigration(ctx, account)
}

// ImportRepo replaces the repository of an account by the one in a CAR, which
// must be of the same DID; its signature is not checked, since the account gets
// a new commit. Nothing changes if anything in it is wrong. Blobs that its
// records refer to come by [Server.UploadBlob].
//
// Errors that a client would see are of type *[xrpc.Error]; NotEnoughResources
// is the one if too many imports run. The Policy is asked.
func (s *Server) ImportRepo(ctx context.Context, account syntax.DID, car io.Reader, by By) error {
	if err := s.mayReceive(ctx, account); err != nil {
		return err
	}
	return s.importFor(ctx, account, by.cause(), &xrpc.Upload{Length: -1, Reader: car})
}

// ServiceToken signs a token by which code of this process calls one method of
// another service in the name of an account: the header Authorization is
// "Bearer " and the token, which is good for a minute. aud is the DID of the
// service, with or without a fragment. An account that is taken down gets a token
// for com.atproto.server.createAccount alone, by which it leaves.
func (s *Server) ServiceToken(ctx context.Context, account syntax.DID, aud string, method syntax.NSID) (string, error) {
	if method == "" || !isServiceAudience(aud) {
		return "", errors.New("pds: a service token needs a method, and the DID of a service as its audience")
	}
	a, err := s.Account(ctx, string(account))
	if err != nil {
		return "", err
	}
	if a.TakedownRef != "" && method != createAccountNSID {
		return "", errAccountTakedown()
	}
	key, err := s.openSigningKey(ctx, a.DID, a.KeyID)
	if err != nil {
		return "", err
	}
	return s.signServiceToken(key, a.DID, aud, string(method), s.clock.Now().Add(defaultServiceTokenLife))
}

// mayReceive checks that an account can be given data: it is there, active or
// not.
func (s *Server) mayReceive(ctx context.Context, did syntax.DID) error {
	a, err := s.Account(ctx, string(did))
	if err == nil && a.TakedownRef != "" {
		err = errAccountTakedown()
	}
	return err
}
