package pds

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// routes returns the handler of everything that the server serves.
func (s *Server) routes() http.Handler {
	shared := http.NewServeMux() // on every host
	shared.HandleFunc("GET /.well-known/atproto-did", s.serveHandleDID)
	shared.HandleFunc("GET /.well-known/did.json", s.serveDIDDocument)

	other := http.NewServeMux()
	other.Handle("/.well-known/", shared)
	other.HandleFunc("GET /robots.txt", func(w http.ResponseWriter, _ *http.Request) {
		writeText(w, http.StatusOK, "# Crawling the public parts of the API is allowed\nUser-agent: *\nAllow: /\n")
	})
	other.HandleFunc("GET /tls-check", s.serveTLSCheck)
	other.HandleFunc("GET /{$}", s.serveLanding)
	other.HandleFunc("POST /admin/clock/accept", s.adminRoute(s.serveAcceptClock))
	other.HandleFunc("GET /admin/accounts", s.adminRoute(s.serveAccounts))
	other.HandleFunc("GET /admin/seq", s.adminRoute(s.serveSeq))
	other.HandleFunc("POST /admin/seq", s.adminRoute(s.serveRaiseSeq))
	other.HandleFunc("GET /admin/check", s.adminRoute(s.serveCheck))
	other.HandleFunc("GET /admin/export", s.adminRoute(s.serveExport))
	other.HandleFunc("GET /admin/usage", s.adminRoute(s.serveUsage))
	other.HandleFunc("GET /admin/audit", s.adminRoute(s.serveAudit))
	other.HandleFunc("GET /admin/jobs", s.adminRoute(s.serveJobs))
	other.HandleFunc("POST /admin/jobs/retry", s.adminRoute(s.serveRetryJob))

	main := http.NewServeMux()
	main.Handle("/", xrpc.CORS(other))
	main.HandleFunc("/xrpc", http.NotFound) // rather than a redirect to the next
	main.Handle("/xrpc/", s.withNonce(s.xrpc))
	if s.oauth != nil {
		pages := s.tracer.traceOAuth(s.oauth)
		main.Handle("/oauth/", pages)
		if s.cfg.RemoteMembers {
			main.Handle("GET "+clientMetadataPath, xrpc.CORS(http.HandlerFunc(s.serveClientMetadata)))
		}
		main.Handle("/account/", pages)
		for _, path := range []string{"/account", "/.well-known/oauth-protected-resource", "/.well-known/oauth-authorization-server", "/.well-known/change-password"} {
			main.Handle(path, pages)
		}
	}
	main.Handle("/xrpc/_health", xrpc.CORS(http.HandlerFunc(s.serveHealth)))
	main.Handle("/xrpc/_ready", xrpc.CORS(http.HandlerFunc(s.serveReady)))

	handles := http.NewServeMux()
	handles.Handle("/.well-known/", xrpc.CORS(shared))
	handles.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, s.public.String(), http.StatusFound)
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.isHandleHost(hostOf(r)) {
			handles.ServeHTTP(w, r)
			return
		}
		main.ServeHTTP(w, r)
	})
}

// hostOf returns the host that a request names, without port, in lower case.
func hostOf(r *http.Request) string {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// isHandleHost reports whether a host name lies under a handle domain and is
// not the server's own. On such hosts only the handle's well-known documents
// are served, so that a user's domain is not an origin of the API.
func (s *Server) isHandleHost(host string) bool {
	if host == s.public.Hostname() {
		return false
	}
	for _, d := range s.cfg.HandleDomains {
		if strings.HasSuffix(host, d) {
			return true
		}
	}
	return false
}

func writeText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text)) // the client may be gone; there is nobody to tell
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		writeText(w, http.StatusInternalServerError, "Internal Server Error")
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// serveLanding is the page at /.
func (s *Server) serveLanding(w http.ResponseWriter, _ *http.Request) {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\nThis is an AT Protocol Personal Data Server (PDS): https://atproto.com\n\n", s.cfg.Info.Name)
	b.WriteString("Most API routes are under /xrpc/\n")
	for _, line := range [][2]string{
		{"Home", s.cfg.Info.HomeURL}, {"Terms of service", s.cfg.Info.TermsOfService},
		{"Privacy policy", s.cfg.Info.PrivacyPolicy}, {"Contact", s.cfg.Info.Contact},
	} {
		if line[1] != "" {
			fmt.Fprintf(&b, "%s: %s\n", line[0], line[1])
		}
	}
	writeText(w, http.StatusOK, b.String())
}

