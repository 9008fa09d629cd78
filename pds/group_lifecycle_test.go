package pds_test

import (
	"bytes"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/ipfs/go-cid"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/storage"
)

// rights is what the group's documents give to a member, nil for nothing.
func (h *house) rights(st *pds.State, member syntax.DID) (scopes []string, err error) {
	_, err = st.GetJSON(pds.DocumentKey{Kind: roleKind, Owner: h.group.DID, Key: string(member)}, &scopes)
	return scopes, err
}

// Who leaves, or is banned, is out by every door at the next request; what was
// written stays, and who wrote it.
func TestGroupMemberGoes(t *testing.T) {
	t.Parallel()
	h, group := newOpenHouse(t, nil, func(c *pds.Config) { c.DirectDelegation = true })
	alice, bob := h.CreateAccount("alice"), h.Another().CreateAccount("bob")
	h.role(alice.DID, "repo:"+noteCollection)
	h.role(bob.DID, "repo:"+noteCollection)
	const alias = aliasName + ".createRecord"
	app := newPerson(t, h.PDS, "atproto repo:*")
	app.signInAs(group, alice)
	ok(t, app.write(noteCollection))
	ok(t, h.write(alias, "Bearer "+alice.Access))
	ok(t, h.write(alias, h.serviceToken(bob, alias)))
	ok(t, h.write(createRecord, h.serviceToken(bob, createRecord)))

	h.role(alice.DID) // she leaves
	h.role(bob.DID)   // he is banned
	wantError(t, app.write(noteCollection), 403, "ActorNotPermitted")
	wantError(t, h.write(alias, "Bearer "+alice.Access), 403, "ActorNotPermitted")
	wantError(t, h.write(alias, h.serviceToken(bob, alias)), 403, "ActorNotPermitted")
	wantError(t, h.write(createRecord, h.serviceToken(bob, createRecord)), 403, "ActorNotPermitted")
	if status, code := app.refresh(); status != 400 || code != "invalid_grant" {
		t.Errorf("refresh: %d %s", status, code)
	}
	again := newPerson(t, h.PDS, "atproto")
	if text := strings.ReplaceAll(again.enter(alice).text, "<wbr>", ""); strings.Contains(text, "the-group.test") {
		t.Error("the group is still offered to her")
	}
	if n := h.notes(); n != 4 {
		t.Errorf("%d notes", n)
	}
	done := strings.Join(h.acts(false), "\n")
	if strings.Count(done, string(alice.DID)) != 2 || strings.Count(done, string(bob.DID)) != 2 {
		t.Errorf("the acts: %s", done)
	}
}

// Ownership passes on in one Update: of many transfers at the same time one
// wins, there is one owner at every moment, and the old one's next request is
// denied. The key with which the owner controls the identity passes on with it.
func TestGroupChangesOwner(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	const owns = "repo:*"
	alice := h.CreateAccount("alice")
	h.role(alice.DID, owns)
	errTooLate := errors.New("only the owner can do that")
	transfer := func(from, to syntax.DID) error {
		return h.Update(t.Context(), func(st *pds.State) error {
			switch scopes, err := h.rights(st, from); {
			case err != nil:
				return err
			case !slices.Contains(scopes, owns):
				return errTooLate
			}
			key := pds.DocumentKey{Kind: roleKind, Owner: h.group.DID, Key: string(from)}
			return errors.Join(st.PutJSON(key, []string{"repo:" + noteCollection + "?action=create"}),
				st.PutJSON(pds.DocumentKey{Kind: roleKind, Owner: h.group.DID, Key: string(to)}, []string{owns}))
		})
	}
	heirs := make([]*pdstest.Account, 8)
	for i := range heirs {
		heirs[i] = h.CreateAccount("heir-" + string(rune('a'+i)))
	}
	results := make([]error, len(heirs))
	var all sync.WaitGroup
	for i, heir := range heirs {
		all.Go(func() { results[i] = transfer(alice.DID, heir.DID) })
	}
	all.Wait()
	var owner *pdstest.Account
	for i, err := range results {
		switch {
		case err == nil && owner == nil:
			owner = heirs[i]
		case !errors.Is(err, errTooLate):
			t.Errorf("transfer %d: %v", i, err)
		}
	}
	if owner == nil {
		t.Fatal("nobody has become the owner")
	}
	remove := map[string]any{"repo": h.group.DID, "collection": noteCollection, "rkey": "x"}
	wantError(t, post(t, h.PDS, aliasName+".deleteRecord", "Bearer "+alice.Access, remove, nil), 403, "ScopeMissingError")
	ok(t, h.write(aliasName+".createRecord", "Bearer "+alice.Access)) // still a member
	ok(t, post(t, h.PDS, aliasName+".deleteRecord", "Bearer "+owner.Access, remove, nil))

	// The key.
	key := newRotationKey(t)
	ok(t, h.Config.Registry.Update(t.Context(), h.group.DID, func(op *identity.Operation) error {
		op.RotationKeys = h.Config.Registry.RotationKeys(didKey(t, key))
		return nil
	}))
	state, err := h.PLC.Client().State(t.Context(), h.group.DID)
	ok(t, err)
	if state.RotationKeys[0] != didKey(t, key) || len(state.RotationKeys) != 2 {
		t.Errorf("the keys: %v", state.RotationKeys)
	}
}

