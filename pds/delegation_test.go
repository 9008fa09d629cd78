package pds_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/oauth/scope"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/storage"
)

// house is a server with a group and members, whose rights are documents.
type house struct {
	*pdstest.PDS
	t     *testing.T
	group storage.Account
}

const (
	roleKind  = "com.example.role"
	aliasName = "com.example.group"
)

func newHouse(t *testing.T, adjust ...func(*pds.Config)) *house {
	t.Helper()
	delegation := func(_ context.Context, st *pds.State, account, actor syntax.DID) (*scope.Set, error) {
		d, err := st.Get(pds.DocumentKey{Kind: roleKind, Owner: account, Key: string(actor)})
		if errors.Is(err, storage.ErrNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		var scopes []string
		if err := d.JSON(&scopes); err != nil {
			return nil, err
		}
		return scope.ParseGranted(scopes...)
	}
	h := &house{t: t, PDS: pdstest.New(t, append([]func(*pds.Config){
		func(c *pds.Config) { c.Delegation = pds.DelegationFunc(delegation) },
	}, adjust...)...)}
	h.Alias(aliasName)
	group, err := h.Server.CreateAccount(t.Context(), pds.NewAccount{Handle: "the-group.test"})
	ok(t, err)
	h.group = group
	return h
}

// role gives a member rights; none takes them away.
func (h *house) role(member syntax.DID, scopes ...string) {
	h.t.Helper()
	k := pds.DocumentKey{Kind: roleKind, Owner: h.group.DID, Key: string(member)}
	ok(h.t, h.Update(h.t.Context(), func(st *pds.State) error {
		if len(scopes) == 0 {
			return st.Delete(k)
		}
		return st.PutJSON(k, scopes)
	}))
}

// post writes a note into the group by a method.
func (h *house) write(nsid, auth string) error {
	return post(h.t, h.PDS, nsid, auth, map[string]any{
		"repo": h.group.DID, "collection": noteCollection, "record": map[string]any{"text": "for us all"},
	}, nil)
}

// serviceToken has a member's own server make a token for a method of this one.
func (h *house) serviceToken(a *pdstest.Account, lxm string, more ...string) string {
	h.t.Helper()
	var out struct{ Token string }
	params := url.Values{"aud": {h.serviceDID()}, "lxm": {lxm}}
	for i := 0; i < len(more); i += 2 {
		params.Set(more[i], more[i+1])
	}
	ok(h.t, get(h.t, a.PDS, "com.atproto.server.getServiceAuth", "Bearer "+a.Access, params, &out))
	return "Bearer " + out.Token
}

func (h *house) serviceDID() string { return serviceDID(h.PDS) }

func (h *house) notes() int {
	h.t.Helper()
	n := 0
	for range listAll(h.t, &pdstest.Account{PDS: h.PDS, DID: h.group.DID}, noteCollection) {
		n++
	}
	return n
}

func (h *house) acts(refused bool) (out []string) {
	h.t.Helper()
	list, err := h.Acts(h.t.Context(), h.group.DID, pds.ActQuery{Refused: refused})
	ok(h.t, err)
	for _, a := range list {
		s := fmt.Sprintf("%s %s %s", a.Actor, a.Method, a.Refused)
		for _, w := range a.Writes {
			s += string(w.Action)
		}
		out = append(out, s)
	}
	return out
}

// A member with an account elsewhere writes by the aliases.
func TestDelegationByAlias(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	elsewhere := h.Another()
	bob := elsewhere.CreateAccount("bob")
	const create = aliasName + ".createRecord"
	wantError(t, h.write(create, h.serviceToken(bob, create)), 403, "ActorNotPermitted")
	h.role(bob.DID, "repo:"+noteCollection+"?action=create")
	token := h.serviceToken(bob, create)
	ok(t, h.write(create, token))
	wantError(t, h.write(create, token), 401, "BadJwt") // once
	wantError(t, h.write(create, h.serviceToken(bob, aliasName+".putRecord")), 401, "BadJwtLexiconMethod")
	late := fmt.Sprint(h.Clock.Now().Add(10 * time.Minute).Unix())
	wantError(t, h.write(create, h.serviceToken(bob, create, "exp", late)), 401, "BadJwt")
	// Through his own server, which passes the request on.
	err := post(t, elsewhere, create, "Bearer "+bob.Access, map[string]any{"repo": h.group.DID}, nil)
	wantError(t, err, 400, "InvalidRequest")
	header := http.Header{"Authorization": {"Bearer " + bob.Access}, "Atproto-Proxy": {h.serviceDID() + "#atproto_pds"}}
	_, err = elsewhere.Call(t.Context(), "POST", create, nil, header, map[string]any{
		"repo": h.group.DID, "collection": noteCollection, "record": map[string]any{"text": "by proxy"},
	})
	ok(t, err)
	// Not beyond the grant.
	del := map[string]any{"repo": h.group.DID, "collection": noteCollection, "rkey": "x"}
	wantError(t, post(t, h.PDS, aliasName+".deleteRecord", h.serviceToken(bob, aliasName+".deleteRecord"), del, nil), 403, "ScopeMissingError")
	// The record's author is known inside, and nowhere else.
	if n := h.notes(); n != 2 {
		t.Errorf("%d notes", n)
	}
	var seen notebook
	h.Observe("test", seen.observe)
	events := seen.wait(t, h.PDS)
	if last := events[len(events)-1]; last.Actor != bob.DID || last.Account != h.group.DID {
		t.Errorf("%+v", last)
	}
	if got := strings.Join(h.acts(false), "; "); got != string(bob.DID)+" "+create+" create; "+string(bob.DID)+" "+create+" create" {
		t.Errorf("acts: %s", got)
	}
	if got := strings.Join(h.acts(true), "; "); !strings.Contains(got, "ScopeMissingError") || !strings.Contains(got, "ActorNotPermitted") {
		t.Errorf("refusals: %s", got)
	}
	h.role(bob.DID)
	wantError(t, h.write(create, h.serviceToken(bob, create)), 403, "ActorNotPermitted")
}

// With DirectDelegation service tokens open com.atproto.repo itself, for others
// only.
func TestDelegationDirect(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(c *pds.Config) { c.DirectDelegation = true })
	bob := h.Another().CreateAccount("bob")
	h.role(bob.DID, "repo:"+noteCollection)
	ok(t, h.write(createRecord, h.serviceToken(bob, createRecord)))
	alice := h.CreateAccount("alice")
	own := map[string]any{"repo": alice.DID, "collection": noteCollection, "record": map[string]any{}}
	wantError(t, post(t, h.PDS, createRecord, h.serviceToken(alice, createRecord), own, nil), 403, "ActorNotPermitted")
	ok(t, post(t, h.PDS, createRecord, "Bearer "+alice.Access, own, nil))
	wantError(t, h.write("com.atproto.server.deactivateAccount", h.serviceToken(bob, "com.example.x")), 400, "InvalidToken")
	if n := h.notes(); n != 1 {
		t.Errorf("%d notes", n)
	}
}

