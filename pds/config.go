package pds

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"

	atid "github.com/bluesky-social/indigo/atproto/identity"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/live"
	"github.com/pdskit/pdskit/oauth"
	"github.com/pdskit/pdskit/oauth/ui"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
	"github.com/pdskit/pdskit/xrpc/lexicons"
)

// Config says what a [Server] is made of. The first group is required; for
// everything else the zero value is the default that its comment names.
type Config struct {
	// PublicURL is the address under which clients reach the server, such as
	// "https://pds.example.com": scheme and host, no path. Plain http needs
	// DevMode.
	PublicURL string

	// Store holds everything but the bytes of blobs. The server does not
	// close it.
	Store storage.Store

	// Blobs holds the bytes of blobs.
	Blobs storage.BlobStore

	// Registry creates and changes the identities of accounts.
	Registry identity.Registry

	// Directory resolves identities; *[identity.Resolver] is one.
	Directory Directory

	// Keys makes and opens the signing keys of accounts, see [SealedKeys].
	Keys Keys

	// Secret signs session tokens with HMAC-SHA-256: at least [MinSecretBytes]
	// bytes. Changing it ends all sessions.
	Secret []byte

	// ServiceDID is the server's own DID. Default: did:web of PublicURL's
	// host.
	ServiceDID syntax.DID

	// Stream sets the limits of event streams, those of clients' messages among
	// them. Its WriteTimeout is not looked at: see Limits.StallTime.
	Stream xrpc.StreamConfig

	// Namespaces are claimed by the program, such as "com.example.chat", which
	// stands for all below it: methods there that are not registered are answered
	// with MethodNotImplemented and never passed on to another service, whatever
	// the header atproto-proxy names. Methods that are registered never are anyway.
	Namespaces []string

	// WithheldDocuments are kinds of documents of extensions that belong to an
	// account but are not for its owner, such as "com.example.moderation.note";
	// "com.example.moderation.*" stands for all below it. They leave with the
	// account and are no part of [Server.ExportAccount]. All other documents are.
	WithheldDocuments []string

	// DocumentServices are further services in the document of the server's own
	// did:web, by the part of their id after the "#".
	DocumentServices map[string]identity.Service

	// HandleDomains are the domains under which accounts get handles, each
	// with a leading dot. Default: "." and the host of PublicURL, or ".test"
	// if that is localhost.
	HandleDomains []string

	// AdminPassword opens the administration methods by HTTP Basic
	// authentication, as user "admin". Empty: nobody is an administrator.
	AdminPassword string

	// InviteRequired asks for an invite code at sign-up.
	InviteRequired bool

	// InviteInterval is how often accounts earn an invite code to give away, if
	// InviteRequired is set: one for each interval since their creation, or
	// since InviteEpoch if that is later. Default: never.
	InviteInterval time.Duration

	// InviteEpoch is when accounts began to earn invite codes. Default: always.
	InviteEpoch time.Time

	// RefuseImports turns importRepo off.
	RefuseImports bool

	// KeepDeactivated leaves accounts alone that asked to be deleted some time
	// after their deactivation, and migrations that were never completed.
	KeepDeactivated bool

	// DidDocInSession adds the DID document to the answers of session methods.
	DidDocInSession bool

	// Info is shown by describeServer and the landing page.
	Info Info

	// Mailer sends mail. Default: [LogMailer] over Logger; without a Logger
	// mail, and with it the codes that users wait for, goes nowhere.
	Mailer Mailer

	// ModerationMailer sends what moderators write to users. Default: Mailer.
	ModerationMailer Mailer

	// MailTemplates holds templates of mail in place of the built-in ones, see
	// the function MailTemplates; what it does not have stays as it is. They
	// are read once, by New.
	MailTemplates fs.FS

	// SignInAlerts sends a mail when somebody signs in with the password of an
	// account from a device that the account has not been seen on for 90 days.
	SignInAlerts bool

	// Transport is used for requests to crawlers and other services. Default:
	// identity.NewTransport with its guard against private addresses, but for
	// those of the services and crawlers named here.
	Transport http.RoundTripper

	// AppView, if set, answers what this server does not know of handles, and
	// the methods that no service of their own is named for.
	AppView Service

	// ImageURLPattern is where the app view's image server has images: a text
	// with %s for size, DID and CID in this order, such as
	// "https://cdn.example.com/img/%s/plain/%s/%s@jpeg". Default: posts that the
	// app view does not know yet show images as this server has them.
	ImageURLPattern string

	// ModService, if its DID is set, is the moderation service: its tokens open
	// the moderation methods. Methods of tools.ozone go to its URL.
	ModService Service

	// ReportService takes reports. Default: ModService.
	ReportService Service

	// KeepReports remembers the reports that accounts make to ReportService, see
	// Server.Reports, within Limits.Reports and ReportAge. Without a
	// ReportService this server takes reports itself, which are refused
	// otherwise: somebody has to look at them then.
	KeepReports bool

	// AudienceNamesService makes the tokens by which this server calls others
	// name "did#service" as their audience. Default: the DID alone, as every
	// service expects it today.
	AudienceNamesService bool

	// Crawlers are base URLs of relays that are told of new events.
	Crawlers []string

	// Catalog holds the lexicons. Default: the built-in ones.
	Catalog *lexicons.Catalog

	// Lexicons says what is done about records whose lexicons Catalog does not
	// have. Looking for them on the network needs a Directory that is a
	// [LexiconDirectory]. Default: LexiconsOptimistic.
	Lexicons LexiconPolicy

	// OnServed, if set, is told of every XRPC request when it has been
	// answered; package pds/metrics counts them so. It may be called
	// concurrently, and must not block.
	OnServed func(xrpc.Served)

	// Tracer, if set, records what the server does as spans, see package
	// pds/tracing. Without it tracing costs nothing.
	Tracer Tracer

	// Middleware, if set, wraps the Server in ListenAndServe and Serve. A
	// program that serves the Server itself wraps it there.
	Middleware func(http.Handler) http.Handler

	// Authenticators are asked before the built-in ones, in order. To the
	// built-in methods a caller of theirs with KindSession and no Scopes is
	// one who has signed in with the account's password, with KindAppPassword
	// one with an app password; the first of Scopes, if there are any, must be
	// one that the package comment names.
	Authenticators []xrpc.Authenticator

	// Policy decides about every change of an account. Default: all changes
	// that a caller has the right to make are allowed.
	Policy Policy

	// Delegation says who may act for which account. Default: nobody acts for
	// anybody.
	Delegation Delegation

	// DirectDelegation lets members act by calling com.atproto.repo.* with a
	// service token of theirs. A server elsewhere may hand such tokens to any
	// app that has wide scopes there, so the aliases (see Server.Alias) are the
	// better way.
	DirectDelegation bool

	// RemoteMembers lets members whose accounts are on other servers sign in to
	// act for a group, on this server's pages: they are sent to their own server,
	// which proves who they are, and come back. This server is an OAuth client
	// of theirs then, whose metadata is at /oauth/client-metadata.json. It needs
	// a Delegation that is a [GroupLister], and https, since that document has to
	// be reached.
	RemoteMembers bool

	// WithoutOAuth turns the authorization server and the pages of the account
	// manager off. Apps then sign in with passwords, or by one of
	// Authenticators.
	WithoutOAuth bool

	// OAuth adjusts the authorization server: its pages, second factors, what
	// it thinks of clients. Issuer, Resource, Audience, Store, Accounts, Secret
	// and Clock are set by this server, the others by it if they are zero.
	OAuth oauth.Config

	// Live bounds topics and their subscribers, see Server.Live.
	Live live.Limits

	// Limiter counts requests. Default: none, no rate limits. Use
	// xrpc.NewMemoryLimiter for a single process.
	Limiter xrpc.Limiter

	// LimitBypassKey, if set, exempts requests whose header
	// x-ratelimit-bypass equals it.
	LimitBypassKey string

	// LimitBypassIPs are the addresses that rate limits do not hold for.
	LimitBypassIPs []netip.Prefix

	// TrustedProxies are the peers whose X-Forwarded-For header is believed,
	// besides loopback, link-local and unique-local ones.
	TrustedProxies []netip.Prefix

	// Limits bounds sizes, counts and times.
	Limits Limits

	// Clock is the time. Default: the store's, see storage.GuardOf. One that is
	// not a storage.Guard gets one.
	Clock storage.Clock

	// Logger receives one line for each request and what goes wrong in the
	// background. Default: nothing is logged.
	Logger *slog.Logger

	// DevMode allows plain http and private addresses. Never use it on a
	// public network.
	DevMode bool

	// ValidateOutput checks every answer against its lexicon and turns one
	// that does not match into an error. It is meant for tests.
	ValidateOutput bool

	// CheckCommits undoes every commit from the blocks of its own event before
	// it is stored, as relays do. It is meant for tests and for hunting faults;
	// it costs about as much as the write itself.
	CheckCommits bool

	// Version is what /xrpc/_health reports. Default: "pdskit".
	Version string
}

