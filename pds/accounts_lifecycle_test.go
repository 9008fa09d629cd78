package pds_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/google/go-cmp/cmp"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/repo"
	"github.com/pdskit/pdskit/storage"
)

func aPost(text string) map[string]any {
	return map[string]any{"$type": "app.bsky.feed.post", "text": text, "createdAt": "2026-01-02T03:04:05.000Z"}
}

// uploadPNG stores a blob and returns the reference for a record, and its CID.
func uploadPNG(t *testing.T, a *pdstest.Account, data string) (ref map[string]any, c string) {
	t.Helper()
	h := http.Header{"Authorization": {"Bearer " + a.Access}, "Content-Type": {"image/png"}}
	var out struct{ Blob map[string]any }
	body, err := a.PDS.Call(t.Context(), http.MethodPost, "com.atproto.repo.uploadBlob", nil, h, []byte(data))
	ok(t, err)
	ok(t, json.Unmarshal(body, &out))
	return out.Blob, out.Blob["ref"].(map[string]any)["$link"].(string)
}

func imagePost(blob map[string]any) map[string]any {
	return with(aPost("with an image"), "embed", map[string]any{
		"$type": "app.bsky.embed.images", "images": []any{map[string]any{"alt": "", "image": blob}},
	})
}

const pngHead = "\x89PNG\r\n\x1a\n"

func TestBroughtDIDNeedsItsServiceJWT(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	o, other := newOutsider(t, srv, "eve.elsewhere.test"), newOutsider(t, srv, "mallory.elsewhere.test")
	in := with(signUp(srv, "eve"), "did", o.DID)
	wantError(t, post(t, srv, createAccountNSID, "", in, nil), http.StatusUnauthorized, "AuthenticationRequired")
	wantError(t, post(t, srv, createAccountNSID, other.token(t, srv, createAccountNSID), in, nil), http.StatusUnauthorized, "AuthenticationRequired")
	wantError(t, post(t, srv, createAccountNSID, o.token(t, srv, "com.atproto.repo.uploadBlob"), in, nil), http.StatusUnauthorized, "BadJwtLexiconMethod")
	if n := accounts(t, srv); n != 0 {
		t.Fatalf("%d accounts", n)
	}
	var reserved struct{ SigningKey string }
	ok(t, post(t, srv, "com.atproto.server.reserveSigningKey", "", map[string]any{"did": o.DID}, &reserved))
	var out signedUp
	ok(t, post(t, srv, createAccountNSID, o.token(t, srv, createAccountNSID), in, &out))
	a, _ := account(t, srv, o.DID)
	if a.DeactivatedAt.IsZero() || a.DeleteAfter.Sub(a.CreatedAt) != 3*24*time.Hour || a.KeyID != reserved.SigningKey {
		t.Errorf("account %+v, reserved key %s", a, reserved.SigningKey)
	}
	if len(out.DidDoc) == 0 || out.DID != o.DID {
		t.Errorf("answer %+v", out)
	}
	if seq := lastSeq(t, srv); seq != 0 {
		t.Error("the account is not silent")
	}
	var status struct {
		Activated  bool
		RepoBlocks int
	}
	ok(t, get(t, srv, "com.atproto.server.checkAccountStatus", "Bearer "+out.AccessJwt, nil, &status))
	if status.Activated || status.RepoBlocks != 2 {
		t.Errorf("status %+v", status)
	}
	wantError(t, post(t, srv, createAccountNSID, o.token(t, srv, createAccountNSID), with(signUp(srv, "eve2"), "did", o.DID), nil),
		http.StatusBadRequest, "AlreadyExists")

	// Activation waits for the identity to point here.
	activate := func() error {
		return post(t, srv, "com.atproto.server.activateAccount", "Bearer "+out.AccessJwt, nil, nil)
	}
	wantError(t, activate(), http.StatusBadRequest, "InvalidRequest")
	o.moveHere(t, srv, "Bearer "+out.AccessJwt)
	ok(t, activate())
	want := []string{"#account active", "#identity", "#sync"}
	if d := cmp.Diff(want, eventsAfter(t, srv, 0)); d != "" {
		t.Error(d)
	}
	verifySync(t, srv, o.DID)
	seq := lastSeq(t, srv)
	ok(t, activate())
	if d := cmp.Diff(want, eventsAfter(t, srv, seq)); d != "" {
		t.Error("again:", d)
	}
	if a, _ := account(t, srv, o.DID); !a.Active() || !a.DeleteAfter.IsZero() {
		t.Errorf("account %+v", a)
	}
}

