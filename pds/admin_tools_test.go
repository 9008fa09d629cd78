package pds_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	comatproto "github.com/bluesky-social/indigo/api/atproto"
	"github.com/bluesky-social/indigo/atproto/atclient"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
)

// curl sends what the shell scripts of an operator send: a request with this
// body, if there is one, as JSON, by the administrator if user is true. It
// returns the JSON of the answer, nil if that is empty.
func curl(t *testing.T, srv *pdstest.PDS, user bool, path, body string) map[string]any {
	t.Helper()
	method, reader := http.MethodGet, io.Reader(nil)
	if body != "" {
		method, reader = http.MethodPost, strings.NewReader(body)
	}
	r, err := http.NewRequestWithContext(t.Context(), method, srv.URL+"/xrpc/"+path, reader)
	ok(t, err)
	r.Header.Set("User-Agent", "curl/8.5.0")
	r.Header.Set("Accept", "*/*")
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if user {
		r.SetBasicAuth("admin", pdstest.AdminPassword)
	}
	resp, err := http.DefaultClient.Do(r)
	ok(t, err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	ok(t, err)
	if resp.StatusCode >= 400 { // curl --fail
		t.Fatalf("%s: %d %s", path, resp.StatusCode, data)
	}
	if len(data) == 0 {
		return nil
	}
	var out map[string]any
	ok(t, json.Unmarshal(data, &out))
	return out
}

// The scripts pdsadmin account, create-invite-code and invite of
// bluesky-social/pds, request by request, with what they read of the answers.
func TestPdsadminScripts(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t, func(c *pds.Config) { c.InviteRequired = true })
	invite := func(uses int) string {
		t.Helper()
		code, _ := curl(t, srv, true, "com.atproto.server.createInviteCode", fmt.Sprintf(`{"useCount": %d}`, uses))["code"].(string)
		if code == "" {
			t.Fatal("no code")
		}
		return code
	}
	var dids []string
	for _, name := range []string{"alice", "bobby"} { // account create EMAIL HANDLE
		out := curl(t, srv, false, "com.atproto.server.createAccount", fmt.Sprintf(
			`{"email":"%s@example.com", "handle":"%[1]s.test", "password":"qvXyFDb3WGHnCA5kq1pSx7Zt", "inviteCode":"%s"}`, name, invite(1)))
		did, _ := out["did"].(string)
		if !strings.HasPrefix(did, "did:") {
			t.Fatalf("created %v", out)
		}
		dids = append(dids, did)
	}
	list := func() (out []string) { // account list
		t.Helper()
		repos, _ := curl(t, srv, false, "com.atproto.sync.listRepos?limit=100", "")["repos"].([]any)
		for _, r := range repos {
			did := r.(map[string]any)["did"].(string)
			info := curl(t, srv, true, "com.atproto.admin.getAccountInfo?did="+did, "")
			out = append(out, fmt.Sprint(info["handle"], " ", info["email"], " ", info["did"] == did))
		}
		return out
	}
	if got := strings.Join(list(), ", "); got != "alice.test alice@example.com true, bobby.test bobby@example.com true" {
		t.Errorf("accounts: %s", got)
	}

	status := func(takedown string) { // account takedown DID, account untakedown DID
		t.Helper()
		curl(t, srv, true, "com.atproto.admin.updateSubjectStatus", `
    {
      "subject": {
        "$type": "com.atproto.admin.defs#repoRef",
        "did": "`+dids[0]+`"
      },
      "takedown": `+takedown+`
    }`)
	}
	login := func(password string) error {
		return post(t, srv, createSession, "", map[string]any{"identifier": dids[0], "password": password}, nil)
	}
	status(`{ "applied": true, "ref": "1763800000" }`)
	wantError(t, login("qvXyFDb3WGHnCA5kq1pSx7Zt"), 401, "AccountTakedown")
	if len(list()) != 2 {
		t.Error("the account has left the list")
	}
	status(`{ "applied": false }`)
	ok(t, login("qvXyFDb3WGHnCA5kq1pSx7Zt"))

	// account reset-password DID
	curl(t, srv, true, "com.atproto.admin.updateAccountPassword", `{ "did": "`+dids[0]+`", "password": "ZsRmTTv8k2c1bEYqJ0aWnLxu" }`)
	wantError(t, login("qvXyFDb3WGHnCA5kq1pSx7Zt"), 401, "AuthenticationRequired")
	ok(t, login("ZsRmTTv8k2c1bEYqJ0aWnLxu"))

	// account delete DID
	curl(t, srv, true, "com.atproto.admin.deleteAccount", `{"did": "`+dids[1]+`"}`)
	if got := list(); len(got) != 1 {
		t.Errorf("accounts: %v", got)
	}

	// invite create N, invite list
	free := invite(3)
	codes, _ := curl(t, srv, true, "com.atproto.admin.getInviteCodes", "")["codes"].([]any)
	uses := map[string]int{}
	for _, c := range codes {
		code := c.(map[string]any)
		used, isList := code["uses"].([]any)
		if _, isBool := code["disabled"].(bool); !isList || !isBool {
			t.Errorf("code %v", code)
		}
		uses[code["code"].(string)] = len(used)
	}
	if n, listed := uses[free]; len(uses) != 3 || !listed || n != 0 {
		t.Errorf("codes %v", uses)
	}
}

