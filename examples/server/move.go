package main

import (
	"bufio"
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/identity"
)

// mover moves an account from another server to this one, step by step, with
// nothing but the methods that every client has. A move that was interrupted
// goes on where it was when it is started again: each step finds out whether it
// has been done, or may be done twice.
type mover struct {
	*moveState

	here, there *peer
	plc         *identity.PLCClient

	// invite makes an invite code for this server.
	invite func(ctx context.Context) (string, error)
	// ask asks the operator for a line.
	ask func(prompt string) (string, error)
	// say shows progress.
	say func(format string, args ...any)
	// idle is how long a transfer may stand still.
	idle time.Duration
}

// moveIn is the command "account move-in".
func (a *admin) moveIn(ctx context.Context, args []string) error {
	id, err := a.identityOf(ctx, args[0])
	if err != nil {
		return err
	}
	m := &mover{
		invite: func(ctx context.Context) (string, error) { return a.newInvite(ctx, 1) },
		say: func(format string, args ...any) {
			if !a.json {
				fmt.Fprintf(a.out, format+"\n", args...)
			}
		},
		idle: transferIdle,
	}
	if m.moveState, err = loadMove(a.set.dataDir, id.did); err != nil {
		return err
	}
	if m.From == "" {
		if id.pds == a.set.publicURL() {
			return fmt.Errorf("%s is at home here", id.did)
		}
		m.From, m.Old = id.pds, id.handle
	}
	if len(args) > 1 && len(m.Here.Refresh) == 0 {
		m.Handle = args[1]
	}
	m.here = &peer{base: a.base, client: noRedirects(nil), header: http.Header{}, tokens: &m.Here}
	if a.bypassKey != "" {
		m.here.header.Set("X-Ratelimit-Bypass", a.bypassKey)
	}
	m.there = &peer{base: m.From, client: noRedirects(newTransport(a.set)), tokens: &m.There}
	if m.plc, err = identity.NewPLCClient(cmp.Or(a.set.plcURL, a.base), nil); err != nil {
		return err
	}
	in := bufio.NewReader(a.in)
	m.ask = func(prompt string) (string, error) {
		if !a.json {
			fmt.Fprintf(a.out, "%s: ", prompt)
		}
		line, err := in.ReadString('\n')
		if line = strings.TrimSpace(line); line == "" && err != nil {
			return "", fmt.Errorf("no answer: %w", err)
		}
		return line, nil
	}
	if err := m.run(ctx); err != nil || !a.json {
		return err
	}
	return a.print(map[string]any{"did": m.DID, "handle": m.Handle, "password": m.Password, "lostBlobs": append([]string{}, m.Lost...)})
}

// identityOf resolves a DID or handle by way of the running server.
func (a *admin) identityOf(ctx context.Context, identifier string) (id struct{ did, handle, pds string }, err error) {
	var out struct {
		DID, Handle string
		DidDoc      struct {
			AlsoKnownAs []string
			Service     []struct{ ID, ServiceEndpoint string }
		}
	}
	err = a.call(ctx, http.MethodGet, "/xrpc/com.atproto.identity.resolveIdentity", url.Values{"identifier": {identifier}}, nil, &out)
	if err != nil {
		return id, err
	}
	id.did, id.handle = out.DID, out.Handle
	for _, name := range out.DidDoc.AlsoKnownAs { // also one that this server cannot verify
		if handle, ok := strings.CutPrefix(name, "at://"); ok {
			id.handle = handle
			break
		}
	}
	for _, s := range out.DidDoc.Service {
		if strings.HasSuffix(s.ID, "#"+identity.ServicePDS) {
			id.pds = strings.TrimSuffix(s.ServiceEndpoint, "/")
		}
	}
	if id.pds == "" {
		return id, fmt.Errorf("the identity %s names no server", id.did)
	}
	return id, nil
}

// run takes the steps that are left.
func (m *mover) run(ctx context.Context) error {
	for i, step := range []struct {
		name string
		run  func(*mover, context.Context) error
	}{
		{"sign in there", (*mover).signIn},
		{"make the account here", (*mover).createAccount},
		{"copy the repository", (*mover).copyRepo},
		{"copy blobs", (*mover).copyBlobs},
		{"copy preferences", (*mover).copyPreferences},
		{"move the identity", (*mover).moveIdentity},
		{"activate the account here", (*mover).activate},
		{"deactivate the account there", (*mover).deactivate},
	} {
		m.say("%d. %s", i+1, step.name)
		err := step.run(m, ctx)
		if saved := m.save(); err == nil {
			err = saved
		}
		if err != nil {
			return fmt.Errorf("%s: %w\nWhat is done is kept in %s: give the same command again to go on", step.name, err, m.file)
		}
	}
	m.say("%s is here now.\n   handle    %s\n   password  %s", m.DID, m.Handle, m.Password)
	for _, c := range m.Lost {
		m.say("   missing, since the old server does not have it: the blob %s", c)
	}
	return m.finish()
}

