package pds

import "github.com/pdskit/pdskit/xrpc"

// repoMethods lists com.atproto.repo.
func (s *Server) repoMethods() []xrpc.Method {
	return []xrpc.Method{
		s.applyWrites(),
		s.createRecord(),
		s.deleteRecord(),
		s.describeRepo(),
		s.getRecord(),
		s.importRepo(),
		s.listMissingBlobs(),
		s.listRecords(),
		s.putRecord(),
		s.uploadBlob(),
	}
}