// An app that was granted an alias by name acts for its user's groups.
func TestDelegationByOAuth(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	alice := h.CreateAccount("alice")
	h.role(alice.DID, "repo:"+noteCollection)
	app := newPerson(t, h.PDS, "atproto rpc:"+aliasName+".createRecord?aud="+strings.ReplaceAll(h.serviceDID(), "%", "%25")+"%23atproto_pds")
	app.signIn(alice)
	ok(t, app.call("POST", aliasName+".createRecord", nil, map[string]any{
		"repo": h.group.DID, "collection": noteCollection, "record": map[string]any{},
	}, nil))
	wantError(t, app.call("POST", aliasName+".deleteRecord", nil, map[string]any{
		"repo": h.group.DID, "collection": noteCollection, "rkey": "x",
	}, nil), 403, "ScopeMissingError")
}

// A member publishes blobs that the group has published or that the same member
// has uploaded, and no others.
func TestDelegationBlobs(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	alice, carol := h.CreateAccount("alice"), h.CreateAccount("carol")
	h.role(alice.DID, "repo:"+noteCollection, "blob:text/plain")
	h.role(carol.DID, "repo:"+noteCollection, "blob:*/*")
	put := func(a *pdstest.Account, mime, data string) error {
		header := http.Header{"Authorization": {"Bearer " + a.Access}, "Content-Type": {mime}}
		_, err := h.Call(t.Context(), "POST", aliasName+".uploadBlob", url.Values{"repo": {string(h.group.DID)}}, header, []byte(data))
		return err
	}
	publish := func(a *pdstest.Account, mime, data string) error {
		return post(t, h.PDS, aliasName+".createRecord", "Bearer "+a.Access, map[string]any{
			"repo": h.group.DID, "collection": noteCollection,
			"record": map[string]any{"picture": blobRef(rawCID(data), mime, len(data))},
		}, nil)
	}
	wantError(t, put(alice, "image/x-unknown", "picture"), 403, "ScopeMissingError")
	ok(t, put(alice, "text/plain", "hers"))
	wantError(t, publish(carol, "text/plain", "hers"), 400, "BlobNotFound") // not yet public
	ok(t, publish(alice, "text/plain", "hers"))
	ok(t, publish(carol, "text/plain", "hers"))
	// One that two have uploaded is for both to publish, and for nobody else.
	dave := h.CreateAccount("dave")
	h.role(dave.DID, "repo:"+noteCollection)
	ok(t, put(alice, "text/plain", "of both"))
	ok(t, put(carol, "text/plain", "of both"))
	wantError(t, publish(dave, "text/plain", "of both"), 400, "BlobNotFound")
	ok(t, publish(carol, "text/plain", "of both"))
	ok(t, put(carol, "text/plain", "of two"))
	ok(t, put(alice, "text/plain", "of two"))
	ok(t, put(alice, "text/plain", "of two"))
	h.Clock.Advance(23 * time.Hour)
	for _, a := range []*pdstest.Account{alice, carol, dave} {
		a.Login()
	}
	wantError(t, publish(dave, "text/plain", "of two"), 400, "BlobNotFound")
	ok(t, publish(carol, "text/plain", "of two"))
	// One that is only in another account.
	mustUpload(t, alice, "text/plain", "private")
	wantError(t, publish(alice, "text/plain", "private"), 400, "BlobNotFound")
	wantError(t, publish(carol, "text/plain", "private"), 400, "BlobNotFound")
}

