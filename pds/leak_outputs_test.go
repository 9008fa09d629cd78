package pds_test

import (
	"context"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/pdskit/pdskit/pds/pdstest"
	"github.com/pdskit/pdskit/xrpc/lexicons"
)

// scan collects everything that a village shows to others.
type scan struct {
	*village
	out     *outputs
	mallory *pdstest.Account // calls everything, and may be gone afterwards
}

// subjects are whom outputs are asked about.
func (s *scan) subjects() []*pdstest.Account { return []*pdstest.Account{s.group, s.alice} }

// values returns good values for the parameters and the inputs of methods, by
// name: each request takes one of them.
func (s *scan) values(about *pdstest.Account) map[string][]string {
	did := string(about.DID)
	record := "at://" + did + "/" + noteCollection + "/" + openMark
	var head struct{ CID string }
	s.Get("com.atproto.sync.getLatestCommit", "", url.Values{"did": {did}}, &head)
	var rec struct{ CID string }
	s.Get("com.atproto.repo.getRecord", "", url.Values{"repo": {did}, "collection": {noteCollection}, "rkey": {openMark}}, &rec)
	handle := "alice.test"
	if about == s.group {
		handle = "the-group.test"
	}
	return map[string][]string{
		"did": {did}, "dids": {did}, "repo": {did}, "actor": {did}, "actors": {did}, "identifier": {did, handle}, "handle": {handle},
		"collection": {noteCollection}, "rkey": {openMark, "nothing"}, "uri": {record}, "feed": {"at://" + did + "/app.bsky.feed.generator/x"},
		"cid": append([]string{head.CID}, s.blobs...), "cids": {head.CID, rec.CID},
		"aud": {"did:web:api.example.com", s.serviceDID()}, "lxm": {"com.example.any", aliasName + ".createRecord"},
		"topic": {"com.example.room/" + openMark}, "blob": s.blobs, "lang": {"en"}, "email": {"mallory@example.com"},
	}
}

// pick takes the nth value of each parameter.
func pick(values map[string][]string, n int) url.Values {
	out := url.Values{}
	for name, list := range values {
		out.Set(name, list[n%len(list)])
	}
	return out
}

// callers are those who look: nobody, and somebody else by a session, by an app
// password and by an app.
func (s *scan) callers() map[string]func(method, nsid string, params url.Values) {
	plain := login(s.t, s.PDS, string(s.carol.DID), newAppPassword(s.t, s.carol, "app", true))
	app := newPerson(s.t, s.PDS, "atproto transition:generic repo:*")
	app.signIn(s.carol)
	by := func(auth string) func(method, nsid string, params url.Values) {
		return func(method, nsid string, params url.Values) {
			s.fetch("answer", method, "/xrpc/"+nsid+"?"+params.Encode(), auth, "")
		}
	}
	return map[string]func(method, nsid string, params url.Values){
		"nobody": by(""), "a session": by("Bearer " + s.carol.Access), "an app password": by("Bearer " + plain.AccessJwt),
		"an app": func(method, nsid string, params url.Values) {
			address := s.URL + "/xrpc/" + nsid
			proof := app.proof(method, address, app.tokens.Access)
			s.fetch("answer", method, "/xrpc/"+nsid+"?"+params.Encode(), "DPoP "+app.tokens.Access, proof)
		},
	}
}

// fetch sends a request and notes its answer whole. What an output is about
// stands in its name.
func (s *scan) fetch(sink, method, path, auth, proof string, body ...string) {
	s.t.Helper()
	r, err := http.NewRequestWithContext(s.t.Context(), method, s.URL+path, strings.NewReader(strings.Join(body, "")))
	ok(s.t, err)
	if auth != "" {
		r.Header.Set("Authorization", auth)
	}
	if proof != "" {
		r.Header.Set("DPoP", proof)
	}
	if len(body) > 0 {
		r.Header.Set("Content-Type", "application/json")
	}
	s.send(sink, r)
}

func (s *scan) send(sink string, r *http.Request) {
	s.t.Helper()
	resp, err := http.DefaultTransport.RoundTrip(r) // redirects are outputs, too
	ok(s.t, err)
	defer resp.Body.Close()
	var b strings.Builder
	ok(s.t, resp.Header.Write(&b))
	_, err = io.Copy(&b, resp.Body)
	ok(s.t, err)
	s.out.add(sink, r.Host+strings.TrimPrefix(r.URL.RequestURI(), "/xrpc/"), b.String())
}

