package relay_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/bluesky-social/indigo/cmd/relay/relay/models"
	"github.com/bluesky-social/indigo/cmd/relay/stream"

	"github.com/pdskit/pdskit/pds/pdstest"
)

// event is an event with everything that a relay must not change, as text.
type event struct {
	host string // empty if it comes from the relay
	seq  int64  // the sender's own
	did  syntax.DID
	text string
}

func commitText(rev, since, commit, prevData string, ops []string, blocks []byte) string {
	return fmt.Sprintf("#commit rev %s since %q commit %s prevData %q ops %q blocks %x",
		rev, since, commit, prevData, ops, sha256.Sum256(blocks))
}

func syncText(rev string, blocks []byte) string {
	return fmt.Sprintf("#sync rev %s blocks %x", rev, sha256.Sum256(blocks))
}

func fromServer(host string, ev *pdstest.Event) event {
	out := event{host: host, seq: ev.Seq, did: ev.DID}
	switch ev.Kind {
	case "#commit":
		var ops []string
		for _, op := range ev.Ops {
			ops = append(ops, fmt.Sprint(op.Action, " ", op.Path, " ", defined(op.CID), " ", defined(op.Prev)))
		}
		out.text = commitText(ev.Rev.String(), ev.Since.String(), ev.Commit.String(), defined(ev.PrevData), ops, ev.Blocks)
	case "#sync":
		out.text = syncText(ev.Rev.String(), ev.Blocks)
	case "#identity":
		out.text = "#identity " + ev.Handle.String()
	case "#account":
		out.text = fmt.Sprintf("#account active %t status %q", ev.Active, ev.Status)
	default:
		out.text = fmt.Sprintf("%s %s %s", ev.Kind, ev.Name, ev.Message)
	}
	return out
}

// defined is the text of a CID, or nothing for none.
func defined(c interface {
	fmt.Stringer
	Defined() bool
}) string {
	if !c.Defined() {
		return ""
	}
	return c.String()
}

func fromRelay(evt *stream.XRPCStreamEvent) event {
	switch {
	case evt.RepoCommit != nil:
		c := evt.RepoCommit
		var ops []string
		for _, op := range c.Ops {
			ops = append(ops, fmt.Sprint(op.Action, " ", op.Path, " ", deref(op.Cid), " ", deref(op.Prev)))
		}
		since := ""
		if c.Since != nil {
			since = *c.Since
		}
		return event{seq: c.Seq, did: syntax.DID(c.Repo), text: commitText(c.Rev, since, c.Commit.String(), deref(c.PrevData), ops, c.Blocks)}
	case evt.RepoSync != nil:
		return event{seq: evt.RepoSync.Seq, did: syntax.DID(evt.RepoSync.Did), text: syncText(evt.RepoSync.Rev, evt.RepoSync.Blocks)}
	case evt.RepoIdentity != nil:
		handle := "" // where the relay could not verify it
		if evt.RepoIdentity.Handle != nil {
			handle = *evt.RepoIdentity.Handle
		}
		return event{seq: evt.RepoIdentity.Seq, did: syntax.DID(evt.RepoIdentity.Did), text: "#identity " + handle}
	case evt.RepoAccount != nil:
		status := ""
		if evt.RepoAccount.Status != nil {
			status = *evt.RepoAccount.Status
		}
		return event{
			seq: evt.RepoAccount.Seq, did: syntax.DID(evt.RepoAccount.Did),
			text: fmt.Sprintf("#account active %t status %q", evt.RepoAccount.Active, status),
		}
	}
	return event{text: fmt.Sprintf("an event of another kind: %+v", evt)}
}

// deref is the text of an optional link.
func deref[L fmt.Stringer](link *L) string {
	if link == nil {
		return ""
	}
	return (*link).String()
}

// explain divides the lines of the relay's log into those that nothing
// explains, and the refusals that are not in it.
func (w *world) explain(lines, refusals []string) (unexplained, missing []string) {
	missing = slices.Clone(refusals)
	for _, line := range lines {
		contained := func(text string) bool { return strings.Contains(line, text) }
		if i := slices.IndexFunc(missing, contained); i >= 0 {
			missing = slices.Delete(missing, i, i+1)
		} else if !slices.ContainsFunc(w.tolerated, contained) {
			unexplained = append(unexplained, line)
		}
	}
	return unexplained, missing
}