// Directory resolves identities. Its methods may be called concurrently.
type Directory interface {
	atid.Directory

	// ResolveDIDRaw returns the DID document, cached or not, as JSON.
	ResolveDIDRaw(ctx context.Context, did syntax.DID) (json.RawMessage, error)

	// Refresh resolves did anew and replaces what was cached.
	Refresh(ctx context.Context, did syntax.DID) (*atid.Identity, error)

	// VerifyHandle resolves the handle anew, by DNS or well-known document,
	// and returns an error unless it points at did.
	VerifyHandle(ctx context.Context, handle syntax.Handle, did syntax.DID) error
}

// Info is what a server says about itself.
type Info struct {
	Name           string
	HomeURL        string
	PrivacyPolicy  string // URL
	TermsOfService string // URL
	SupportURL     string
	Contact        string // e-mail address

	// Colors are those of the OAuth pages, unless OAuth.UI is set.
	Colors ui.Colors
}

// Service is another service of the network.
type Service struct {
	// URL is scheme and host, such as "https://api.example.com". It may be
	// plain http and at a private address.
	URL string
	DID syntax.DID
}

// check brings URL into the form that other places compare with.
func (s *Service) check() error {
	if s.DID != "" {
		if _, err := syntax.ParseDID(string(s.DID)); err != nil {
			return err
		}
	}
	if s.URL == "" {
		return nil
	}
	if s.DID == "" {
		return errors.New("a URL needs its DID")
	}
	u, err := url.Parse(s.URL)
	if err != nil {
		return err
	}
	if u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" ||
		u.Scheme != "https" && u.Scheme != "http" {
		return fmt.Errorf("%q must be scheme and host only", s.URL)
	}
	s.URL = (&url.URL{Scheme: u.Scheme, Host: strings.ToLower(u.Host)}).String()
	return nil
}

