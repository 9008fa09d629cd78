package lexicons_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/pdskit/pdskit/xrpc/lexicons"
)

const overSchema = `{"lexicon":1,"id":"com.example.thing","defs":{
	"main":{"type":"record","key":"tid","record":{"type":"object","required":["ref"],"properties":{
		"ref":{"type":"ref","ref":"com.atproto.repo.strongRef"},
		"type":{"type":"ref","ref":"#local"},
		"many":{"type":"array","items":{"type":"union","refs":["com.example.other#x","#local","com.example.thing#local","lex"]}}}}},
	"local":{"type":"object","properties":{"refs":{"type":"array","items":{"type":"string"}},"ref":{"type":"string","default":"com.example.no"}}}}}`

func TestOver(t *testing.T) {
	base := lexicons.New()
	c := lexicons.Over(base)
	if err := c.Add([]byte(overSchema)); err != nil {
		t.Fatal(err)
	}
	if !c.Has("com.example.thing") || base.Has("com.example.thing") || !c.Has("app.bsky.feed.post") {
		t.Error("the two catalogs are not apart")
	}
	good := map[string]any{"$type": "com.example.thing", "ref": map[string]any{
		"uri": "at://did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", "cid": "bafyreihyrpefhacm6kkp4ql6j6udakdit7g3dmkzfriqfykhjw6cad5lrm",
	}}
	if known, err := c.ValidateRecord(good, "com.example.thing", 0); !known || err != nil {
		t.Error(known, err)
	}
	good["ref"] = map[string]any{"uri": "x"}
	if _, err := c.ValidateRecord(good, "com.example.thing", 0); err == nil {
		t.Error("what a schema of the base refers to is not checked")
	}
	if known, _ := c.CheckRecordKey("app.bsky.actor.profile", "self"); !known {
		t.Error("the base is not asked")
	}
	if _, err := c.Resolve("com.atproto.repo.strongRef"); err != nil {
		t.Error(err)
	}
	if _, err := c.Resolve("com.example.none"); err == nil {
		t.Error("a schema that nobody has")
	}
	post, _ := base.Source("app.bsky.feed.post")
	if err := c.Add(post); !errors.Is(err, lexicons.ErrExists) {
		t.Errorf("a schema of the base is added: %v", err)
	}
	names := slices.Collect(c.NSIDs())
	if !slices.IsSorted(names) || !slices.Contains(names, "com.example.thing") || len(names) != len(slices.Collect(base.NSIDs()))+1 {
		t.Errorf("%d names", len(names))
	}
}

func TestReferences(t *testing.T) {
	got, err := lexicons.References([]byte(overSchema))
	if want := []string{"com.atproto.repo.strongRef", "com.example.other", "lex"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{``, `[]`, `{"defs":[]}`, `{"defs":{"a":}}`} {
		if got, err := lexicons.References([]byte(bad)); err == nil {
			t.Errorf("%q: %v", bad, got)
		}
	}
}

// FuzzForeignSchema: whatever a schema of somebody else says, it is refused or
// records can be checked by it.
func FuzzForeignSchema(f *testing.F) {
	f.Add(overSchema, "x")
	f.Add(`{"lexicon":1,"id":"com.example.thing","defs":{"main":null}}`, "x")
	f.Add(`{"lexicon":1,"id":"com.example.thing","defs":{"main":{"type":"record","key":"any","record":{"type":"object","properties":{"a":null}}}}}`, "x")
	f.Add(`{"lexicon":1,"id":"com.example.thing","defs":{"main":{"type":"record","key":"any","record":{"type":"object","properties":{"a":{"type":"ref","ref":"#main"}}}}}}`, "x")
	f.Add(`{"lexicon":1,"id":"com.example.thing","defs":{"main":{"type":"record","key":"any","record":{"type":"object","properties":{"ref":{"type":"string","enum":[]}}}}}}`, "x")
	base := lexicons.New()
	f.Fuzz(func(t *testing.T, schema, text string) {
		_, _ = lexicons.References([]byte(schema))
		c := lexicons.Over(base)
		if c.Add([]byte(schema)) != nil {
			return
		}
		for _, v := range []any{text, int64(1), nil, map[string]any{"$type": "com.example.thing", "a": text}, []any{text}, map[string]any{"ref": text}} {
			_, _ = c.ValidateRecord(map[string]any{"$type": "com.example.thing", "a": v, "ref": v, "many": v, "type": v}, "com.example.thing", 0)
		}
		_, _ = c.CheckRecordKey("com.example.thing", text)
	})
}
