package lexicons

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/bluesky-social/indigo/atproto/lexicon"
)

//go:generate go run ../../internal/lexgen -o builtin.txt -local local

// builtin holds one schema a line: NSID, tab, JSON.
//
//go:embed builtin.txt
var builtin string

// MaxSchemaBytes is the size up to which [Catalog.Add] takes a schema file.
const MaxSchemaBytes = 1 << 20

// ErrExists is returned by [Catalog.Add] for an NSID that is taken.
var ErrExists = errors.New("lexicons: the catalog has a schema of this NSID")

// A Catalog holds lexicon schemas by NSID. Schemas are parsed when they are
// first asked for. A Catalog is safe for concurrent use, [Catalog.Add]
// included.
type Catalog struct {
	base *Catalog // fixed at creation; may be nil

	mu      sync.RWMutex // guards following 3 fields
	sources map[string]string
	files   map[string]*file                        // parsed for validation
	indigo  map[string]map[string]lexicon.SchemaDef // parsed for Resolve
}

var _ lexicon.Catalog = (*Catalog)(nil)

// New returns a catalog with the built-in schemas: com.atproto, app.bsky,
// chat.bsky, tools.ozone, and the few others that the indigo module carries.
func New() *Catalog {
	c := Empty()
	for line := range strings.Lines(builtin) {
		id, schema, _ := strings.Cut(line, "\t")
		c.sources[id] = schema
	}
	return c
}

// Empty returns a catalog without schemas.
func Empty() *Catalog {
	return &Catalog{
		sources: make(map[string]string, 400),
		files:   make(map[string]*file),
		indigo:  make(map[string]map[string]lexicon.SchemaDef),
	}
}

// Over returns a catalog without schemas of its own that finds in base what it
// does not have: for schemas that are to be forgotten again. What is added to
// it does not get into base.
func Over(base *Catalog) *Catalog {
	c := Empty()
	c.base = base
	return c
}

// Add checks a schema file and adds it. References need not be resolvable
// yet. It returns [ErrExists] if the catalog has a schema of that NSID, which
// it then keeps.
func (c *Catalog) Add(schema []byte) error {
	if len(schema) > MaxSchemaBytes {
		return fmt.Errorf("lexicons: schema file of more than %d bytes", MaxSchemaBytes)
	}
	sf, err := parseIndigo(string(schema))
	if err != nil {
		return fmt.Errorf("lexicons: %w", err)
	}
	f, err := compile(c, sf.ID, string(schema))
	if err != nil {
		return err
	}
	if c.base != nil && c.base.Has(sf.ID) {
		return fmt.Errorf("%w: %s", ErrExists, sf.ID)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.sources[sf.ID]; ok {
		return fmt.Errorf("%w: %s", ErrExists, sf.ID)
	}
	c.sources[sf.ID] = string(schema)
	c.files[sf.ID] = f
	c.indigo[sf.ID] = sf.Defs
	return nil
}

// AddFS adds the files of fsys whose names end with ".json", such as those of an
// embed.FS, by [Catalog.Add]. It stops at the first error, which names the file.
func (c *Catalog) AddFS(fsys fs.FS) error {
	return fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path.Ext(name) != ".json" {
			return err
		}
		schema, err := fs.ReadFile(fsys, name)
		if err == nil {
			err = c.Add(schema)
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", name, err)
		}
		return err
	})
}

// Has reports whether the catalog has a schema of that NSID.
func (c *Catalog) Has(nsid string) bool {
	_, ok := c.Source(nsid)
	return ok
}

// Source returns the schema file of an NSID. Built-in ones come without
// descriptions.
func (c *Catalog) Source(nsid string) (json.RawMessage, bool) {
	c.mu.RLock()
	s, ok := c.sources[nsid]
	c.mu.RUnlock()
	if !ok && c.base != nil {
		return c.base.Source(nsid)
	}
	return json.RawMessage(s), ok
}

// NSIDs returns the NSIDs of all schemas in byte order, as they are at the
// time of the call.
func (c *Catalog) NSIDs() iter.Seq[string] {
	c.mu.RLock()
	names := slices.Collect(maps.Keys(c.sources))
	c.mu.RUnlock()
	if c.base != nil {
		names = slices.AppendSeq(names, c.base.NSIDs())
	}
	slices.Sort(names)
	return slices.Values(slices.Compact(names))
}

// Resolve returns a definition in the form of package lexicon of indigo. ref
// is an NSID with an optional fragment; without one it means "#main". It
// implements [lexicon.Catalog].
func (c *Catalog) Resolve(ref string) (*lexicon.Schema, error) {
	nsid, name := splitRef(ref)
	defs, err := c.indigoDefs(nsid)
	if err != nil {
		return nil, err
	}
	def, ok := defs[name]
	if !ok {
		return nil, fmt.Errorf("lexicons: schema not found: %s#%s", nsid, name)
	}
	return &lexicon.Schema{ID: nsid + "#" + name, Def: def.Inner}, nil
}

func (c *Catalog) indigoDefs(nsid string) (map[string]lexicon.SchemaDef, error) {
	c.mu.RLock()
	defs, ok := c.indigo[nsid]
	source, known := c.sources[nsid]
	c.mu.RUnlock()
	if ok {
		return defs, nil
	}
	if !known && c.base != nil {
		return c.base.indigoDefs(nsid)
	}
	if !known {
		return nil, fmt.Errorf("lexicons: schema not found: %s", nsid)
	}
	sf, err := parseIndigo(source)
	if err != nil {
		return nil, fmt.Errorf("lexicons: %s: %w", nsid, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.indigo[nsid] = sf.Defs
	return sf.Defs, nil
}

func parseIndigo(source string) (*lexicon.SchemaFile, error) {
	var sf lexicon.SchemaFile
	if err := json.Unmarshal([]byte(source), &sf); err != nil {
		return nil, err
	}
	if err := sf.FinishParse(); err != nil {
		return nil, err
	}
	return &sf, sf.CheckSchema()
}

// file returns the compiled schema of an NSID, nil if the catalog has none.
func (c *Catalog) file(nsid string) (*file, error) {
	c.mu.RLock()
	f, ok := c.files[nsid]
	source, known := c.sources[nsid]
	c.mu.RUnlock()
	if !known && c.base != nil {
		return c.base.file(nsid)
	}
	if ok || !known {
		return f, nil
	}
	f, err := compile(c, nsid, source)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if first, ok := c.files[nsid]; ok {
		return first, nil // another goroutine was faster
	}
	c.files[nsid] = f
	return f, nil
}

// def returns the definition that a full reference names, nil if the catalog
// has none.
func (c *Catalog) def(ref string) (def, error) {
	nsid, name := splitRef(ref)
	f, err := c.file(nsid)
	if f == nil || err != nil {
		return nil, err
	}
	return f.defs[name], nil
}

// splitRef splits a reference into NSID and name of the definition.
func splitRef(ref string) (nsid, name string) {
	nsid, name, ok := strings.Cut(ref, "#")
	if !ok {
		name = "main"
	}
	return nsid, name
}
