package pds_test

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/ipfs/go-cid"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/storage"
)

// app is something that Alice has let act in her name, by a credential.
type app struct {
	name string

	// call calls a method; to is the header atproto-proxy.
	call func(verb, nsid, to string, params url.Values, in any) ([]byte, error)
}

// appsOf are the apps of a member: with app passwords, and with every wide grant
// that OAuth knows.
func appsOf(h *house, a *pdstest.Account) (apps []app) {
	h.t.Helper()
	bearer := func(token string) func(verb, nsid, to string, params url.Values, in any) ([]byte, error) {
		return func(verb, nsid, to string, params url.Values, in any) ([]byte, error) {
			header := http.Header{"Authorization": {"Bearer " + token}}
			if to != "" {
				header.Set("Atproto-Proxy", to)
			}
			return h.Call(h.t.Context(), verb, nsid, params, header, in)
		}
	}
	for name, privileged := range map[string]bool{"an app password": false, "a privileged app password": true} {
		var made struct{ Password string }
		a.Post("com.atproto.server.createAppPassword", map[string]any{"name": name, "privileged": privileged}, &made)
		var session struct{ AccessJwt string }
		h.Post("com.atproto.server.createSession", "", map[string]any{"identifier": a.DID, "password": made.Password}, &session)
		apps = append(apps, app{name, bearer(session.AccessJwt)})
	}
	for _, scopes := range []string{"repo:*", "repo:* blob:*/*", "transition:generic", "transition:generic transition:chat.bsky"} {
		p := newPerson(h.t, h.PDS, "atproto "+scopes)
		own := p.enter(a)
		if strings.Contains(own.text, `/account">`) { // there is a choice
			own = p.submit(own, "/account", url.Values{"account": {string(a.DID)}})
		}
		p.finish(p.submit(own, "/consent", nil))
		apps = append(apps, app{scopes, func(verb, nsid, to string, params url.Values, in any) ([]byte, error) {
			p.proxy = to
			var out struct{ Token string }
			err := p.call(verb, nsid, params, in, &out)
			return []byte(out.Token), err
		}})
	}
	return apps
}

// refused checks that a call was refused with status 403 and one of the names.
func refused(t *testing.T, what string, err error, names ...string) {
	t.Helper()
	e, is := errors.AsType[*pdstest.Error](err)
	if !is || e.Status != 403 || !slices.Contains(names, e.Name) {
		t.Errorf("%s: %v, want a 403 with one of %v", what, err, names)
	}
}

// groupWrites are the four methods of writing, as inputs for the group.
func groupWrites(repo string) map[string]any {
	record := map[string]any{"repo": repo, "collection": noteCollection, "rkey": "x", "record": map[string]any{"text": "forged"}}
	return map[string]any{
		"createRecord": record, "putRecord": record, "deleteRecord": record,
		"applyWrites": map[string]any{"repo": repo, "writes": []map[string]any{{
			"$type": applyWrites + "#create", "collection": noteCollection, "value": map[string]any{"text": "forged"},
		}}},
	}
}

// What Alice grants to her apps does not reach a group in which she may do
// everything, by any path: called directly, with a service token for this
// server, or by a proxy header that points here. All doors are open meanwhile.
func TestDelegationDoorsAreShut(t *testing.T) {
	t.Parallel()
	h, group := newOpenHouse(t, nil, func(c *pds.Config) { c.DirectDelegation = true })
	alice := h.CreateAccount("alice")
	h.role(alice.DID, "repo:*", "blob:*/*")
	here := h.serviceDID()
	apps := appsOf(h, alice)

	// Names of this server: its own, and accounts whose documents point here.
	headers := []string{"", here + "#atproto_pds", here + "#anything", string(alice.DID) + "#atproto_pds", string(group.DID) + "#atproto_pds"}
	for _, a := range append(apps, app{"her own session", func(verb, nsid, to string, params url.Values, in any) ([]byte, error) {
		header := http.Header{"Authorization": {"Bearer " + alice.Access}, "Atproto-Proxy": {to}}
		return h.Call(t.Context(), verb, nsid, params, header, in)
	}}) {
		for _, repo := range []string{string(group.DID), "the-group.test"} {
			for method, in := range groupWrites(repo) {
				for _, to := range headers {
					_, err := a.call("POST", "com.atproto.repo."+method, to, nil, in)
					refused(t, a.name+", "+method+" through "+to, err, "ActorNotPermitted")
				}
			}
		}
	}
	for _, a := range apps {
		for method, in := range groupWrites(string(group.DID)) {
			for _, to := range headers {
				_, err := a.call("POST", aliasName+"."+method, to, nil, in)
				refused(t, a.name+", the alias "+method+" through "+to, err, "ActorNotPermitted", "ScopeMissingError")
			}
		}
		_, err := a.call("POST", aliasName+".uploadBlob?repo="+string(group.DID), "", nil, map[string]any{"a": "blob"})
		refused(t, a.name+", uploadBlob", err, "ActorNotPermitted", "ScopeMissingError")

		// No token is to be had with which to knock again: for one method, for
		// all, for any name of this server.
		methods := []string{""}
		for method := range groupWrites("") {
			methods = append(methods, "com.atproto.repo."+method, aliasName+"."+method)
		}
		for _, lxm := range methods {
			for _, aud := range []string{here, here + "#atproto_pds"} {
				params := url.Values{"aud": {aud}}
				if lxm != "" {
					params.Set("lxm", lxm)
				}
				_, err := a.call("GET", "com.atproto.server.getServiceAuth", "", params, nil)
				refused(t, a.name+", a token for "+aud+" and "+lxm, err, "ActorNotPermitted", "ScopeMissingError")
			}
		}
		// Tokens for other audiences open nothing here.
		for _, aud := range []string{here + "#anything", string(alice.DID), string(group.DID), string(group.DID) + "#atproto_pds"} {
			params := url.Values{"aud": {aud}, "lxm": {createRecord}}
			token, err := a.call("GET", "com.atproto.server.getServiceAuth", "", params, nil)
			if err != nil {
				refused(t, a.name+", a token for "+aud, err, "ScopeMissingError")
				continue
			}
			text := strings.TrimSuffix(strings.TrimPrefix(string(token), `{"token":"`), `"}`)
			wantError(t, h.write(createRecord, "Bearer "+text), 401, "BadJwtAudience")
		}
	}

	// Nothing was written, and what was tried is remembered with its actor.
	if n := h.notes(); n != 0 {
		t.Errorf("%d notes", n)
	}
	if done := h.acts(false); len(done) != 0 {
		t.Errorf("acts: %v", done)
	}
	tried := h.acts(true)
	if len(tried) == 0 {
		t.Error("no refusal is remembered")
	}
	for _, act := range tried {
		if !strings.HasPrefix(act, string(alice.DID)+" ") {
			t.Errorf("a refusal of %s", act)
		}
	}
	// The door was there: she herself goes in.
	ok(t, h.write(aliasName+".createRecord", "Bearer "+alice.Access))
	ok(t, h.write(createRecord, h.serviceToken(alice, createRecord)))
}

