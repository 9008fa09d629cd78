package main

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pdskit/pdskit/oauth"
)

// referenceNames are the names of the reference server, as its specification
// groups them, without the prefix.
const referenceNames = `
PORT HOSTNAME SERVICE_DID SERVICE_NAME VERSION HOME_URL LOGO_URL PRIVACY_POLICY_URL SUPPORT_URL TERMS_OF_SERVICE_URL CONTACT_EMAIL_ADDRESS
ACCEPTING_REPO_IMPORTS MAX_REPO_IMPORT_SIZE BLOB_UPLOAD_LIMIT DEV_MODE
HCAPTCHA_{SITE_KEY,SECRET_KEY,TOKEN_SALT} OAUTH_TRUSTED_CLIENTS {PRIMARY,ERROR,WARNING,INFO,SUCCESS}_COLOR BACKGROUND_{LIGHT,DARK}_URL
DATA_DIRECTORY ACCOUNT_DB_LOCATION SEQUENCER_DB_LOCATION DID_CACHE_DB_LOCATION ACTOR_STORE_DIRECTORY ACTOR_STORE_CACHE_SIZE
SQLITE_DISABLE_WAL_AUTO_CHECKPOINT BLOBSTORE_DISK_LOCATION BLOBSTORE_DISK_TMP_LOCATION
BLOBSTORE_S3_{BUCKET,REGION,ENDPOINT,FORCE_PATH_STYLE,ACCESS_KEY_ID,SECRET_ACCESS_KEY,UPLOAD_TIMEOUT_MS,REQUEST_TIMEOUT_MS}
DID_PLC_URL DID_CACHE_STALE_TTL DID_CACHE_MAX_TTL ID_RESOLVER_TIMEOUT RECOVERY_DID_KEY SERVICE_HANDLE_DOMAINS HANDLE_BACKUP_NAMESERVERS
ENABLE_DID_DOC_WITH_SESSION LEXICON_AUTHORITY_DID
INVITE_REQUIRED INVITE_INTERVAL INVITE_EPOCH EMAIL_SMTP_URL EMAIL_FROM_ADDRESS MODERATION_EMAIL_SMTP_URL MODERATION_EMAIL_ADDRESS
EMAIL_DISABLE_CONFIRMATION_LINK
MAX_SUBSCRIPTION_BUFFER REPO_BACKFILL_LIMIT_MS CRAWLERS
BSKY_APP_VIEW_{URL,DID,CDN_URL_PATTERN} MOD_SERVICE_{URL,DID} REPORT_SERVICE_{URL,DID}
RATE_LIMITS_ENABLED RATE_LIMIT_BYPASS_KEY RATE_LIMIT_BYPASS_IPS REDIS_SCRATCH_ADDRESS REDIS_SCRATCH_PASSWORD
JWT_SECRET ADMIN_PASSWORD PLC_ROTATION_KEY_K256_PRIVATE_KEY_HEX PLC_ROTATION_KEY_KMS_KEY_ID DPOP_SECRET
DISABLE_SSRF_PROTECTION FETCH_MAX_RESPONSE_SIZE PROXY_{ALLOW_HTTP2,HEADERS_TIMEOUT,BODY_TIMEOUT,MAX_RESPONSE_SIZE,MAX_RETRIES,PREFER_COMPRESSED}
ENTRYWAY_{URL,DID,JWT_VERIFY_KEY_K256_PUBLIC_KEY_HEX,PLC_ROTATION_KEY,ADMIN_TOKEN}
`

// expand resolves the braces of a name.
func expand(name string) []string {
	before, rest, found := strings.Cut(name, "{")
	if !found {
		return []string{name}
	}
	choices, after, _ := strings.Cut(rest, "}")
	var out []string
	for choice := range strings.SplitSeq(choices, ",") {
		out = append(out, before+choice+after)
	}
	return out
}

func reference() []string {
	names := []string{"LOG_LEVEL", "LOG_SYSTEMS", "LOG_ENABLED", "LOG_DESTINATION"}
	for word := range strings.FieldsSeq(referenceNames) {
		for _, n := range expand(word) {
			names = append(names, "PDS_"+n)
		}
	}
	return names
}

