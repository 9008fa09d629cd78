package pds_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
)

// TestOAuthSignUpTerms: where the server has terms, whoever makes an account on
// its pages agrees to them.
func TestOAuthSignUpTerms(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t, func(cfg *pds.Config) {
		cfg.Info = pds.Info{TermsOfService: "https://example.com/terms", PrivacyPolicy: "https://example.com/privacy"}
	})
	p := newPerson(t, srv, "atproto")
	pg := p.follow(p.signInPage(), "/sign-up")
	for _, address := range []string{srv.Config.Info.TermsOfService, srv.Config.Info.PrivacyPolicy} {
		if !strings.Contains(pg.text, address) {
			t.Errorf("the page does not name %s", address)
		}
	}
	account := url.Values{"handle": {"newcomer"}, "email": {"newcomer@example.com"}, "password": {"a long password"}}
	if refused := p.submit(pg, "/sign-up", account); refused.status != http.StatusBadRequest {
		t.Errorf("without agreement: %d %s", refused.status, refused.base)
	}
	account.Set("terms", "1")
	p.finish(p.submit(p.submit(pg, "/sign-up", account), "/consent", nil))
	ok(t, p.session())
}