// verifySync checks the last #sync of an account with the key in its document.
func verifySync(t *testing.T, srv *pdstest.PDS, did syntax.DID) {
	t.Helper()
	state, err := srv.PLC.Client().State(t.Context(), did)
	ok(t, err)
	pub, err := atcrypto.ParsePublicDIDKey(state.VerificationMethods["atproto"])
	ok(t, err)
	var last *pdstest.Event
	for _, ev := range allEvents(t, srv) {
		if ev.Kind == "#sync" && ev.DID == did {
			last = &ev
		}
	}
	if last == nil {
		t.Fatal("no #sync")
	}
	r, err := repo.NewCARReader(strings.NewReader(string(last.Blocks)), repo.CARLimits{})
	ok(t, err)
	block, err := r.Next()
	ok(t, err)
	commit, err := repo.ParseCommit(block.Data)
	ok(t, err)
	ok(t, commit.Verify(pub))
	if _, err := r.Next(); err != io.EOF || commit.DID != did || commit.Rev != last.Rev {
		t.Errorf("commit of %s at %s, then %v", commit.DID, commit.Rev, err)
	}
}

func TestActivationChecksTheIdentity(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	a := srv.CreateAccount("alice")
	a.Post("com.atproto.server.deactivateAccount", map[string]any{}, nil)
	o := newOutsider(t, srv, "eve.elsewhere.test")
	var out signedUp
	ok(t, post(t, srv, createAccountNSID, o.token(t, srv, createAccountNSID), with(signUp(srv, "eve"), "did", o.DID), &out))
	err := post(t, srv, "com.atproto.server.activateAccount", "Bearer "+out.AccessJwt, nil, nil)
	wantError(t, err, http.StatusBadRequest, "InvalidRequest")
	if !strings.Contains(err.Error(), "rotation key") {
		t.Error(err)
	}
	a.Post("com.atproto.server.activateAccount", nil, nil)
}

func TestDeactivationHidesAndReactivationRestores(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	a := srv.CreateAccount("alice")
	ref, blob := uploadPNG(t, a, pngHead+"one")
	uri, _ := a.CreateRecord("app.bsky.feed.post", imagePost(ref))
	rkey := uri[strings.LastIndexByte(uri, '/')+1:]
	did := string(a.DID)
	public := func() map[string]error {
		return map[string]error{
			"getRecord": get(t, srv, "com.atproto.repo.getRecord", "", url.Values{
				"repo": {did}, "collection": {"app.bsky.feed.post"}, "rkey": {rkey}}, nil),
			"listRecords": get(t, srv, "com.atproto.repo.listRecords", "", url.Values{
				"repo": {did}, "collection": {"app.bsky.feed.post"}}, nil),
			"getRepo":         get(t, srv, "com.atproto.sync.getRepo", "", url.Values{"did": {did}}, nil),
			"getLatestCommit": get(t, srv, "com.atproto.sync.getLatestCommit", "", url.Values{"did": {did}}, nil),
			"getBlob":         get(t, srv, "com.atproto.sync.getBlob", "", url.Values{"did": {did}, "cid": {blob}}, nil),
			"describeRepo":    get(t, srv, "com.atproto.repo.describeRepo", "", url.Values{"repo": {did}}, nil),
			"resolveHandle":   get(t, srv, "com.atproto.identity.resolveHandle", "", url.Values{"handle": {"alice.test"}}, nil),
		}
	}
	for name, err := range public() {
		if err != nil {
			t.Errorf("active: %s: %v", name, err)
		}
	}
	seq := lastSeq(t, srv)
	a.Post("com.atproto.server.deactivateAccount", map[string]any{}, nil)
	if d := cmp.Diff([]string{"#account deactivated"}, eventsAfter(t, srv, seq)); d != "" {
		t.Error(d)
	}
	for name, err := range public() {
		if err == nil {
			t.Errorf("deactivated: %s answers", name)
		}
	}
	var status struct {
		Active bool
		Status string
	}
	ok(t, get(t, srv, "com.atproto.sync.getRepoStatus", "", url.Values{"did": {did}}, &status))
	if status.Active || status.Status != "deactivated" {
		t.Errorf("status %+v", status)
	}
	wantError(t, post(t, srv, "com.atproto.repo.createRecord", "Bearer "+a.Access, map[string]any{
		"repo": did, "collection": "app.bsky.feed.post", "record": aPost("no")}, nil), http.StatusUnauthorized, "AccountDeactivated")
	a.Login() // is possible
	uploadPNG(t, a, pngHead+"two")

	seq = lastSeq(t, srv)
	a.Post("com.atproto.server.activateAccount", nil, nil)
	if d := cmp.Diff([]string{"#account active", "#identity", "#sync"}, eventsAfter(t, srv, seq)); d != "" {
		t.Error(d)
	}
	verifySync(t, srv, a.DID)
	for name, err := range public() {
		if err != nil {
			t.Errorf("active again: %s: %v", name, err)
		}
	}
	a.CreateRecord("app.bsky.feed.post", aPost("again"))
}

