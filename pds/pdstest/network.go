package pdstest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"

	"github.com/pdskit/pdskit/identity"
)

// network is the world of servers that know each other. It is their transport
// and their DNS: requests to one of them, by its own host or by a handle under
// its domain, are answered in process; everything else is unreachable.
type network struct {
	plc   *identity.MemoryPLC
	clock *Clock

	mu      sync.Mutex // guards following 2 fields
	members []member
	txt     map[string][]string
}

type member struct {
	pds    *PDS
	domain string // with leading dot
}

// join adds a server and returns its handle domain: ".test" for the first,
// ".pds2.test", ".pds3.test" and so on for others.
func (n *network) join(p *PDS) (domain string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	domain = ".test"
	if i := len(n.members) + 1; i > 1 {
		domain = fmt.Sprintf(".pds%d.test", i)
	}
	n.members = append(n.members, member{p, domain})
	return domain
}

// find returns the server of a host, by the longest domain that fits.
func (n *network) find(host string) *PDS {
	n.mu.Lock()
	defer n.mu.Unlock()
	var best member
	for _, m := range n.members {
		if "http://"+host == m.pds.URL {
			return m.pds
		}
		if strings.HasSuffix(host, m.domain) && len(m.domain) > len(best.domain) {
			best = m
		}
	}
	return best.pds
}

// RoundTrip answers a request from the server that it is for.
func (n *network) RoundTrip(r *http.Request) (*http.Response, error) {
	p := n.find(r.URL.Host)
	if p == nil || p.Server == nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: fmt.Errorf("%s is not a test server", r.URL.Host)}
	}
	in := r.Clone(r.Context())
	in.Host, in.RequestURI, in.RemoteAddr = r.URL.Host, r.URL.RequestURI(), "127.0.0.1:1"
	if in.Body == nil {
		in.Body = http.NoBody
	}
	rec := httptest.NewRecorder()
	p.ServeHTTP(rec, in)
	resp := rec.Result()
	resp.Request = r
	return resp, nil
}

// SetTXT makes the test network's DNS answer with TXT records for a name, such
// as "_atproto.alice.example.com", or, without records, know it no more.
func (p *PDS) SetTXT(name string, records ...string) {
	n := p.network
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.txt == nil {
		n.txt = make(map[string][]string)
	}
	n.txt[name] = records
}

// LookupTXT knows the names of SetTXT.
func (n *network) LookupTXT(_ context.Context, name string) ([]string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if records := n.txt[name]; len(records) > 0 {
		return records, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}
