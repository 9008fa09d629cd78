package oauth

import "net/http"

// pages adds the pages to the server.
func (s *Server) pages(*http.ServeMux) {}
