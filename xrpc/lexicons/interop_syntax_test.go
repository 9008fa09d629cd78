package lexicons_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pdskit/pdskit/xrpc/lexicons"
)

// formatOf maps the names of the vector files to formats of strings.
var formatOf = map[string]string{
	"atidentifier": "at-identifier", "aturi": "at-uri", "cid": "cid", "datetime": "datetime", "did": "did",
	"handle": "handle", "language": "language", "nsid": "nsid", "recordkey": "record-key", "tid": "tid", "uri": "uri",
}

// disagreements are the vectors that we do not follow, with the reason in
// docs/rough-edges.md.
var disagreements = map[string]string{
	"language X-fr-CH": "indigo's parser refuses an upper-case private tag",

	"language de-DE-1901-1901":               "repeated parts are not looked for",
	"language en-rozaj-ROZAJ":                "repeated parts are not looked for",
	"language en-a-foo-a-bar":                "repeated parts are not looked for",
	"language en-u-co-phonebk-U-ca-buddhist": "repeated parts are not looked for",
}

// TestInteropSyntax checks every syntax vector as the value of a string with
// that format.
func TestInteropSyntax(t *testing.T) {
	vectors(t)
	files, err := filepath.Glob(filepath.Join("..", "..", "..", "shared", "interop", "syntax", "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("syntax vectors: %v, %v", files, err)
	}
	cases, differ := 0, 0
	for _, file := range files {
		kind, rest, _ := strings.Cut(strings.TrimSuffix(filepath.Base(file), ".txt"), "_")
		valid := rest == "syntax_valid"
		format, ok := formatOf[kind]
		if !ok {
			t.Errorf("%s is of no known format", file)
			continue
		}
		cat := lexicons.Empty()
		schema := fmt.Sprintf(`{"lexicon":1,"id":"com.example.check","defs":{"main":{"type":"query","output":{
			"encoding":"application/json","schema":{"type":"object","properties":{"v":{"type":"string","format":%q}}}}}}}`, format)
		if err := cat.Add([]byte(schema)); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range splitLines(string(data)) {
			cases++
			text, err := json.Marshal(map[string]string{"v": line})
			if err != nil {
				t.Fatal(err)
			}
			err = cat.ValidateOutput("com.example.check", text)
			if (err == nil) == valid {
				continue
			}
			if disagreements[kind+" "+line] == "" {
				t.Errorf("%s: %q: want valid = %v: %v", filepath.Base(file), line, valid, err)
			}
			differ++
		}
	}
	t.Logf("syntax: %d cases of %d files, %d disagreements", cases, len(files), differ)
}
