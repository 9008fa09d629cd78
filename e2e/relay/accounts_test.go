package relay_test

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/pds/pdstest"
)

const (
	notes   = "com.example.note" // which nobody has a schema of
	posts   = "app.bsky.feed.post"
	likes   = "app.bsky.feed.like"
	follows = "app.bsky.graph.follow"
	profile = "app.bsky.actor.profile"

	someTime = "2026-01-02T03:04:05.678Z"
)

type object = map[string]any

func post(text string) object { return object{"text": text, "createdAt": someTime} }

// adminAuth is the Authorization header of the administrator.
var adminAuth = "Basic " + base64.StdEncoding.EncodeToString([]byte("admin:"+pdstest.AdminPassword))

// An account from its creation to its deletion, in the steps that a person and
// a moderator could take. The relay is looked at after each.
func TestLifeOfAnAccount(t *testing.T) {
	w, srv := newWorld(t)
	alice := srv.CreateAccount("alice")
	bob := srv.CreateAccount("bob")
	w.settle()

	write := func(nsid string, in object) { alice.Post("com.atproto.repo."+nsid, in, nil) }
	takedown := func(applied bool) {
		srv.Post("com.atproto.admin.updateSubjectStatus", adminAuth, object{
			"subject":  object{"$type": "com.atproto.admin.defs#repoRef", "did": alice.DID},
			"takedown": object{"applied": applied},
		}, nil)
	}
	var uri, cid string
	steps := []struct {
		name string
		do   func()
	}{
		{"first record", func() { uri, cid = alice.CreateRecord(posts, post("first")) }},
		{"another person's like", func() {
			bob.CreateRecord(likes, object{"subject": object{"uri": uri, "cid": cid}, "createdAt": someTime})
		}},
		{"the same like again, which replaces the first", func() {
			bob.CreateRecord(likes, object{"subject": object{"uri": uri, "cid": cid}, "createdAt": "2026-02-03T04:05:06Z"})
		}},
		{"a follow", func() { bob.CreateRecord(follows, object{"subject": alice.DID, "createdAt": someTime}) }},
		{"profile made", func() {
			write("putRecord", object{"repo": alice.DID, "collection": profile, "rkey": "self", "record": object{"displayName": "Alice"}})
		}},
		{"profile changed", func() {
			write("putRecord", object{"repo": alice.DID, "collection": profile, "rkey": "self", "record": object{"displayName": "Alice A."}})
		}},
		{"profile put again as it is", func() {
			write("putRecord", object{"repo": alice.DID, "collection": profile, "rkey": "self", "record": object{"displayName": "Alice A."}})
		}},
		{"first record deleted", func() {
			write("deleteRecord", object{"repo": alice.DID, "collection": posts, "rkey": lastPart(uri)})
		}},
		{"the last record deleted, which leaves an empty tree", func() {
			write("deleteRecord", object{"repo": alice.DID, "collection": profile, "rkey": "self"})
		}},
		{"a record in the emptied tree", func() { uri, _ = alice.CreateRecord(posts, post("anew")) }},
		{"mixed batch", func() {
			write("applyWrites", object{"repo": alice.DID, "writes": []object{
				{"$type": "com.atproto.repo.applyWrites#create", "collection": notes, "rkey": "one", "value": post("one")},
				{"$type": "com.atproto.repo.applyWrites#create", "collection": notes, "value": object{"n": 1}},
				{"$type": "com.atproto.repo.applyWrites#update", "collection": posts, "rkey": lastPart(uri), "value": post("changed")},
				{"$type": "com.atproto.repo.applyWrites#create", "collection": notes, "rkey": "gone", "value": post("gone at once")},
				{"$type": "com.atproto.repo.applyWrites#delete", "collection": notes, "rkey": "gone"},
			}})
		}},
		{"new handle", func() {
			alice.Post("com.atproto.identity.updateHandle", object{"handle": "alison.test"}, nil)
		}},
		{"the same handle again", func() {
			alice.Post("com.atproto.identity.updateHandle", object{"handle": "alison.test"}, nil)
		}},
		{"deactivation", func() { alice.Post("com.atproto.server.deactivateAccount", object{}, nil) }},
		{"activation", func() { alice.Post("com.atproto.server.activateAccount", nil, nil) }},
		{"a record afterwards", func() { alice.CreateRecord(posts, post("back")) }},
		{"takedown", func() { takedown(true) }},
		{"restoration", func() { takedown(false); alice.Login() }},
		{"a record after that", func() { alice.CreateRecord(posts, post("back again")) }},
		{"deactivation and takedown", func() {
			alice.Post("com.atproto.server.deactivateAccount", object{}, nil)
			takedown(true)
		}},
		{"restoration of the deactivated account", func() { takedown(false); alice.Login() }},
		{"second activation", func() { alice.Post("com.atproto.server.activateAccount", nil, nil) }},
		{"deletion by the owner", func() {
			alice.Post("com.atproto.server.requestAccountDelete", nil, nil)
			srv.Post("com.atproto.server.deleteAccount", "", object{
				"did": alice.DID, "password": alice.Password, "token": srv.Mail.Code(alice.Email),
			}, nil)
		}},
		{"deletion by the administrator", func() {
			srv.Post("com.atproto.admin.deleteAccount", adminAuth, object{"did": bob.DID}, nil)
		}},
		{"the handle taken by somebody else", func() { srv.CreateAccount("alison").CreateRecord(posts, post("hello")) }},
	}
	for _, step := range steps {
		t.Log(step.name)
		step.do()
		w.settle()
	}
}