func TestEveryNameOfTheReference(t *testing.T) {
	var help bytes.Buffer
	if err := printSettings(&help); err != nil {
		t.Fatal(err)
	}
	known := map[string]setting{}
	for _, k := range knownSettings() {
		if _, twice := known[k.name]; twice {
			t.Errorf("%s stands twice in the list", k.name)
		}
		known[k.name] = k
		if (k.read == nil) == (k.none == "") || (k.help == "") == (k.none == "") {
			t.Errorf("%s must either be read, with a help text, or have a reason not to be", k.name)
		}
	}
	names := reference()
	if len(names) < 90 {
		t.Errorf("%d names, expected more: is the list cut off?", len(names))
	}
	for _, n := range names {
		if _, ok := known[n]; !ok {
			t.Errorf("%s is not known", n)
		}
		if !strings.Contains(help.String(), "\n"+n+"\n") && !strings.HasPrefix(help.String(), n+"\n") {
			t.Errorf("%s is not in the help", n)
		}
	}
}

// production is the least configuration of a public server.
func production(more ...string) map[string]string {
	env := map[string]string{
		"PDS_HOSTNAME": "pds.example.com", "PDS_DATA_DIRECTORY": "/srv/pds", "PDS_JWT_SECRET": strings.Repeat("s", 32),
		"PDS_ADMIN_PASSWORD": "hunter2", "PDS_PLC_ROTATION_KEY_K256_PRIVATE_KEY_HEX": strings.Repeat("1f", 32),
	}
	for i := 0; i < len(more); i += 2 {
		env[more[i]] = more[i+1]
	}
	return env
}

func TestProductionDefaults(t *testing.T) {
	set, warnings, err := readSettings(production())
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	switch {
	case set.development || set.devMode || set.noGuard:
		t.Error("production has the rules of development")
	case set.port != 2583 || set.publicURL() != "https://pds.example.com" || set.plcURL != "https://plc.directory":
		t.Errorf("port %d, public URL %s, PLC %s", set.port, set.publicURL(), set.plcURL)
	case !set.invites || !set.rateLimits || !set.acceptImports:
		t.Error("invites, rate limits and imports are on by default")
	case !slices.Equal(set.handleDomains, []string{".pds.example.com"}):
		t.Errorf("handles under %q", set.handleDomains)
	}
}

// A good and some bad values of everything that is read. Bad ones contain a
// mark that no error may repeat.
const mark = "s3cr3t"

