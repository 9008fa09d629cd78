package pds_test

import (
	"fmt"
	"net/url"
	"testing"

	"github.com/pdskit/pdskit/pds/pdstest"
)

// Bug 19 of the field: every method with another account's repository.
func TestRecordsForeignRepoRefused(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice, bob := srv.CreateAccount("alice"), srv.CreateAccount("bob")
	note(t, bob, "b", "bob's")
	before := bob.Export().Root
	for _, target := range []struct {
		repo   string
		status int
		name   string
	}{
		{string(bob.DID), 401, "AuthenticationRequired"},
		{string(bob.Handle), 401, "AuthenticationRequired"},
		{"did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", 403, "AccountNotFound"},
		{"nobody.test", 403, "AccountNotFound"},
		{"not a name", 400, "InvalidRequest"},
		{"", 400, "InvalidRequest"},
	} {
		for nsid, in := range eachWrite() {
			in["repo"] = target.repo
			_, err := write(t, alice, nsid, in)
			wantError(t, err, target.status, target.name)
		}
	}
	if bob.Export().Root != before {
		t.Error("bob's repository has changed")
	}
	for nsid, in := range eachWrite() {
		in["repo"] = alice.DID
		wantError(t, post(t, srv, nsid, "", in, nil), 401, "AuthMissing")
	}
}

// eachWrite returns a good input for each method that writes records, but for
// the repo.
func eachWrite() map[string]map[string]any {
	return map[string]map[string]any{
		createRecord: {"collection": noteCollection, "record": map[string]any{"n": 1}},
		putRecord:    {"collection": noteCollection, "rkey": "b", "record": map[string]any{"n": 2}},
		deleteRecord: {"collection": noteCollection, "rkey": "b"},
		applyWrites: {"writes": []any{map[string]any{
			"$type": applyWrites + "#create", "collection": noteCollection, "value": map[string]any{"n": 3},
		}}},
	}
}

// Records: deactivated, takendown refused.
func TestRecordsOfInactiveAccountsRefused(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	note(t, alice, "b", "there")
	refused := func(name string) {
		t.Helper()
		for nsid, in := range eachWrite() {
			_, err := write(t, alice, nsid, in)
			wantError(t, err, 401, name)
		}
		_, err := read(t, alice, noteCollection+"/b")
		wantError(t, err, 400, "RecordNotFound")
		err = get(t, srv, "com.atproto.repo.listRecords", "", url.Values{"repo": {string(alice.DID)}, "collection": {noteCollection}}, nil)
		wantError(t, err, 400, "InvalidRequest")
	}
	alice.Post("com.atproto.server.deactivateAccount", map[string]any{}, nil)
	alice.Login()
	refused("AccountDeactivated")
	alice.Post("com.atproto.server.activateAccount", nil, nil)
	for nsid, in := range eachWrite() {
		if nsid != createRecord && nsid != applyWrites {
			mustWrite(t, alice, nsid, in)
		}
	}
	note(t, alice, "b", "there again")
	subject := map[string]any{"$type": "com.atproto.admin.defs#repoRef", "did": alice.DID}
	srv.Post("com.atproto.admin.updateSubjectStatus", adminAuth, map[string]any{
		"subject": subject, "takedown": map[string]any{"applied": true, "ref": "1"},
	}, nil)
	refused("AccountTakedown")
}

// Records: takendown record not served; its block stays in proofs and exports.
func TestRecordsTakendownRecordHidden(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice := srv.CreateAccount("alice")
	var out *written
	for i := range 5 {
		w := note(t, alice, fmt.Sprint("n", i), "x")
		if i == 2 {
			out = w
		}
	}
	set := func(applied bool) {
		t.Helper()
		srv.Post("com.atproto.admin.updateSubjectStatus", adminAuth, map[string]any{
			"subject":  map[string]any{"$type": "com.atproto.repo.strongRef", "uri": out.URI, "cid": out.CID},
			"takedown": map[string]any{"applied": applied, "ref": "1"},
		}, nil)
	}
	set(true)
	_, err := read(t, alice, noteCollection+"/n2")
	wantError(t, err, 400, "RecordNotFound")
	if list := listAll(t, alice, noteCollection); len(list) != 4 {
		t.Errorf("listed: %v", list)
	}
	if len(alice.Export().Records) != 5 {
		t.Error("the record has left the export")
	}
	set(false)
	if _, err := read(t, alice, noteCollection+"/n2"); err != nil {
		t.Error(err)
	}
}
