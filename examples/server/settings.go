package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/mail"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/identity"
)

// settings is the configuration as read from the environment.
type settings struct {
	development bool // no configuration at all
	devMode     bool // development rules: http, no guard

	port       int
	hostname   string
	serviceDID syntax.DID
	version    string

	name, homeURL, privacyURL, termsURL, contact string

	dataDir, blobDir string

	plcURL           string
	staleTTL, maxTTL time.Duration
	resolverTimeout  time.Duration
	recoveryKey      string
	handleDomains    []string
	backupDNS        []string
	didDocInSession  bool
	invites          bool
	smtpURL, from    string
	backfill         time.Duration
	crawlers         []string
	appViewURL       string
	appViewDID       syntax.DID
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
	fetchBytes       int64
	logLevel         string
	logOff           bool
}

// setting is one environment variable.
type setting struct {
	name string
	help string // with the default in parentheses
	read func(s *settings, value string) error

	// none says why the name has no effect here; refuse makes the start fail
	// instead.
	none   string
	refuse bool
}

const (
	oneFile  = "all data is in pds.db below PDS_DATA_DIRECTORY"
	noS3     = "blobs are kept on disk; object storage is not supported yet"
	noProxy  = "requests are not passed on to other services yet"
	noPages  = "there are no sign-in pages yet"
	noRedis  = "rate limits are kept in memory; Redis is not supported"
	noKMS    = "the rotation key is given in hexadecimal; key management services are not supported yet"
	noInvite = "invite codes are made by administrators only"
	noEntry  = "this server keeps its own accounts; entryway mode is not supported"
)

