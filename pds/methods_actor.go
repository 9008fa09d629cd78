package pds

import "github.com/pdskit/pdskit/xrpc"

// actorMethods lists app.bsky.actor: what a server answers itself, for its own
// accounts.
func (s *Server) actorMethods() []xrpc.Method {
	return []xrpc.Method{
		s.getPreferences(),
		s.putPreferences(),
	}
}
