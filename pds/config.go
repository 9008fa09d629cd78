package pds

import (
	"context"
	"encoding/json"
	"io/fs"
	"log/slog"
	"net/http"
	"net/netip"
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

// MinSecretBytes is the least length of Config.Secret.
const MinSecretBytes = 16

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

	// What the server is called and says of itself.

	// ServiceDID is the server's own DID. Default: did:web of PublicURL's
	// host.
	ServiceDID syntax.DID

	// DocumentServices are further services in the document of the server's own
	// did:web, by the part of their id after the "#".
	DocumentServices map[string]identity.Service

	// HandleDomains are the domains under which accounts get handles, each
	// with a leading dot. Default: "." and the host of PublicURL, or ".test"
	// if that is localhost.
	HandleDomains []string

	// Info is shown by describeServer and the landing page.
	Info Info

	// Version is what /xrpc/_health reports. Default: "pdskit".
	Version string

	// AdminPassword opens the administration methods by HTTP Basic
	// authentication, as user "admin". Empty: nobody is an administrator.
	AdminPassword string

	// Accounts.

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

	// Mail.

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

	// Other services.

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

	// Lexicons.

	// Catalog holds the lexicons. Default: the built-in ones.
	Catalog *lexicons.Catalog

	// Lexicons says what is done about records whose lexicons Catalog does not
	// have. Looking for them on the network needs a Directory that is a
	// [LexiconDirectory]. Default: LexiconsOptimistic.
	Lexicons LexiconPolicy

	// What a program adds.

	// Namespaces are claimed by the program, such as "com.example.chat", which
	// stands for all below it: methods there that are not registered are answered
	// with MethodNotImplemented and never passed on to another service, whatever
	// the header atproto-proxy names. Methods that are registered never are anyway.
	Namespaces []string

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

	// WithheldDocuments are kinds of documents of extensions that belong to an
	// account but are not for its owner, such as "com.example.moderation.note";
	// "com.example.moderation.*" stands for all below it. They leave with the
	// account and are no part of [Server.ExportAccount]. All other documents are.
	WithheldDocuments []string

	// Live bounds topics and their subscribers, see Server.Live.
	Live live.Limits

	// OAuth.

	// WithoutOAuth turns the authorization server and the pages of the account
	// manager off. Apps then sign in with passwords, or by one of
	// Authenticators.
	WithoutOAuth bool

	// OAuth adjusts the authorization server: its pages, second factors, what
	// it thinks of clients. Issuer, Resource, Audience, Store, Accounts, Secret
	// and Clock are set by this server, the others by it if they are zero.
	OAuth oauth.Config

	// Limits.

	// Limits bounds sizes, counts and times.
	Limits Limits

	// Stream sets the limits of event streams, those of clients' messages among
	// them. Its WriteTimeout is not looked at: see Limits.StallTime.
	Stream xrpc.StreamConfig

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

	// Time, and what is seen of the server.

	// Clock is the time. Default: the store's, see storage.GuardOf. One that is
	// not a storage.Guard gets one.
	Clock storage.Clock

	// Logger receives one line for each request and what goes wrong in the
	// background. Default: nothing is logged.
	Logger *slog.Logger

	// OnServed, if set, is told of every XRPC request when it has been
	// answered; package pds/metrics counts them so. It may be called
	// concurrently, and must not block.
	OnServed func(xrpc.Served)

	// Tracer, if set, records what the server does as spans, see package
	// pds/tracing. Without it tracing costs nothing.
	Tracer Tracer

	// Development and tests.

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