// signIn opens a session on the old server, unless there is one.
func (m *mover) signIn(ctx context.Context) error {
	if ok, err := m.there.signedIn(ctx); ok || err != nil {
		return err
	}
	password, err := m.ask(fmt.Sprintf("Password of %s at %s", m.Old, m.From))
	if err != nil {
		return err
	}
	in := map[string]any{"identifier": m.DID, "password": password, "allowTakendown": true}
	var out struct {
		tokens
		DID, Email string
	}
	login := func() error {
		return m.there.ask(ctx, http.MethodPost, "com.atproto.server.createSession", "", nil, in, &out)
	}
	err = login()
	if isAnswer(err, "AuthFactorTokenRequired") {
		if in["authFactorToken"], err = m.ask("Code of the second factor, which was mailed"); err != nil {
			return err
		}
		err = login()
	}
	if err == nil && out.DID != m.DID {
		err = fmt.Errorf("%s signed in %s", m.From, out.DID)
	}
	if err != nil {
		return err
	}
	m.There, m.Email = out.tokens, cmp.Or(m.Email, out.Email)
	return nil
}

// serverInfo is what describeServer says.
type serverInfo struct {
	DID                  string
	AvailableUserDomains []string
	InviteCodeRequired   bool
}

func (p *peer) describe(ctx context.Context) (info serverInfo, err error) {
	return info, p.ask(ctx, http.MethodGet, "com.atproto.server.describeServer", "", nil, nil, &info)
}

// createAccount makes the account here, deactivated, or signs in if an earlier
// attempt has made it.
func (m *mover) createAccount(ctx context.Context) error {
	if ok, err := m.here.signedIn(ctx); ok || err != nil {
		return err
	}
	if m.Password != "" {
		err := m.here.ask(ctx, http.MethodPost, "com.atproto.server.createSession", "", nil,
			map[string]any{"identifier": m.DID, "password": m.Password}, &m.Here)
		if !isAnswer(err, "AuthenticationRequired") {
			return err
		}
	}
	here, err := m.here.describe(ctx)
	if err != nil {
		return err
	}
	if err := m.prepareAccount(ctx, &here); err != nil {
		return err
	}
	var auth struct{ Token string }
	err = m.there.get(ctx, "com.atproto.server.getServiceAuth", url.Values{"aud": {here.DID}, "lxm": {"com.atproto.server.createAccount"}}, &auth)
	if err != nil {
		return err
	}
	in := map[string]any{"did": m.DID, "handle": m.Handle, "email": m.Email, "password": m.Password}
	if m.Invite != "" {
		in["inviteCode"] = m.Invite
	}
	err = m.here.ask(ctx, http.MethodPost, "com.atproto.server.createAccount", "Bearer "+auth.Token, nil, in, &m.Here)
	if isAnswer(err, "HandleNotAvailable", "InvalidHandle", "UnsupportedDomain") {
		err = fmt.Errorf("%w (another handle may be named at the end of the command)", err)
	}
	return err
}

// prepareAccount decides on what the new account needs, and stores it before
// the account is there.
func (m *mover) prepareAccount(ctx context.Context, here *serverInfo) (err error) {
	if m.Handle == "" {
		there, err := m.there.describe(ctx)
		if err != nil {
			return err
		}
		m.Handle = m.Old
		if isUnder(m.Old, there.AvailableUserDomains) && len(here.AvailableUserDomains) > 0 {
			front, _, _ := strings.Cut(m.Old, ".")
			m.Handle = front + here.AvailableUserDomains[0]
		}
	}
	if m.Email == "" {
		if m.Email, err = m.ask("E-mail address of the account"); err != nil {
			return err
		}
	}
	if here.InviteCodeRequired && m.Invite == "" {
		if m.Invite, err = m.invite(ctx); err != nil {
			return err
		}
	}
	m.Password = cmp.Or(m.Password, strings.ToLower(rand.Text()))
	m.say("   as %s", m.Handle)
	return m.save()
}

// copyRepo brings the repository here, unless its newest commit is here.
func (m *mover) copyRepo(ctx context.Context) error {
	if m.Moved {
		return nil
	}
	rev, err := m.revThere(ctx)
	if err != nil || rev == m.Rev {
		return err
	}
	n, err := m.transfer(ctx, "com.atproto.sync.getRepo", url.Values{"did": {m.DID}}, "com.atproto.repo.importRepo", nil)
	if err != nil {
		return err
	}
	status, err := m.statusHere(ctx)
	if err != nil {
		return err
	}
	m.say("   %d records, %d bytes", status.IndexedRecords, n)
	m.Rev = rev
	return m.save()
}