// queries calls every query of the server.
func (s *scan) queries() {
	s.t.Helper()
	catalog := lexicons.New()
	for who, call := range s.callers() {
		for _, about := range s.subjects() {
			values := s.values(about)
			for _, m := range s.Methods() {
				if m.Type() != "query" {
					continue
				}
				known, err := catalog.Method(m.NSID())
				if errors.Is(err, lexicons.ErrUnknown) {
					known, err = &lexicons.Method{}, nil
				}
				ok(s.t, err)
				times := 1
				for _, p := range known.Params {
					list := values[p.Name]
					if times = max(times, len(list)); p.Required && len(list) == 0 {
						s.t.Fatalf("%s needs %s: name a good value in scan.values", m.NSID(), p.Name)
					}
				}
				for n := range times {
					call("GET", m.NSID(), pick(values, n))
				}
			}
		}
		if who == "a session" {
			call("GET", "com.example.unknown", nil)
		}
	}
}

// procedures has somebody call every procedure, with inputs that name others.
func (s *scan) procedures() {
	s.t.Helper()
	for _, about := range s.subjects() {
		values := s.values(about)
		var fields []string
		for name := range values {
			if v := pick(values, 0).Get(name); name != "handle" {
				fields = append(fields, fmt.Sprintf("%q: %q", name, v))
			}
		}
		body := "{" + strings.Join(fields, ",") + fmt.Sprintf(`,"record":{"text":"x"},"writes":[],"password":"not this","name":"x","token":"AAAAA-AAAAA",
			"preferences":[],"useCount":1,"account":%q,"subject":{"$type":"com.atproto.admin.defs#repoRef","did":%[1]q},"codes":[]}`, about.DID)
		for _, m := range s.Methods() {
			if m.Type() != "procedure" || m.NSID() == createAccount {
				continue
			}
			for _, auth := range []string{"", "Bearer " + s.mallory.Access} {
				s.fetch("refusal", "POST", "/xrpc/"+m.NSID(), auth, "", body)
				s.fetch("refusal", "POST", "/xrpc/"+m.NSID(), auth, "", "{")
			}
		}
		s.mallory = s.CreateAccount("mallory" + about.DID.Identifier()[:6])
	}
}

// subscriptions opens every subscription and reads it. But for the firehose all
// end soon, since nobody has a right to them.
func (s *scan) subscriptions() {
	s.t.Helper()
	for _, m := range s.Methods() {
		if m.Type() != "subscription" {
			continue
		}
		sink, last := "stream", int64(0)
		if m.NSID() == "com.atproto.sync.subscribeRepos" {
			sink, last = "firehose", lastSeq(s.t, s.PDS)
		}
		for _, topic := range []string{"", roomTopic, s.secretRoom()} {
			s.subscription(sink, m.NSID(), topic, last)
		}
	}
}

// secretRoom is the name of the private room: somebody has heard of it.
func (s *scan) secretRoom() string {
	i := slices.IndexFunc(s.secrets, func(x secret) bool { return x.what == "room" })
	return "com.example.room/" + s.secrets[i].text
}

// subscription reads a stream until it ends, and the firehose up to an event.
func (s *scan) subscription(sink, nsid, topic string, last int64) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	address := "ws" + strings.TrimPrefix(s.URL, "http") + "/xrpc/" + nsid + "?client=did:web:x.example&topic=" + topic
	if sink == "firehose" {
		address += "&cursor=0"
	}
	conn, resp, err := websocket.Dial(ctx, address, nil)
	if err != nil {
		if resp == nil {
			s.t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		ok(s.t, err)
		s.out.add(sink, nsid, fmt.Sprint(resp.Header)+string(body))
		return
	}
	defer conn.CloseNow()
	conn.SetReadLimit(8 << 20)
	for {
		_, data, err := conn.Read(ctx)
		if err != nil {
			s.out.add(sink, nsid, err.Error())
			if sink == "firehose" || ctx.Err() != nil {
				s.t.Fatalf("%s does not end: %v", nsid, err)
			}
			return
		}
		s.out.add(sink, nsid, string(data))
		if sink == "firehose" {
			ev, err := pdstest.DecodeEvent(data)
			ok(s.t, err)
			if ev.Seq >= last {
				return
			}
		}
	}
}

var routePattern = regexp.MustCompile(`"(?:(GET|POST) )?(/[^" ]*)"`)

