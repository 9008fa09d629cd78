package pds

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc/lexicons"
)

// check validates the configuration and fills in the defaults. It returns the
// parsed PublicURL.
func (c *Config) check() (*url.URL, error) {
	if err := c.checkRequired(); err != nil {
		return nil, err
	}
	public, err := c.checkPublicURL()
	if err != nil {
		return nil, err
	}
	if err := c.checkValues(); err != nil {
		return nil, err
	}
	if err := c.checkNames(public); err != nil {
		return nil, err
	}
	allowed, err := c.checkServices()
	if err != nil {
		return nil, err
	}
	c.setDefaults(public, allowed)
	return public, c.Limits.check()
}

// configError is the error of New for a field.
func configError(field, format string, args ...any) error {
	return fmt.Errorf("pds: Config.%s: %w", field, fmt.Errorf(format, args...))
}

// checkRequired names all fields that are missing.
func (c *Config) checkRequired() error {
	var missing []string
	for _, f := range []struct {
		name  string
		unset bool
	}{
		{"PublicURL", c.PublicURL == ""}, {"Store", c.Store == nil}, {"Blobs", c.Blobs == nil},
		{"Registry", c.Registry == nil}, {"Directory", c.Directory == nil}, {"Keys", c.Keys == nil},
		{"Secret", len(c.Secret) == 0},
	} {
		if f.unset {
			missing = append(missing, f.name)
		}
	}
	if len(missing) > 0 {
		return configError(strings.Join(missing, ", Config."), "required")
	}
	return nil
}

// checkPublicURL returns the public address, in lower case.
func (c *Config) checkPublicURL() (*url.URL, error) {
	u, err := url.Parse(c.PublicURL)
	switch {
	case err != nil:
		return nil, configError("PublicURL", "%w", err)
	case !isOrigin(u):
		return nil, configError("PublicURL", "%q must be scheme and host only", c.PublicURL)
	case u.Scheme != "https" && !(u.Scheme == "http" && c.DevMode):
		return nil, configError("PublicURL", "%q must be https (http needs DevMode)", c.PublicURL)
	}
	return &url.URL{Scheme: u.Scheme, Host: strings.ToLower(u.Host)}, nil
}

// isOrigin reports whether an address has no more than a scheme and a host.
func isOrigin(u *url.URL) bool {
	return u.Host != "" && u.User == nil && strings.Trim(u.Path, "/") == "" && u.RawQuery == "" && u.Fragment == ""
}

// checkValues checks the fields that stand for themselves.
func (c *Config) checkValues() error {
	if c.InviteInterval < 0 {
		return configError("InviteInterval", "must not be negative")
	}
	if err := checkNamespaces(c.Namespaces); err != nil {
		return configError("Namespaces", "%w", err)
	}
	if err := checkWithheld(c.WithheldDocuments); err != nil {
		return configError("WithheldDocuments", "%w", err)
	}
	if len(c.Secret) < MinSecretBytes {
		return configError("Secret", "must have at least %d bytes", MinSecretBytes)
	}
	if c.Lexicons < LexiconsOptimistic || c.Lexicons > LexiconsRequired {
		return configError("Lexicons", "%d is no policy", c.Lexicons)
	}
	if p := c.ImageURLPattern; p != "" && (strings.Count(p, "%s") != 3 || strings.Count(p, "%") != 3) {
		return configError("ImageURLPattern", "%q must have %%s three times", p)
	}
	return nil
}

// checkNames checks the server's own DID and the domains of its handles, whose
// defaults come from the public address.
func (c *Config) checkNames(public *url.URL) error {
	if c.ServiceDID == "" {
		c.ServiceDID = syntax.DID("did:web:" + strings.ReplaceAll(public.Host, ":", "%3A"))
	}
	if _, err := syntax.ParseDID(string(c.ServiceDID)); err != nil {
		return configError("ServiceDID", "%w", err)
	}
	host := public.Hostname()
	if len(c.HandleDomains) == 0 {
		if _, err := syntax.ParseHandle("a." + host); err != nil && host != "localhost" {
			return configError("HandleDomains", "required, because the host of PublicURL, %q, cannot be a domain of handles", host)
		}
		c.HandleDomains = []string{"." + host}
		if host == "localhost" {
			c.HandleDomains = []string{".test"}
		}
	}
	c.HandleDomains = slices.Clone(c.HandleDomains)
	for i, d := range c.HandleDomains {
		d = strings.ToLower(d)
		if _, err := syntax.ParseHandle("a" + d); err != nil || !strings.HasPrefix(d, ".") {
			return configError("HandleDomains", "%q must be a domain with a leading dot", d)
		}
		c.HandleDomains[i] = d
	}
	return nil
}

// checkServices checks the addresses of others and returns their hosts, which
// may be private.
func (c *Config) checkServices() (hosts []string, err error) {
	for _, u := range c.Crawlers {
		p, err := url.Parse(u)
		if err != nil || p.Host == "" || (p.Scheme != "https" && p.Scheme != "http") {
			return nil, configError("Crawlers", "%q must be a URL such as https://relay.example.com", u)
		}
		hosts = append(hosts, p.Host)
	}
	if c.ReportService == (Service{}) {
		c.ReportService = c.ModService
	}
	for _, service := range []struct {
		field string
		*Service
	}{{"AppView", &c.AppView}, {"ModService", &c.ModService}, {"ReportService", &c.ReportService}} {
		if err := service.check(); err != nil {
			return nil, configError(service.field, "%w", err)
		}
		if _, host, ok := strings.Cut(service.URL, "://"); ok {
			hosts = append(hosts, host)
		}
	}
	return hosts, nil
}

// check brings URL into the form that other places compare with.
func (s *Service) check() error {
	if s.DID != "" {
		if _, err := syntax.ParseDID(string(s.DID)); err != nil {
			return err
		}
	}
	if s.URL == "" {
		return nil
	}
	if s.DID == "" {
		return errors.New("a URL needs its DID")
	}
	u, err := url.Parse(s.URL)
	if err != nil {
		return err
	}
	if !isOrigin(u) || u.Scheme != "https" && u.Scheme != "http" {
		return fmt.Errorf("%q must be scheme and host only", s.URL)
	}
	s.URL = (&url.URL{Scheme: u.Scheme, Host: strings.ToLower(u.Host)}).String()
	return nil
}

// setDefaults fills in what is not set. Requests to the hosts in allowed pass
// the guard of the default transport.
func (c *Config) setDefaults(public *url.URL, allowed []string) {
	if g, ok := storage.GuardOf(c.Store); ok && c.Clock == nil {
		c.Clock = g
	}
	if c.Clock == nil {
		c.Clock = storage.SystemClock()
	}
	if _, guarded := c.Clock.(*storage.Guard); !guarded {
		c.Clock = storage.NewGuard(c.Clock, time.Time{})
	}
	if c.Limiter == nil {
		c.Limiter = unlimited{}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Mailer == nil {
		c.Mailer = LogMailer(c.Logger)
	}
	if c.ModerationMailer == nil {
		c.ModerationMailer = c.Mailer
	}
	if c.Transport == nil {
		c.Transport = identity.NewTransport(identity.TransportConfig{AllowHosts: allowed, AllowPrivate: c.DevMode})
	}
	if c.Catalog == nil {
		c.Catalog = lexicons.New()
	}
	c.Version = cmp.Or(c.Version, "pdskit")
	c.Info.Name = cmp.Or(c.Info.Name, public.Host)
	c.Limits.setDefaults()
}
