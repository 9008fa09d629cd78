package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/oauth/ui"
	"github.com/pdskit/pdskit/pds"
)

// settings is the configuration as read from the environment.
type settings struct {
	development bool // secrets and PLC directory of its own, loopback only
	devMode     bool // development rules: http, no guard; always so in development

	port       int
	hostname   string
	serviceDID syntax.DID
	version    string

	name, homeURL, privacyURL, termsURL, supportURL, contact string

	colors         ui.Colors // of the OAuth pages
	trustedClients []string

	dataDir, blobDir string
	warnings         []string // about the configuration
	adminListen      string   // empty: none
	adminPages       bool
	adminDIDs        []syntax.DID // whose accounts may use the pages
	otlpURL          string       // where spans go, without path; empty: nowhere
	tracesURL        string       // the same with path, before it
	otelOff          bool
	envFile          string // empty: none; a backup copies it

	plcURL           string // empty in development: in process
	staleTTL, maxTTL time.Duration
	resolverTimeout  time.Duration
	recoveryKey      string
	handleDomains    []string
	backupDNS        []string
	didDocInSession  bool
	invites          bool
	inviteInterval   time.Duration
	inviteEpoch      time.Time
	smtpURL, from    string
	signInAlerts     bool
	modSMTPURL       string
	modFrom          string
	backfill         time.Duration
	crawlers         []string
	appView          pds.Service
	imageURLs        string
	modService       pds.Service
	reportService    pds.Service
	proxyHeaderTime  time.Duration
	proxyIdle        time.Duration
	proxyBytes       int64
	proxyRetries     int
	rateLimits       bool
	bypassKey        string
	bypassIPs        []netip.Prefix
	jwtSecret        string
	adminPassword    string
	rotationKey      *atcrypto.PrivateKeyK256
	acceptImports    bool
	importBytes      int64
	blobBytes        int64
	noGuard          bool
	logLevel         slog.Level
	logOff           bool
}

// secretNames are the names that production needs and development mode makes
// up for.
var secretNames = []string{"PDS_JWT_SECRET", "PDS_ADMIN_PASSWORD", "PDS_PLC_ROTATION_KEY_K256_PRIVATE_KEY_HEX"}

// readSettings reads the configuration. The error names everything that is
// wrong with it, and repeats no values, some of which are secret. The warnings
// name what has no effect.
func readSettings(env map[string]string) (set *settings, warnings []string, err error) {
	set = &settings{port: 2583, hostname: "localhost", plcURL: identity.DefaultPLCURL, invites: true, acceptImports: true, rateLimits: true, adminPages: true}
	known := map[string]setting{}
	for _, k := range knownSettings() {
		known[k.name] = k
	}
	var names []string
	for name, value := range env {
		if value != "" && (strings.HasPrefix(name, "PDS_") || known[name].name != "") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if isDevelopment(env, names) {
		set.setDevelopment()
	}
	var wrong []error
	for _, name := range names {
		k, ok := known[name]
		switch {
		case !ok:
			warnings = append(warnings, name+" is not a known name and has no effect")
		case k.refuse:
			wrong = append(wrong, fmt.Errorf("%s: %s", name, k.none))
		case k.none != "":
			warnings = append(warnings, name+" has no effect: "+k.none)
		default:
			if err := k.read(set, env[name]); err != nil {
				wrong = append(wrong, fmt.Errorf("%s is malformed: %w", name, err))
			}
		}
	}
	if _, err := parseBool(env["PDS_DEV_MODE"]); !set.development && (err == nil || env["PDS_DEV_MODE"] == "") {
		wrong = append(wrong, set.missing(env)...)
	}
	if len(wrong) == 0 {
		wrong = set.contradictions()
	}
	if len(wrong) > 0 {
		return nil, nil, errors.Join(wrong...)
	}
	if len(set.handleDomains) == 0 {
		set.handleDomains = []string{"." + set.hostname}
		if set.hostname == "localhost" {
			set.handleDomains = []string{".test"}
		}
	}
	if set.devMode && !set.development {
		warnings = append(warnings, devModeWarning)
	}
	return set, warnings, nil
}

const devModeWarning = "PDS_DEV_MODE is set: plain http and private addresses are allowed; not for a public network"

// isDevelopment reports whether there is no configuration at all, or one that
// says no more than PDS_DEV_MODE=true and gives neither secrets nor a PLC
// directory. names are the configured ones.
func isDevelopment(env map[string]string, names []string) bool {
	if !slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, "PDS_") }) {
		return true
	}
	for _, name := range append([]string{"PDS_DID_PLC_URL"}, secretNames...) {
		if env[name] != "" {
			return false
		}
	}
	on, err := parseBool(env["PDS_DEV_MODE"])
	return on && err == nil
}