func TestDeletion(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	a, b, empty := srv.CreateAccount("alice"), srv.CreateAccount("bob"), srv.CreateAccount("carol")
	for _, acct := range []*pdstest.Account{a, b} { // the same bytes
		ref, _ := uploadPNG(t, acct, pngHead+"shared")
		acct.CreateRecord("app.bsky.feed.post", imagePost(ref))
	}
	_, shared := uploadPNG(t, b, pngHead+"shared")

	remove := func(acct *pdstest.Account, password, token string) error {
		return post(t, srv, "com.atproto.server.deleteAccount", "", map[string]any{
			"did": acct.DID, "password": password, "token": token,
		}, nil)
	}
	request := func(acct *pdstest.Account) string {
		t.Helper()
		acct.Post("com.atproto.server.requestAccountDelete", nil, nil)
		mails := srv.Mail.To(acct.Email)
		if got := mails[len(mails)-1].Subject; got != "Account Deletion Requested" {
			t.Errorf("subject %q", got)
		}
		return srv.Mail.Code(acct.Email)
	}
	wantError(t, remove(a, a.Password, "AAAAA-AAAAA"), http.StatusBadRequest, "InvalidToken")
	first := request(a)
	code := request(a)
	wantError(t, remove(a, a.Password, first), http.StatusBadRequest, "InvalidToken") // replaced
	wantError(t, remove(a, "wrong", code), http.StatusUnauthorized, "AuthenticationRequired")
	wantError(t, remove(b, b.Password, code), http.StatusBadRequest, "InvalidToken") // somebody else's
	srv.Clock.Advance(15*time.Minute + time.Second)
	wantError(t, remove(a, a.Password, code), http.StatusBadRequest, "ExpiredToken")
	a.Login()
	code = request(a)
	for range 10 {
		wantError(t, remove(a, a.Password, "AAAAA-AAAAA"), http.StatusBadRequest, "InvalidToken")
	}
	wantError(t, remove(a, a.Password, code), http.StatusBadRequest, "InvalidToken") // ten wrong tries

	code = request(a)
	seq := lastSeq(t, srv)
	ok(t, remove(a, a.Password, strings.ToLower(code)))
	if d := cmp.Diff([]string{"#account deleted"}, eventsAfter(t, srv, seq)); d != "" {
		t.Error(d)
	}
	var left []string
	for _, ev := range allEvents(t, srv) {
		if ev.DID == a.DID {
			left = append(left, ev.Kind)
		}
	}
	if d := cmp.Diff([]string{"#account"}, left); d != "" {
		t.Error("events of the deleted account:", d)
	}
	wantError(t, remove(a, a.Password, code), http.StatusBadRequest, "InvalidRequest")
	wantError(t, get(t, srv, "com.atproto.server.getSession", "Bearer "+a.Access, nil, nil), http.StatusForbidden, "AccountNotFound")
	wantError(t, get(t, srv, "com.atproto.sync.getRepoStatus", "", url.Values{"did": {string(a.DID)}}, nil), http.StatusBadRequest, "RepoNotFound")
	wantError(t, get(t, srv, "com.atproto.sync.getBlob", "", url.Values{"did": {string(a.DID)}, "cid": {shared}}, nil), http.StatusBadRequest, "")
	ok(t, get(t, srv, "com.atproto.sync.getBlob", "", url.Values{"did": {string(b.DID)}, "cid": {shared}}, nil))
	again := srv.CreateAccount("alice") // names are free
	if again.DID == a.DID {
		t.Error("the DID came back")
	}

	ok(t, remove(empty, empty.Password, request(empty)))
	ok(t, post(t, srv, "com.atproto.admin.deleteAccount", adminAuth, map[string]any{"did": b.DID}, nil))
	wantError(t, post(t, srv, "com.atproto.admin.deleteAccount", adminAuth, map[string]any{"did": b.DID}, nil), http.StatusBadRequest, "")
	wantError(t, post(t, srv, "com.atproto.admin.deleteAccount", "Bearer "+again.Access, map[string]any{"did": again.DID}, nil), http.StatusUnauthorized, "")
	if n := accounts(t, srv); n != 1 {
		t.Errorf("%d accounts are left", n)
	}
}

