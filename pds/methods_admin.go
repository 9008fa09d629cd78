package pds

import "github.com/pdskit/pdskit/xrpc"

// adminMethods lists the methods of com.atproto.admin. Those that change
// something are audited.
func (s *Server) adminMethods() []xrpc.Method {
	return []xrpc.Method{
		s.adminDeleteAccount(),
		s.disableAccountInvites(),
		s.disableInviteCodes(),
		s.enableAccountInvites(),
		s.getAccountInfo(),
		s.getAccountInfos(),
		s.getInviteCodes(),
		s.getSubjectStatus(),
		s.searchAccounts(),
		s.sendEmail(),
		s.updateAccountEmail(),
		s.updateAccountHandle(),
		s.updateAccountPassword(),
		s.updateAccountSigningKey(),
		s.updateSubjectStatus(),
	}
}
