// Command lexgen writes the built-in lexicon catalog of package
// xrpc/lexicons: every schema file of the indigo module that go.mod names,
// followed by the files in the folder "local", one a line, sorted by NSID.
//
// Descriptions are left out where they are text for people: an object may
// also have a property of that name. Run it with "go generate" in
// xrpc/lexicons.
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

const module = "github.com/bluesky-social/indigo"

func main() {
	out := flag.String("o", "builtin.txt", "file to write")
	local := flag.String("local", "local", "folder of schema files of our own, which win")
	flag.Parse()
	if err := run(*out, *local); err != nil {
		fmt.Fprintln(os.Stderr, "lexgen:", err)
		os.Exit(1)
	}
}

func run(out, local string) error {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		return fmt.Errorf("find %s: %w", module, err)
	}
	files := map[string][]byte{}
	if err := collect(files, filepath.Join(strings.TrimSpace(string(dir)), "lexicons")); err != nil {
		return err
	}
	if _, err := os.Stat(local); err == nil {
		if err := collect(files, local); err != nil {
			return err
		}
	}
	var buf bytes.Buffer
	for _, id := range sortedKeys(files) {
		fmt.Fprintf(&buf, "%s\t%s\n", id, files[id])
	}
	return os.WriteFile(out, buf.Bytes(), 0o644)
}

// collect adds the schema files below dir to files, compacted, by NSID.
func collect(files map[string][]byte, dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".json" {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		id, compact, err := compact(data)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		files[id] = compact
		return nil
	})
}

// compact returns the NSID of a schema file and the file without descriptions
// and white space. Keys come out sorted, so that the result is stable.
func compact(data []byte) (id string, out []byte, err error) {
	var file map[string]any
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := dec.Decode(&file); err != nil {
		return "", nil, err
	}
	id, _ = file["id"].(string)
	if id == "" || strings.ContainsAny(id, "\t\n") {
		return "", nil, fmt.Errorf("no id")
	}
	strip(file)
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(file); err != nil {
		return "", nil, err
	}
	return id, bytes.TrimSpace(buf.Bytes()), nil
}

// strip removes every member "description" that is a string.
func strip(v any) {
	switch v := v.(type) {
	case map[string]any:
		if _, ok := v["description"].(string); ok {
			delete(v, "description")
		}
		for _, item := range v {
			strip(item)
		}
	case []any:
		for _, item := range v {
			strip(item)
		}
	}
}

func sortedKeys(m map[string][]byte) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
