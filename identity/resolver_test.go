package identity_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	atid "github.com/bluesky-social/indigo/atproto/identity"
	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/pdskit/pdskit/identity"
)

// world is a fake network: web pages by URL and TXT records by name.
type world struct {
	mu    sync.Mutex // guards following 4 fields
	pages map[string]http.HandlerFunc
	txt   map[string][]string
	fail  map[string]error
	asked map[string]int
}

func newWorld() *world {
	return &world{pages: map[string]http.HandlerFunc{}, txt: map[string][]string{}, fail: map[string]error{}, asked: map[string]int{}}
}

func (w *world) RoundTrip(req *http.Request) (*http.Response, error) {
	u := req.URL.String()
	w.mu.Lock()
	w.asked[u]++
	page, err := w.pages[u], w.fail[u]
	w.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if page == nil {
		return nil, &net.DNSError{Err: "no such host", Name: req.URL.Host, IsNotFound: true}
	}
	rec := httptest.NewRecorder()
	page(rec, req)
	return rec.Result(), req.Context().Err()
}

func (w *world) LookupTXT(_ context.Context, name string) ([]string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked[name]++
	if err := w.fail[name]; err != nil {
		return nil, err
	}
	if records, ok := w.txt[name]; ok {
		return records, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

func (w *world) set(fn func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fn()
}

func (w *world) count(what string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.asked[what]
}

func text(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(body)) }
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func docFor(did, handle string) string {
	return fmt.Sprintf(`{"id":%q,"alsoKnownAs":["at://%s"],"service":[{"id":"#atproto_pds","type":"AtprotoPersonalDataServer","serviceEndpoint":"https://pds.test"}]}`, did, handle)
}

func newResolver(t testing.TB, w *world, change func(*identity.ResolverConfig)) (*identity.Resolver, *clock) {
	t.Helper()
	clk := newClock()
	cfg := identity.ResolverConfig{Transport: w, DNS: w, Clock: clk.Now}
	if change != nil {
		change(&cfg)
	}
	r, err := identity.NewResolver(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r, clk
}

const (
	aliceDID = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"
	aliceURL = "https://plc.directory/" + aliceDID
	webDID   = "did:web:bob.example.com"
	webURL   = "https://bob.example.com/.well-known/did.json"
)

func TestLookup(t *testing.T) {
	w := newWorld()
	w.pages[aliceURL] = text(docFor(aliceDID, "Alice.test"))
	w.pages[webURL] = text(docFor(webDID, "bob.example.com"))
	w.txt["_atproto.alice.test"] = []string{"v=spf1", "did=" + aliceDID}
	w.pages["https://bob.example.com/.well-known/atproto-did"] = text(webDID + "\n")
	w.txt["_atproto.carol.test"] = []string{"did=" + aliceDID}
	w.txt["_atproto.lost.test"] = []string{"did=did:plc:zzzzzzzzzzzzzzzzzzzzzzzz"}
	w.txt["_atproto.odd.test"] = []string{"did=did:key:zabc"}
	w.pages["https://plc.directory/did:plc:zzzzzzzzzzzzzzzzzzzzzzzz"] = status(404)
	w.pages["https://plc.directory/did:plc:nnnnnnnnnnnnnnnnnnnnnnnn"] = text(`{"id":"did:plc:nnnnnnnnnnnnnnnnnnnnnnnn"}`)
	w.txt["_atproto.nameless.test"] = []string{"did=did:plc:nnnnnnnnnnnnnnnnnnnnnnnn"}
	r, _ := newResolver(t, w, nil)
	for _, c := range []struct {
		id     string
		did    syntax.DID
		handle syntax.Handle
		err    error
	}{
		{aliceDID, aliceDID, "alice.test", nil},
		{"alice.test", aliceDID, "alice.test", nil},
		{"ALICE.Test", aliceDID, "alice.test", nil},
		{webDID, webDID, "bob.example.com", nil},
		{"bob.example.com", webDID, "bob.example.com", nil},
		{"did:plc:nnnnnnnnnnnnnnnnnnnnnnnn", "did:plc:nnnnnnnnnnnnnnnnnnnnnnnn", "handle.invalid", nil},
		{"carol.test", "", "", atid.ErrHandleMismatch},
		{"nameless.test", "", "", atid.ErrHandleNotDeclared},
		{"lost.test", "", "", atid.ErrDIDNotFound},
		{"odd.test", "", "", identity.ErrUnsupportedDID},
		{"nobody.test", "", "", atid.ErrHandleNotFound},
		{"handle.invalid", "", "", atid.ErrInvalidHandle},
		{"x.local", "", "", atid.ErrHandleReservedTLD},
		{"x.localhost", "", "", atid.ErrHandleReservedTLD},
		{"no handle", "", "", atid.ErrInvalidHandle},
		{"", "", "", atid.ErrInvalidHandle},
		{"did:plc:zzzzzzzzzzzzzzzzzzzzzzzz", "", "", atid.ErrDIDNotFound},
		{"did:plc:short", "", "", atid.ErrDIDNotFound},
		{"did:key:zabc", "", "", atid.ErrDIDResolutionFailed},
		{"did:web:nobody.example.com", "", "", atid.ErrDIDNotFound},
		{"did:web:bob.example.com:path", "", "", identity.ErrUnsupportedDID},
		{"did:web:bob.example.com%3A8080", "", "", identity.ErrUnsupportedDID},
		{"did:web:localhost", "", "", identity.ErrUnsupportedDID},
		{"did:web:localhost%3A2583", "", "", identity.ErrUnsupportedDID},
		{"did:web:127.0.0.1", "", "", identity.ErrUnsupportedDID},
		{"did:web:x.internal", "", "", identity.ErrUnsupportedDID},
	} {
		ident, err := r.Lookup(t.Context(), syntax.AtIdentifier(c.id))
		if c.err != nil {
			if !errors.Is(err, c.err) {
				t.Errorf("%s: err = %v, want %v", c.id, err, c.err)
			}
			continue
		}
		if err != nil || ident.DID != c.did || ident.Handle != c.handle {
			t.Errorf("%s: %+v, %v", c.id, ident, err)
		}
	}
	if raw, err := r.ResolveDIDRaw(t.Context(), webDID); err != nil || string(raw) != docFor(webDID, "bob.example.com") {
		t.Errorf("raw: %s, %v", raw, err)
	}
	if doc, err := r.ResolveDID(t.Context(), webDID); err != nil || len(doc.Service) != 1 {
		t.Errorf("document: %+v, %v", doc, err)
	}
	if n := w.count(webURL); n != 1 {
		t.Errorf("%d fetches of one document", n)
	}
}

func TestHandleSources(t *testing.T) {
	const name, page = "_atproto.h.test", "https://h.test/.well-known/atproto-did"
	const other = "did:plc:bbbbbbbbbbbbbbbbbbbbbbbb"
	broken := errors.New("broken")
	backup := newWorld()
	backup.txt["_atproto.h.test"] = []string{"did=" + other}
	hop := func(to string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, 302) }
	}
	for _, c := range []struct {
		name   string
		set    func(w *world)
		backup bool
		want   syntax.DID
		err    error
	}{
		{"DNS", func(w *world) { w.txt[name] = []string{"did=" + aliceDID} }, false, aliceDID, nil},
		{"DNS wins", func(w *world) { w.txt[name] = []string{"did=" + aliceDID}; w.pages[page] = text(other) }, false, aliceDID, nil},
		{"same record twice", func(w *world) { w.txt[name] = []string{"did=" + aliceDID, "x", "did=" + aliceDID} }, false, aliceDID, nil},
		{"two DIDs", func(w *world) {
			w.txt[name] = []string{"did=" + aliceDID, "did=" + other}
			w.pages[page] = text(aliceDID)
		}, true, "", atid.ErrHandleResolutionFailed},
		{"other records", func(w *world) { w.txt[name] = []string{"DID=" + aliceDID, " did=x", ""} }, false, "", atid.ErrHandleNotFound},
		{"no DID in DNS", func(w *world) { w.txt[name] = []string{"did=nope"} }, false, "", atid.ErrHandleResolutionFailed},
		{"too many records", func(w *world) { w.txt[name] = strings.Split(strings.Repeat("x,", 64)+"did="+aliceDID, ",") }, false, "", atid.ErrHandleResolutionFailed},
		{"at most records", func(w *world) { w.txt[name] = strings.Split(strings.Repeat("x,", 63)+"did="+aliceDID, ",") }, false, aliceDID, nil},
		{"DNS broken, web fine", func(w *world) { w.fail[name] = broken; w.pages[page] = text(aliceDID) }, false, aliceDID, nil},
		{"DNS broken, web 404", func(w *world) { w.fail[name] = broken; w.pages[page] = status(404) }, false, "", broken},
		{"web", func(w *world) { w.pages[page] = text("  " + aliceDID + "\r\n") }, false, aliceDID, nil},
		{"web 404", func(w *world) { w.pages[page] = status(404) }, false, "", atid.ErrHandleNotFound},
		{"web 500", func(w *world) { w.pages[page] = status(500) }, false, "", atid.ErrHandleResolutionFailed},
		{"web HTML", func(w *world) { w.pages[page] = text("<html>") }, false, "", atid.ErrHandleResolutionFailed},
		{"web two lines", func(w *world) { w.pages[page] = text(aliceDID + "\n" + other) }, false, "", atid.ErrHandleResolutionFailed},
		{"web too long", func(w *world) { w.pages[page] = text(aliceDID + strings.Repeat(" ", 5000)) }, false, "", identity.ErrBodyTooLarge},
		{"web broken", func(w *world) { w.fail[page] = broken }, false, "", atid.ErrHandleResolutionFailed},
		{"three hops", func(w *world) {
			w.pages[page], w.pages["https://a.test/"] = hop("https://a.test/"), hop("https://b.test/")
			w.pages["https://b.test/"], w.pages["https://c.test/"] = hop("https://c.test/"), text(aliceDID)
		}, false, aliceDID, nil},
		{"four hops", func(w *world) {
			w.pages[page], w.pages["https://a.test/"] = hop("https://a.test/"), hop("https://b.test/")
			w.pages["https://b.test/"], w.pages["https://c.test/"] = hop("https://c.test/"), hop("https://d.test/")
			w.pages["https://d.test/"] = text(aliceDID)
		}, false, "", identity.ErrTooManyRedirects},
		{"backup", func(*world) {}, true, other, nil},
		{"backup last", func(w *world) { w.pages[page] = text(aliceDID) }, true, aliceDID, nil},
		{"nothing", func(*world) {}, false, "", atid.ErrHandleNotFound},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld()
			c.set(w)
			r, _ := newResolver(t, w, func(cfg *identity.ResolverConfig) {
				if c.backup {
					cfg.BackupDNS = []identity.TXTResolver{newWorld(), backup}
				}
			})
			did, err := r.ResolveHandle(t.Context(), "h.test")
			if !errors.Is(err, c.err) || did != c.want {
				t.Fatalf("%q, %v", did, err)
			}
			err = r.VerifyHandle(t.Context(), "H.test", aliceDID)
			want := c.err
			if want == nil && c.want != aliceDID {
				want = atid.ErrHandleMismatch
			}
			if !errors.Is(err, want) {
				t.Errorf("VerifyHandle: %v, want %v", err, want)
			}
		})
	}
}