// The requests of "goat pds admin", made as goat makes them: with indigo's
// client for administrators and its generated types.
func TestGoatAdmin(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t, func(c *pds.Config) { c.InviteRequired = true })
	ctx := t.Context()
	admin := atclient.NewAdminClient(srv.URL, pdstest.AdminPassword)

	// create-invites, account create
	invited, err := comatproto.ServerCreateInviteCode(ctx, admin, &comatproto.ServerCreateInviteCode_Input{UseCount: 1})
	ok(t, err)
	email, password := "alice@example.com", "a long password"
	made, err := comatproto.ServerCreateAccount(ctx, atclient.NewAPIClient(srv.URL), &comatproto.ServerCreateAccount_Input{
		Handle: "alice.test", Password: &password, Email: &email, InviteCode: &invited.Code,
	})
	ok(t, err)

	// account list
	status := func() string {
		t.Helper()
		repos, err := comatproto.SyncListRepos(ctx, admin, "", 500)
		ok(t, err)
		if len(repos.Repos) != 1 || repos.Repos[0].Active == nil {
			t.Fatalf("repos %+v", repos.Repos)
		}
		if *repos.Repos[0].Active {
			return "active"
		}
		return *repos.Repos[0].Status
	}
	if got := status(); got != "active" {
		t.Error(got)
	}

	// account takedown, and --reverse: without a reference
	for _, applied := range []bool{true, false} {
		_, err := comatproto.AdminUpdateSubjectStatus(ctx, admin, &comatproto.AdminUpdateSubjectStatus_Input{
			Subject: &comatproto.AdminUpdateSubjectStatus_Input_Subject{
				AdminDefs_RepoRef: &comatproto.AdminDefs_RepoRef{LexiconTypeID: "com.atproto.admin.defs#repoRef", Did: made.Did},
			},
			Takedown: &comatproto.AdminDefs_StatusAttr{Applied: applied},
		})
		ok(t, err)
		if got := status(); (got == "takendown") != applied {
			t.Errorf("applied %v: %s", applied, got)
		}
	}

	// account update --email --handle, account info
	ok(t, comatproto.AdminUpdateAccountEmail(ctx, admin, &comatproto.AdminUpdateAccountEmail_Input{Account: made.Did, Email: "al@example.org"}))
	ok(t, comatproto.AdminUpdateAccountHandle(ctx, admin, &comatproto.AdminUpdateAccountHandle_Input{Did: made.Did, Handle: "alicia.test"}))
	info, err := comatproto.AdminGetAccountInfo(ctx, admin, made.Did)
	ok(t, err)
	if info.Handle != "alicia.test" || info.Email == nil || *info.Email != "al@example.org" || info.InvitedBy == nil || info.InvitedBy.Code != invited.Code {
		t.Errorf("info %+v", info)
	}
	if _, err := time.Parse(time.RFC3339, info.IndexedAt); err != nil {
		t.Error(err)
	}

	// account reset-password
	ok(t, comatproto.AdminUpdateAccountPassword(ctx, admin, &comatproto.AdminUpdateAccountPassword_Input{Did: made.Did, Password: "another long password"}))
	client, err := atclient.LoginWithPasswordHost(ctx, srv.URL, made.Did, "another long password", "", nil)
	ok(t, err)

	// blob status, blob purge, and --reverse
	up, err := comatproto.RepoUploadBlob(ctx, client, strings.NewReader("some bytes"))
	ok(t, err)
	cid := up.Blob.Ref.String()
	blobStatus := func() bool {
		t.Helper()
		got, err := comatproto.AdminGetSubjectStatus(ctx, admin, cid, made.Did, "")
		ok(t, err)
		if got.Subject.AdminDefs_RepoBlobRef == nil || got.Subject.AdminDefs_RepoBlobRef.Cid != cid {
			t.Errorf("subject %+v", got.Subject)
		}
		return got.Takedown != nil && got.Takedown.Applied
	}
	for _, applied := range []bool{true, false} {
		_, err := comatproto.AdminUpdateSubjectStatus(ctx, admin, &comatproto.AdminUpdateSubjectStatus_Input{
			Subject: &comatproto.AdminUpdateSubjectStatus_Input_Subject{
				AdminDefs_RepoBlobRef: &comatproto.AdminDefs_RepoBlobRef{LexiconTypeID: "com.atproto.admin.defs#repoBlobRef", Did: made.Did, Cid: cid},
			},
			Takedown: &comatproto.AdminDefs_StatusAttr{Applied: applied},
		})
		ok(t, err)
		if got := blobStatus(); got != applied {
			t.Errorf("the blob's takedown is %v, want %v", got, applied)
		}
	}

	// account delete
	ok(t, comatproto.AdminDeleteAccount(ctx, admin, &comatproto.AdminDeleteAccount_Input{Did: made.Did}))
	if _, err := comatproto.AdminGetAccountInfo(context.WithoutCancel(ctx), admin, made.Did); err == nil {
		t.Error("the account is still there")
	}
}
