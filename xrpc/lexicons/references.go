package lexicons

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// References returns the NSIDs of other schema files that one refers to, each
// once, in byte order. The schema need not be valid otherwise.
func References(schema []byte) ([]string, error) {
	var file struct {
		ID   string                     `json:"id"`
		Defs map[string]json.RawMessage `json:"defs"`
	}
	if err := json.Unmarshal(schema, &file); err != nil {
		return nil, fmt.Errorf("lexicons: %w", err)
	}
	found := make(map[string]struct{})
	add := func(ref any) {
		text, _ := ref.(string)
		if nsid, _ := splitRef(text); nsid != "" && nsid != file.ID {
			found[nsid] = struct{}{}
		}
	}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, item := range v {
				walk(item)
			}
		case map[string]any:
			switch v["type"] {
			case "ref":
				add(v["ref"])
			case "union":
				refs, _ := v["refs"].([]any)
				for _, ref := range refs {
					add(ref)
				}
			}
			for _, item := range v {
				walk(item)
			}
		}
	}
	for _, def := range file.Defs {
		var v any
		if err := json.Unmarshal(def, &v); err != nil {
			return nil, fmt.Errorf("lexicons: %w", err)
		}
		walk(v)
	}
	return slices.Sorted(maps.Keys(found)), nil
}