func lastPart(uri string) string { return uri[strings.LastIndexByte(uri, '/')+1:] }

// The import of a repository that goes back to an older state, into an account
// that is active all the while.
func TestImportIntoActiveAccount(t *testing.T) {
	w, srv := newWorld(t)
	alice := srv.CreateAccount("alice")
	for range 30 {
		alice.CreateRecord(posts, post("old"))
	}
	car := export(t, alice)
	before := alice.Export()
	for range 10 {
		alice.CreateRecord(posts, post("to be lost"))
	}
	w.settle()
	importRepo(t, alice, car)
	w.settle()
	if after := alice.Export(); after.Commit.Data != before.Commit.Data || after.Commit.Rev <= before.Commit.Rev {
		t.Errorf("imported %s at %s, have %s at %s", before.Commit.Data, before.Commit.Rev, after.Commit.Data, after.Commit.Rev)
	}
	alice.CreateRecord(posts, post("after the import"))
	w.settle()
}

func export(t *testing.T, a *pdstest.Account) []byte {
	t.Helper()
	car, err := a.PDS.Call(t.Context(), "GET", "com.atproto.sync.getRepo", url.Values{"did": {a.DID.String()}}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return car
}

func importRepo(t *testing.T, a *pdstest.Account, car []byte) {
	t.Helper()
	header := http.Header{"Authorization": {"Bearer " + a.Access}, "Content-Type": {"application/vnd.ipld.car"}}
	if _, err := a.PDS.Call(t.Context(), "POST", "com.atproto.repo.importRepo", nil, header, car); err != nil {
		t.Fatal(err)
	}
}

// An account moves from one server that the relay follows to another.
func TestMove(t *testing.T) {
	w, old := newWorld(t)
	next := old.Another()
	w.follow(next)

	// The account has a rotation key of its own.
	rotation, err := atcrypto.GeneratePrivateKeyK256()
	if err != nil {
		t.Fatal(err)
	}
	public, err := rotation.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	alice := &pdstest.Account{PDS: old, Handle: "alice.test", Email: "alice@example.com", Password: "password of alice"}
	var signUp struct {
		DID       syntax.DID
		AccessJwt string
	}
	old.Post("com.atproto.server.createAccount", "", object{
		"handle": alice.Handle, "email": alice.Email, "password": alice.Password, "recoveryKey": public.DIDKey(),
	}, &signUp)
	alice.DID, alice.Access = signUp.DID, signUp.AccessJwt
	for range 50 {
		alice.CreateRecord(posts, post("at the old server"))
	}
	w.settle()

	var service struct{ DID string }
	next.Get("com.atproto.server.describeServer", "", nil, &service)
	var ticket struct{ Token string }
	alice.Get("com.atproto.server.getServiceAuth", url.Values{
		"aud": {service.DID}, "lxm": {"com.atproto.server.createAccount"},
	}, &ticket)
	moved := &pdstest.Account{
		PDS: next, DID: alice.DID, Handle: syntax.Handle("alice" + next.Config.HandleDomains[0]),
		Email: alice.Email, Password: alice.Password,
	}
	next.Post("com.atproto.server.createAccount", "Bearer "+ticket.Token, object{
		"handle": moved.Handle, "email": moved.Email, "password": moved.Password, "did": moved.DID,
	}, &signUp)
	moved.Access = signUp.AccessJwt
	importRepo(t, moved, export(t, alice))
	w.settle() // nothing of this is to be seen

	var recommended struct {
		RotationKeys        []string
		VerificationMethods map[string]string
		AlsoKnownAs         []string
		Services            map[string]identity.Service
	}
	moved.Get("com.atproto.identity.getRecommendedDidCredentials", nil, &recommended)
	registry := identity.NewPLCRegistry(old.PLC.Client(), rotation, "")
	err = registry.Update(t.Context(), moved.DID, func(op *identity.Operation) error {
		op.RotationKeys = append([]string{public.DIDKey()}, recommended.RotationKeys...)
		op.VerificationMethods = recommended.VerificationMethods
		op.AlsoKnownAs = recommended.AlsoKnownAs
		op.Services = recommended.Services
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	moved.Post("com.atproto.server.activateAccount", nil, nil)
	w.settle()
	moved.CreateRecord(posts, post("at the new server"))
	w.settle()

	// From now on the old server has no say.
	w.refuse(old, alice.DID, "new account from a different host")
	alice.Post("com.atproto.server.deactivateAccount", object{}, nil)
	w.settle()
	old.Post("com.atproto.admin.deleteAccount", adminAuth, object{"did": alice.DID}, nil)
	w.settle()
	moved.CreateRecord(posts, post("still at the new server"))
	w.settle()
}