// serveHealth answers 200 with the version while the storage answers, else
// 503. A clock in doubt is named, but the server serves on.
func (s *Server) serveHealth(w http.ResponseWriter, r *http.Request) { s.serveState(w, r, false) }

// serveReady answers 200 while requests are welcome: like serveHealth, and 503
// too when the server shuts down, so that whoever distributes requests sends no
// more.
func (s *Server) serveReady(w http.ResponseWriter, r *http.Request) {
	s.serveState(w, r, s.draining.Load())
}

func (s *Server) serveState(w http.ResponseWriter, r *http.Request, draining bool) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		xrpc.WriteError(w, r, xrpc.InvalidRequest("Incorrect HTTP method (%s) expected GET", r.Method))
		return
	}
	out := struct {
		Version string `json:"version"`
		Error   string `json:"error,omitempty"`
		Clock   string `json:"clock,omitempty"`
	}{Version: s.cfg.Version}
	if doubt := s.clockDoubt(); doubt != nil {
		out.Clock = doubt.Error()
	}
	err := s.store.View(r.Context(), func(tx storage.Tx) error {
		_, err := tx.LastSeq()
		return err
	})
	switch {
	case err != nil:
		s.log.ErrorContext(r.Context(), "health check failed", "error", err)
		out.Error = "Service Unavailable"
	case draining:
		out.Error = "Shutting Down"
	default:
		writeJSON(w, http.StatusOK, out)
		return
	}
	writeJSON(w, http.StatusServiceUnavailable, out)
}

// AdminOnly lets only the administrator through to a handler, with the
// administrator's password: for routes of a program's own, which it serves
// beside the server's or in [Config.Middleware].
func (s *Server) AdminOnly(h http.Handler) http.Handler {
	return s.adminRoute(func(w http.ResponseWriter, r *http.Request) error {
		h.ServeHTTP(w, r)
		return nil
	})
}

// adminRoute lets only the administrator through, with the administrator's
// password.
func (s *Server) adminRoute(serve func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		scheme, value, _ := parseAuthorization(r.Header.Values("Authorization"))
		err := error(xrpc.AuthRequired(""))
		if scheme == "basic" {
			_, err = s.authenticateAdmin(r, value)
		}
		if err == nil {
			err = serve(w, r)
		}
		if err != nil {
			if !isRefusal(err) {
				s.log.ErrorContext(r.Context(), "an administration route failed", "path", r.URL.Path, "error", err)
			}
			xrpc.WriteError(w, r, err)
		}
	}
}

// serveAcceptClock lets an administrator declare the clock right after all,
// see storage.Guard.
func (s *Server) serveAcceptClock(w http.ResponseWriter, r *http.Request) error {
	entry := AuditEntry{Actor: adminUser, Client: r.UserAgent(), Action: "clock accept"}
	err := s.Audit(r.Context(), entry, func(ctx context.Context) error {
		s.clock.Accept()
		s.log.WarnContext(ctx, "an administrator accepted the clock", "now", s.clock.Now())
		return nil
	})
	if err == nil {
		writeJSON(w, http.StatusOK, map[string]bool{"accepted": true})
	}
	return err
}

// accountOfHost returns the account whose handle is the host.
func (s *Server) accountOfHost(ctx context.Context, host string) (a storage.Account, err error) {
	handle, err := syntax.ParseHandle(host)
	if err != nil {
		return a, storage.ErrNotFound
	}
	err = s.store.View(ctx, func(tx storage.Tx) error {
		a, err = tx.AccountByHandle(handle.Normalize())
		return err
	})
	if err == nil && a.Pending {
		return storage.Account{}, storage.ErrNotFound
	}
	return a, err
}