// A group that is deleted leaves nothing: no documents, acts, jobs, sessions.
func TestGroupIsDeleted(t *testing.T) {
	t.Parallel()
	h, group := newOpenHouse(t, nil)
	alice := h.CreateAccount("alice")
	h.role(alice.DID, "repo:*")
	app := newPerson(t, h.PDS, "atproto repo:*")
	app.signInAs(group, alice)
	ok(t, app.write(noteCollection))
	ok(t, h.Schedule(t.Context(), pds.Job{Kind: "com.example.digest", Name: "weekly", Owner: group.DID, Due: h.Clock.Now().Add(time.Hour)}))

	ok(t, h.DeleteAccount(t.Context(), group.DID, pds.By{Actor: alice.DID}))
	if _, err := h.Account(t.Context(), string(group.DID)); err == nil {
		t.Error("the account is there")
	}
	ok(t, h.View(t.Context(), func(st *pds.State) error {
		docs, err := st.Scan(roleKind, group.DID, storage.Scan{})
		if len(docs) != 0 {
			t.Errorf("%d documents are left", len(docs))
		}
		return err
	}))
	if acts := append(h.acts(false), h.acts(true)...); len(acts) != 0 {
		t.Errorf("acts are left: %v", acts)
	}
	jobs, err := h.Jobs(t.Context(), pds.JobQuery{})
	ok(t, err)
	if slices.ContainsFunc(jobs, func(j pds.JobInfo) bool { return j.Kind == "com.example.digest" }) {
		t.Error("its job is left")
	}
	if err := app.write(noteCollection); err == nil {
		t.Error("the session works")
	}
	if status, code := app.refresh(); status != 400 || code != "invalid_grant" {
		t.Errorf("refresh: %d %s", status, code)
	}
	wantError(t, h.write(aliasName+".createRecord", "Bearer "+alice.Access), 403, "AccountNotFound")
	own := newPerson(t, h.PDS, "atproto") // Alice's own account is as it was
	own.signIn(alice)
	ok(t, own.session())
	told := h.firehoseUpTo("deleted") // or waits for ever
	if last := told[len(told)-1]; !strings.Contains(last, string(group.DID)) {
		t.Errorf("the last event is %q", last)
	}
	// The name is free.
	_, err = h.Server.CreateAccount(t.Context(), pds.NewAccount{Handle: "the-group.test"})
	ok(t, err)
}

func newRotationKey(t *testing.T) *atcrypto.PrivateKeyK256 {
	t.Helper()
	key, err := atcrypto.GeneratePrivateKeyK256()
	ok(t, err)
	return key
}

func didKey(t *testing.T, key atcrypto.PrivateKey) string {
	t.Helper()
	pub, err := key.PublicKey()
	ok(t, err)
	return pub.DIDKey()
}

