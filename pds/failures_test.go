package pds_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
)

// These are failures of what a server depends on, as clients meet them. The
// table "When things fail" in docs/operating.md names them, and those that are
// tested elsewhere.

// trouble is a transport that can be in trouble.
type trouble struct {
	http.RoundTripper
	with atomic.Pointer[func(*http.Request) (*http.Response, error)]
}

func (r *trouble) RoundTrip(q *http.Request) (*http.Response, error) {
	if with := r.with.Load(); with != nil {
		return (*with)(q)
	}
	return r.RoundTripper.RoundTrip(q)
}

// A PLC directory that is down, slow or talks nonsense: accounts that are here
// go on, what needs the directory is refused with a clear error and leaves
// nothing, and works as soon as the directory does.
func TestPLCDirectoryInTrouble(t *testing.T) {
	t.Parallel()
	answer := func(status int, body string) func(*http.Request) (*http.Response, error) {
		return func(*http.Request) (*http.Response, error) {
			w := httptest.NewRecorder()
			w.WriteHeader(status)
			_, _ = w.WriteString(body)
			return w.Result(), nil
		}
	}
	for name, with := range map[string]func(*http.Request) (*http.Response, error){
		"down": func(*http.Request) (*http.Response, error) {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
		},
		"slow":       func(*http.Request) (*http.Response, error) { return nil, context.DeadlineExceeded },
		"overloaded": answer(http.StatusServiceUnavailable, "try later"),
		"nonsense":   answer(http.StatusOK, "<html>welcome</html>"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clock := pdstest.NewClock()
			plc, err := identity.NewMemoryPLC(identity.MemoryPLCConfig{Clock: clock.Now, NoRateLimit: true})
			ok(t, err)
			line := &trouble{RoundTripper: plc.Transport()}
			client, err := identity.NewPLCClient("http://plc.test", &http.Client{Transport: line})
			ok(t, err)
			rotation, err := atcrypto.GeneratePrivateKeyK256()
			ok(t, err)
			srv := pdstest.New(t, quiet, func(c *pds.Config) {
				c.Registry = identity.NewPLCRegistry(client, rotation, "")
				c.Directory, err = identity.NewResolver(identity.ResolverConfig{
					Transport: c.Transport, PLC: client, AllowPrivate: true, Clock: clock.Now, ErrorTTL: time.Millisecond,
				})
			})
			ok(t, err)
			alice := srv.CreateAccount("alice")
			state := func() *identity.State {
				t.Helper()
				s, err := plc.Client().State(t.Context(), alice.DID)
				ok(t, err)
				return s
			}
			line.with.Store(&with)
			ok(t, srv.Config.Directory.Purge(t.Context(), alice.DID.AtIdentifier()))

			alice.CreateRecord(postType, newPost("written meanwhile"))
			alice.Login()
			ok(t, get(t, srv, getSession, "Bearer "+alice.Access, nil, nil))
			records := url.Values{"repo": {string(alice.DID)}, "collection": {postType}}
			ok(t, get(t, srv, "com.atproto.repo.listRecords", "", records, nil))

			before := lastSeq(t, srv)
			for what, err := range map[string]error{
				"a sign-up":             post(t, srv, createAccountNSID, "", signUp(srv, "bob"), nil),
				"a change of handles":   post(t, srv, "com.atproto.identity.updateHandle", "Bearer "+alice.Access, map[string]any{"handle": "alison.test"}, nil),
				"a look at an account":  get(t, srv, "com.atproto.repo.describeRepo", "", url.Values{"repo": {string(alice.DID)}}, nil),
				"a look at an identity": get(t, srv, "com.atproto.identity.resolveDid", "", url.Values{"did": {string(alice.DID)}}, nil),
			} {
				var e *pdstest.Error
				if !errors.As(err, &e) || e.Status < 500 || e.Name == "InternalServerError" || !strings.Contains(strings.ToLower(e.Message), "directory") {
					t.Errorf("%s: %v", what, err)
				}
			}
			if seq := lastSeq(t, srv); seq != before {
				t.Errorf("events %d to %d tell of what was refused", before, seq)
			}
			if names := state().AlsoKnownAs; len(names) != 1 || names[0] != "at://alice.test" {
				t.Errorf("the identity names %q", names)
			}

			line.with.Store(nil)
			clock.Advance(10 * time.Minute)
			srv.Clock.Advance(10 * time.Minute)
			srv.RunTasks(t.Context()) // a sign-up without an answer is undone
			ok(t, post(t, srv, createAccountNSID, "", signUp(srv, "bob"), nil))
			ok(t, post(t, srv, "com.atproto.identity.updateHandle", "Bearer "+alice.Access, map[string]any{"handle": "alison.test"}, nil))
			if names := state().AlsoKnownAs; len(names) != 1 || names[0] != "at://alison.test" {
				t.Errorf("the identity names %q", names)
			}
		})
	}
}

// DNS that lies: a handle is nobody's unless the identity that it names agrees,
// and nobody gets one that leads to somebody else.
func TestLyingDNS(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	alice, mallory := srv.CreateAccount("alice"), srv.CreateAccount("mallory")
	const handle = "stolen.example.com"
	claim := func(a *pdstest.Account) error {
		return post(t, srv, "com.atproto.identity.updateHandle", "Bearer "+a.Access, map[string]any{"handle": handle}, nil)
	}
	for what, records := range map[string][]string{
		"another one's DID":      {"did=" + string(alice.DID)},
		"two DIDs":               {"did=" + string(mallory.DID), "did=" + string(alice.DID)},
		"no DID":                 {"did=mallory"},
		"an unknown method":      {"did=did:example:mallory"},
		"an unknown DID":         {"did=did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"},
		"garbage":                {strings.Repeat("did=", 1000), "\x00\xff", ""},
		"an address of this net": {"did=did:web:127.0.0.1"},
	} {
		srv.SetTXT("_atproto."+handle, records...)
		ok(t, srv.Config.Directory.Purge(t.Context(), syntax.Handle(handle).AtIdentifier()))
		if err := claim(mallory); xrpcName(err) == "" || xrpcName(err) == "InternalServerError" {
			t.Errorf("%s: the handle was given, or: %v", what, err)
		}
		var info struct{ Handle string }
		err := get(t, srv, "com.atproto.identity.resolveIdentity", "", url.Values{"identifier": {handle}}, &info)
		if err == nil && info.Handle == handle || xrpcName(err) == "InternalServerError" {
			t.Errorf("%s: the handle is taken for that of %+v, %v", what, info, err)
		}
	}
	// Without the lie the owner of the name gets it.
	srv.SetTXT("_atproto."+handle, "did="+string(alice.DID))
	ok(t, srv.Config.Directory.Purge(t.Context(), syntax.Handle(handle).AtIdentifier()))
	ok(t, claim(alice))
	var info struct {
		DID    syntax.DID
		Handle string
	}
	ok(t, srv.Config.Directory.Purge(t.Context(), alice.DID.AtIdentifier()))
	ok(t, get(t, srv, "com.atproto.identity.resolveIdentity", "", url.Values{"identifier": {handle}}, &info))
	if info.DID != alice.DID || info.Handle != handle {
		t.Errorf("%+v", info)
	}
}

// xrpcName is the name of an answer that is an error.
func xrpcName(err error) string {
	if e, isAnswer := errors.AsType[*pdstest.Error](err); isAnswer {
		return e.Name
	}
	return ""
}
