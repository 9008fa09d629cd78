package pds_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/bluesky-social/indigo/atproto/atdata"
	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"github.com/pdskit/pdskit/oauth/scope"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/xrpc"
)

const ownTell = "com.example.own.tell"

// tell is a method of the program's own.
func tell(h *pdstest.PDS) xrpc.Method {
	return xrpc.Procedure(ownTell, h.OwnMethodRule(), func(context.Context, *struct{}) (*struct{}, error) { return &struct{}{}, nil })
}

// getServiceAuth towards this server opens no method of the program's own for an
// app that may not call it, whether anybody acts for anybody here or not.
func TestOwnMethodsByServiceAuth(t *testing.T) {
	t.Parallel()
	for name, adjust := range map[string]func(*pds.Config){
		"a server with groups":    func(*pds.Config) {},
		"a server without groups": func(c *pds.Config) { c.Delegation = nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := &house{t: t, PDS: pdstest.New(t, func(c *pds.Config) {
				c.Delegation = pds.DelegationFunc(func(context.Context, *pds.State, syntax.DID, syntax.DID) (*scope.Set, error) { return nil, nil })
				adjust(c)
			})}
			h.Handle(tell(h.PDS))
			alice := h.CreateAccount("alice")
			token := url.Values{"aud": {h.serviceDID()}, "lxm": {ownTell}}
			apps := appsOf(h, alice)
			for _, a := range apps {
				_, err := a.call("POST", ownTell, "", nil, map[string]any{})
				refused(t, a.name, err, "ActorNotPermitted", "ScopeMissingError")
				_, err = a.call("GET", "com.atproto.server.getServiceAuth", "", token, nil)
				refused(t, a.name+", a token", err, "ActorNotPermitted", "ScopeMissingError")
			}
			// Alice herself, and an app that was granted it.
			ok(t, post(t, h.PDS, ownTell, h.serviceToken(alice, ownTell), map[string]any{}, nil))
			app := newPerson(t, h.PDS, "atproto rpc:"+ownTell+"?aud="+strings.ReplaceAll(h.serviceDID(), "%", "%25")+"%23atproto_pds")
			app.signIn(alice)
			ok(t, app.call("POST", ownTell, nil, map[string]any{}, nil))
			// Methods of every PDS are about the own account: video services are
			// given a token to upload with.
			video := url.Values{"aud": {h.serviceDID()}, "lxm": {uploadBlob}}
			for _, a := range apps {
				_, err := a.call("GET", "com.atproto.server.getServiceAuth", "", video, nil)
				if strings.HasPrefix(a.name, "repo:") { // no scope for calls
					refused(t, a.name, err, "ScopeMissingError")
				} else {
					ok(t, err)
				}
			}
		})
	}
}

// A session as a group gets no token by which to be the group in the methods of
// the program's own, which it cannot call.
func TestOwnMethodsByServiceAuthAsGroup(t *testing.T) {
	t.Parallel()
	h, group := newOpenHouse(t, nil)
	h.Handle(tell(h.PDS))
	alice := h.CreateAccount("alice")
	rpc := "rpc:" + ownTell + "?aud=*"
	h.role(alice.DID, rpc)
	app := newPerson(t, h.PDS, "atproto "+rpc)
	app.signInAs(group, alice)
	wantError(t, app.call("POST", ownTell, nil, map[string]any{}, nil), 403, "ActorNotPermitted")
	for _, aud := range []string{h.serviceDID(), h.serviceDID() + "#atproto_pds"} {
		params := url.Values{"aud": {aud}, "lxm": {ownTell}}
		err := app.call("GET", "com.atproto.server.getServiceAuth", params, nil, nil)
		refused(t, aud, err, "ActorNotPermitted", "ScopeMissingError")
	}
	ok(t, app.call("GET", "com.atproto.server.getServiceAuth", url.Values{"aud": {"did:web:api.example.com"}, "lxm": {ownTell}}, nil, nil))
}

