package storage

import "time"

// processStart carries a monotonic reading.
var processStart = time.Now()
