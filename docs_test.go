package pdskit_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/live"
	"github.com/pdskit/pdskit/oauth"
	"github.com/pdskit/pdskit/oauth/scope"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/repo"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/storage/blobs"
	"github.com/pdskit/pdskit/storage/sqlite"
	"github.com/pdskit/pdskit/xrpc"
	"github.com/pdskit/pdskit/xrpc/lexicons"
)

// bytesOf marks a constant as a number of bytes, for its form in the table.
type bytesOf int64

// constants are the exported limits of all packages.
var constants = map[string]any{
	"repo.MaxRecordBytes":              bytesOf(repo.MaxRecordBytes),
	"repo.MaxJSONBytes":                bytesOf(repo.MaxJSONBytes),
	"repo.MaxCBORBytes":                bytesOf(repo.MaxCBORBytes),
	"repo.MaxDepth":                    repo.MaxDepth,
	"repo.MaxInteger":                  repo.MaxInteger,
	"repo.MaxCIDBytes":                 bytesOf(repo.MaxCIDBytes),
	"repo.MaxKeyBytes":                 bytesOf(repo.MaxKeyBytes),
	"repo.MaxNodeEntries":              repo.MaxNodeEntries,
	"repo.MaxNodeBytes":                bytesOf(repo.MaxNodeBytes),
	"repo.MaxCommitBytes":              bytesOf(repo.MaxCommitBytes),
	"repo.DefaultCARHeader":            bytesOf(repo.DefaultCARHeader),
	"repo.DefaultCARBlock":             bytesOf(repo.DefaultCARBlock),
	"repo.DefaultCARBytes":             bytesOf(repo.DefaultCARBytes),
	"repo.DefaultCARBlocks":            repo.DefaultCARBlocks,
	"xrpc.DefaultMaxJSONBody":          bytesOf(xrpc.DefaultMaxJSONBody),
	"xrpc.DefaultMaxTextBody":          bytesOf(xrpc.DefaultMaxTextBody),
	"xrpc.DefaultMaxUploadBody":        bytesOf(xrpc.DefaultMaxUploadBody),
	"xrpc.DefaultBodyIdle":             xrpc.DefaultBodyIdle,
	"xrpc.DefaultPingInterval":         xrpc.DefaultPingInterval,
	"xrpc.DefaultWriteTimeout":         xrpc.DefaultWriteTimeout,
	"xrpc.DefaultMaxMessage":           bytesOf(xrpc.DefaultMaxMessage),
	"xrpc.DefaultMaxStreams":           xrpc.DefaultMaxStreams,
	"xrpc.DefaultMaxPerClient":         xrpc.DefaultMaxPerClient,
	"xrpc.DefaultMaxRate":              xrpc.DefaultMaxRate,
	"xrpc.DefaultRecheck":              xrpc.DefaultRecheck,
	"xrpc.DefaultLimiterKeys":          xrpc.DefaultLimiterKeys,
	"lexicons.MaxSchemaBytes":          bytesOf(lexicons.MaxSchemaBytes),
	"identity.DefaultTimeout":          identity.DefaultTimeout,
	"identity.DefaultMaxBody":          bytesOf(identity.DefaultMaxBody),
	"identity.DefaultResolveTimeout":   identity.DefaultResolveTimeout,
	"identity.DefaultStaleTTL":         identity.DefaultStaleTTL,
	"identity.DefaultMaxTTL":           identity.DefaultMaxTTL,
	"identity.DefaultErrorTTL":         identity.DefaultErrorTTL,
	"identity.DefaultCacheSize":        identity.DefaultCacheSize,
	"identity.DialTimeout":             identity.DialTimeout,
	"identity.TLSTimeout":              identity.TLSTimeout,
	"repo.MaxProofBytes":               bytesOf(repo.MaxProofBytes),
	"repo.MaxProofBlocks":              repo.MaxProofBlocks,
	"pds.MaxLexiconBytes":              bytesOf(pds.MaxLexiconBytes),
	"identity.MaxHeaderBytes":          bytesOf(identity.MaxHeaderBytes),
	"identity.MaxStreamBuffer":         bytesOf(identity.MaxStreamBuffer),
	"identity.MaxDocumentBytes":        bytesOf(identity.MaxDocumentBytes),
	"identity.MaxHandleRedirects":      identity.MaxHandleRedirects,
	"identity.MaxPLCBody":              bytesOf(identity.MaxPLCBody),
	"identity.MaxLogEntries":           identity.MaxLogEntries,
	"identity.MaxOperationBytes":       bytesOf(identity.MaxOperationBytes),
	"identity.MaxOperationJSON":        bytesOf(identity.MaxOperationJSON),
	"identity.MaxAlsoKnownAs":          identity.MaxAlsoKnownAs,
	"identity.MaxAlsoKnownAsBytes":     bytesOf(identity.MaxAlsoKnownAsBytes),
	"identity.MaxRotationKeys":         identity.MaxRotationKeys,
	"identity.MaxServices":             identity.MaxServices,
	"identity.MaxVerificationMethods":  identity.MaxVerificationMethods,
	"identity.MaxNameBytes":            bytesOf(identity.MaxNameBytes),
	"identity.MaxKeyBytes":             bytesOf(identity.MaxKeyBytes),
	"identity.MaxServiceTypeBytes":     bytesOf(identity.MaxServiceTypeBytes),
	"identity.MaxServiceEndpointBytes": bytesOf(identity.MaxServiceEndpointBytes),
	"identity.MaxOperationsPerHour":    identity.MaxOperationsPerHour,
	"identity.MaxOperationsPerDay":     identity.MaxOperationsPerDay,
	"identity.MaxOperationsPerWeek":    identity.MaxOperationsPerWeek,
	"identity.MaxExportCount":          identity.MaxExportCount,
	"storage.MaxStartLead":             storage.MaxStartLead,
	"storage.MaxClockStep":             storage.MaxClockStep,
	"storage.GenerationTTL":            storage.GenerationTTL,
	"storage.MaxTxRows":                storage.MaxTxRows,
	"storage.MaxTxBytes":               bytesOf(storage.MaxTxBytes),
	"storage.MaxTxTime":                storage.MaxTxTime,
	"sqlite.DefaultReadConns":          sqlite.DefaultReadConns,
	"blobs.MaxKeyBytes":                bytesOf(blobs.MaxKeyBytes),
	"oauth.MaxParameterBytes":          bytesOf(oauth.MaxParameterBytes),
	"oauth.MaxJWTBytes":                bytesOf(oauth.MaxJWTBytes),
	"oauth.MinSecretBytes":             bytesOf(oauth.MinSecretBytes),
	"oauth.MaxDelegated":               oauth.MaxDelegated,
	"oauth.MaxFactorTries":             oauth.MaxFactorTries,
	"scope.MaxLength":                  bytesOf(scope.MaxLength),
	"scope.MaxGrantedLength":           bytesOf(scope.MaxGrantedLength),
	"scope.MaxScopes":                  scope.MaxScopes,
	"scope.MaxParams":                  scope.MaxParams,
	"scope.MaxPermissionSetSize":       bytesOf(scope.MaxPermissionSetSize),
	"scope.MaxPermissions":             scope.MaxPermissions,
	"live.MaxTopicName":                live.MaxTopicName,
	"live.MaxMessageBytes":             bytesOf(live.MaxMessageBytes),
	"live.DefaultPage":                 live.DefaultPage,
	"live.MaxPage":                     live.MaxPage,
	"live.MaxPageBytes":                bytesOf(live.MaxPageBytes),
	"live.MaxSignalKey":                live.MaxSignalKey,
	"live.MaxSignalBytes":              bytesOf(live.MaxSignalBytes),
	"live.MaxSignalTime":               live.MaxSignalTime,
	"live.DefaultRingBytes":            bytesOf(live.DefaultRingBytes),
	"live.DefaultTopicRingBytes":       bytesOf(live.DefaultTopicRingBytes),
	"live.DefaultBehind":               live.DefaultBehind,
	"live.DefaultSubscribers":          live.DefaultSubscribers,
	"live.DefaultTopicSubscribers":     live.DefaultTopicSubscribers,
	"live.DefaultClientSubscribers":    live.DefaultClientSubscribers,
	"live.DefaultSignals":              live.DefaultSignals,
	"live.DefaultSignalBytes":          bytesOf(live.DefaultSignalBytes),
	"live.DefaultReads":                live.DefaultReads,
	"live.DefaultPoll":                 live.DefaultPoll,
	"live.DefaultRecheck":              live.DefaultRecheck,
	"live.DefaultRuleTimeout":          live.DefaultRuleTimeout,
	"pds.MaxCountedJobs":               pds.MaxCountedJobs,
	"pds.MaxStateReads":                pds.MaxStateReads,
	"pds.MaxStateWrites":               pds.MaxStateWrites,
	"pds.MaxStateBytes":                bytesOf(pds.MaxStateBytes),
	"pds.MaxDocumentBytes":             bytesOf(pds.MaxDocumentBytes),
	"pds.MaxDocumentKey":               pds.MaxDocumentKey,
	"pds.MaxAuditText":                 bytesOf(pds.MaxAuditText),
	"pds.MaxAuditList":                 pds.MaxAuditList,
	"pds.MaxTickets":                   pds.MaxTickets,
	"pds.TicketLife":                   pds.TicketLife,
	"pds.ServiceStreamLife":            pds.ServiceStreamLife,
	"pds.MinSecretBytes":               bytesOf(pds.MinSecretBytes),
}