// Whose account here is deactivated acts for nobody, by no door, and calls no
// method of the program's own.
func TestDeactivatedActsForNobody(t *testing.T) {
	t.Parallel()
	h, group := newOpenHouse(t, nil, func(c *pds.Config) { c.DirectDelegation = true })
	const ask = "com.example.own.ask"
	h.Handle(tell(h.PDS), xrpc.Query(ask, h.OwnMethodRule(), func(context.Context, *struct{}) (*struct{}, error) { return &struct{}{}, nil }))
	alice := h.CreateAccount("alice")
	h.role(alice.DID, "repo:*")
	app := newPerson(t, h.PDS, "atproto repo:*")
	app.signInAs(group, alice)
	const alias = aliasName + ".createRecord"
	ok(t, app.write(noteCollection))
	ok(t, h.write(alias, "Bearer "+alice.Access))
	// Tokens that were made before.
	byAlias, direct, told, asked := h.serviceToken(alice, alias), h.serviceToken(alice, createRecord), h.serviceToken(alice, ownTell), h.serviceToken(alice, ask)

	ok(t, post(t, h.PDS, "com.atproto.server.deactivateAccount", "Bearer "+alice.Access, map[string]any{}, nil))
	for name, err := range map[string]error{
		"door A":               app.write(noteCollection),
		"door B":               h.write(alias, "Bearer "+alice.Access),
		"door B, by a token":   h.write(alias, byAlias),
		"door C":               h.write(createRecord, direct),
		"an own method":        post(t, h.PDS, ownTell, told, map[string]any{}, nil),
		"an own query":         get(t, h.PDS, ask, asked, nil, nil),
		"door B, a new token":  h.write(alias, h.serviceToken(alice, alias)),
		"own query, new token": get(t, h.PDS, ask, h.serviceToken(alice, ask), nil, nil),
	} {
		refused(t, name, err, "ActorNotPermitted")
	}
	ok(t, post(t, h.PDS, "com.atproto.server.activateAccount", "Bearer "+alice.Access, nil, nil))
	ok(t, app.write(noteCollection))
	ok(t, h.write(alias, "Bearer "+alice.Access))
}

// A member who may replace the whole repository publishes no blob by that which
// it could not publish by a record.
func TestDelegationImportOfHiddenBlobs(t *testing.T) {
	t.Parallel()
	h, group := newOpenHouse(t, nil)
	alice, carol := h.CreateAccount("alice"), h.CreateAccount("carol")
	h.role(alice.DID, "account:repo?action=manage", "blob:*/*")
	ref := func(text string) atdata.Blob {
		c, err := cid.Decode(rawCID(text))
		ok(t, err)
		return atdata.Blob{Ref: atdata.CIDLink(c), MimeType: "text/plain", Size: int64(len(text))}
	}
	upload := func(text string, by syntax.DID) atdata.Blob {
		_, err := h.UploadBlob(t.Context(), group.DID, "text/plain", strings.NewReader(text), pds.By{Actor: by})
		ok(t, err)
		return ref(text)
	}
	hers, private := upload("hers", alice.DID), upload("of a private room", carol.DID)
	app := newPerson(t, h.PDS, "atproto account:repo?action=manage")
	app.signInAs(group, alice)
	importing := func(picture atdata.Blob) error {
		foreign := newForeignRepo(t, group.DID, map[string]map[string]any{noteCollection + "/x": {"text": "x", "picture": picture}})
		return app.sendCAR(foreign.car(t))
	}
	public := func(text string) error {
		_, err := h.Call(t.Context(), "GET", "com.atproto.sync.getBlob", url.Values{"did": {string(group.DID)}, "cid": {rawCID(text)}}, nil, nil)
		return err
	}
	wantError(t, importing(private), 400, "BlobNotFound")
	wantError(t, public("of a private room"), 400, "BlobNotFound")
	ok(t, importing(hers))
	ok(t, public("hers"))
	ok(t, importing(ref("to come")))
	// What is public by an import every member may use.
	h.role(carol.DID, "repo:*")
	upload("to come", alice.DID)
	ok(t, post(t, h.PDS, aliasName+".createRecord", "Bearer "+carol.Access, map[string]any{
		"repo": group.DID, "collection": noteCollection, "record": map[string]any{"picture": blobRef(rawCID("to come"), "text/plain", 7)},
	}, nil))
}

// sendCAR imports a repository with the app's session.
func (p *person) sendCAR(car []byte) error {
	p.t.Helper()
	address := p.srv.URL + "/xrpc/" + importRepo
	header := http.Header{
		"Authorization": {"DPoP " + p.tokens.Access}, "Dpop": {p.proof("POST", address, p.tokens.Access)},
		"Content-Type": {"application/vnd.ipld.car"},
	}
	_, err := p.srv.Call(p.t.Context(), "POST", importRepo, nil, header, car)
	return err
}