func TestDelegationThatMisbehaves(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	defer close(release)
	mode := "panic"
	var asked atomic.Int64
	srv := pdstest.New(t, func(c *pds.Config) {
		c.Limits.PolicyTime = time.Second
		c.Delegation = pds.DelegationFunc(func(context.Context, *pds.State, syntax.DID, syntax.DID) (*scope.Set, error) {
			asked.Add(1)
			switch mode {
			case "panic":
				panic("delegation")
			case "block":
				<-release
			}
			return nil, errors.New("secret detail")
		})
	})
	srv.Alias(aliasName)
	alice, bob := srv.CreateAccount("alice"), srv.CreateAccount("bob")
	try := func() error {
		return post(t, srv, aliasName+".createRecord", "Bearer "+alice.Access, map[string]any{
			"repo": bob.DID, "collection": noteCollection, "record": map[string]any{},
		}, nil)
	}
	wantError(t, try(), 500, "InternalServerError")
	mode = "error"
	wantError(t, try(), 500, "InternalServerError")
	mode = "block"
	for range 20 {
		wantError(t, try(), 503, "PolicyTimeout")
	}
	if n := asked.Load(); n != 3 {
		t.Errorf("it was asked %d times, although it had not returned", n)
	}
	for _, bad := range []string{"", "nonsense", "com.atproto.repo"} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("an alias %q was taken", bad)
				}
			}()
			srv.Alias(bad)
		}()
	}
}

// Acts are bounded in number and age.
func TestActsAreBounded(t *testing.T) {
	t.Parallel()
	h := newHouse(t, func(c *pds.Config) { c.Limits.ActEntries = 3 })
	alice := h.CreateAccount("alice")
	h.role(alice.DID, "repo:"+noteCollection)
	for range 5 {
		ok(t, h.write(aliasName+".createRecord", "Bearer "+alice.Access))
	}
	list, err := h.Acts(t.Context(), h.group.DID, pds.ActQuery{})
	ok(t, err)
	if len(list) != 3 || list[0].Number != 5 || list[2].Number != 3 {
		t.Errorf("%+v", list)
	}
	if list, err = h.Acts(t.Context(), h.group.DID, pds.ActQuery{Before: 5, Limit: 1}); err != nil || len(list) != 1 || list[0].Number != 4 {
		t.Errorf("%+v %v", list, err)
	}
	h.Clock.Advance(91 * 24 * time.Hour)
	if list, err = h.Acts(t.Context(), h.group.DID, pds.ActQuery{}); err != nil || len(list) != 0 {
		t.Errorf("%+v %v", list, err)
	}
}
