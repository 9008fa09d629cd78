package pds_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/pdskit/pdskit/pds"
)

// Every act is remembered with its actor, not only those that write records.
func TestActsOfAllKinds(t *testing.T) {
	t.Parallel()
	h, group := newOpenHouse(t, nil)
	alice := h.CreateAccount("alice")
	scopes := "account:repo?action=manage identity:handle blob:*/* repo:* rpc:app.bsky.actor.putPreferences?aud=*"
	h.role(alice.DID, strings.Fields(scopes)...)
	app := newPerson(t, h.PDS, "atproto "+scopes)
	app.signInAs(group, alice)
	ok(t, app.write(noteCollection))
	ok(t, app.call("POST", uploadBlob, nil, map[string]any{"a": 1}, nil))
	header := http.Header{"Authorization": {"Bearer " + alice.Access}, "Content-Type": {"text/plain"}}
	_, err := h.Call(t.Context(), "POST", aliasName+".uploadBlob", url.Values{"repo": {string(group.DID)}}, header, []byte("by door B"))
	ok(t, err)
	ok(t, app.sendCAR(newForeignRepo(t, group.DID, someRecords(2)).car(t)))
	ok(t, app.call("POST", "com.atproto.identity.updateHandle", nil, map[string]any{"handle": "renamed.test"}, nil))
	ok(t, app.call("POST", "app.bsky.actor.putPreferences", nil, map[string]any{"preferences": []any{}}, nil))
	ok(t, h.DeactivateAccount(t.Context(), group.DID, time.Time{}, pds.By{Actor: alice.DID}))
	ok(t, h.ActivateAccount(t.Context(), group.DID, pds.By{Actor: alice.DID}))
	// Not acts for the group.
	ok(t, h.TakeDownAccount(t.Context(), group.DID, "", pds.By{Actor: "did:web:moderator.example.com"}))
	ok(t, h.RestoreAccount(t.Context(), group.DID, pds.By{}))
	ok(t, h.UpdateHandle(t.Context(), group.DID, "the-group.test", pds.By{Actor: group.DID}))

	list, err := h.Acts(t.Context(), group.DID, pds.ActQuery{})
	ok(t, err)
	var got []string
	for _, a := range list {
		if a.Actor != alice.DID || a.Account != group.DID {
			t.Errorf("%+v", a)
		}
		data, err := json.Marshal(a.Writes)
		ok(t, err)
		got = append(got, a.Method+" "+a.Change)
		if (a.Change == "") != strings.Contains(string(data), `"create"`) {
			t.Errorf("%+v", a)
		}
	}
	want := []string{
		" activate", " deactivate", "app.bsky.actor.putPreferences preferences", "com.atproto.identity.updateHandle handle",
		importRepo + " import", aliasName + ".uploadBlob upload", uploadBlob + " upload", createRecord + " ",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %q", got)
	}
}
