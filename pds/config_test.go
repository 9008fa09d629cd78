package pds_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
)

// New names each field that is wrong.
func TestConfigErrorsNameTheField(t *testing.T) {
	t.Parallel()
	good := pdstest.New(t).Config
	if _, err := pds.New(good); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		field string
		spoil func(c *pds.Config)
	}{
		{"PublicURL", func(c *pds.Config) { c.PublicURL = "" }},
		{"PublicURL", func(c *pds.Config) { c.PublicURL = "pds.example.com" }},
		{"PublicURL", func(c *pds.Config) { c.PublicURL = "https://pds.example.com/path" }},
		{"PublicURL", func(c *pds.Config) { c.PublicURL = "https://pds.example.com?x=y" }},
		{"PublicURL", func(c *pds.Config) { c.PublicURL = "https://user@pds.example.com" }},
		{"PublicURL", func(c *pds.Config) { c.PublicURL = "https://pds.example.com#x" }},
		{"PublicURL", func(c *pds.Config) { c.PublicURL = "ftp://pds.example.com" }},
		{"PublicURL", func(c *pds.Config) { c.PublicURL = "https://%zz" }},
		{"PublicURL", func(c *pds.Config) { c.PublicURL, c.DevMode = "http://pds.example.com", false }},
		{"Store", func(c *pds.Config) { c.Store = nil }},
		{"Blobs", func(c *pds.Config) { c.Blobs = nil }},
		{"Registry", func(c *pds.Config) { c.Registry = nil }},
		{"Directory", func(c *pds.Config) { c.Directory = nil }},
		{"Keys", func(c *pds.Config) { c.Keys = nil }},
		{"Secret", func(c *pds.Config) { c.Secret = nil }},
		{"Secret", func(c *pds.Config) { c.Secret = make([]byte, pds.MinSecretBytes-1) }},
		{"ServiceDID", func(c *pds.Config) { c.ServiceDID = "web:example.com" }},
		{"HandleDomains", func(c *pds.Config) { c.HandleDomains = []string{"example.com"} }},
		{"HandleDomains", func(c *pds.Config) { c.HandleDomains = []string{".test", "."} }},
		{"HandleDomains", func(c *pds.Config) { c.HandleDomains = []string{".ex ample.com"} }},
		{"HandleDomains", func(c *pds.Config) { c.PublicURL, c.HandleDomains = "https://192.0.2.1", nil }},
		{"Crawlers", func(c *pds.Config) { c.Crawlers = []string{"relay.example.com"} }},
		{"Crawlers", func(c *pds.Config) { c.Crawlers = []string{"ftp://relay.example.com"} }},
		{"AppView", func(c *pds.Config) { c.AppView.URL = "https://api.example.com" }},
		{"Limits.BlobBytes", func(c *pds.Config) { c.Limits.BlobBytes = -1 }},
		{"Limits.ImportBytes", func(c *pds.Config) { c.Limits.ImportBytes = -1 }},
		{"Limits.Writes", func(c *pds.Config) { c.Limits.Writes = -1 }},
		{"Limits.EventBytes", func(c *pds.Config) { c.Limits.EventBytes = -1 }},
		{"Limits.AccessTTL", func(c *pds.Config) { c.Limits.AccessTTL = -1 }},
		{"Limits.Imports", func(c *pds.Config) { c.Limits.Imports = -1 }},
		{"Limits.LaneQueue", func(c *pds.Config) { c.Limits.LaneQueue = -1 }},
	} {
		c := good
		tt.spoil(&c)
		srv, err := pds.New(c)
		if err == nil || srv != nil || !strings.Contains(err.Error(), "Config."+tt.field+":") {
			t.Errorf("%s: %v", tt.field, err)
		}
	}
	// All fields that are missing are named at once.
	const all = "pds: Config.PublicURL, Config.Store, Config.Blobs, Config.Registry, Config.Directory, Config.Keys, Config.Secret: required"
	if _, err := pds.New(pds.Config{}); err == nil || err.Error() != all {
		t.Errorf("the zero Config: %v", err)
	}
	// The edges that are good.
	for _, spoil := range []func(c *pds.Config){
		func(c *pds.Config) { c.Secret = make([]byte, pds.MinSecretBytes) },
		func(c *pds.Config) { c.PublicURL, c.DevMode = "https://pds.example.com/", false },
		func(c *pds.Config) { c.PublicURL, c.HandleDomains = "https://PDS.example.com", nil },
		func(c *pds.Config) {
			c.Logger, c.Mailer, c.Transport, c.Catalog, c.Limiter, c.Clock = nil, nil, nil, nil, nil, nil
		},
		func(c *pds.Config) { c.Limits = pds.Limits{} },
		func(c *pds.Config) {
			c.AppView = pds.Service{URL: "https://api.example.com", DID: "did:web:api.example.com"}
		},
	} {
		c := good
		spoil(&c)
		if _, err := pds.New(c); err != nil {
			t.Error(err)
		}
	}
}

// New leaves the caller's configuration alone.
func TestConfigIsNotChanged(t *testing.T) {
	t.Parallel()
	c := pdstest.New(t).Config
	domains := []string{".EXAMPLE.com"}
	c.HandleDomains = domains
	if _, err := pds.New(c); err != nil {
		t.Fatal(err)
	}
	if domains[0] != ".EXAMPLE.com" || c.Limits.BlobBytes != 0 || c.ServiceDID != syntax.DID("") {
		t.Errorf("changed: %v %+v", domains, c.Limits)
	}
}

func TestMasterKeyFile(t *testing.T) {
	t.Parallel()
	path := t.TempDir() + "/master.key"
	key, made, err := pds.LoadMasterKey(path)
	if err != nil || !made || len(key) != pds.MasterKeyBytes {
		t.Fatalf("%v %v", made, err)
	}
	again, made, err := pds.LoadMasterKey(path)
	if err != nil || made || !bytes.Equal(again, key) {
		t.Fatalf("%v %v", made, err)
	}
	if _, err := pds.SealedKeys(key[1:]); err == nil {
		t.Error("a short master key")
	}
	if _, _, err := pds.LoadMasterKey(t.TempDir() + "/none/master.key"); err == nil {
		t.Error("no folder")
	}
}
