package main_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDoctor finds nothing wrong with a fresh server, and then each thing that
// is broken on purpose.
func TestDoctor(t *testing.T) {
	p := newDevelopment(t)
	p.start()
	p.signUp("alice.test")
	examine := func(want ...string) {
		t.Helper()
		code, out, errs := p.run("doctor", "all", "-json")
		var findings []struct{ Check, State, About, Cause, Next string }
		if err := json.Unmarshal([]byte(out), &findings); err != nil {
			t.Fatalf("%v: %s%s", err, out, errs)
		}
		var problems []string
		for _, f := range findings {
			if f.State == "problem" {
				problems = append(problems, f.Check+": "+f.Cause)
			}
			if f.State != "ok" && (f.Cause == "" || f.Next == "") {
				t.Errorf("no cause or next step: %+v", f)
			}
		}
		if (code != 0) != (len(want) > 0) || len(problems) != len(want) {
			t.Fatalf("exit code %d, problems %q, want %q; %s", code, problems, want, errs)
		}
		for i, w := range want {
			if !strings.Contains(problems[i], w) {
				t.Errorf("problem %q, want %q", problems[i], w)
			}
		}
	}
	examine()

	key := filepath.Join(p.dataDir, "master.key")
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	examine("others may use it")
	if err := os.Chmod(key, 0o600); err != nil {
		t.Fatal(err)
	}

	// Another rotation key than the one that the accounts were made with.
	secrets := filepath.Join(p.dataDir, "secrets.json")
	text, err := os.ReadFile(secrets)
	if err != nil {
		t.Fatal(err)
	}
	var sec map[string]string
	if err := json.Unmarshal(text, &sec); err != nil {
		t.Fatal(err)
	}
	sec["plcRotationKeyHex"] = strings.Repeat("2e", 32)
	other, err := json.Marshal(sec)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(secrets, other, 0o600); err != nil {
		t.Fatal(err)
	}
	examine("rotation key is not among its own")
	if err := os.WriteFile(secrets, text, 0o600); err != nil {
		t.Fatal(err)
	}

	p.terminate()
	examine("does not answer")
	if code, _, errs := p.run("doctor", "everything"); code != 2 || !strings.Contains(errs, "[all]") {
		t.Errorf("%d, %s", code, errs)
	}
}
