package pds_test

import (
	"testing"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/xrpc/lexicons"
)

// Record types of a program's own lexicons are checked like those that are built
// in, by every method that writes, for groups too.
func TestOwnRecordTypes(t *testing.T) {
	t.Parallel()
	const recipe = "com.example.recipe"
	withRecipes := func(c *pds.Config) {
		c.Catalog = lexicons.New()
		ok(t, c.Catalog.Add([]byte(`{"lexicon": 1, "id": "`+recipe+`", "defs": {"main": {"type": "record", "key": "tid", "record": {
			"type": "object", "required": ["name", "createdAt"], "properties": {
				"name": {"type": "string", "minLength": 1, "maxLength": 20},
				"portions": {"type": "integer", "minimum": 1},
				"picture": {"type": "blob", "accept": ["image/*"], "maxSize": 100},
				"createdAt": {"type": "string", "format": "datetime"}
			}}}}}`)))
	}
	h := newHouse(t, withRecipes)
	alice := h.CreateAccount("alice")
	h.role(alice.DID, "repo:"+recipe)
	picture := mustUpload(t, alice, "image/png", "a picture").ref()
	text := mustUpload(t, alice, "text/plain", "not a picture").ref()
	const now = "2026-11-22T12:00:00.000Z"
	for name, c := range map[string]struct {
		record map[string]any
		valid  bool
	}{
		"all":               {map[string]any{"name": "soup", "portions": 4, "picture": picture, "createdAt": now}, true},
		"what is needed":    {map[string]any{"name": "soup", "createdAt": now}, true},
		"more":              {map[string]any{"name": "soup", "createdAt": now, "com.example.note": "salt"}, true},
		"a name missing":    {map[string]any{"createdAt": now}, false},
		"a name too long":   {map[string]any{"name": "a soup of all vegetables", "createdAt": now}, false},
		"no portions":       {map[string]any{"name": "soup", "portions": 0, "createdAt": now}, false},
		"some portions":     {map[string]any{"name": "soup", "portions": "some", "createdAt": now}, false},
		"a bad date":        {map[string]any{"name": "soup", "createdAt": "today"}, false},
		"a text as picture": {map[string]any{"name": "soup", "picture": text, "createdAt": now}, false},
		"another type":      {map[string]any{"$type": "com.example.other", "name": "soup", "createdAt": now}, false},
	} {
		t.Run(name, func(t *testing.T) {
			check := func(nsid string, in map[string]any) {
				t.Helper()
				var out written
				err := post(t, h.PDS, nsid, "Bearer "+alice.Access, in, &out)
				if !c.valid {
					wantError(t, err, 400, "")
					return
				}
				ok(t, err)
				for _, r := range out.Results {
					out.ValidationStatus = r.ValidationStatus
				}
				if out.ValidationStatus != "valid" {
					t.Errorf("%s: validationStatus %q", nsid, out.ValidationStatus)
				}
			}
			input := func(repo any, more ...any) map[string]any {
				in := map[string]any{"repo": repo, "collection": recipe, "record": c.record}
				for i := 0; i < len(more); i += 2 {
					in[more[i].(string)] = more[i+1]
				}
				return in
			}
			check(createRecord, input(alice.DID))
			check(createRecord, input(alice.DID, "validate", true))
			check(putRecord, input(alice.DID, "rkey", "3jzfcijpj2z2a"))
			check(applyWrites, map[string]any{"repo": alice.DID, "writes": []any{
				map[string]any{"$type": "com.atproto.repo.applyWrites#create", "collection": recipe, "value": c.record},
			}})
			if c.record["picture"] == nil {
				check(aliasName+".createRecord", input(h.group.DID))
			}
		})
	}
	wantError(t, post(t, h.PDS, createRecord, "Bearer "+alice.Access, map[string]any{
		"repo": alice.DID, "collection": recipe, "rkey": "self", "record": map[string]any{"name": "soup", "createdAt": now},
	}, nil), 400, "InvalidRequest") // the schema wants a TID
	var unknown written
	ok(t, post(t, h.PDS, createRecord, "Bearer "+alice.Access, map[string]any{
		"repo": alice.DID, "collection": "com.example.unheard", "record": map[string]any{"a": 1},
	}, &unknown))
	if unknown.ValidationStatus != "unknown" {
		t.Errorf("an unknown type: %q", unknown.ValidationStatus)
	}
}