// Nobody acts for somebody who has given no rights, nor for oneself.
func TestDelegationForNobody(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	alice, bob := h.CreateAccount("alice"), h.CreateAccount("bob")
	for _, test := range []struct {
		by, repo *pdstest.Account
	}{{bob, &pdstest.Account{DID: h.group.DID}}, {bob, alice}, {alice, alice}} {
		for method, in := range groupWrites(string(test.repo.DID)) {
			_, err := h.Call(t.Context(), "POST", aliasName+"."+method, nil, http.Header{"Authorization": {"Bearer " + test.by.Access}}, in)
			refused(t, string(test.by.Handle)+", "+method, err, "ActorNotPermitted")
		}
	}
	// Without DirectDelegation a service token does not open com.atproto.repo.
	h.role(alice.DID, "repo:*")
	wantError(t, h.write(createRecord, h.serviceToken(alice, createRecord)), 403, "ActorNotPermitted")
}

// A blob that is only in a private room, in another account, or another member's
// upload cannot be published through a group by its CID, through no door and by
// no method.
func TestDelegationDoorsAreShutForBlobs(t *testing.T) {
	t.Parallel()
	h, group := newOpenHouse(t, nil, func(c *pds.Config) { c.DirectDelegation = true })
	alice, carol := h.CreateAccount("alice"), h.CreateAccount("carol")
	h.role(alice.DID, "repo:*", "blob:*/*")
	h.role(carol.DID, "repo:*", "blob:*/*")
	upload := func(a *pdstest.Account, data string) {
		header := http.Header{"Authorization": {"Bearer " + a.Access}, "Content-Type": {"text/plain"}}
		_, err := h.Call(t.Context(), "POST", aliasName+".uploadBlob", url.Values{"repo": {string(group.DID)}}, header, []byte(data))
		ok(t, err)
	}
	mustUpload(t, alice, "text/plain", "in her own account")
	mustUpload(t, carol, "text/plain", "in the account of somebody else")
	upload(carol, "another member's upload")
	// A program that keeps a private room's pictures holds them without a record.
	upload(alice, "in a private room")
	ok(t, h.Config.Store.Update(t.Context(), func(tx storage.Tx) error {
		c, err := cid.Decode(rawCID("in a private room"))
		if err != nil {
			return err
		}
		b, err := tx.Blob(group.DID, c)
		if err != nil {
			return err
		}
		b.Temporary, b.Uploader = false, carol.DID
		return tx.PutBlob(b)
	}))
	asGroup := newPerson(t, h.PDS, "atproto repo:* blob:*/*")
	asGroup.signInAs(group, alice)
	doors := map[string]func(method string, in any) error{
		"A": func(method string, in any) error {
			return asGroup.call("POST", "com.atproto.repo."+method, nil, in, nil)
		},
		"B": func(method string, in any) error {
			return post(t, h.PDS, aliasName+"."+method, "Bearer "+alice.Access, in, nil)
		},
		"C": func(method string, in any) error {
			nsid := "com.atproto.repo." + method
			return post(t, h.PDS, nsid, h.serviceToken(alice, nsid), in, nil)
		},
	}
	for door, call := range doors {
		for _, data := range []string{"in her own account", "in the account of somebody else", "another member's upload", "in a private room"} {
			record := map[string]any{"picture": blobRef(rawCID(data), "text/plain", len(data))}
			one := map[string]any{"repo": group.DID, "collection": noteCollection, "rkey": "picture", "record": record}
			for method, in := range map[string]any{
				"createRecord": one, "putRecord": one,
				"applyWrites": map[string]any{"repo": group.DID, "writes": []map[string]any{{
					"$type": applyWrites + "#create", "collection": noteCollection, "value": record,
				}}},
			} {
				t.Run("door "+door+", "+method+", "+data, func(t *testing.T) { wantError(t, call(method, in), 400, "BlobNotFound") })
			}
		}
	}
	upload(alice, "her upload for the group")
	record := map[string]any{"picture": blobRef(rawCID("her upload for the group"), "text/plain", len("her upload for the group"))}
	ok(t, doors["A"]("createRecord", map[string]any{"repo": group.DID, "collection": noteCollection, "record": record}))
}
