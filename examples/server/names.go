package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/mail"
	"net/netip"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/oauth/ui"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/smtpmail"
)

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
	noFiles  = "all data is in pds.db in PDS_DATA_DIRECTORY"
	noBuffer = "subscribers share one buffer, see docs/operating.md"
	noS3     = "object storage is not supported yet; blobs are kept on disk, see PDS_BLOBSTORE_DISK_LOCATION"
	noHTTP2  = "HTTP/2 is used wherever the other service offers it"
	noPrefer = "answers of other services come compressed whenever the client takes that"
	noFetch  = "documents of others are limited by kind"
	noPages  = "pages show no pictures of other places; a program of one's own sets oauth/ui.Branding"
	noRobots = "there is no captcha; invite codes and rate limits bound sign-up"
	noDPoP   = "nonces of DPoP are made with PDS_JWT_SECRET"
	noLink   = "mail holds codes, which no program can follow as a link"
	noLex    = "lexicons of others are found by their own names"
	noRedis  = "Redis is not supported; rate limits are counted in memory"
	noKMS    = "key management services are not supported yet; use PDS_PLC_ROTATION_KEY_K256_PRIVATE_KEY_HEX"
	noEntry  = "entryway mode is not supported; this server keeps its own accounts"
	noLog    = "the whole log goes to standard error"
)

// value makes a setting of a field from a parser.
func value[T any](name, help string, field func(*settings) *T, parse func(string) (T, error)) setting {
	return setting{name: name, help: help, read: func(s *settings, v string) (err error) {
		*field(s), err = parse(v)
		return err
	}}
}

// list makes a setting of a comma-separated list.
func list[T any](name, help string, field func(*settings) *[]T, parse func(string) (T, error)) setting {
	return value(name, help, field, func(v string) ([]T, error) { return splitList(v, parse) })
}

func parseText(v string) (string, error) { return v, nil }

func parseMailAddress(v string) (string, error) {
	if _, err := mail.ParseAddress(v); err != nil {
		return "", errors.New("must be a mail address")
	}
	return v, nil
}

func parseRotationKey(v string) (*atcrypto.PrivateKeyK256, error) {
	raw, err := hex.DecodeString(v)
	if err == nil {
		var key *atcrypto.PrivateKeyK256
		if key, err = atcrypto.ParsePrivateBytesK256(raw); err == nil {
			return key, nil
		}
	}
	return nil, errors.New("must be a secp256k1 key of 64 hexadecimal digits")
}

func parseRecoveryKey(v string) (string, error) {
	if _, err := atcrypto.ParsePublicDIDKey(v); err != nil {
		return "", errors.New("must be a public key in the form of a did:key")
	}
	return v, nil
}

func parseSecret(v string) (string, error) {
	if len(v) < pds.MinSecretBytes {
		return "", fmt.Errorf("must have at least %d characters", pds.MinSecretBytes)
	}
	return v, nil
}

// parseClientID reads a client_id, which is compared as it is written.
func parseClientID(v string) (string, error) {
	_, err := parseURL(v)
	return v, err
}

func parseColor(v string) (string, error) {
	if _, err := ui.New(ui.Options{Branding: ui.Branding{Colors: ui.Colors{Primary: v}}}); err != nil {
		return "", errors.New("must be a color like #2f5bd7 or #25d")
	}
	return v, nil
}

func checkedSMTP(v string) (string, error) {
	_, err := smtpmail.New(smtpmail.Config{URL: v, From: "pds@example.com"})
	return v, err
}

