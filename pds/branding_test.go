package pds_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/pdskit/pdskit/oauth/ui"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
)

// The pages have the links and colors of Config.Info.
func TestPagesAreThoseOfTheServer(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t, func(c *pds.Config) {
		c.Info = pds.Info{
			Name: "Our place", HomeURL: "https://home.example.com", SupportURL: "https://help.example.com",
			Colors: ui.Colors{Primary: "#123456"},
		}
	})
	_, page := request(t, srv, "GET", "", "/account/sign-in")
	for _, want := range []string{"Our place", "https://home.example.com", "https://help.example.com"} {
		if !strings.Contains(page, want) {
			t.Errorf("%q is not in the page", want)
		}
	}
	sheet := regexp.MustCompile(`href="([^"]+\.css)"`).FindStringSubmatch(page)
	if sheet == nil {
		t.Fatalf("no style sheet in %.500s", page)
	}
	if _, css := request(t, srv, "GET", "", strings.TrimPrefix(sheet[1], srv.URL)); !strings.Contains(css, "#123456") {
		t.Errorf("the color is not in %s", sheet[1])
	}
}