// TestDeletedDIDComesBack: a DID that is brought here again meets nothing of
// its past.
func TestDeletedDIDComesBack(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	o := newOutsider(t, srv, "eve.elsewhere.test")
	for round := range 2 {
		var out signedUp
		in := with(signUp(srv, "eve"), "did", o.DID)
		ok(t, post(t, srv, createAccountNSID, o.token(t, srv, createAccountNSID), in, &out))
		a := &pdstest.Account{PDS: srv, DID: o.DID, Access: out.AccessJwt}
		if round == 0 {
			o.moveHere(t, srv, "Bearer "+out.AccessJwt)
			a.Post("com.atproto.server.activateAccount", nil, nil)
			a.CreateRecord("app.bsky.feed.post", aPost("old"))
			ok(t, post(t, srv, "com.atproto.admin.deleteAccount", adminAuth, map[string]any{"did": o.DID}, nil))
			o.moveAway(t)
			continue
		}
		var status struct{ RepoBlocks, IndexedRecords int }
		a.Get("com.atproto.server.checkAccountStatus", nil, &status)
		if status.RepoBlocks != 2 || status.IndexedRecords != 0 {
			t.Errorf("status %+v", status)
		}
	}
}

func TestDeleteAfter(t *testing.T) {
	t.Parallel()
	for _, keep := range []bool{false, true} {
		t.Run(fmt.Sprintf("keep=%t", keep), func(t *testing.T) {
			t.Parallel()
			srv := pdstest.New(t, func(cfg *pds.Config) { cfg.KeepDeactivated = keep })
			gone, back, never := srv.CreateAccount("gone"), srv.CreateAccount("back"), srv.CreateAccount("never")
			after := srv.Clock.Now().Add(time.Hour).UTC().Format(time.RFC3339Nano)
			for _, a := range []*pdstest.Account{gone, back} {
				a.Post("com.atproto.server.deactivateAccount", map[string]any{"deleteAfter": after}, nil)
			}
			never.Post("com.atproto.server.deactivateAccount", map[string]any{}, nil)
			back.Post("com.atproto.server.activateAccount", nil, nil)
			srv.Clock.Advance(59 * time.Minute)
			srv.RunJobs()
			if _, found := account(t, srv, gone.DID); !found {
				t.Fatal("deleted before its time")
			}
			srv.Clock.Advance(2 * time.Minute)
			srv.RunJobs()
			for _, a := range []*pdstest.Account{gone, back, never} {
				if _, found := account(t, srv, a.DID); found != (a != gone || keep) {
					t.Errorf("%s: found %t", a.Handle, found)
				}
			}
		})
	}
	t.Run("bad date", func(t *testing.T) {
		t.Parallel()
		srv := pdstest.New(t)
		a := srv.CreateAccount("alice")
		wantError(t, post(t, srv, "com.atproto.server.deactivateAccount", "Bearer "+a.Access,
			map[string]any{"deleteAfter": "tomorrow"}, nil), http.StatusBadRequest, "InvalidRequest")
	})
}

