package oauth

import (
	"context"
	"time"
)

// SetSleep replaces how the server waits, before it is used.
func (s *Server) SetSleep(sleep func(context.Context, time.Duration)) { s.sleep = sleep }

// SleepFor is how the server waits.
func SleepFor(ctx context.Context, d time.Duration) { sleepFor(ctx, d) }