// Limits bounds what a server does. A field that is zero takes the default
// named in its comment.
type Limits struct {
	BlobBytes        int64         // size of one blob: 5 MiB
	ImportBytes      int64         // size of an imported CAR: 2 GiB
	ImportBlocks     int64         // blocks in it, about 30 bytes of memory each: 8,000,000
	Writes           int           // writes in one applyWrites: 200
	EventBytes       int           // blocks in one #commit event: 2,000,000
	AccessTTL        time.Duration // life of an access token: 2 h
	RefreshTTL       time.Duration // life of a refresh token: 90 days
	LoginFloor       time.Duration // least time of a refused login: 350 ms
	RefreshGrace     time.Duration // life of a used refresh token: 2 h
	Sessions         int           // sessions of one account, then the oldest ends: 500
	BackfillWindow   time.Duration // how far a firehose cursor may reach back: 24 h
	EventAge         time.Duration // events older than this and BackfillWindow are pruned: 3 days
	EventLogBytes    int64         // size of the log, beyond which the oldest events are pruned: 10 GiB
	RingBytes        int           // encoded events kept in memory: 64 MB
	StallTime        time.Duration // a subscriber behind the ring without progress: 30 s
	TemporaryBlob    time.Duration // life of an unreferenced upload: 24 h
	ReservedKey      time.Duration // life of a reserved signing key: 7 days
	ReservedKeys     int           // reserved signing keys at a time: 1,000
	CrawlInterval    time.Duration // between requests to a crawler: 20 min
	Exports          int           // getRepo spools at a time: 32
	SpoolMemory      int           // bytes of one spool that stay in memory: 1 MiB
	SpoolDisk        int64         // bytes of all spools in temporary files: 16 GiB
	Imports          int           // importRepo at a time: 4
	PasswordKiB      int           // memory of one password hash, in KiB: 19,456
	PasswordHashes   int           // password hashes at a time: 2
	PasswordQueue    int           // waiting password hashes: 64
	IdleLanes        int           // accounts whose write state stays in memory: 256
	LaneQueue        int           // writes waiting for one account: 1,000
	PolicyTime       time.Duration // an answer of Policy: 1 s
	ImportPolicyTime time.Duration // the same for an import: 1 min
	ActEntries       int           // acts for others that are remembered for each account: 10,000
	ActAge           time.Duration // how long they are remembered: 90 days
	DrainTime        time.Duration // how long a shutdown waits for requests: 10 s
	AuditEntries     int           // actions that the audit log remembers: 100,000
	AuditAge         time.Duration // how long it remembers them: 730 days
	Reports          int           // reports that are kept: 10,000
	ReportAge        time.Duration // how long they are kept: 365 days
	MediaUploadIdle  time.Duration // an upload without progress: 60 s
	LexiconWait      time.Duration // how long a write waits for lexicons of others: 1 s
	ProxyCalls       int           // requests to other services at a time: 1,000
	ProxyCallsEach   int           // of them for one account or address: 100
	ProxyBytes       int64         // body of such a request, and of its answer: 10 MiB
	ProxyHeaderTime  time.Duration // how long another service may take to answer: 10 s
	ProxyIdle        time.Duration // an answer of another service without progress: 30 s
	ProxyRetries     int           // further tries of a query whose connection fails: 0
}