// compareEvents compares the events of each account in their order. Those of
// different accounts may overtake one another.
func (w *world) compareEvents(sent, relayed []event) {
	w.t.Helper()
	ours, theirs := byAccount(sent), byAccount(relayed)
	for did, out := range theirs {
		if ours[did] == nil {
			w.t.Errorf("%s: nobody sent %s", did, out[0].text)
		}
	}
	for did, in := range ours {
		out := theirs[did]
		same := 0
		for same < min(len(in), len(out)) && in[same].text == out[same].text {
			same++
		}
		switch {
		case same < min(len(in), len(out)):
			w.t.Errorf("%s: of %d events number %d was\n%s\nthe relay passed on\n%s", did, len(in), same, in[same].text, out[same].text)
		case same < len(in):
			w.t.Errorf("%s: of %d events the relay lacks all from number %d on: %s", did, len(in), same, in[same].text)
		case same < len(out):
			w.t.Errorf("%s: after %d events the relay has %d more: %s", did, len(in), len(out)-same, out[same].text)
		}
	}
}

func byAccount(events []event) map[syntax.DID][]event {
	out := map[syntax.DID][]event{}
	for _, ev := range events {
		out[ev.did] = append(out[ev.did], ev)
	}
	return out
}

// compareState compares what the relay stores of each account with what the
// server that was the last to send of it says.
func (w *world) compareState(sent []event) {
	w.t.Helper()
	for did, events := range byAccount(sent) {
		host := events[len(events)-1].host
		i := slices.IndexFunc(w.servers, func(srv *pdstest.PDS) bool { return hostname(srv) == host })
		if got, want := w.relayState(did), serverState(w.t.Context(), w.servers[i], did); got != want {
			w.t.Errorf("%s: the relay has\n%+v\nour server\n%+v", did, got, want)
		}
	}
}

// state is what a relay knows of an account.
type state struct {
	host, status string

	// Only for an active account.
	rev, commit, data string
	failed            string
}

func (w *world) relayState(did syntax.DID) state {
	acc, err := w.relay.GetAccount(w.t.Context(), did)
	if err != nil {
		return state{failed: err.Error()}
	}
	host, err := w.relay.GetHostByID(w.t.Context(), acc.HostID)
	if err != nil {
		return state{failed: err.Error()}
	}
	st := state{host: host.Hostname, status: string(acc.AccountStatus())}
	if acc.AccountStatus() != models.AccountStatusActive {
		return st
	}
	repo, err := w.relay.GetAccountRepo(w.t.Context(), acc.UID)
	if err != nil {
		return state{failed: err.Error()}
	}
	st.rev, st.commit, st.data = repo.Rev, repo.CommitCID, repo.CommitDataCID
	return st
}

// serverState reads the same from the server, by an export that is verified.
func serverState(ctx context.Context, srv *pdstest.PDS, did syntax.DID) state {
	st := state{host: hostname(srv), status: string(models.AccountStatusActive)}
	params := url.Values{"did": {did.String()}}
	answer, err := srv.Call(ctx, "GET", "com.atproto.sync.getRepoStatus", params, nil, nil)
	if isNotFound(err) {
		st.status = string(models.AccountStatusDeleted)
		return st
	}
	var status struct {
		Active bool
		Status string
	}
	if err == nil {
		err = json.Unmarshal(answer, &status)
	}
	if err != nil {
		return state{failed: err.Error()}
	}
	if !status.Active {
		st.status = status.Status
		return st
	}
	car, err := srv.Call(ctx, "GET", "com.atproto.sync.getRepo", params, nil, nil)
	if err != nil {
		return state{failed: err.Error()}
	}
	export, err := pdstest.ReadRepo(car)
	if err != nil {
		return state{failed: err.Error()}
	}
	st.rev, st.commit, st.data = export.Commit.Rev.String(), export.Root.String(), export.Commit.Data.String()
	return st
}

func isNotFound(err error) bool {
	var e *pdstest.Error
	return errors.As(err, &e) && e.Name == "RepoNotFound"
}