func TestDocumentSources(t *testing.T) {
	for name, c := range map[string]struct {
		page http.HandlerFunc
		err  error
	}{
		"404":           {status(404), atid.ErrDIDNotFound},
		"410":           {status(410), atid.ErrDIDNotFound},
		"500":           {status(500), atid.ErrDIDResolutionFailed},
		"redirect":      {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, webURL, 302) }, atid.ErrDIDResolutionFailed},
		"HTML":          {text("<html>"), identity.ErrInvalidDocument},
		"other DID":     {text(docFor("did:web:evil.example.com", "x.test")), identity.ErrInvalidDocument},
		"other case":    {text(docFor("did:web:Bob.example.com", "x.test")), identity.ErrInvalidDocument},
		"no id":         {text("{}"), identity.ErrInvalidDocument},
		"null":          {text("null"), identity.ErrInvalidDocument},
		"too long":      {text(docFor(webDID, "x.test") + strings.Repeat(" ", identity.MaxDocumentBytes)), identity.ErrBodyTooLarge},
		"at the limit":  {text(docFor(webDID, "x.test") + strings.Repeat(" ", identity.MaxDocumentBytes-len(docFor(webDID, "x.test")))), nil},
		"odd but valid": {text(`{"id":"` + webDID + `","alsoKnownAs":"x","service":{},"verificationMethod":[1,null]}`), nil},
	} {
		w := newWorld()
		w.pages[webURL] = c.page
		r, _ := newResolver(t, w, nil)
		_, err := r.LookupDID(t.Context(), webDID)
		if !errors.Is(err, c.err) {
			t.Errorf("%s: %v, want %v", name, err, c.err)
		}
		if err != nil && !errors.Is(err, atid.ErrDIDNotFound) && !errors.Is(err, atid.ErrDIDResolutionFailed) {
			t.Errorf("%s: %v matches no sentinel of indigo", name, err)
		}
	}
}

