package pds

import "github.com/pdskit/pdskit/xrpc"

// serverMethods lists com.atproto.server.
func (s *Server) serverMethods() []xrpc.Method {
	return []xrpc.Method{
		s.activateAccount(),
		s.checkAccountStatus(),
		s.confirmEmail(),
		s.createAccount(),
		s.createAppPassword(),
		s.createInviteCode(),
		s.createInviteCodes(),
		s.createSession(),
		s.deactivateAccount(),
		s.deleteAccount(),
		s.deleteSession(),
		s.describeServer(),
		s.getAccountInviteCodes(),
		s.getServiceAuth(),
		s.getSession(),
		s.listAppPasswords(),
		s.refreshSession(),
		s.requestAccountDelete(),
		s.requestEmailConfirmation(),
		s.requestEmailUpdate(),
		s.requestPasswordReset(),
		s.reserveSigningKey(),
		s.resetPassword(),
		s.revokeAppPassword(),
		s.updateEmail(),
	}
}

// tempMethods lists com.atproto.temp.
func (s *Server) tempMethods() []xrpc.Method { return []xrpc.Method{s.checkSignupQueue()} }