// knownSettings lists every name of the reference server.
func knownSettings() []setting {
	not := func(v string) (bool, error) {
		on, err := parseBool(v)
		return !on, err
	}
	known := []setting{
		value("PDS_HOSTNAME", "public host name; required in production", func(s *settings) *string { return &s.hostname }, parseHost),
		value("PDS_PORT", "port to listen on (2583)", func(s *settings) *int { return &s.port }, parsePort),
		value("PDS_DATA_DIRECTORY", "where all data is kept; required in production", func(s *settings) *string { return &s.dataDir }, parseText),
		value("PDS_JWT_SECRET", "secret that signs session tokens; required in production", func(s *settings) *string { return &s.jwtSecret }, parseSecret),
		value("PDS_ADMIN_PASSWORD", "password of the administration methods; required in production", func(s *settings) *string { return &s.adminPassword }, parseText),
		value("PDS_PLC_ROTATION_KEY_K256_PRIVATE_KEY_HEX", "key that signs changes of identities, 64 hexadecimal digits; required in production",
			func(s *settings) **atcrypto.PrivateKeyK256 { return &s.rotationKey }, parseRotationKey),
		value("PDS_DEV_MODE", "development rules: http, no address guard. Without the names required in production and PDS_DID_PLC_URL: development mode (false)",
			func(s *settings) *bool { return &s.devMode }, parseBool),
		value("PDS_BLOBSTORE_DISK_LOCATION", "where blobs are kept (blobs in the data directory)", func(s *settings) *string { return &s.blobDir }, parseText),

		value("PDS_SERVICE_DID", "the server's own DID (did:web and the host name)", func(s *settings) *syntax.DID { return &s.serviceDID }, parseDID),
		value("PDS_SERVICE_NAME", "name on the landing page (the host name)", func(s *settings) *string { return &s.name }, parseText),
		value("PDS_VERSION", "what /xrpc/_health reports (pdskit)", func(s *settings) *string { return &s.version }, parseText),
		value("PDS_HOME_URL", "link on the landing page", func(s *settings) *string { return &s.homeURL }, parseURL),
		value("PDS_PRIVACY_POLICY_URL", "link in describeServer", func(s *settings) *string { return &s.privacyURL }, parseURL),
		value("PDS_TERMS_OF_SERVICE_URL", "link in describeServer", func(s *settings) *string { return &s.termsURL }, parseURL),
		value("PDS_SUPPORT_URL", "link for help, on the sign-in pages", func(s *settings) *string { return &s.supportURL }, parseURL),
		value("PDS_PRIMARY_COLOR", "color of buttons and links of the sign-in pages, such as #2f5bd7", func(s *settings) *string { return &s.colors.Primary }, parseColor),
		value("PDS_ERROR_COLOR", "color of errors there", func(s *settings) *string { return &s.colors.Error }, parseColor),
		value("PDS_WARNING_COLOR", "color of warnings", func(s *settings) *string { return &s.colors.Warning }, parseColor),
		value("PDS_INFO_COLOR", "color of remarks", func(s *settings) *string { return &s.colors.Info }, parseColor),
		value("PDS_SUCCESS_COLOR", "color of what went well", func(s *settings) *string { return &s.colors.Success }, parseColor),
		list("PDS_OAUTH_TRUSTED_CLIENTS", "apps whose name and logo are shown at sign-in, comma-separated client_ids (apps are shown by their host)",
			func(s *settings) *[]string { return &s.trustedClients }, parseClientID),
		value("PDS_CONTACT_EMAIL_ADDRESS", "address in describeServer", func(s *settings) *string { return &s.contact }, parseMailAddress),
		value("PDS_ACCEPTING_REPO_IMPORTS", "allow importRepo (true)", func(s *settings) *bool { return &s.acceptImports }, parseBool),
		value("PDS_MAX_REPO_IMPORT_SIZE", "bytes of an imported repository (2 GiB)", func(s *settings) *int64 { return &s.importBytes }, parseNumber),
		value("PDS_BLOB_UPLOAD_LIMIT", "bytes of one blob (5 MiB)", func(s *settings) *int64 { return &s.blobBytes }, parseNumber),

		value("PDS_DID_PLC_URL", "PLC directory ("+identity.DefaultPLCURL+"; in development mode the server itself)", func(s *settings) *string { return &s.plcURL }, parseURL),
		value("PDS_RECOVERY_DID_KEY", "rotation key of the operator, above the server's", func(s *settings) *string { return &s.recoveryKey }, parseRecoveryKey),
		value("PDS_DID_CACHE_STALE_TTL", "milliseconds after which an identity is renewed (1 h)", func(s *settings) *time.Duration { return &s.staleTTL }, parseMilliseconds),
		value("PDS_DID_CACHE_MAX_TTL", "milliseconds after which it is not used any more (1 day)", func(s *settings) *time.Duration { return &s.maxTTL }, parseMilliseconds),
		value("PDS_ID_RESOLVER_TIMEOUT", "milliseconds for one lookup (3 s)", func(s *settings) *time.Duration { return &s.resolverTimeout }, parseMilliseconds),
		list("PDS_SERVICE_HANDLE_DOMAINS", "domains of handles, each with a leading dot, comma-separated (a dot and the host name; .test for localhost)",
			func(s *settings) *[]string { return &s.handleDomains }, parseHandleDomain),
		list("PDS_HANDLE_BACKUP_NAMESERVERS", "name servers asked when others do not know a handle, comma-separated", func(s *settings) *[]string { return &s.backupDNS }, parseNameServer),
		value("PDS_ENABLE_DID_DOC_WITH_SESSION", "DID document in session answers (false)", func(s *settings) *bool { return &s.didDocInSession }, parseBool),

		value("PDS_INVITE_REQUIRED", "ask for an invite code at sign-up (true; false in development mode)", func(s *settings) *bool { return &s.invites }, parseBool),
		value("PDS_INVITE_INTERVAL", "milliseconds in which an account earns an invite code to give away (never)", func(s *settings) *time.Duration { return &s.inviteInterval }, parseMilliseconds),
		value("PDS_INVITE_EPOCH", "since when, in milliseconds since 1970 (always)", func(s *settings) *time.Time { return &s.inviteEpoch }, parseEpoch),
		value("PDS_EMAIL_SMTP_URL", "mail server, smtps://user:password@host:465, or smtp:///?sendmail=true (mail is only logged)", func(s *settings) *string { return &s.smtpURL }, checkedSMTP),
		value("PDS_EMAIL_FROM_ADDRESS", "sender of mail; required with a mail server", func(s *settings) *string { return &s.from }, parseMailAddress),
		value("PDS_SIGN_IN_ALERTS", "mail owners when somebody signs in to their account from a new device (false)", func(s *settings) *bool { return &s.signInAlerts }, parseBool),
		value("PDS_MODERATION_EMAIL_SMTP_URL", "mail server for what moderators write (as other mail)", func(s *settings) *string { return &s.modSMTPURL }, checkedSMTP),
		value("PDS_MODERATION_EMAIL_ADDRESS", "sender of that; required with it", func(s *settings) *string { return &s.modFrom }, parseMailAddress),

		value("PDS_REPO_BACKFILL_LIMIT_MS", "milliseconds that a firehose cursor may reach back (1 day)", func(s *settings) *time.Duration { return &s.backfill }, parseMilliseconds),
		list("PDS_CRAWLERS", "relays that are told of new events, comma-separated URLs", func(s *settings) *[]string { return &s.crawlers }, parseURL),
		value("PDS_BSKY_APP_VIEW_URL", "app view, to which methods of other services go", func(s *settings) *string { return &s.appView.URL }, parseURL),
		value("PDS_BSKY_APP_VIEW_DID", "its DID; required with it", func(s *settings) *syntax.DID { return &s.appView.DID }, parseDID),
		value("PDS_BSKY_APP_VIEW_CDN_URL_PATTERN", "its images, with %s for size, DID and CID (this server's blobs)", func(s *settings) *string { return &s.imageURLs }, parseImageURLs),
		value("PDS_MOD_SERVICE_DID", "moderation service whose tokens open the moderation methods", func(s *settings) *syntax.DID { return &s.modService.DID }, parseDID),
		value("PDS_MOD_SERVICE_URL", "its address, to which its own methods and reports go", func(s *settings) *string { return &s.modService.URL }, parseURL),
		value("PDS_REPORT_SERVICE_DID", "service that takes reports (the moderation service)", func(s *settings) *syntax.DID { return &s.reportService.DID }, parseDID),
		value("PDS_REPORT_SERVICE_URL", "its address", func(s *settings) *string { return &s.reportService.URL }, parseURL),
		value("PDS_PROXY_HEADERS_TIMEOUT", "milliseconds that another service may take to answer (10 s)", func(s *settings) *time.Duration { return &s.proxyHeaderTime }, parseMilliseconds),
		value("PDS_PROXY_BODY_TIMEOUT", "milliseconds that its answer may stand still (30 s)", func(s *settings) *time.Duration { return &s.proxyIdle }, parseMilliseconds),
		value("PDS_PROXY_MAX_RESPONSE_SIZE", "bytes of its answer, and of what is sent to it (10 MiB)", func(s *settings) *int64 { return &s.proxyBytes }, parseNumber),
		value("PDS_PROXY_MAX_RETRIES", "further tries of a query whose connection fails (none)", func(s *settings) *int { return &s.proxyRetries }, parseRetries),

		value("PDS_RATE_LIMITS_ENABLED", "limit requests (true; false in development mode)", func(s *settings) *bool { return &s.rateLimits }, parseBool),
		value("PDS_RATE_LIMIT_BYPASS_KEY", "value of the header x-ratelimit-bypass that lifts the limits", func(s *settings) *string { return &s.bypassKey }, parseText),
		list("PDS_RATE_LIMIT_BYPASS_IPS", "peers that are not limited and may forward client addresses, comma-separated addresses or networks",
			func(s *settings) *[]netip.Prefix { return &s.bypassIPs }, parsePeers),
		value("PDS_DISABLE_SSRF_PROTECTION", "let requests go to private addresses (false)", func(s *settings) *bool { return &s.noGuard }, parseBool),
		value("PDS_ADMIN_LISTEN", "address, such as 127.0.0.1:9100, where /metrics is served without a password (none; /admin/metrics has one)", func(s *settings) *string { return &s.adminListen }, parseListen),
		value("PDS_ADMIN_PAGES", "pages for the administrator at /admin, and reports kept for them (true)", func(s *settings) *bool { return &s.adminPages }, parseBool),
		list("PDS_ADMIN_DIDS", "accounts of this server that may use the pages at /admin, comma-separated DIDs (none)",
			func(s *settings) *[]syntax.DID { return &s.adminDIDs }, parseDID),
		value("OTEL_EXPORTER_OTLP_ENDPOINT", "where OpenTelemetry traces go, such as http://localhost:4318; further OTEL_* names are read from the environment alone (none)",
			func(s *settings) *string { return &s.otlpURL }, parseURL),
		value("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "the same, with the whole path", func(s *settings) *string { return &s.tracesURL }, parseURL),
		value("OTEL_SDK_DISABLED", "make no traces (false)", func(s *settings) *bool { return &s.otelOff }, parseBool),
		value("LOG_LEVEL", "debug, info, warn or error (info)", func(s *settings) *slog.Level { return &s.logLevel }, parseLevel),
		value("LOG_ENABLED", "write a log (true)", func(s *settings) *bool { return &s.logOff }, not),
	}
	none := func(reason string, refuse bool, names ...string) {
		for _, n := range names {
			known = append(known, setting{name: n, none: reason, refuse: refuse})
		}
	}
	none(noS3, true, "PDS_BLOBSTORE_S3_BUCKET", "PDS_BLOBSTORE_S3_REGION", "PDS_BLOBSTORE_S3_ENDPOINT", "PDS_BLOBSTORE_S3_FORCE_PATH_STYLE",
		"PDS_BLOBSTORE_S3_ACCESS_KEY_ID", "PDS_BLOBSTORE_S3_SECRET_ACCESS_KEY", "PDS_BLOBSTORE_S3_UPLOAD_TIMEOUT_MS", "PDS_BLOBSTORE_S3_REQUEST_TIMEOUT_MS")
	none(noRedis, true, "PDS_REDIS_SCRATCH_ADDRESS", "PDS_REDIS_SCRATCH_PASSWORD")
	none(noKMS, true, "PDS_PLC_ROTATION_KEY_KMS_KEY_ID")
	none(noEntry, true, "PDS_ENTRYWAY_URL", "PDS_ENTRYWAY_DID", "PDS_ENTRYWAY_JWT_VERIFY_KEY_K256_PUBLIC_KEY_HEX", "PDS_ENTRYWAY_PLC_ROTATION_KEY",
		"PDS_ENTRYWAY_ADMIN_TOKEN")
	none(noFiles, false, "PDS_ACCOUNT_DB_LOCATION", "PDS_SEQUENCER_DB_LOCATION", "PDS_DID_CACHE_DB_LOCATION", "PDS_ACTOR_STORE_DIRECTORY",
		"PDS_ACTOR_STORE_CACHE_SIZE", "PDS_SQLITE_DISABLE_WAL_AUTO_CHECKPOINT", "PDS_BLOBSTORE_DISK_TMP_LOCATION")
	none(noBuffer, false, "PDS_MAX_SUBSCRIPTION_BUFFER")
	none(noHTTP2, false, "PDS_PROXY_ALLOW_HTTP2")
	none(noPrefer, false, "PDS_PROXY_PREFER_COMPRESSED")
	none(noFetch, false, "PDS_FETCH_MAX_RESPONSE_SIZE")
	none(noPages, false, "PDS_LOGO_URL", "PDS_BACKGROUND_LIGHT_URL", "PDS_BACKGROUND_DARK_URL")
	none(noRobots, false, "PDS_HCAPTCHA_SITE_KEY", "PDS_HCAPTCHA_SECRET_KEY", "PDS_HCAPTCHA_TOKEN_SALT")
	none(noDPoP, false, "PDS_DPOP_SECRET")
	none(noLink, false, "PDS_EMAIL_DISABLE_CONFIRMATION_LINK")
	none(noLex, false, "PDS_LEXICON_AUTHORITY_DID")
	none(noLog, false, "LOG_SYSTEMS", "LOG_DESTINATION")
	return known
}
