package pds

import "github.com/pdskit/pdskit/xrpc"

// identityMethods lists the methods of com.atproto.identity.
func (s *Server) identityMethods() []xrpc.Method {
	return []xrpc.Method{
		s.resolveHandle(), s.resolveDid(), s.resolveIdentity(), s.refreshIdentity(),
		s.updateHandle(), s.getRecommendedDidCredentials(),
		s.requestPlcOperationSignature(), s.signPlcOperation(), s.submitPlcOperation(),
	}
}
