package pds_test

import (
	"encoding/json"
	"fmt"
)

// unmarshal names what it could not read.
func unmarshal(data []byte, v any) error {
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%.200q: %w", data, err)
	}
	return nil
}
