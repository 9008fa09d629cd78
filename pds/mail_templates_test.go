package pds_test

import (
	"io/fs"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
)

// mailNames are the mails that have templates.
func mailNames(t *testing.T) []string {
	t.Helper()
	names, err := fs.Glob(pds.MailTemplates(), "*.txt")
	if err != nil || len(names) != 7 {
		t.Fatalf("templates: %v, %v", names, err)
	}
	return names
}

// TestMailTemplatesAreChecked gives a server templates that do not work.
func TestMailTemplatesAreChecked(t *testing.T) {
	t.Parallel()
	cfg := pdstest.New(t).Config
	for name, c := range map[string]struct {
		files fstest.MapFS
		ok    bool
	}{
		"none":              {fstest.MapFS{}, true},
		"a text":            {fstest.MapFS{"reset_password.txt": {Data: []byte("Subject: x\n\n{{.Code}}")}}, true},
		"a layout":          {fstest.MapFS{"layout.html": {Data: []byte(`{{define "head"}}<body>{{end}}{{define "foot"}}</body>{{end}}`)}}, true},
		"no subject":        {fstest.MapFS{"reset_password.txt": {Data: []byte("{{.Code}}")}}, false},
		"an unknown field":  {fstest.MapFS{"reset_password.txt": {Data: []byte("Subject: x\n\n{{.Password}}")}}, false},
		"bad syntax":        {fstest.MapFS{"reset_password.html": {Data: []byte("{{.Code")}}, false},
		"half a layout":     {fstest.MapFS{"layout.html": {Data: []byte(`{{define "head"}}<body>{{end}}`)}}, false},
		"unfinished markup": {fstest.MapFS{"reset_password.html": {Data: []byte(`<a href="{{.Code}}`)}}, false},
	} {
		cfg.MailTemplates = c.files
		_, err := pds.New(cfg)
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && !strings.Contains(err.Error(), "Config.MailTemplates") {
			t.Errorf("%s: the error does not name the field: %v", name, err)
		}
	}
}

// TestMailsOfMethods has each mail sent and looks at what is in it.
func TestMailsOfMethods(t *testing.T) {
	t.Parallel()
	const service = `Alice & <Bob's> PDS`
	srv := pdstest.New(t, func(cfg *pds.Config) {
		cfg.Info.Name, cfg.Info.Contact = service, "help@example.com"
		cfg.SignInAlerts = true
	})
	a := srv.CreateAccount("alice")
	editAccount(t, srv, a.DID, confirmed)
	for nsid, in := range map[string]any{
		"com.atproto.server.requestEmailConfirmation":       nil,
		"com.atproto.server.requestEmailUpdate":             nil,
		"com.atproto.server.requestAccountDelete":           nil,
		"com.atproto.identity.requestPlcOperationSignature": nil,
		"com.atproto.server.requestPasswordReset":           map[string]any{"email": strings.ToUpper(a.Email)},
	} {
		a.Post(nsid, in, nil)
	}
	_, err := srv.Call(t.Context(), http.MethodPost, createSession, nil, http.Header{"User-Agent": {"Evil <Browser>"}},
		map[string]any{"identifier": a.Handle, "password": a.Password})
	ok(t, err)
	after := srv.Clock.Now().Add(30 * 24 * time.Hour).UTC()
	a.Post("com.atproto.server.deactivateAccount", map[string]any{"deleteAfter": after.Format(time.RFC3339)}, nil)
	mails := srv.Mail.To(a.Email) // codes are dropped if they come too late
	srv.Clock.Advance(24 * 24 * time.Hour)
	mails = append(mails, srv.Mail.To(a.Email)[len(mails):]...)
	subjects := map[string]bool{
		"Email Confirmation": true, "Email Update Requested": true, "Account Deletion Requested": true,
		"PLC Update Operation Requested": true, "Password Reset Requested": true, "New sign-in to your account": false,
		"Your account will be deleted": false,
	}
	for _, m := range mails {
		hasCode, known := subjects[m.Subject]
		delete(subjects, m.Subject)
		if !known {
			t.Errorf("a mail with subject %q", m.Subject)
		}
		for _, want := range []string{service, string(a.Handle)} {
			if !strings.Contains(m.Text, want) {
				t.Errorf("%s: the text does not mention %s:\n%s", m.Subject, want, m.Text)
			}
		}
		for _, want := range []string{"Alice &amp; &lt;Bob&#39;s&gt; PDS", string(a.Handle), srv.URL, "help@example.com", "<!doctype html>", "</html>"} {
			if !strings.Contains(m.HTML, want) {
				t.Errorf("%s: the HTML has no %s:\n%s", m.Subject, want, m.HTML)
			}
		}
		if regexp.MustCompile(`(^|[^-])color:#`).MatchString(m.HTML) {
			t.Errorf("%s: text of a color of its own cannot be read on every ground:\n%s", m.Subject, m.HTML)
		}
		code := codeIn(m.Text)
		if (code != "") != hasCode || !strings.Contains(m.HTML, code) {
			t.Errorf("%s: code %q", m.Subject, code)
		}
		if hasCode && (!strings.Contains(m.Text, "15 minutes") || !strings.Contains(m.HTML, "15 minutes")) {
			t.Errorf("%s: does not say how long the code is good", m.Subject)
		}
		text, html := "", ""
		switch m.Subject {
		case "New sign-in to your account":
			text, html = "Evil <Browser>", "Evil &lt;Browser&gt;"
		case "Your account will be deleted":
			text = after.Format("2 January 2006, 15:04 UTC")
			html = text
		}
		if !strings.Contains(m.Text, text) || !strings.Contains(m.HTML, html) {
			t.Errorf("%s: does not say %q:\n%s", m.Subject, text, m.Text)
		}
	}
	if len(subjects) > 0 || len(mails) != len(mailNames(t)) {
		t.Errorf("%d mails; not sent: %q", len(mails), slices.Collect(maps.Keys(subjects)))
	}
}

// TestMailTemplatesReplaced puts other templates in the place of the built-in
// ones.
func TestMailTemplatesReplaced(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t, func(cfg *pds.Config) {
		cfg.MailTemplates = fstest.MapFS{
			"confirm_email.txt": {Data: []byte("Subject: Bestätigung\r\n\r\nDer Code: {{.Code}}\n")},
			"layout.html":       {Data: []byte(`{{define "head"}}<body class="brand">{{end}}{{define "foot"}}</body>{{end}}`)},
		}
	})
	a := srv.CreateAccount("alice")
	a.Post("com.atproto.server.requestEmailConfirmation", nil, nil)
	m := srv.Mail.To(a.Email)[0]
	if m.Subject != "Bestätigung" || m.Text != "Der Code: "+codeIn(m.Text)+"\n" || m.HTML != "" {
		t.Errorf("%+v", m)
	}
	a.Post("com.atproto.server.requestAccountDelete", nil, nil)
	m = srv.Mail.To(a.Email)[1]
	if m.Subject != "Account Deletion Requested" || !strings.Contains(m.HTML, `class="brand"`) {
		t.Errorf("%+v", m)
	}
}