var values = map[string]struct {
	good string
	bad  []string
}{
	"PDS_HOSTNAME":       {"pds.example.com", []string{"https://" + mark + ".example.com", mark + ".example.com:2583", mark}},
	"PDS_PORT":           {"8080", []string{mark, "0", "65536", "-1"}},
	"PDS_DATA_DIRECTORY": {"/srv/pds", nil},
	"PDS_JWT_SECRET":     {strings.Repeat("x", 16), []string{mark}},
	"PDS_ADMIN_PASSWORD": {"x", nil},
	"PDS_PLC_ROTATION_KEY_K256_PRIVATE_KEY_HEX": {strings.Repeat("1F", 32), []string{mark, strings.Repeat("1f", 31), strings.Repeat("00", 32), strings.Repeat("ff", 32)}},
	"PDS_DEV_MODE":                       {"true", []string{mark, "yes"}},
	"PDS_BLOBSTORE_DISK_LOCATION":        {"/srv/blobs", nil},
	"PDS_SERVICE_DID":                    {"did:web:example.com", []string{mark, "did:" + mark}},
	"PDS_SERVICE_NAME":                   {"Example", nil},
	"PDS_VERSION":                        {"1", nil},
	"PDS_HOME_URL":                       {"https://example.com/", []string{mark, "ftp://" + mark + ".example.com"}},
	"PDS_PRIVACY_POLICY_URL":             {"https://example.com/privacy", []string{mark}},
	"PDS_TERMS_OF_SERVICE_URL":           {"https://example.com/terms", []string{mark}},
	"PDS_CONTACT_EMAIL_ADDRESS":          {"admin@example.com", []string{mark}},
	"PDS_ACCEPTING_REPO_IMPORTS":         {"false", []string{mark}},
	"PDS_MAX_REPO_IMPORT_SIZE":           {"1000", []string{mark, "-5", "0", "1e3", "99999999999999999999"}},
	"PDS_BLOB_UPLOAD_LIMIT":              {"104857600", []string{mark, "5 MiB"}},
	"PDS_DID_PLC_URL":                    {"http://localhost:2582", []string{mark, "https://user:" + mark + "@%zz"}},
	"PDS_RECOVERY_DID_KEY":               {"did:key:zQ3shunBKsXixLxKtC5qeSG9E4J5RkGN57im31pcTzbNQnm5w", []string{mark, "did:key:" + mark}},
	"PDS_DID_CACHE_STALE_TTL":            {"1000", []string{mark, "9223372036854775807"}},
	"PDS_DID_CACHE_MAX_TTL":              {"2000", []string{mark}},
	"PDS_ID_RESOLVER_TIMEOUT":            {"500", []string{mark}},
	"PDS_SERVICE_HANDLE_DOMAINS":         {".example.com, .example.org", []string{mark, "example.com", ".example.com," + mark}},
	"PDS_HANDLE_BACKUP_NAMESERVERS":      {"1.1.1.1, [2606:4700::1]:53, 2606:4700::1, dns.example.com:5353", []string{mark, "1.1.1.1:" + mark, "dns.example.com:99999"}},
	"PDS_ENABLE_DID_DOC_WITH_SESSION":    {"1", []string{mark}},
	"PDS_INVITE_REQUIRED":                {"False", []string{mark}},
	"PDS_INVITE_INTERVAL":                {"604800000", []string{mark, "-1"}},
	"PDS_INVITE_EPOCH":                   {"1700000000000", []string{mark, "-1"}},
	"PDS_EMAIL_SMTP_URL":                 {"smtps://user:pass@mail.example.com", []string{mark, "smtp://user:" + mark + "@", "https://user:" + mark + "@example.com"}},
	"PDS_MODERATION_EMAIL_SMTP_URL":      {"smtp:///?sendmail=true", []string{mark, "smtp://user:" + mark + "@"}},
	"PDS_MODERATION_EMAIL_ADDRESS":       {"moderation@example.com", []string{mark}},
	"PDS_EMAIL_FROM_ADDRESS":             {"PDS <pds@example.com>", []string{mark}},
	"PDS_REPO_BACKFILL_LIMIT_MS":         {"86400000", []string{mark}},
	"PDS_CRAWLERS":                       {"https://bsky.network, https://relay.example.com", []string{mark, "https://bsky.network," + mark}},
	"PDS_BSKY_APP_VIEW_URL":              {"https://api.bsky.app", []string{mark}},
	"PDS_BSKY_APP_VIEW_DID":              {"did:web:api.bsky.app", []string{mark}},
	"PDS_MOD_SERVICE_URL":                {"https://mod.bsky.app", []string{mark}},
	"PDS_REPORT_SERVICE_URL":             {"https://mod.bsky.app", []string{mark}},
	"PDS_REPORT_SERVICE_DID":             {"did:plc:ar7c4by46qjdydhdevvrndac", []string{mark}},
	"PDS_SUPPORT_URL":                    {"https://help.example.com", []string{mark}},
	"PDS_PRIMARY_COLOR":                  {"#2f5bd7", []string{mark, "red"}},
	"PDS_ERROR_COLOR":                    {"#c23", []string{mark}},
	"PDS_WARNING_COLOR":                  {"#b45f06", []string{mark}},
	"PDS_INFO_COLOR":                     {"#2563a8", []string{mark}},
	"PDS_SUCCESS_COLOR":                  {"#1d7a4c", []string{mark}},
	"PDS_OAUTH_TRUSTED_CLIENTS":          {"https://app.example.com/client.json", []string{mark}},
	"PDS_PROXY_HEADERS_TIMEOUT":          {"10000", []string{mark, "-1"}},
	"PDS_PROXY_BODY_TIMEOUT":             {"30000", []string{mark}},
	"PDS_PROXY_MAX_RESPONSE_SIZE":        {"10485760", []string{mark}},
	"PDS_PROXY_MAX_RETRIES":              {"10", []string{mark, "-1", "11"}},
	"PDS_MOD_SERVICE_DID":                {"did:plc:ar7c4by46qjdydhdevvrndac", []string{mark}},
	"PDS_RATE_LIMITS_ENABLED":            {"true", []string{mark}},
	"PDS_ADMIN_LISTEN":                   {"127.0.0.1:9100", []string{mark, mark + ":0", "9100"}},
	"PDS_RATE_LIMIT_BYPASS_KEY":          {"x", nil},
	"PDS_RATE_LIMIT_BYPASS_IPS":          {"203.0.113.7, 2001:db8::/32", []string{mark, "203.0.113.7/33"}},
	"PDS_DISABLE_SSRF_PROTECTION":        {"true", []string{mark}},
	"PDS_ADMIN_PAGES":                    {"false", []string{mark}},
	"PDS_SIGN_IN_ALERTS":                 {"true", []string{mark}},
	"PDS_ADMIN_DIDS":                     {"did:plc:ar7c4by46qjdydhdevvrndac, did:web:alice.example.com", []string{mark, "alice.example.com"}},
	"OTEL_EXPORTER_OTLP_ENDPOINT":        {"http://localhost:4318/", []string{mark, "grpc://" + mark + ":4317"}},
	"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": {"http://localhost:4318/v1/traces", []string{mark}},
	"OTEL_SDK_DISABLED":                  {"true", []string{mark}},
	"LOG_LEVEL":                          {"trace", []string{mark}},
	"LOG_ENABLED":                        {"0", []string{mark}},
	"PDS_BSKY_APP_VIEW_CDN_URL_PATTERN":  {"https://cdn.bsky.app/img/%s/plain/%s/%s@jpeg", []string{"https://cdn.bsky.app/" + mark, "%s%s%s"}},
}