// setDevelopment sets the defaults of development mode.
func (s *settings) setDevelopment() {
	s.development, s.devMode = true, true
	s.dataDir, s.plcURL = "pds-data", ""
	s.invites, s.rateLimits = false, false
}

// missing finds the names that are required, in other than development mode.
func (s *settings) missing(env map[string]string) (wrong []error) {
	for _, name := range append([]string{"PDS_DATA_DIRECTORY"}, secretNames...) {
		if env[name] == "" {
			wrong = append(wrong, fmt.Errorf("%s is required (for development mode set no PDS_* name at all, or only PDS_DEV_MODE=true)", name))
		}
	}
	if env["PDS_HOSTNAME"] == "" && !s.devMode {
		wrong = append(wrong, errors.New("PDS_HOSTNAME is required"))
	}
	return wrong
}

// contradictions finds what does not go together.
func (s *settings) contradictions() (wrong []error) {
	if s.hostname == "localhost" && !s.devMode {
		wrong = append(wrong, errors.New("PDS_HOSTNAME is localhost, which needs PDS_DEV_MODE=true"))
	}
	together := func(unset bool, a, b string) {
		if unset {
			wrong = append(wrong, fmt.Errorf("%s and %s must be set together", a, b))
		}
	}
	together((s.smtpURL == "") != (s.from == ""), "PDS_EMAIL_SMTP_URL", "PDS_EMAIL_FROM_ADDRESS")
	together((s.modSMTPURL == "") != (s.modFrom == ""), "PDS_MODERATION_EMAIL_SMTP_URL", "PDS_MODERATION_EMAIL_ADDRESS")
	together((s.appView.URL == "") != (s.appView.DID == ""), "PDS_BSKY_APP_VIEW_URL", "PDS_BSKY_APP_VIEW_DID")
	together(s.modService.URL != "" && s.modService.DID == "", "PDS_MOD_SERVICE_URL", "PDS_MOD_SERVICE_DID")
	together((s.reportService.URL == "") != (s.reportService.DID == ""), "PDS_REPORT_SERVICE_URL", "PDS_REPORT_SERVICE_DID")
	if s.staleTTL > s.maxTTL && s.maxTTL > 0 {
		wrong = append(wrong, errors.New("PDS_DID_CACHE_STALE_TTL must not be above PDS_DID_CACHE_MAX_TTL"))
	}
	return wrong
}

// publicURL is where clients reach the server.
func (s *settings) publicURL() string {
	if s.hostname == "localhost" {
		return fmt.Sprintf("http://localhost:%d", s.port)
	}
	return "https://" + s.hostname
}

// printSettings lists the environment variables.
func printSettings(w io.Writer) error {
	for _, k := range knownSettings() {
		text := k.help
		if k.refuse {
			text = "refused: " + k.none
		} else if k.none != "" {
			text = "no effect: " + k.none
		}
		if _, err := fmt.Fprintf(w, "%s\n    %s\n", k.name, text); err != nil {
			return err
		}
	}
	return nil
}