// knownSettings lists every name of the reference server.
func knownSettings() []setting {
	text := func(p func(*settings) *string) func(*settings, string) error {
		return func(s *settings, v string) error { *p(s) = v; return nil }
	}
	flag := func(p func(*settings) *bool) func(*settings, string) error {
		return func(s *settings, v string) (err error) { *p(s), err = parseBool(v); return err }
	}
	ms := func(p func(*settings) *time.Duration) func(*settings, string) error {
		return func(s *settings, v string) error {
			n, err := parseNumber(v)
			*p(s) = time.Duration(n) * time.Millisecond
			return err
		}
	}
	number := func(p func(*settings) *int64) func(*settings, string) error {
		return func(s *settings, v string) (err error) { *p(s), err = parseNumber(v); return err }
	}
	address := func(p func(*settings) *string) func(*settings, string) error {
		return func(s *settings, v string) error { *p(s) = strings.TrimSuffix(v, "/"); return checkURL(v) }
	}
	list := func(p func(*settings) *[]string) func(*settings, string) error {
		return func(s *settings, v string) error { *p(s) = splitList(v); return nil }
	}
	known := []setting{
		{name: "PDS_HOSTNAME", help: "public host name (localhost)", read: text(func(s *settings) *string { return &s.hostname })},
		{name: "PDS_PORT", help: "port to listen on (2583)", read: func(s *settings, v string) (err error) {
			s.port, err = strconv.Atoi(v)
			if err == nil && (s.port < 1 || s.port > 65535) {
				err = errors.New("must be from 1 to 65535")
			}
			return err
		}},
		{name: "PDS_DATA_DIRECTORY", help: "where all data is kept; required in production", read: text(func(s *settings) *string { return &s.dataDir })},
		{name: "PDS_BLOBSTORE_DISK_LOCATION", help: "where blobs are kept (blobs below the data directory)", read: text(func(s *settings) *string { return &s.blobDir })},
		{name: "PDS_JWT_SECRET", help: "secret of session tokens; required", read: text(func(s *settings) *string { return &s.jwtSecret })},
		{name: "PDS_ADMIN_PASSWORD", help: "password of the administration methods; required", read: text(func(s *settings) *string { return &s.adminPassword })},
		{name: "PDS_PLC_ROTATION_KEY_K256_PRIVATE_KEY_HEX", help: "key that signs changes of identities, 64 hexadecimal digits; required", read: func(s *settings, v string) error {
			raw, err := hex.DecodeString(v)
			if err != nil || len(raw) != 32 {
				return errors.New("must be 64 hexadecimal digits")
			}
			s.rotationKey, err = atcrypto.ParsePrivateBytesK256(raw)
			return err
		}},
		{name: "PDS_DID_PLC_URL", help: "PLC directory (" + identity.DefaultPLCURL + ")", read: address(func(s *settings) *string { return &s.plcURL })},
		{name: "PDS_DEV_MODE", help: "development rules: http, no address guard (false)", read: flag(func(s *settings) *bool { return &s.devMode })},
		{name: "PDS_SERVICE_DID", help: "the server's DID (did:web and the host name)", read: func(s *settings, v string) (err error) {
			s.serviceDID, err = syntax.ParseDID(v)
			return err
		}},
		{name: "PDS_SERVICE_NAME", help: "name on the landing page", read: text(func(s *settings) *string { return &s.name })},
		{name: "PDS_VERSION", help: "what /xrpc/_health reports", read: text(func(s *settings) *string { return &s.version })},
		{name: "PDS_HOME_URL", help: "link on the landing page", read: address(func(s *settings) *string { return &s.homeURL })},
		{name: "PDS_PRIVACY_POLICY_URL", help: "link for describeServer", read: address(func(s *settings) *string { return &s.privacyURL })},
		{name: "PDS_TERMS_OF_SERVICE_URL", help: "link for describeServer", read: address(func(s *settings) *string { return &s.termsURL })},
		{name: "PDS_CONTACT_EMAIL_ADDRESS", help: "address for describeServer", read: func(s *settings, v string) error {
			_, err := mail.ParseAddress(v)
			s.contact = v
			return err
		}},
		{name: "PDS_ACCEPTING_REPO_IMPORTS", help: "allow importRepo (true)", read: flag(func(s *settings) *bool { return &s.acceptImports })},
		{name: "PDS_MAX_REPO_IMPORT_SIZE", help: "bytes of an imported repository (2 GiB)", read: number(func(s *settings) *int64 { return &s.importBytes })},
		{name: "PDS_BLOB_UPLOAD_LIMIT", help: "bytes of one blob (5 MiB)", read: number(func(s *settings) *int64 { return &s.blobBytes })},
		{name: "PDS_DID_CACHE_STALE_TTL", help: "milliseconds after which a DID document is renewed (1 h)", read: ms(func(s *settings) *time.Duration { return &s.staleTTL })},
		{name: "PDS_DID_CACHE_MAX_TTL", help: "milliseconds after which it is not used any more (1 day)", read: ms(func(s *settings) *time.Duration { return &s.maxTTL })},
		{name: "PDS_ID_RESOLVER_TIMEOUT", help: "milliseconds for one lookup (3 s)", read: ms(func(s *settings) *time.Duration { return &s.resolverTimeout })},
		{name: "PDS_RECOVERY_DID_KEY", help: "rotation key of the operator, above the server's", read: func(s *settings, v string) error {
			_, err := atcrypto.ParsePublicDIDKey(v)
			s.recoveryKey = v
			return err
		}},
		{name: "PDS_SERVICE_HANDLE_DOMAINS", help: "domains of handles, each with a leading dot (. and the host name)", read: list(func(s *settings) *[]string { return &s.handleDomains })},
		{name: "PDS_HANDLE_BACKUP_NAMESERVERS", help: "name servers asked when others do not know a handle", read: list(func(s *settings) *[]string { return &s.backupDNS })},
		{name: "PDS_ENABLE_DID_DOC_WITH_SESSION", help: "DID document in session answers (false)", read: flag(func(s *settings) *bool { return &s.didDocInSession })},
		{name: "PDS_INVITE_REQUIRED", help: "ask for an invite code at sign-up (true)", read: flag(func(s *settings) *bool { return &s.invites })},
		{name: "PDS_EMAIL_SMTP_URL", help: "mail server, smtps://user:password@host:465 (mail is only logged)", read: func(s *settings, v string) error {
			s.smtpURL = v
			_, err := parseSMTP(v)
			return err
		}},
		{name: "PDS_EMAIL_FROM_ADDRESS", help: "sender of mail; required with the mail server", read: func(s *settings, v string) error {
			_, err := mail.ParseAddress(v)
			s.from = v
			return err
		}},
		{name: "PDS_REPO_BACKFILL_LIMIT_MS", help: "how far a firehose cursor may reach back (1 day)", read: ms(func(s *settings) *time.Duration { return &s.backfill })},
		{name: "PDS_CRAWLERS", help: "relays that are told of new events, comma-separated URLs", read: func(s *settings, v string) error {
			s.crawlers = splitList(v)
			for _, u := range s.crawlers {
				if err := checkURL(u); err != nil {
					return err
				}
			}
			return nil
		}},
		{name: "PDS_BSKY_APP_VIEW_URL", help: "asked for handles that are not here", read: address(func(s *settings) *string { return &s.appViewURL })},
		{name: "PDS_BSKY_APP_VIEW_DID", help: "DID of that service; required with it", read: func(s *settings, v string) (err error) {
			s.appViewDID, err = syntax.ParseDID(v)
			return err
		}},
		{name: "PDS_RATE_LIMITS_ENABLED", help: "limit requests (true in production)", read: flag(func(s *settings) *bool { return &s.rateLimits })},
		{name: "PDS_RATE_LIMIT_BYPASS_KEY", help: "value of the header x-ratelimit-bypass that lifts the limits", read: text(func(s *settings) *string { return &s.bypassKey })},
		{name: "PDS_RATE_LIMIT_BYPASS_IPS", help: "peers that are not limited and may forward addresses", read: func(s *settings, v string) error {
			for _, item := range splitList(v) {
				p, err := parsePrefix(item)
				if err != nil {
					return err
				}
				s.bypassIPs = append(s.bypassIPs, p)
			}
			return nil
		}},
		{name: "PDS_DISABLE_SSRF_PROTECTION", help: "let requests go to private addresses (false)", read: flag(func(s *settings) *bool { return &s.noGuard })},
		{name: "PDS_FETCH_MAX_RESPONSE_SIZE", help: "bytes of a fetched document (512 KiB)", read: number(func(s *settings) *int64 { return &s.fetchBytes })},
		{name: "LOG_LEVEL", help: "debug, info, warn or error (info)", read: text(func(s *settings) *string { return &s.logLevel })},
		{name: "LOG_ENABLED", help: "write a log (true)", read: func(s *settings, v string) error {
			on, err := parseBool(v)
			s.logOff = !on
			return err
		}},
	}
	none := func(reason string, refuse bool, names ...string) {
		for _, n := range names {
			known = append(known, setting{name: n, none: reason, refuse: refuse})
		}
	}
	none(oneFile, false, "PDS_ACCOUNT_DB_LOCATION", "PDS_SEQUENCER_DB_LOCATION", "PDS_DID_CACHE_DB_LOCATION", "PDS_ACTOR_STORE_DIRECTORY",
		"PDS_ACTOR_STORE_CACHE_SIZE", "PDS_SQLITE_DISABLE_WAL_AUTO_CHECKPOINT", "PDS_BLOBSTORE_DISK_TMP_LOCATION", "PDS_MAX_SUBSCRIPTION_BUFFER")
	none(noS3, true, "PDS_BLOBSTORE_S3_BUCKET", "PDS_BLOBSTORE_S3_REGION", "PDS_BLOBSTORE_S3_ENDPOINT", "PDS_BLOBSTORE_S3_FORCE_PATH_STYLE",
		"PDS_BLOBSTORE_S3_ACCESS_KEY_ID", "PDS_BLOBSTORE_S3_SECRET_ACCESS_KEY", "PDS_BLOBSTORE_S3_UPLOAD_TIMEOUT_MS", "PDS_BLOBSTORE_S3_REQUEST_TIMEOUT_MS")
	none(noProxy, false, "PDS_BSKY_APP_VIEW_CDN_URL_PATTERN", "PDS_MOD_SERVICE_URL", "PDS_MOD_SERVICE_DID", "PDS_REPORT_SERVICE_URL", "PDS_REPORT_SERVICE_DID",
		"PDS_PROXY_ALLOW_HTTP2", "PDS_PROXY_HEADERS_TIMEOUT", "PDS_PROXY_BODY_TIMEOUT", "PDS_PROXY_MAX_RESPONSE_SIZE", "PDS_PROXY_MAX_RETRIES",
		"PDS_PROXY_PREFER_COMPRESSED", "PDS_MODERATION_EMAIL_SMTP_URL", "PDS_MODERATION_EMAIL_ADDRESS", "PDS_LEXICON_AUTHORITY_DID")
	none(noPages, false, "PDS_LOGO_URL", "PDS_SUPPORT_URL", "PDS_HCAPTCHA_SITE_KEY", "PDS_HCAPTCHA_SECRET_KEY", "PDS_HCAPTCHA_TOKEN_SALT",
		"PDS_OAUTH_TRUSTED_CLIENTS", "PDS_PRIMARY_COLOR", "PDS_ERROR_COLOR", "PDS_WARNING_COLOR", "PDS_INFO_COLOR", "PDS_SUCCESS_COLOR",
		"PDS_BACKGROUND_LIGHT_URL", "PDS_BACKGROUND_DARK_URL", "PDS_DPOP_SECRET", "PDS_EMAIL_DISABLE_CONFIRMATION_LINK")
	none(noInvite, false, "PDS_INVITE_INTERVAL", "PDS_INVITE_EPOCH")
	none(noRedis, true, "PDS_REDIS_SCRATCH_ADDRESS", "PDS_REDIS_SCRATCH_PASSWORD")
	none(noKMS, true, "PDS_PLC_ROTATION_KEY_KMS_KEY_ID")
	none(noEntry, true, "PDS_ENTRYWAY_URL", "PDS_ENTRYWAY_DID", "PDS_ENTRYWAY_JWT_VERIFY_KEY_K256_PUBLIC_KEY_HEX", "PDS_ENTRYWAY_PLC_ROTATION_KEY",
		"PDS_ENTRYWAY_ADMIN_TOKEN")
	return known
}

