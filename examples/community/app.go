package main

import (
	"embed"
	"errors"
	"io/fs"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/oauth/scope"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
	"github.com/pdskit/pdskit/xrpc/lexicons"
)

// namespace is that of the lexicons: of records, methods, and our documents.
const namespace = "dev.pdskit.community."

// Collections of a community's repository. All of it is public.
const (
	colProfile    syntax.NSID = namespace + "profile"
	colRoom       syntax.NSID = namespace + "room"
	colMessage    syntax.NSID = namespace + "message"
	colReaction   syntax.NSID = namespace + "reaction"
	colAuthorship syntax.NSID = namespace + "authorship"
)

// serviceName is the part of the server's DID document by which other servers
// find the methods: atproto-proxy: <did>#community.
const serviceName = "community"

// Limits, besides those in the lexicons.
const (
	maxRooms        = 100 // of a community
	maxParticipants = 500 // of a private room
	maxMemberships  = 100 // of one person
	maxPictureBytes = 2 << 20
	keptNotices     = 100
	inviteLife      = 7 * 24 * time.Hour // unless the invite says otherwise
)

var foundingLimit = xrpc.Limit{Points: 10, Window: 24 * time.Hour, Key: xrpc.ByAccount}

//go:embed lexicons/*.json
var lexiconFiles embed.FS

// app is what the program adds to a PDS.
type app struct {
	srv      *pds.Server
	service  syntax.DID // of the server
	domain   string     // of the handles of communities
	pictures storage.BlobStore
	grants   map[role]*scope.Set
}

// configure prepares the configuration of the PDS.
func configure(cfg *pds.Config, pictures storage.BlobStore) (*app, error) {
	a := &app{service: cfg.ServiceDID, domain: cfg.HandleDomains[0], pictures: pictures, grants: map[role]*scope.Set{}}
	for _, r := range ranks {
		var err error
		if a.grants[r], err = scope.Parse(r.scopes(a.audience())); err != nil {
			return nil, err
		}
	}
	cfg.Catalog = lexicons.New()
	files, err := fs.Glob(lexiconFiles, "lexicons/*.json")
	for _, name := range files {
		schema, readErr := lexiconFiles.ReadFile(name)
		err = errors.Join(err, readErr, cfg.Catalog.Add(schema))
	}
	cfg.Policy, cfg.Delegation = a, a
	cfg.DocumentServices = map[string]identity.Service{serviceName: {Type: "CommunityService", Endpoint: cfg.PublicURL}}
	return a, err
}

// audience is the service as scopes and service tokens name it.
func (a *app) audience() string { return string(a.service) + "#" + serviceName }

// register adds the methods, jobs and observers to the server.
func (a *app) register(srv *pds.Server) {
	a.srv = srv
	srv.Alias(namespace[:len(namespace)-1]) // createRecord and so on, for what is public
	rule := srv.OwnMethodRule()
	srv.Handle(
		// For everybody.
		xrpc.Procedure(namespace+"createCommunity", rule, a.createCommunity).WithLimits(foundingLimit),
		xrpc.Query(namespace+"listCommunities", rule, a.listCommunities),
		xrpc.Procedure(namespace+"acceptInvite", rule, a.acceptInvite),

		// For members, as far as their role goes.
		query(a, "getCommunity", (*call).getCommunity),
		query(a, "listMembers", (*call).listMembers),
		query(a, "getHistory", (*call).getHistory),
		query(a, "listActs", (*call).listActs),
		procedure(a, "createInvite", (*call).createInvite),
		procedure(a, "setRole", (*call).setRole),
		procedure(a, "leaveCommunity", (*call).leaveCommunity),
		procedure(a, "banMember", (*call).banMember),
		procedure(a, "unbanMember", (*call).unbanMember),
		procedure(a, "deleteCommunity", (*call).deleteCommunity),
		procedure(a, "createRoom", (*call).createRoom),
		procedure(a, "changeRoom", (*call).changeRoom),
		procedure(a, "markRead", (*call).markRead),
		procedure(a, "sendMessage", (*call).sendMessage),
		procedure(a, "editMessage", (*call).editMessage),
		procedure(a, "deleteMessage", (*call).deleteMessage),
		procedure(a, "reactTo", (*call).reactTo),
		xrpc.ProcedureBody(namespace+"uploadPicture", rule, a.uploadPicture).WithMaxBody(maxPictureBytes),
		xrpc.QueryBody(namespace+"getPicture", rule, a.getPicture),
		xrpc.Subscription(namespace+"watch", rule, a.watch),
		srv.TicketMethod(namespace+"getTicket"), // for watch, in browsers
	)
	srv.HandleJobs(pds.JobHandler{Kind: jobSettle, Run: a.settle})
	srv.HandleJobs(pds.JobHandler{Kind: jobDropPicture, Run: a.dropPicture})
	srv.Observe(namespace+"pictures", a.forgetPictures)
}
