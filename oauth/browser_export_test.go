package oauth

import (
	"context"
	"time"
)

// SetSleep replaces how the server waits, before it is used.
func (s *Server) SetSleep(sleep func(context.Context, time.Duration)) { s.sleep = sleep }
