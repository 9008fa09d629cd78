package pds

import "github.com/pdskit/pdskit/xrpc"

// moderationMethods lists com.atproto.moderation.
func (s *Server) moderationMethods() []xrpc.Method {
	return []xrpc.Method{
		s.createReport(),
	}
}