// A group moves to another server, with the methods that every server has, and
// comes back, by code in the process and the key that its owner holds, without
// the other server's help.
func TestGroupMovesAwayAndBack(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	away := h.Another()
	owner := newRotationKey(t)
	ctx := t.Context()
	group, err := h.Server.CreateAccount(ctx, pds.NewAccount{Handle: "nomads.test", RecoveryKey: didKey(t, owner)})
	ok(t, err)
	h.group = group
	alice := h.CreateAccount("alice")
	h.role(alice.DID, "repo:*", "blob:*/*")
	blob, err := h.UploadBlob(ctx, group.DID, "text/plain", strings.NewReader("our flag"), pds.By{Actor: alice.DID})
	ok(t, err)
	ok(t, post(t, h.PDS, aliasName+".createRecord", "Bearer "+alice.Access, map[string]any{
		"repo": group.DID, "collection": noteCollection, "rkey": "flag",
		"record": map[string]any{"flag": blobRef(blob.CID.String(), blob.MimeType, int(blob.Size))},
	}, nil))
	by := pds.By{Actor: alice.DID}

	// Away: an account there, by a token in the group's name.
	token, err := h.ServiceToken(ctx, group.DID, strings.Replace(h.serviceDID(), strings.TrimPrefix(h.URL, "http://localhost:"), strings.TrimPrefix(away.URL, "http://localhost:"), 1), createAccount)
	ok(t, err)
	there := &pdstest.Account{PDS: away, DID: group.DID}
	var session struct{ AccessJwt string }
	ok(t, post(t, away, createAccount, "Bearer "+token, map[string]any{
		"did": group.DID, "handle": "nomads" + away.Config.HandleDomains[0], "email": "nomads@example.com", "password": "a long password",
	}, &session))
	there.Access = session.AccessJwt
	carry(t, &pdstest.Account{PDS: h.PDS, DID: group.DID}, there)
	var wanted struct {
		VerificationMethods map[string]string
		RotationKeys        []string
		AlsoKnownAs         []string
	}
	there.Get("com.atproto.identity.getRecommendedDidCredentials", nil, &wanted)
	ok(t, h.Config.Registry.Update(ctx, group.DID, func(op *identity.Operation) error {
		op.RotationKeys = append([]string{didKey(t, owner)}, wanted.RotationKeys...)
		op.VerificationMethods, op.AlsoKnownAs = wanted.VerificationMethods, wanted.AlsoKnownAs
		op.Services[identity.ServicePDS] = identity.Service{Type: "AtprotoPersonalDataServer", Endpoint: away.URL}
		return nil
	}))
	there.Post("com.atproto.server.activateAccount", nil, nil)
	ok(t, h.DeactivateAccount(ctx, group.DID, time.Time{}, by))
	verifySync(t, away, group.DID)
	wantError(t, h.write(aliasName+".createRecord", "Bearer "+alice.Access), 401, "AccountDeactivated")
	there.CreateRecord(noteCollection, map[string]any{"text": "written abroad"})

	// Back: the owner's key moves the identity; the account that waited here has
	// its roles still.
	car, err := away.Call(ctx, "GET", "com.atproto.sync.getRepo", url.Values{"did": {string(group.DID)}}, nil, nil)
	ok(t, err)
	ok(t, h.ImportRepo(ctx, group.DID, bytes.NewReader(car), by))
	back := identity.NewPLCRegistry(h.PLC.Client(), owner, "")
	wantRefused(t, h.ActivateAccount(ctx, group.DID, by), 400, "InvalidRequest") // not yet
	ok(t, back.Update(ctx, group.DID, func(op *identity.Operation) error {
		op.RotationKeys = h.Config.Registry.RotationKeys(didKey(t, owner))
		op.VerificationMethods[identity.KeyAtproto] = group.KeyID
		op.Services[identity.ServicePDS] = identity.Service{Type: "AtprotoPersonalDataServer", Endpoint: h.URL}
		op.SetHandle(group.Handle)
		return nil
	}))
	ok(t, h.ActivateAccount(ctx, group.DID, by))
	verifySync(t, h.PDS, group.DID)
	ok(t, h.write(aliasName+".createRecord", "Bearer "+alice.Access))
	if n := h.notes(); n != 3 {
		t.Errorf("%d notes, want that of before, that of abroad and a new one", n)
	}
	data, err := h.Call(ctx, "GET", "com.atproto.sync.getBlob", url.Values{"did": {string(group.DID)}, "cid": {blob.CID.String()}}, nil, nil)
	if err != nil || string(data) != "our flag" {
		t.Errorf("the blob: %q %v", data, err)
	}
}

