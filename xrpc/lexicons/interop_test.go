package lexicons_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/bluesky-social/indigo/atproto/atdata"
	"github.com/bluesky-social/indigo/atproto/lexicon"

	"github.com/pdskit/pdskit/xrpc/lexicons"
)

// vectors returns the folder of the interoperability vectors for lexicons.
func vectors(t *testing.T) string {
	t.Helper()
	dir := filepath.Join("..", "..", "..", "shared", "interop", "lexicon")
	if _, err := os.Stat(dir); err != nil {
		if os.Getenv("PDSKIT_REQUIRE_INTEROP") == "1" {
			t.Fatalf("interoperability vectors are required: %v", err)
		}
		t.Skip("no interoperability vectors at ", dir)
	}
	return dir
}

func readVectors[T any](t *testing.T, name string) []T {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(vectors(t), name))
	if err != nil {
		t.Fatal(err)
	}
	var list []T
	if err := json.Unmarshal(data, &list); err != nil {
		t.Fatal(err)
	}
	if len(list) == 0 {
		t.Fatalf("%s is empty", name)
	}
	return list
}

func vectorCatalog(t *testing.T) *lexicons.Catalog {
	t.Helper()
	cat := lexicons.New()
	files, err := filepath.Glob(filepath.Join(vectors(t), "catalog", "*.json"))
	if err != nil || len(files) != 5 {
		t.Fatalf("catalog files: %v, %v", files, err)
	}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := cat.Add(data); err != nil {
			t.Errorf("%s: %v", filepath.Base(name), err)
		}
	}
	t.Logf("catalog: %d files", len(files))
	return cat
}

type lexiconVector struct {
	Name    string
	Lexicon json.RawMessage
}

func TestInteropLexicons(t *testing.T) {
	valid := readVectors[lexiconVector](t, "lexicon-valid.json")
	for _, v := range valid {
		if err := lexicons.Empty().Add(v.Lexicon); err != nil {
			t.Errorf("valid: %s: %v", v.Name, err)
		}
	}
	invalid := readVectors[lexiconVector](t, "lexicon-invalid.json")
	for _, v := range invalid {
		if err := lexicons.Empty().Add(v.Lexicon); err == nil {
			t.Errorf("invalid: %s: accepted", v.Name)
		}
	}
	t.Logf("lexicons: %d valid, %d invalid", len(valid), len(invalid))
}

type recordVector struct {
	Name string
	Rkey string
	Data json.RawMessage
}

const vectorNSID = "example.lexicon.record"

func TestInteropRecords(t *testing.T) {
	cat := vectorCatalog(t)
	check := func(v recordVector) error {
		record, err := atdata.UnmarshalJSON(v.Data)
		if err != nil {
			t.Fatalf("%s: %v", v.Name, err)
		}
		if _, err := cat.CheckRecordKey(vectorNSID, v.Rkey); err != nil {
			return err
		}
		known, err := cat.ValidateRecord(record, vectorNSID, 0)
		if !known {
			t.Fatal("the schema is not known")
		}
		// The second opinion.
		if other := lexicon.ValidateRecord(cat, record, vectorNSID, 0); (other == nil) != (err == nil) {
			t.Errorf("%s: indigo says %v, we say %v", v.Name, other, err)
		}
		return err
	}
	valid := readVectors[recordVector](t, "record-data-valid.json")
	for _, v := range valid {
		if err := check(v); err != nil {
			t.Errorf("valid: %s: %v", v.Name, err)
		}
	}
	invalid := readVectors[recordVector](t, "record-data-invalid.json")
	for _, v := range invalid {
		err := check(v)
		if err == nil {
			t.Errorf("invalid: %s: accepted", v.Name)
		}
	}
	t.Logf("records: %d valid, %d invalid", len(valid), len(invalid))
}

// TestInteropRecordsAsJSON checks the same records as the JSON of a method's
// output.
func TestInteropRecordsAsJSON(t *testing.T) {
	cat := vectorCatalog(t)
	const method = `{"lexicon":1,"id":"example.lexicon.echo","defs":{"main":{"type":"query","output":{
		"encoding":"application/json","schema":{"type":"ref","ref":"example.lexicon.record"}}}}}`
	if err := cat.Add([]byte(method)); err != nil {
		t.Fatal(err)
	}
	valid := readVectors[recordVector](t, "record-data-valid.json")
	for _, v := range valid {
		if err := cat.ValidateOutput("example.lexicon.echo", v.Data); err != nil {
			t.Errorf("valid: %s: %v", v.Name, err)
		}
	}
	invalid := readVectors[recordVector](t, "record-data-invalid.json")
	for _, v := range invalid {
		if err := cat.ValidateOutput("example.lexicon.echo", v.Data); err == nil {
			t.Errorf("invalid: %s: accepted", v.Name)
		}
	}
	t.Logf("records as JSON: %d valid, %d invalid", len(valid), len(invalid))
}

// TestInteropFormats checks that the short cuts for string formats accept no
// more than the parsers of indigo, over all syntax vectors.
func TestInteropFormats(t *testing.T) {
	vectors(t)
	dir := filepath.Join("..", "..", "..", "shared", "interop", "syntax")
	files, err := filepath.Glob(filepath.Join(dir, "*_syntax_*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("syntax vectors: %v, %v", files, err)
	}
	lines := 0
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range splitLines(string(data)) {
			lines++
			checkFormats(t, line)
		}
	}
	t.Logf("formats: %d lines of %d files", lines, len(files))
}
