// Package lexicons holds lexicon schemas and checks values against them.
//
// A [Catalog] starts with the schemas that come with indigo; an embedder adds
// its own:
//
//	cat := lexicons.New()
//	if err := cat.AddFS(files); err != nil { ... } // an embed.FS; Add takes one file
//	known, err := cat.ValidateRecord(record, "app.bsky.feed.post", 0)
//
// Records are checked as values in memory, with the types of indigo's package
// atdata. Inputs and outputs of methods are checked as JSON text in one pass,
// which also enforces the limits of the data model: integers only, up to
// 2^53-1, no duplicate keys, UTF-8, well-formed links and bytes, at most 128
// levels. A property that differs from one of the schema in case only is
// refused, because encoding/json would take it for that one.
//
// The catalog implements lexicon.Catalog of indigo for those who need schemas
// in that form, such as permission sets.
//
// Built-in schemas come without descriptions and are parsed on first use.
// They do not include what indigo does not have: permission sets.
package lexicons