// limitName matches exported constants that are limits.
var limitName = regexp.MustCompile(`^(Max|Min|Default)[A-Z]|(Timeout|TTL)$`)

// notLimits are constants that look like one.
var notLimits = []string{"identity.DefaultPLCURL"}

// show formats a limit as docs/operating.md has it.
func show(v any) string {
	switch v := v.(type) {
	case time.Duration:
		switch {
		case v%(24*time.Hour) == 0 && v > 24*time.Hour:
			return fmt.Sprintf("%d days", v/(24*time.Hour))
		case v%time.Hour == 0:
			return fmt.Sprintf("%d h", v/time.Hour)
		case v%time.Minute == 0:
			return fmt.Sprintf("%d min", v/time.Minute)
		case v%time.Second == 0:
			return fmt.Sprintf("%d s", v/time.Second)
		}
		return fmt.Sprintf("%d ms", v/time.Millisecond)
	case bytesOf:
		for i, unit := range []string{"GiB", "MiB", "KiB"} {
			if size := bytesOf(1) << (30 - 10*i); v%size == 0 {
				return fmt.Sprintf("%s %s", thousands(int64(v/size)), unit)
			}
		}
		return thousands(int64(v))
	case int:
		return thousands(int64(v))
	}
	return fmt.Sprintf("%T?", v)
}