// carry copies what an account has from one server to another, as a program for
// moving does.
func carry(t *testing.T, from, to *pdstest.Account) {
	t.Helper()
	did := url.Values{"did": {string(from.DID)}}
	car, err := from.PDS.Call(t.Context(), "GET", "com.atproto.sync.getRepo", did, nil, nil)
	ok(t, err)
	header := http.Header{"Authorization": {"Bearer " + to.Access}, "Content-Type": {"application/vnd.ipld.car"}}
	_, err = to.PDS.Call(t.Context(), "POST", "com.atproto.repo.importRepo", nil, header, car)
	ok(t, err)
	var missing struct{ Blobs []struct{ CID string } }
	to.Get("com.atproto.repo.listMissingBlobs", nil, &missing)
	for _, b := range missing.Blobs {
		data, err := from.PDS.Call(t.Context(), "GET", "com.atproto.sync.getBlob", url.Values{"did": {string(from.DID)}, "cid": {b.CID}}, nil, nil)
		ok(t, err)
		_, err = to.PDS.Call(t.Context(), "POST", "com.atproto.repo.uploadBlob", nil,
			http.Header{"Authorization": {"Bearer " + to.Access}, "Content-Type": {"text/plain"}}, data)
		ok(t, err)
	}
	if len(missing.Blobs) == 0 {
		t.Error("no blob was missing")
	}
}

// What the three calls for accounts without a session refuse.
func TestDataOfAccountsRefused(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t, func(c *pds.Config) { c.Limits.BlobBytes = 10 })
	group, err := srv.Server.CreateAccount(t.Context(), pds.NewAccount{Handle: "some-group.test"})
	ok(t, err)
	ctx, by := t.Context(), pds.By{Actor: group.DID}
	nobody := syntax.DID("did:plc:nobodynobodynobodynobody")
	upload := func(did syntax.DID, text string, by pds.By) error {
		_, err := srv.UploadBlob(ctx, did, "text/plain", strings.NewReader(text), by)
		return err
	}
	token := func(did syntax.DID, aud string, method syntax.NSID) error {
		_, err := srv.ServiceToken(ctx, did, aud, method)
		return err
	}
	car := newForeignRepo(t, group.DID, nil).car(t)
	ok(t, upload(group.DID, "0123456789", by))
	wantRefused(t, upload(group.DID, "0123456789a", by), 413, "PayloadTooLarge")
	wantRefused(t, upload(nobody, "x", by), 403, "AccountNotFound")
	if err := upload(group.DID, "x", pds.By{}); err == nil {
		t.Error("an upload by nobody")
	}
	wantRefused(t, srv.ImportRepo(ctx, nobody, bytes.NewReader(car), by), 403, "AccountNotFound")
	wantRefused(t, srv.ImportRepo(ctx, group.DID, strings.NewReader("nonsense"), by), 400, "InvalidRequest")
	other := newForeignRepo(t, nobody, nil).car(t)
	wantRefused(t, srv.ImportRepo(ctx, group.DID, bytes.NewReader(other), by), 400, "InvalidRequest")
	wantRefused(t, token(nobody, "did:web:api.example.com", createAccount), 403, "AccountNotFound")
	for _, aud := range []string{"", "https://api.example.com", "did:example:x"} {
		if err := token(group.DID, aud, createAccount); err == nil {
			t.Errorf("a token for %q", aud)
		}
	}
	if err := token(group.DID, "did:web:api.example.com", ""); err == nil {
		t.Error("a token for every method")
	}
	ok(t, token(group.DID, "did:web:api.example.com#chat", "com.example.chat.send"))

	ok(t, srv.TakeDownAccount(ctx, group.DID, "", pds.By{}))
	wantRefused(t, upload(group.DID, "x", by), 401, "AccountTakedown")
	wantRefused(t, srv.ImportRepo(ctx, group.DID, bytes.NewReader(car), by), 401, "AccountTakedown")
	wantRefused(t, token(group.DID, "did:web:api.example.com", "com.example.chat.send"), 401, "AccountTakedown")
	ok(t, token(group.DID, "did:web:api.example.com", createAccount))
	c, err := cid.Decode(rawCID("0123456789"))
	ok(t, err)
	ok(t, srv.Config.Store.View(ctx, func(tx storage.Tx) error {
		b, err := tx.Blob(group.DID, c)
		if b.Uploader != group.DID {
			t.Errorf("%+v", b)
		}
		return err
	}))
}
