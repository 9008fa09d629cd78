package main

import (
	"context"
	"crypto/sha256"
	"embed"
	"errors"
	"fmt"
	"strings"
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
	maxRooms        = 60  // of a community: a ban changes three documents of each in one transaction
	maxParticipants = 200 // of a private room
	maxMemberships  = 100 // of one person
	maxPictureBytes = 2 << 20
	unsentPicture   = time.Hour          // is how long one is kept
	clearedAtOnce   = 100                // messages of a room, in one transaction
	writesAtOnce    = 50                 // in a commit: each changes up to three documents besides
	inviteLife      = 7 * 24 * time.Hour // unless the invite says otherwise
)

//go:embed lexicons/*.json
var lexiconFiles embed.FS

// app is what the program adds to a PDS.
type app struct {
	srv      *pds.Server
	service  syntax.DID // of the server
	domain   string     // of the handles of communities
	pictures storage.BlobStore
	grants   map[role]*scope.Set
	ids      syntax.TIDClock // of rooms and messages
}

// configure prepares the configuration of the PDS.
func configure(cfg *pds.Config, pictures storage.BlobStore) (*app, error) {
	a := &app{service: cfg.ServiceDID, domain: cfg.HandleDomains[0], pictures: pictures, grants: map[role]*scope.Set{}}
	cfg.Catalog = lexicons.New()
	err := cfg.Catalog.AddFS(lexiconFiles)
	for _, r := range ranks {
		set, parseErr := scope.Parse(r.scopes(a.audience()))
		a.grants[r], err = set, errors.Join(err, parseErr)
	}
	cfg.Policy, cfg.Delegation = a, a
	cfg.DocumentServices = map[string]identity.Service{serviceName: {Type: "CommunityService", Endpoint: cfg.PublicURL}}
	return a, err
}

// audience is the service as scopes and service tokens name it.
func (a *app) audience() string { return string(a.service) + "#" + serviceName }

// allows reports whether a role has a method.
func (a *app) allows(r role, method string) bool {
	return a.grants[r].Allows(scope.RPC{Method: method, Audience: a.audience()})
}

// register adds the methods, jobs and observers to the server.
func (a *app) register(srv *pds.Server) {
	a.srv = srv
	srv.Alias(namespace[:len(namespace)-1]) // createRecord and so on, for what is public
	rule := srv.OwnMethodRule()
	srv.Handle(
		// For everybody.
		xrpc.Procedure(namespace+"createCommunity", rule, a.createCommunity).WithLimits(xrpc.Limit{Points: 10, Window: 24 * time.Hour, Key: xrpc.ByAccount}),
		xrpc.Query(namespace+"listCommunities", rule, a.listCommunities),
		xrpc.Query(namespace+"getInvite", rule, a.getInvite),
		xrpc.Procedure(namespace+"acceptInvite", rule, a.acceptInvite),

		// For members, as far as their role goes.
		a.query("getCommunity", (*call).getCommunity),
		a.query("listMembers", (*call).listMembers),
		a.query("getHistory", (*call).getHistory),
		a.query("listActs", (*call).listActs),
		a.procedure("createInvite", (*call).createInvite),
		a.procedure("setRole", (*call).setRole),
		a.procedure("leaveCommunity", (*call).leaveCommunity),
		a.procedure("banMember", (*call).banMember),
		a.procedure("unbanMember", (*call).unbanMember),
		a.procedure("deleteCommunity", (*call).deleteCommunity),
		a.procedure("createRoom", (*call).createRoom),
		a.procedure("changeRoom", (*call).changeRoom),
		a.procedure("markRead", (*call).markRead),
		a.procedure("sendMessage", (*call).sendMessage),
		a.procedure("editMessage", (*call).editMessage),
		a.procedure("deleteMessage", (*call).deleteMessage),
		a.procedure("reactTo", (*call).reactTo),
		xrpc.ProcedureBody(namespace+"uploadPicture", rule, a.uploadPicture).WithMaxBody(maxPictureBytes).WithLimits(xrpc.Limit{Points: 100, Window: time.Hour, Key: xrpc.ByAccount}),
		xrpc.QueryBody(namespace+"getPicture", rule, a.getPicture),
		xrpc.Subscription(namespace+"watch", rule, a.watch),
		srv.TicketMethod(namespace+"getTicket"), // for watch, in browsers
	)
	srv.HandleJobs(pds.JobHandler{Kind: jobDropPicture, Run: func(ctx context.Context, j pds.Job) error { return a.pictures.Delete(ctx, j.Name) }})
	srv.HandleJobs(pds.JobHandler{Kind: jobClear, Run: a.clear})
	srv.Observe(namespace+"pictures", a.forgetPictures)
}

// key names a document of a community.
func key(kind string, community syntax.DID, parts ...string) pds.DocumentKey {
	return pds.DocumentKey{Kind: namespace + kind, Owner: community, Key: strings.Join(parts, "/")}
}

// The documents. All but one belong to a community and leave with it.
func communityKey(c syntax.DID) pds.DocumentKey             { return key("community", c) }
func memberKey(c, did syntax.DID) pds.DocumentKey           { return key("member", c, string(did)) }
func banKey(c, did syntax.DID) pds.DocumentKey              { return key("ban", c, string(did)) }
func roomKey(c syntax.DID, id string) pds.DocumentKey       { return key("room", c, id) }
func messageKey(c syntax.DID, r, id string) pds.DocumentKey { return key("message", c, r, id) }
func unsentKey(c syntax.DID, r, id string) pds.DocumentKey  { return key("unsent", c, r, id) }

// readKey is how many messages of a room somebody has read.
func readKey(c, did syntax.DID, r string) pds.DocumentKey { return key("read", c, string(did), r) }

// inviteKey is an invite, under the hash of its code.
func inviteKey(c syntax.DID, code string) pds.DocumentKey {
	return key("invite", c, fmt.Sprintf("%x", sha256.Sum256([]byte(code))))
}

// memberOfKey finds the communities of somebody. It belongs to nobody, so it may
// be left of a community that is gone.
func memberOfKey(did, c syntax.DID) pds.DocumentKey {
	return key("member-of", "", string(did), string(c))
}

// get reads a document. The zero value stands for one that is not there.
func get[T any](st *pds.State, k pds.DocumentKey) (v T, found bool, err error) {
	found, err = st.GetJSON(k, &v)
	return v, found, err
}

// scan reads the documents of a community whose key begins with a prefix.
func scan[T any](st *pds.State, k pds.DocumentKey, limit int) (map[string]T, error) {
	docs, err := st.Scan(k.Kind, k.Owner, storage.Scan{From: k.Key, To: k.Key + "\x7f", Limit: limit})
	out := make(map[string]T, len(docs))
	for _, d := range docs {
		var v T
		err = errors.Join(err, d.JSON(&v))
		out[d.Key[len(k.Key):]] = v
	}
	return out, err
}