// TestDeletionNotice: a mail says so a week before an account is deleted, or at
// once if that is nearer, unless it has been activated meanwhile.
func TestDeletionNotice(t *testing.T) {
	t.Parallel()
	const week = 7 * 24 * time.Hour
	for _, c := range []struct {
		name        string
		keep, back  bool
		left, wait  time.Duration // until the deletion, and until a mail
		mails, then int           // before it is due, and afterwards
	}{
		{name: "a month", left: 4 * week, wait: 3 * week, then: 1},
		{name: "tomorrow", left: 24 * time.Hour, mails: 1, then: 1},
		{name: "activated again", back: true, left: 4 * week, wait: 3 * week},
		{name: "a server that keeps accounts", keep: true, left: 4 * week, wait: 3 * week},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			srv := pdstest.New(t, func(cfg *pds.Config) { cfg.KeepDeactivated = c.keep })
			a := srv.CreateAccount("alice")
			after := srv.Clock.Now().Add(c.left).UTC()
			a.Post("com.atproto.server.deactivateAccount", map[string]any{"deleteAfter": after.Format(time.RFC3339Nano)}, nil)
			if c.wait > 0 {
				srv.Clock.Advance(c.wait - time.Minute)
			}
			if n := len(srv.Mail.To(a.Email)); n != c.mails {
				t.Errorf("%d mails at first", n)
			}
			if c.back {
				ok(t, srv.ActivateAccount(t.Context(), a.DID, pds.By{}))
			}
			srv.Clock.Advance(2 * time.Minute)
			if n := len(srv.Mail.To(a.Email)); n != c.then {
				t.Errorf("%d mails then", n)
			}
		})
	}
	t.Run("on its way here", func(t *testing.T) {
		t.Parallel()
		srv := pdstest.New(t)
		o := newOutsider(t, srv, "eve.elsewhere.test")
		in := with(signUp(srv, "eve"), "did", o.DID)
		ok(t, post(t, srv, createAccountNSID, o.token(t, srv, createAccountNSID), in, nil))
		if mails := srv.Mail.To(in["email"].(string)); len(mails) != 0 {
			t.Errorf("mails %v", mails)
		}
	})
}

// TestMigrationIsExtended: signs of life postpone the deletion of an account
// that is on its way here.
func TestMigrationIsExtended(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	o := newOutsider(t, srv, "eve.elsewhere.test")
	in := with(signUp(srv, "eve"), "did", o.DID)
	ok(t, post(t, srv, createAccountNSID, o.token(t, srv, createAccountNSID), in, nil))
	srv.Clock.Advance(2 * 24 * time.Hour)
	ok(t, srv.ExtendMigration(t.Context(), o.DID))
	srv.Clock.Advance(2 * 24 * time.Hour)
	srv.RunJobs()
	if _, found := account(t, srv, o.DID); !found {
		t.Fatal("deleted in the middle of a migration")
	}
	srv.Clock.Advance(2 * 24 * time.Hour)
	srv.RunJobs()
	if _, found := account(t, srv, o.DID); found {
		t.Fatal("not deleted although nothing goes on")
	}
	if there, err := o.registry.Exists(t.Context(), o.DID); !there {
		t.Errorf("the brought DID was ended: %v", err)
	}
	if seq := lastSeq(t, srv); seq != 0 {
		t.Error("the end of an account that lives elsewhere was announced")
	}
}

func TestInvites(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t, func(cfg *pds.Config) { cfg.InviteRequired = true })
	newCode := func(in map[string]any) string {
		t.Helper()
		var out struct{ Code string }
		ok(t, post(t, srv, "com.atproto.server.createInviteCode", adminAuth, in, &out))
		return out.Code
	}
	join := func(name, code string, out any) error {
		return post(t, srv, createAccountNSID, "", with(signUp(srv, name), "inviteCode", code), out)
	}
	code := newCode(map[string]any{"useCount": 2})
	if prefix := "localhost-"; !strings.HasPrefix(code, prefix) || len(code) != len(prefix)+11 || strings.ToLower(code) != code {
		t.Errorf("code %q", code)
	}
	for _, bad := range []string{"", "localhost-aaaaa-aaaaa", strings.Repeat("x", 300)} {
		wantError(t, join("nobody", bad, nil), http.StatusBadRequest, "InvalidInviteCode")
	}
	var owner signedUp
	ok(t, join("olga", code, &owner))
	var user signedUp
	ok(t, join("sonia", code, &user))
	wantError(t, join("thora", code, nil), http.StatusBadRequest, "InvalidInviteCode")

	owned := newCode(map[string]any{"useCount": 1, "forAccount": owner.DID})
	takeDown(t, srv, string(owner.DID), true)
	wantError(t, join("thora", owned, nil), http.StatusBadRequest, "InvalidInviteCode")
	takeDown(t, srv, string(owner.DID), false)
	ok(t, join("thora", owned, nil))

	var bulk struct {
		Codes []struct {
			Account string
			Codes   []string
		}
	}
	ok(t, post(t, srv, "com.atproto.server.createInviteCodes", adminAuth, map[string]any{
		"codeCount": 3, "useCount": 1, "forAccounts": []string{string(owner.DID)},
	}, &bulk))
	if len(bulk.Codes) != 1 || bulk.Codes[0].Account != string(owner.DID) || len(bulk.Codes[0].Codes) != 3 {
		t.Fatalf("codes %+v", bulk)
	}
	ok(t, join("fiona", bulk.Codes[0].Codes[2], nil))
	ok(t, post(t, srv, "com.atproto.server.createInviteCodes", adminAuth, map[string]any{"codeCount": 1, "useCount": 1}, &bulk))
	if bulk.Codes[0].Account != "admin" {
		t.Errorf("codes %+v", bulk)
	}
	wantError(t, post(t, srv, "com.atproto.server.createInviteCodes", adminAuth,
		map[string]any{"codeCount": 5001, "useCount": 1}, nil), http.StatusBadRequest, "InvalidRequest")
	wantError(t, post(t, srv, "com.atproto.server.createInviteCode", "Bearer "+user.AccessJwt,
		map[string]any{"useCount": 1}, nil), http.StatusUnauthorized, "")
	wantError(t, post(t, srv, "com.atproto.server.createInviteCode", "Basic "+base64.StdEncoding.EncodeToString([]byte("admin:wrong")),
		map[string]any{"useCount": 1}, nil), http.StatusUnauthorized, "")
}