func def[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

func (l *Limits) setDefaults() {
	def(&l.BlobBytes, 5<<20)
	def(&l.ImportBytes, 2<<30)
	def(&l.ImportBlocks, 8_000_000)
	def(&l.Writes, 200)
	def(&l.EventBytes, 2_000_000)
	def(&l.AccessTTL, 2*time.Hour)
	def(&l.RefreshTTL, 90*24*time.Hour)
	def(&l.LoginFloor, 350*time.Millisecond)
	def(&l.RefreshGrace, 2*time.Hour)
	def(&l.Sessions, 500)
	def(&l.BackfillWindow, 24*time.Hour)
	def(&l.EventAge, 3*24*time.Hour)
	def(&l.EventLogBytes, 10<<30)
	def(&l.RingBytes, 64_000_000)
	def(&l.StallTime, 30*time.Second)
	def(&l.TemporaryBlob, 24*time.Hour)
	def(&l.ReservedKey, 7*24*time.Hour)
	def(&l.ReservedKeys, 1000)
	def(&l.CrawlInterval, 20*time.Minute)
	def(&l.Exports, 32)
	def(&l.SpoolMemory, 1<<20)
	def(&l.SpoolDisk, 16<<30)
	def(&l.Imports, 4)
	def(&l.PasswordKiB, 19<<10)
	def(&l.PasswordHashes, 2)
	def(&l.PasswordQueue, 64)
	def(&l.IdleLanes, 256)
	def(&l.LaneQueue, 1000)
	def(&l.PolicyTime, time.Second)
	def(&l.ImportPolicyTime, time.Minute)
	def(&l.ActEntries, 10_000)
	def(&l.ActAge, 90*24*time.Hour)
	def(&l.DrainTime, 10*time.Second)
	def(&l.AuditEntries, 100_000)
	def(&l.AuditAge, 730*24*time.Hour)
	def(&l.Reports, 10_000)
	def(&l.ReportAge, 365*24*time.Hour)
	def(&l.MediaUploadIdle, 60*time.Second)
	def(&l.LexiconWait, time.Second)
	def(&l.ProxyCalls, 1000)
	def(&l.ProxyCallsEach, 100)
	def(&l.ProxyBytes, 10<<20)
	def(&l.ProxyHeaderTime, 10*time.Second)
	def(&l.ProxyIdle, 30*time.Second)
}

// MinSecretBytes is the least length of Config.Secret.
const MinSecretBytes = 16

// check validates the configuration and fills in the defaults. It returns the
// parsed PublicURL.
func (c *Config) check() (*url.URL, error) {
	bad := func(field, format string, args ...any) (*url.URL, error) {
		return nil, fmt.Errorf("pds: Config.%s: %w", field, fmt.Errorf(format, args...))
	}
	required := []struct {
		field string
		unset bool
	}{
		{"PublicURL", c.PublicURL == ""}, {"Store", c.Store == nil}, {"Blobs", c.Blobs == nil},
		{"Registry", c.Registry == nil}, {"Directory", c.Directory == nil}, {"Keys", c.Keys == nil},
		{"Secret", len(c.Secret) == 0},
	}
	var missing []string
	for _, r := range required {
		if r.unset {
			missing = append(missing, r.field)
		}
	}
	if len(missing) > 0 {
		return bad(strings.Join(missing, ", Config."), "required")
	}
	public, err := url.Parse(c.PublicURL)
	if err != nil {
		return bad("PublicURL", "%w", err)
	}
	switch {
	case public.Host == "" || strings.Trim(public.Path, "/") != "" || public.RawQuery != "" || public.Fragment != "" || public.User != nil:
		return bad("PublicURL", "%q must be scheme and host only", c.PublicURL)
	case public.Scheme != "https" && !(public.Scheme == "http" && c.DevMode):
		return bad("PublicURL", "%q must be https (http needs DevMode)", c.PublicURL)
	case c.InviteInterval < 0:
		return bad("InviteInterval", "must not be negative")
	case checkNamespaces(c.Namespaces) != nil:
		return bad("Namespaces", "%w", checkNamespaces(c.Namespaces))
	case checkWithheld(c.WithheldDocuments) != nil:
		return bad("WithheldDocuments", "%w", checkWithheld(c.WithheldDocuments))
	case len(c.Secret) < MinSecretBytes:
		return bad("Secret", "must have at least %d bytes", MinSecretBytes)
	}
	public = &url.URL{Scheme: public.Scheme, Host: strings.ToLower(public.Host)}
	if c.ServiceDID == "" {
		c.ServiceDID = syntax.DID("did:web:" + strings.ReplaceAll(public.Host, ":", "%3A"))
	}
	if _, err := syntax.ParseDID(string(c.ServiceDID)); err != nil {
		return bad("ServiceDID", "%w", err)
	}
	if len(c.HandleDomains) == 0 {
		if _, err := syntax.ParseHandle("a." + public.Hostname()); err != nil && public.Hostname() != "localhost" {
			return bad("HandleDomains", "required, because the host of PublicURL, %q, cannot be a domain of handles", public.Hostname())
		}
		c.HandleDomains = []string{"." + public.Hostname()}
		if public.Hostname() == "localhost" {
			c.HandleDomains = []string{".test"}
		}
	}
	c.HandleDomains = slices.Clone(c.HandleDomains)
	for i, d := range c.HandleDomains {
		d = strings.ToLower(d)
		if _, err := syntax.ParseHandle("a" + d); err != nil || !strings.HasPrefix(d, ".") {
			return bad("HandleDomains", "%q must be a domain with a leading dot", d)
		}
		c.HandleDomains[i] = d
	}
	var crawlers []string
	for _, u := range c.Crawlers {
		p, err := url.Parse(u)
		if err != nil || p.Host == "" || (p.Scheme != "https" && p.Scheme != "http") {
			return bad("Crawlers", "%q must be a URL such as https://relay.example.com", u)
		}
		crawlers = append(crawlers, p.Host)
	}
	if c.Lexicons < LexiconsOptimistic || c.Lexicons > LexiconsRequired {
		return bad("Lexicons", "%d is no policy", c.Lexicons)
	}
	if p := c.ImageURLPattern; p != "" && (strings.Count(p, "%s") != 3 || strings.Count(p, "%") != 3) {
		return bad("ImageURLPattern", "%q must have %%s three times", p)
	}
	if c.ReportService == (Service{}) {
		c.ReportService = c.ModService
	}
	allowed := crawlers
	for _, service := range []struct {
		field string
		*Service
	}{{"AppView", &c.AppView}, {"ModService", &c.ModService}, {"ReportService", &c.ReportService}} {
		if err := service.check(); err != nil {
			return bad(service.field, "%w", err)
		}
		if _, host, ok := strings.Cut(service.URL, "://"); ok {
			allowed = append(allowed, host)
		}
	}
	if g, ok := storage.GuardOf(c.Store); ok && c.Clock == nil {
		c.Clock = g
	}
	if c.Clock == nil {
		c.Clock = storage.SystemClock()
	}
	if _, guarded := c.Clock.(*storage.Guard); !guarded {
		c.Clock = storage.NewGuard(c.Clock, time.Time{})
	}
	if c.Limiter == nil {
		c.Limiter = unlimited{}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Mailer == nil {
		c.Mailer = LogMailer(c.Logger)
	}
	if c.ModerationMailer == nil {
		c.ModerationMailer = c.Mailer
	}
	if c.Transport == nil {
		c.Transport = identity.NewTransport(identity.TransportConfig{AllowHosts: allowed, AllowPrivate: c.DevMode})
	}
	if c.Catalog == nil {
		c.Catalog = lexicons.New()
	}
	def(&c.Version, "pdskit")
	def(&c.Info.Name, public.Host)
	c.Limits.setDefaults()
	limits := reflect.ValueOf(c.Limits)
	for i := range limits.NumField() {
		if limits.Field(i).Int() < 0 {
			return bad("Limits."+limits.Type().Field(i).Name, "must not be negative")
		}
	}
	return public, nil
}