// serveHandleDID proves a handle: it answers with the DID of the active
// account whose handle is the host of the request.
func (s *Server) serveHandleDID(w http.ResponseWriter, r *http.Request) {
	a, err := s.accountOfHost(r.Context(), hostOf(r))
	switch {
	case errors.Is(err, storage.ErrNotFound) || (err == nil && !a.Active()):
		writeText(w, http.StatusNotFound, "User not found")
	case err != nil:
		s.log.ErrorContext(r.Context(), "looking up a handle failed", "error", err)
		writeText(w, http.StatusInternalServerError, "Internal Server Error")
	default:
		writeText(w, http.StatusOK, string(a.DID))
	}
}

// serveTLSCheck tells a reverse proxy whether it may ask for a certificate:
// for the server's own name and for handles that exist.
func (s *Server) serveTLSCheck(w http.ResponseWriter, r *http.Request) {
	domain := strings.ToLower(r.URL.Query().Get("domain"))
	if domain == s.public.Hostname() {
		writeJSON(w, http.StatusOK, map[string]bool{"success": true})
		return
	}
	if domain == "" || !s.isHandleHost(domain) {
		xrpc.WriteError(w, r, xrpc.InvalidRequest("handles are not provided on this domain"))
		return
	}
	_, err := s.accountOfHost(r.Context(), domain)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		xrpc.WriteError(w, r, xrpc.NewError(http.StatusNotFound, "NotFound", "handle not found for this domain"))
	case err != nil:
		xrpc.WriteError(w, r, err)
	default:
		writeJSON(w, http.StatusOK, map[string]bool{"success": true})
	}
}

// didDocument is a did:web document that this server makes.
type didDocument struct {
	Context            []string             `json:"@context"`
	ID                 string               `json:"id"`
	AlsoKnownAs        []string             `json:"alsoKnownAs,omitempty"`
	VerificationMethod []verificationMethod `json:"verificationMethod,omitempty"`
	Service            []didService         `json:"service"`
}

type verificationMethod struct {
	ID                 string `json:"id"`
	Type               string `json:"type"`
	Controller         string `json:"controller"`
	PublicKeyMultibase string `json:"publicKeyMultibase"`
}

type didService struct {
	ID              string `json:"id"`
	Type            string `json:"type"`
	ServiceEndpoint string `json:"serviceEndpoint"`
}

// serveDIDDocument serves the did:web document of the server on its own host,
// and that of an account on the host that its DID names. The server's own DID may
// be that of an account as well.
func (s *Server) serveDIDDocument(w http.ResponseWriter, r *http.Request) {
	doc := didDocument{
		Context: []string{"https://www.w3.org/ns/did/v1", "https://w3id.org/security/multikey/v1"},
		ID:      "did:web:" + strings.ReplaceAll(strings.ToLower(r.Host), ":", "%3A"),
		Service: []didService{{"#atproto_pds", "AtprotoPersonalDataServer", s.public.String()}},
	}
	own := doc.ID == string(s.cfg.ServiceDID)
	if own {
		for _, name := range slices.Sorted(maps.Keys(s.cfg.DocumentServices)) {
			service := s.cfg.DocumentServices[name]
			doc.Service = append(doc.Service, didService{"#" + name, service.Type, service.Endpoint})
		}
	}
	a, err := s.accountByIdentifier(r.Context(), doc.ID)
	switch {
	case err != nil && !isAccountNotFound(err):
		s.log.ErrorContext(r.Context(), "looking up an account failed", "error", err)
		writeText(w, http.StatusInternalServerError, "Internal Server Error")
		return
	case err != nil || a.TakedownRef != "":
		if !own {
			writeText(w, http.StatusNotFound, "Not found")
			return
		}
	default: // a deactivated account's document is served too: activation reads it
		if a.Handle != "" {
			doc.AlsoKnownAs = []string{"at://" + string(a.Handle)}
		}
		doc.VerificationMethod = []verificationMethod{{
			doc.ID + "#atproto", "Multikey", doc.ID, strings.TrimPrefix(a.KeyID, "did:key:"),
		}}
	}
	writeJSON(w, http.StatusOK, doc)
}
