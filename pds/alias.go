package pds

import (
	"context"
	"mime"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/oauth/scope"
	"github.com/pdskit/pdskit/xrpc"
)

// Alias mounts createRecord, putRecord, deleteRecord, applyWrites and uploadBlob
// under a namespace of the program's own, such as "com.example.group": methods
// by which members write to accounts that they may act for, see [Delegation].
//
// They are called through the member's own PDS, with the header atproto-proxy
// naming this server, or directly with a service token for the method; members
// with an account here may call them with a session, too. An app needs the scope
// rpc:<method>?aud=<this server>; wider scopes and app passwords do not do. Each
// write needs a scope of the member's grant. Inputs and answers are those of
// com.atproto.repo, with the parameter repo naming the account; uploadBlob takes
// it from the query.
//
// Alias panics if the namespace is not one, or is that of the protocol.
func (s *Server) Alias(namespace string) {
	if _, err := syntax.ParseNSID(namespace + ".createRecord"); err != nil || ownedMethod(namespace+".createRecord") {
		panic("pds: " + namespace + " is no namespace for aliases") //nolint:forbidigo // a mistake of the programmer at registration
	}
	rule := xrpc.Required(nil) // who may do what is decided by permit
	methods := []xrpc.Method{
		s.createRecordAs(namespace+".createRecord", rule),
		s.putRecordAs(namespace+".putRecord", rule),
		s.deleteRecordAs(namespace+".deleteRecord", rule),
		s.applyWritesAs(namespace+".applyWrites", rule),
		s.uploadBlobFor(namespace+".uploadBlob", rule),
	}
	s.Handle(methods...)
}

// uploadBlobFor is uploadBlob for an account that somebody acts for.
func (s *Server) uploadBlobFor(nsid string, rule xrpc.Rule) xrpc.Method {
	return xrpc.ProcedureBody(nsid, rule,
		func(ctx context.Context, up *xrpc.Upload) (*uploadBlobOutput, error) {
			caller := xrpc.CallerFrom(ctx)
			account, err := s.accountByIdentifier(ctx, xrpc.RequestFrom(ctx).URL.Query().Get("repo"))
			if err != nil {
				return nil, err
			}
			grant, err := s.permit(ctx, account.DID, nsid)
			if err != nil {
				return nil, err
			}
			if err := mayWrite(&account); err != nil {
				return nil, err
			}
			if err := requireIn(grant, scope.Blob{MimeType: mediaType(up.ContentType)}); err != nil {
				s.noteRefusal(ctx, account.DID, caller, nsid, err)
				return nil, err
			}
			b, err := s.storeBlob(ctx, account.DID, causeOf(caller), up)
			if err != nil {
				return nil, err
			}
			return &uploadBlobOutput{blobView{"blob", linkView{b.CID.String()}, b.MimeType, b.Size}}, nil
		}).WithMaxBody(s.cfg.Limits.BlobBytes).WithLimits(s.uploadLimits()...)
}

// mediaType returns the type in a Content-Type header, without parameters.
func mediaType(contentType string) string {
	name, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return "application/octet-stream"
	}
	return name
}