func TestValues(t *testing.T) {
	all := production()
	for _, k := range knownSettings() {
		if k.read == nil {
			continue
		}
		v, ok := values[k.name]
		if !ok {
			t.Errorf("%s is not tested", k.name)
		}
		all[k.name] = v.good
		for _, bad := range v.bad {
			_, _, err := readSettings(production(k.name, bad))
			if err == nil || !strings.Contains(err.Error(), k.name+" is malformed: ") {
				t.Errorf("%s=%q: %v", k.name, bad, err)
				continue
			}
			if strings.Contains(err.Error(), mark) {
				t.Errorf("%s: the error repeats the value: %v", k.name, err)
			}
		}
	}
	set, warnings, err := readSettings(all)
	if err != nil {
		t.Fatal(err)
	}
	// PDS_DEV_MODE warns; nothing else does.
	if len(warnings) != 1 || !strings.Contains(warnings[0], "PDS_DEV_MODE") {
		t.Errorf("warnings: %q", warnings)
	}
	switch {
	case set.port != 8080, set.blobBytes != 100<<20, set.backfill != 24*time.Hour, set.invites, !set.logOff, !set.signInAlerts,
		set.inviteInterval != 7*24*time.Hour, !set.inviteEpoch.Equal(time.UnixMilli(1_700_000_000_000)), len(set.bypassIPs) != 2,
		!slices.Equal(set.crawlers, []string{"https://bsky.network", "https://relay.example.com"}),
		!slices.Equal(set.handleDomains, []string{".example.com", ".example.org"}),
		!slices.Equal(set.backupDNS, []string{"1.1.1.1:53", "[2606:4700::1]:53", "[2606:4700::1]:53", "dns.example.com:5353"}),
		set.homeURL != "https://example.com", set.appView.DID != "did:web:api.bsky.app", set.modService.URL != "https://mod.bsky.app":
		t.Errorf("the values do not arrive: %+v", set)
	}
}