// revThere returns the rev of the old repository.
func (m *mover) revThere(ctx context.Context) (string, error) {
	var out struct{ Rev string }
	// A session that is narrow, of an account that is taken down, may export
	// and not ask for the newest commit.
	err := m.there.get(ctx, "com.atproto.sync.getLatestCommit", url.Values{"did": {m.DID}}, &out)
	if isAnswer(err) {
		return "unknown", nil
	}
	return out.Rev, err
}

type accountStatus struct{ IndexedRecords, ExpectedBlobs, ImportedBlobs int64 }

func (m *mover) statusHere(ctx context.Context) (out accountStatus, err error) {
	return out, m.here.get(ctx, "com.atproto.server.checkAccountStatus", nil, &out)
}

// blobPage is how many blobs are asked for at once.
const blobPage = 100

// copyBlobs brings all blobs that are missing here, but those that the old
// server says it does not have.
func (m *mover) copyBlobs(ctx context.Context) error {
	for cursor, passed := "", 0; ; {
		var page struct {
			Cursor string
			Blobs  []struct{ CID string }
		}
		params := url.Values{"limit": {fmt.Sprint(blobPage)}}
		if cursor != "" {
			params.Set("cursor", cursor)
		}
		if err := m.here.get(ctx, "com.atproto.repo.listMissingBlobs", params, &page); err != nil {
			return err
		}
		for _, b := range page.Blobs {
			if slices.Contains(m.Lost, b.CID) {
				continue
			}
			found, err := m.copyBlob(ctx, b.CID)
			if err != nil {
				return fmt.Errorf("blob %s: %w", b.CID, err)
			}
			if !found {
				m.Lost = append(m.Lost, b.CID)
			}
		}
		if passed += len(page.Blobs); len(page.Blobs) > 0 {
			m.say("   %d blobs", passed)
			if err := m.save(); err != nil {
				return err
			}
		}
		if cursor = page.Cursor; cursor == "" {
			return nil
		}
	}
}

// copyBlob brings one blob here. It reports false if the old server does not
// have it, or another under its name.
func (m *mover) copyBlob(ctx context.Context, c string) (found bool, err error) {
	found, err = m.tryBlob(ctx, c)
	if isAnswer(err, "ExpiredToken") { // there are many blobs
		if err = errors.Join(m.there.refresh(ctx), m.here.refresh(ctx)); err == nil {
			found, err = m.tryBlob(ctx, c)
		}
	}
	return found, err
}

func (m *mover) tryBlob(ctx context.Context, c string) (found bool, err error) {
	var out struct {
		Blob struct {
			Ref struct {
				Link string `json:"$link"`
			}
		}
	}
	_, err = m.transfer(ctx, "com.atproto.sync.getBlob", url.Values{"did": {m.DID}, "cid": {c}}, "com.atproto.repo.uploadBlob", &out)
	var refused sourceError
	if errors.As(err, &refused) && isAnswer(err, "BlobNotFound", "BlobTakendown", "InvalidRequest") { // the last is how the reference server says so
		return false, nil
	}
	return out.Blob.Ref.Link == c, err
}

// copyPreferences brings the preferences here. A server that has none to give
// says so.
func (m *mover) copyPreferences(ctx context.Context) error {
	if m.Preferences {
		return nil
	}
	var prefs struct {
		Preferences []json.RawMessage `json:"preferences"`
	}
	err := m.there.get(ctx, "app.bsky.actor.getPreferences", nil, &prefs)
	switch {
	case isAnswer(err):
		m.say("   the old server gives none: %v", err)
	case err != nil:
		return err
	default:
		if err := m.here.post(ctx, "app.bsky.actor.putPreferences", &prefs, nil); err != nil {
			return err
		}
	}
	m.Preferences = true
	return nil
}

func (m *mover) activate(ctx context.Context) error {
	if m.Active {
		return nil
	}
	err := m.here.post(ctx, "com.atproto.server.activateAccount", nil, nil)
	if isAnswer(err) && syntax.DID(m.DID).Method() != "plc" {
		m.Moved = false // the document is not right yet
	}
	m.Active = err == nil
	return err
}

// deactivate ends the account on the old server, which keeps what it has.
func (m *mover) deactivate(ctx context.Context) error {
	return m.there.post(ctx, "com.atproto.server.deactivateAccount", map[string]any{}, nil)
}
