package pds

import "github.com/pdskit/pdskit/xrpc"

// syncMethods lists com.atproto.sync.
func (s *Server) syncMethods() []xrpc.Method {
	return []xrpc.Method{
		s.getBlob(),
		s.getBlocks(),
		s.getCheckout(),
		s.getHead(),
		s.getLatestCommit(),
		s.getRepo(),
		s.getRepoStatus(),
		s.listBlobs(),
		s.listRepos(),
		s.subscribeRepos(),
		s.syncGetRecord(),
	}
}