// routes calls all other routes of the server, on its own host and on those of
// handles.
func (s *scan) routes() {
	s.t.Helper()
	source, err := os.ReadFile("routes.go")
	ok(s.t, err)
	found := routePattern.FindAllStringSubmatch(string(source), -1)
	if len(found) < 15 {
		s.t.Fatalf("only %d routes were found", len(found))
	}
	for _, route := range found {
		method, path := max(route[1], "GET"), strings.TrimSuffix(route[2], "{$}")
		for _, host := range []string{"", "alice.test", "the-group.test", "nobody.test"} {
			for _, auth := range []string{"", "Bearer " + s.carol.Access} {
				r, err := http.NewRequestWithContext(s.t.Context(), method, s.URL+path+"?domain=the-group.test", nil)
				ok(s.t, err)
				if r.Host = host; auth != "" {
					r.Header.Set("Authorization", auth)
				}
				s.send("route", r)
			}
		}
	}
}

var pageLink = regexp.MustCompile(`href="([^"#]*)"`)

// pages walks through the pages of OAuth and of the account manager, as nobody
// and as somebody else.
func (s *scan) pages() {
	s.t.Helper()
	nobody := newPerson(s.t, s.PDS, "atproto")
	somebody := newPerson(s.t, s.PDS, "atproto repo:*")
	manager := somebody.do(http.NewRequestWithContext(s.t.Context(), "GET", s.URL+"/account/sign-in", nil))
	somebody.submit(manager, "/sign-in", url.Values{"identifier": {string(s.carol.Handle)}, "password": {s.carol.Password}, "remember": {"1"}})
	for _, p := range []*person{nobody, somebody} {
		seen := map[string]bool{}
		todo := []string{s.URL + "/account", s.URL + "/oauth/authorize?client_id=" + url.QueryEscape(p.clientID())}
		show := func(pg *page) {
			s.out.add("page", pg.base.RequestURI(), strings.ReplaceAll(pg.text, "<wbr>", "")+pg.location)
			for _, link := range pageLink.FindAllStringSubmatch(pg.text, -1) {
				target, err := pg.base.Parse(html.UnescapeString(link[1]))
				if err == nil && target.Host == pg.base.Host {
					todo = append(todo, target.String())
				}
			}
		}
		show(p.open())
		for len(todo) > 0 && len(seen) < 200 {
			next := todo[0]
			if todo = todo[1:]; seen[next] {
				continue
			}
			seen[next] = true
			show(p.do(http.NewRequestWithContext(s.t.Context(), "GET", next, nil)))
		}
		if len(seen) < 5 {
			s.t.Errorf("only %d pages were found", len(seen))
		}
		// Signing in as the group, or as its member, is not to be had.
		for _, a := range []*pdstest.Account{s.group, s.alice} {
			show(p.do(http.NewRequestWithContext(s.t.Context(), "GET", s.URL+"/account/"+url.PathEscape(string(a.DID)), nil)))
		}
		for _, who := range []string{"alice.test", "the-group.test", "nobody.test"} {
			show(p.submit(p.signInPage(), "/sign-in", url.Values{"identifier": {who}, "password": {"not this"}}))
		}
	}
}

// directory reads what the PLC directory was told.
func (s *scan) directory() {
	for _, a := range append(s.subjects(), s.carol) {
		for _, path := range []string{"", "/log", "/log/audit", "/data"} {
			w := httptest.NewRecorder()
			s.PLC.ServeHTTP(w, httptest.NewRequestWithContext(s.t.Context(), "GET", "/"+string(a.DID)+path, nil))
			s.out.add("directory", string(a.DID)+path, w.Body.String())
		}
	}
}

func (s *scan) metrics() {
	w := httptest.NewRecorder()
	promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequestWithContext(s.t.Context(), "GET", "/metrics", nil))
	s.out.add("metrics", "", w.Body.String())
}

// rest notes what the server has sent elsewhere: to its log, to where traces go,
// and to the app view.
func (s *scan) rest() {
	for _, line := range s.log.lines() {
		s.out.add("log", "", line)
	}
	for _, line := range s.trace.lines() {
		s.out.add("trace", "", line)
	}
	s.view.mu.Lock()
	defer s.view.mu.Unlock()
	for _, r := range s.view.requests {
		s.out.add("app view", r.URL.Path, fmt.Sprint(r.URL, r.Header, r.body))
	}
}