func TestSeveralMistakesAreNamedAtOnce(t *testing.T) {
	_, _, err := readSettings(production("PDS_PORT", "x", "PDS_INVITE_REQUIRED", "x", "PDS_REDIS_SCRATCH_ADDRESS", "localhost", "PDS_JWT_SECRET", ""))
	for _, name := range []string{"PDS_PORT", "PDS_INVITE_REQUIRED", "PDS_REDIS_SCRATCH_ADDRESS", "PDS_JWT_SECRET"} {
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s is not named: %v", name, err)
		}
	}
}

// Apps are trusted by their exact client_id.
func TestTrustedClients(t *testing.T) {
	const app = "https://app.example.com/"
	set, _, err := readSettings(production("PDS_OAUTH_TRUSTED_CLIENTS", app+",https://other.example.com/client.json"))
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]oauth.Trust{app: oauth.Trusted, "https://app.example.com": oauth.Untrusted, "https://app.example.com/x": oauth.Untrusted} {
		if got := set.trust(t.Context(), oauth.ClientInfo{ID: id}); got != want {
			t.Errorf("%s: %v", id, got)
		}
	}
}

func TestRequiredNames(t *testing.T) {
	for name := range production() {
		env := production()
		delete(env, name)
		if _, _, err := readSettings(env); err == nil || !strings.Contains(err.Error(), name+" is required") {
			t.Errorf("without %s: %v", name, err)
		}
		// An empty value is none.
		env[name] = ""
		if _, _, err := readSettings(env); err == nil || !strings.Contains(err.Error(), name+" is required") {
			t.Errorf("with an empty %s: %v", name, err)
		}
		// Development rules need the same names, but a host name.
		env["PDS_DEV_MODE"] = "true"
		_, _, err := readSettings(env)
		if needed := name != "PDS_HOSTNAME"; (err != nil) != needed {
			t.Errorf("in development rules without %s: %v", name, err)
		}
	}
}

func TestNamesThatGoTogether(t *testing.T) {
	for _, pair := range [][2]string{
		{"PDS_EMAIL_SMTP_URL", "PDS_EMAIL_FROM_ADDRESS"}, {"PDS_BSKY_APP_VIEW_URL", "PDS_BSKY_APP_VIEW_DID"},
		{"PDS_MODERATION_EMAIL_SMTP_URL", "PDS_MODERATION_EMAIL_ADDRESS"}, {"PDS_MOD_SERVICE_URL", "PDS_MOD_SERVICE_DID"}, {"PDS_REPORT_SERVICE_URL", "PDS_REPORT_SERVICE_DID"},
	} {
		_, _, err := readSettings(production(pair[0], values[pair[0]].good))
		if err == nil || !strings.Contains(err.Error(), pair[0]) || !strings.Contains(err.Error(), pair[1]) {
			t.Errorf("%s alone: %v", pair[0], err)
		}
		if _, _, err := readSettings(production(pair[0], values[pair[0]].good, pair[1], values[pair[1]].good)); err != nil {
			t.Error(err)
		}
	}
	if _, _, err := readSettings(production("PDS_DID_CACHE_STALE_TTL", "10", "PDS_DID_CACHE_MAX_TTL", "9")); err == nil {
		t.Error("a document may be used less long than it is fresh")
	}
}

func TestPartsThatAreNotThere(t *testing.T) {
	for _, k := range knownSettings() {
		_, warnings, err := readSettings(production(k.name, mark))
		switch {
		case k.refuse:
			if err == nil || !strings.Contains(err.Error(), k.name+": "+k.none) || strings.Contains(err.Error(), mark) {
				t.Errorf("%s: %v", k.name, err)
			}
		case k.none != "":
			want := k.name + " has no effect: " + k.none
			if err != nil || !slices.Equal(warnings, []string{want}) {
				t.Errorf("%s: %v, warnings %q", k.name, err, warnings)
			}
		}
	}
	for _, name := range []string{
		"PDS_BLOBSTORE_S3_BUCKET", "PDS_REDIS_SCRATCH_ADDRESS", "PDS_PLC_ROTATION_KEY_KMS_KEY_ID", "PDS_ENTRYWAY_URL",
	} {
		if _, _, err := readSettings(map[string]string{name: "x"}); err == nil {
			t.Errorf("%s alone is accepted", name)
		}
	}
}