// TestForeignHandleIsProvenByItsServer: an account that moves here keeps its
// handle, which its old server vouches for.
func TestForeignHandleIsProvenByItsServer(t *testing.T) {
	t.Parallel()
	old := pdstest.New(t)
	srv := old.Another()
	eve, mallory := old.CreateAccount("eve"), old.CreateAccount("mallory")
	var here struct{ DID string }
	ok(t, get(t, srv, "com.atproto.server.describeServer", "", nil, &here))
	token := func(a *pdstest.Account) string {
		t.Helper()
		var out struct{ Token string }
		a.Get("com.atproto.server.getServiceAuth", url.Values{"aud": {here.DID}, "lxm": {createAccountNSID}}, &out)
		return "Bearer " + out.Token
	}
	in := with(signUp(srv, "mallory"), "did", mallory.DID, "handle", eve.Handle)
	wantError(t, post(t, srv, createAccountNSID, token(mallory), in, nil), http.StatusBadRequest, "InvalidRequest")
	in = with(signUp(srv, "eve"), "did", eve.DID, "handle", eve.Handle)
	var out signedUp
	ok(t, post(t, srv, createAccountNSID, token(eve), in, &out))
	if out.Handle != eve.Handle {
		t.Errorf("handle %s", out.Handle)
	}
}

func BenchmarkCreateAccount(b *testing.B) {
	srv := pdstest.New(b)
	n := 0
	for b.Loop() {
		_, err := srv.Server.CreateAccount(b.Context(), pds.NewAccount{Handle: fmt.Sprintf("user%d.test", n)})
		if err != nil {
			b.Fatal(err)
		}
		n++
	}
}

// TestAccountWithoutCredentials: accounts for groups and services.
func TestAccountWithoutCredentials(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	a, err := srv.Server.CreateAccount(t.Context(), pds.NewAccount{Handle: "admin.test", AllowReserved: true})
	ok(t, err)
	if a.Email != "" || a.PasswordHash != "" || !a.Active() {
		t.Errorf("account %+v", a)
	}
	rec, err := repo.RecordFromValue(aPost("hello"), "app.bsky.feed.post")
	ok(t, err)
	_, err = srv.Apply(t.Context(), pds.Batch{Account: a.DID, Actor: a.DID, Ops: []pds.Op{
		{Action: pds.Create, Collection: "app.bsky.feed.post", Record: rec},
	}})
	ok(t, err)
	_, err = srv.Server.CreateAccount(t.Context(), pds.NewAccount{Handle: "second.test"}) // no clash of empty addresses
	ok(t, err)
	wantError(t, post(t, srv, "com.atproto.server.createSession", "", map[string]any{"identifier": a.DID, "password": ""}, nil),
		http.StatusUnauthorized, "")
	wantError(t, post(t, srv, "com.atproto.server.deleteAccount", "", map[string]any{"did": a.DID, "password": "", "token": ""}, nil),
		http.StatusUnauthorized, "")
	ok(t, srv.Config.Store.View(t.Context(), func(tx storage.Tx) error {
		_, err := tx.Head(a.DID)
		return err
	}))
}
