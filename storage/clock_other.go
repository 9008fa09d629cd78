//go:build !linux

package storage

import "time"

func (systemClock) Elapsed() time.Duration { return time.Since(processStart) }