func TestUnknownNames(t *testing.T) {
	_, warnings, err := readSettings(production("PDS_HOSTNAM", mark, "PATH", "/bin", "OTHER", "x"))
	if err != nil || len(warnings) != 1 || !strings.HasPrefix(warnings[0], "PDS_HOSTNAM ") || strings.Contains(warnings[0], mark) {
		t.Errorf("%v, warnings %q", err, warnings)
	}
	// A misspelled name is a configuration: it must not open a development
	// server where somebody meant a real one.
	if _, _, err := readSettings(map[string]string{"PDS_HOSTNAM": "x"}); err == nil {
		t.Error("an unknown name alone gives development mode")
	}
}

func TestDevelopmentDefaults(t *testing.T) {
	for _, env := range []map[string]string{
		{}, {"PATH": "/bin", "LOG_LEVEL": "debug"}, {"PDS_PORT": ""}, {"PDS_DEV_MODE": "true"}, {"PDS_DEV_MODE": "1", "PDS_DATA_DIRECTORY": "pds-data"},
	} {
		set, warnings, err := readSettings(env)
		if err != nil || len(warnings) > 0 {
			t.Errorf("%v: %v, %q", env, err, warnings)
			continue
		}
		if !set.development || !set.devMode || set.port != 2583 || set.publicURL() != "http://localhost:2583" || set.dataDir != "pds-data" ||
			set.plcURL != "" || set.invites || set.rateLimits || !slices.Equal(set.handleDomains, []string{".test"}) {
			t.Errorf("%v: %+v", env, set)
		}
	}
	set, _, err := readSettings(map[string]string{"PDS_DEV_MODE": "true", "PDS_PORT": "3000", "PDS_DATA_DIRECTORY": "elsewhere", "PDS_INVITE_REQUIRED": "true"})
	if err != nil {
		t.Fatal(err)
	}
	if !set.development || set.port != 3000 || set.dataDir != "elsewhere" || !set.invites {
		t.Errorf("names beside PDS_DEV_MODE have no effect: %+v", set)
	}
	for _, env := range []map[string]string{
		{"PDS_PORT": "3000"}, {"PDS_DEV_MODE": "false"}, {"PDS_DEV_MODE": "true", "PDS_DID_PLC_URL": "http://localhost:2582"},
		{"PDS_DEV_MODE": "true", "PDS_ADMIN_PASSWORD": "x"},
	} {
		if _, _, err := readSettings(env); err == nil {
			t.Errorf("%v is taken for development mode", env)
		}
	}
}

func TestEnvironmentFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pds.env")
	text := "# a comment\n\nPDS_HOSTNAME=pds.example.com\nexport PDS_PORT=3000\n  PDS_SERVICE_NAME = \"My PDS\" \nPDS_ADMIN_PASSWORD='a=b#c'\nPDS_VERSION=\"\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	env, err := readEnvironment([]string{"PDS_PORT=4000", "HOME=/root"}, file)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"PDS_HOSTNAME": "pds.example.com", "PDS_PORT": "4000", "PDS_SERVICE_NAME": "My PDS", "PDS_ADMIN_PASSWORD": "a=b#c", "PDS_VERSION": "\"", "HOME": "/root",
	}
	if !maps.Equal(env, want) {
		t.Errorf("got %v", env)
	}
	if err := os.WriteFile(file, []byte("A=1\n"+mark+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readEnvironment(nil, file); err == nil || !strings.Contains(err.Error(), "line 2") || strings.Contains(err.Error(), mark) {
		t.Errorf("a line without =: %v", err)
	}
	if _, err := readEnvironment(nil, file+".not"); err == nil {
		t.Error("a missing file is no error")
	}
}
