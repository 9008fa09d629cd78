package pds

import "github.com/pdskit/pdskit/xrpc"

// adminMethods lists the methods of com.atproto.admin.
func (s *Server) adminMethods() []xrpc.Method {
	return []xrpc.Method{
		s.adminDeleteAccount(), s.updateSubjectStatus(), s.getSubjectStatus(), s.updateAccountHandle(),
		s.updateAccountSigningKey(),
	}
}