// readSettings reads the configuration. The warnings name what has no effect.
func readSettings(env map[string]string) (set *settings, warnings []string, err error) {
	set = &settings{
		port: 2583, hostname: "localhost", plcURL: identity.DefaultPLCURL,
		invites: true, acceptImports: true, rateLimits: true, logLevel: "info",
	}
	known := map[string]setting{}
	for _, k := range knownSettings() {
		known[k.name] = k
	}
	names := []string{}
	for name, value := range env {
		if value != "" && (strings.HasPrefix(name, "PDS_") || known[name].name != "") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	configured := false
	for _, name := range names {
		configured = configured || strings.HasPrefix(name, "PDS_")
		k, ok := known[name]
		switch {
		case !ok:
			warnings = append(warnings, name+" is not a known name and has no effect")
		case k.refuse:
			return nil, nil, fmt.Errorf("%s: %s", name, k.none)
		case k.none != "":
			warnings = append(warnings, name+" has no effect: "+k.none)
		default:
			if err := k.read(set, env[name]); err != nil {
				return nil, nil, fmt.Errorf("%s is malformed: %w", name, err)
			}
		}
	}
	if !configured {
		set.setDevelopment()
		return set, warnings, nil
	}
	return set, warnings, set.checkProduction(env)
}

// setDevelopment fills in what development mode means.
func (s *settings) setDevelopment() {
	s.development, s.devMode = true, true
	s.dataDir, s.plcURL = "pds-data", ""
	s.invites, s.rateLimits = false, false
}

// checkProduction finds what is missing or contradictory.
func (s *settings) checkProduction(env map[string]string) error {
	for _, name := range []string{
		"PDS_DATA_DIRECTORY", "PDS_JWT_SECRET", "PDS_ADMIN_PASSWORD", "PDS_PLC_ROTATION_KEY_K256_PRIVATE_KEY_HEX",
	} {
		if env[name] == "" {
			return fmt.Errorf("%s is required (set no PDS_* name at all for development mode)", name)
		}
	}
	switch {
	case s.hostname == "localhost" && !s.devMode:
		return errors.New("PDS_HOSTNAME is required (localhost needs PDS_DEV_MODE=true)")
	case (s.smtpURL == "") != (s.from == ""):
		return errors.New("PDS_EMAIL_SMTP_URL and PDS_EMAIL_FROM_ADDRESS must be set together")
	case (s.appViewURL == "") != (s.appViewDID == ""):
		return errors.New("PDS_BSKY_APP_VIEW_URL and PDS_BSKY_APP_VIEW_DID must be set together")
	}
	return nil
}

// publicURL is where clients reach the server.
func (s *settings) publicURL() string {
	if s.hostname == "localhost" {
		return fmt.Sprintf("http://localhost:%d", s.port)
	}
	return "https://" + s.hostname
}

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

func parseBool(v string) (bool, error) {
	switch strings.ToLower(v) {
	case "true", "1":
		return true, nil
	case "false", "0":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither true nor false", v)
}

func parseNumber(v string) (int64, error) {
	n, err := strconv.ParseInt(v, 10, 64)
	if err == nil && n <= 0 {
		err = errors.New("must be above zero")
	}
	return n, err
}

func checkURL(v string) error {
	u, err := url.Parse(v)
	if err == nil && (u.Host == "" || (u.Scheme != "https" && u.Scheme != "http")) {
		err = fmt.Errorf("%q is not a URL", v)
	}
	return err
}

func splitList(v string) []string {
	var out []string
	for _, item := range strings.Split(v, ",") {
		if item = strings.TrimSpace(item); item != "" {
			out = append(out, item)
		}
	}
	return out
}

func parsePrefix(v string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(v); err == nil {
		return p, nil
	}
	a, err := netip.ParseAddr(v)
	if err != nil {
		return netip.Prefix{}, err
	}
	return a.Prefix(a.BitLen())
}