func TestDevModeDIDWeb(t *testing.T) {
	var did string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/.well-known/did.json" {
			fmt.Fprintf(w, `{"id":%q}`, did)
		}
	}))
	defer srv.Close()
	_, port, err := net.SplitHostPort(strings.TrimPrefix(srv.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	transport := identity.NewTransport(identity.TransportConfig{AllowPrivate: true})
	r, err := identity.NewResolver(identity.ResolverConfig{Transport: transport, AllowPrivate: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, did = range []string{"did:web:localhost%3A" + port, "did:web:localhost%3a" + port} {
		if ident, err := r.LookupDID(t.Context(), syntax.DID(did)); err != nil || ident.DID.String() != did {
			t.Errorf("%s: %+v, %v", did, ident, err)
		}
	}
	for _, bad := range []syntax.DID{"did:web:localhost%3A0", "did:web:localhost%3A99999", "did:web:localhost%3A1%2Fx", "did:web:localhost:1", "did:web:127.0.0.1%3A80", "did:web:evil.com%3A80"} {
		if _, err := r.LookupDID(t.Context(), bad); !errors.Is(err, identity.ErrUnsupportedDID) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestSlowServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.pages[webURL] = func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
		r, err := identity.NewResolver(identity.ResolverConfig{Transport: w, DNS: w})
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if _, err := r.LookupDID(t.Context(), webDID); !errors.Is(err, atid.ErrDIDResolutionFailed) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("err = %v", err)
		}
		if took := time.Since(start); took != identity.DefaultResolveTimeout {
			t.Errorf("took %s", took)
		}
	})
}

func TestResolverConfig(t *testing.T) {
	for field, cfg := range map[string]identity.ResolverConfig{
		"StaleTTL":  {StaleTTL: -1},
		"MaxTTL":    {StaleTTL: 2, MaxTTL: 1},
		"Timeout":   {Timeout: -1},
		"CacheSize": {CacheSize: -1},
	} {
		if _, err := identity.NewResolver(cfg); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
	if _, err := identity.NewResolver(identity.ResolverConfig{}); err != nil {
		t.Errorf("zero config: %v", err)
	}
}

func TestParseDocumentForeignEntries(t *testing.T) {
	doc, err := identity.ParseDocument(webDID, []byte(`{"id":"`+webDID+`",
		"verificationMethod":[
			{"id":"did:web:evil.com#atproto","type":"Multikey","controller":"`+webDID+`","publicKeyMultibase":"zEvil"},
			{"id":"#atproto","type":"Multikey","controller":"`+webDID+`","publicKeyMultibase":"zGood"},
			{"id":"#jwk","type":"JsonWebKey2020","controller":"`+webDID+`","publicKeyJwk":{}}],
		"service":[
			{"id":"did:web:evil.com#atproto_pds","type":"AtprotoPersonalDataServer","serviceEndpoint":"https://evil.com"},
			{"id":"#linked","type":"LinkedDomains","serviceEndpoint":{"origins":["https://x"]}},
			{"id":"`+webDID+`#atproto_pds","type":"AtprotoPersonalDataServer","serviceEndpoint":"https://good.test"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	ident := atid.ParseIdentity(doc)
	if ident.PDSEndpoint() != "https://good.test" || ident.Keys["atproto"].PublicKeyMultibase != "zGood" || len(ident.Keys) != 1 || len(ident.Services) != 1 {
		t.Errorf("%+v", ident)
	}
}

func FuzzParseDocument(f *testing.F) {
	f.Add([]byte(docFor(webDID, "a.test")))
	f.Add([]byte(`{"id":"` + webDID + `","verificationMethod":[{"id":"#atproto","publicKeyMultibase":"z1"}],"service":[{"id":"#x","serviceEndpoint":{}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		doc, err := identity.ParseDocument(webDID, data)
		if err != nil {
			if !errors.Is(err, identity.ErrInvalidDocument) {
				t.Fatalf("unnamed error %v", err)
			}
			return
		}
		ident := atid.ParseIdentity(doc)
		if ident.DID != webDID {
			t.Fatalf("id %q", ident.DID)
		}
		_, _ = ident.PublicKey()
		_, _ = ident.DeclaredHandle()
		if _, err := json.Marshal(doc); err != nil {
			t.Fatal(err)
		}
	})
}