func thousands(n int64) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// TestOperatingListsConstants compares the second table of limits with the
// code, and the list above with the constants that there are.
func TestOperatingListsConstants(t *testing.T) {
	data, err := os.ReadFile("docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := bytes.Cut(data, []byte("<!-- constants:"))
	if !found {
		t.Fatal("docs/operating.md has no table of constants")
	}
	listed := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\| [^|]+ \\| ([^|]+) \\|$").FindAllSubmatch(table, -1) {
		listed[string(row[1])] = string(row[2])
	}
	for name, value := range constants {
		if listed[name] != show(value) {
			t.Errorf("docs/operating.md gives %s as %q, it is %s", name, listed[name], show(value))
		}
	}
	for name := range listed {
		if _, ok := constants[name]; !ok {
			t.Errorf("docs/operating.md lists %s, which is not checked", name)
		}
	}
	for _, dir := range []string{"repo", "storage", "storage/sqlite", "storage/blobs", "identity", "xrpc", "xrpc/lexicons", "live", "oauth", "oauth/scope", "pds"} {
		for _, name := range exportedConstants(t, dir) {
			name = path.Base(dir) + "." + name
			if _, ok := constants[name]; !ok && limitName.MatchString(path.Ext(name)[1:]) && !slices.Contains(notLimits, name) {
				t.Errorf("%s is a limit: list it in docs/operating.md and here", name)
			}
		}
	}
}

// exportedConstants returns the names of the exported constants of a folder.
func exportedConstants(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path.Join(dir, e.Name()), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			decl, ok := d.(*ast.GenDecl)
			if !ok || decl.Tok != token.CONST {
				continue
			}
			for _, spec := range decl.Specs {
				for _, id := range spec.(*ast.ValueSpec).Names {
					if id.IsExported() {
						names[id.Name] = true
					}
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// TestLinks follows every link between the documents and to the code, and to
// headings of documents.
func TestLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	var documents []string
	for _, pattern := range []string{"*.md", "docs/*.md", "e2e/*.md", "examples/*/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		documents = append(documents, found...)
	}
	count := 0
	for _, document := range documents {
		for _, m := range link.FindAllStringSubmatch(prose(t, document), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			count++
			file, heading, _ := strings.Cut(m[1], "#")
			target := document
			if file != "" {
				target = filepath.Join(filepath.Dir(document), file)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: %v", document, err)
			} else if heading != "" && !slices.Contains(anchors(prose(t, target)), heading) {
				t.Errorf("%s: %s has no heading %q", document, target, heading)
			}
		}
	}
	if count < 50 {
		t.Errorf("%d links in %d documents", count, len(documents))
	}
}

// prose returns a document without its blocks of code.
func prose(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile("(?ms)^ *```.*?^ *```$").ReplaceAllString(string(data), "")
}

// anchors returns the names by which links lead to the headings of a document.
func anchors(text string) (names []string) {
	for _, m := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(text, -1) {
		name := regexp.MustCompile(`[^\pL\pN _-]`).ReplaceAllString(strings.ToLower(m[1]), "")
		names = append(names, strings.ReplaceAll(name, " ", "-"))
	}
	return names
}
