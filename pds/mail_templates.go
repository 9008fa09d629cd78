package pds

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	htmltemplate "html/template"
	"io/fs"
	"strings"
	texttemplate "text/template"
	"time"
)

//go:embed mail
var ownMailTemplates embed.FS

// MailTemplates returns the templates of the mails that a server sends by
// itself. Config.MailTemplates may hold others in their place.
//
// Each mail has a text, such as reset_password.txt, in the syntax of
// text/template, whose first line is "Subject: " and the subject; and an HTML
// form, such as reset_password.html, in the syntax of html/template. layout.html
// defines "head" and "foot", which the HTML forms use. All get a [MailData].
func MailTemplates() fs.FS {
	own, err := fs.Sub(ownMailTemplates, "mail")
	if err != nil {
		return ownMailTemplates // the name of the folder is constant
	}
	return own
}

// MailData is what the templates of mail are about.
type MailData struct {
	Service string // name of the server, Config.Info.Name
	URL     string // Config.PublicURL
	Contact string // Config.Info.Contact, may be empty
	Handle  string // of the account; its DID if it has none
	Email   string

	// Code proves that the mail was received, for Minutes minutes. Not in
	// sign_in_alert and deletion_notice.
	Code    string
	Minutes int

	// Device and Time say from where and when somebody signed in; in
	// sign_in_alert. In deletion_notice Time is when the account is deleted.
	Device string
	Time   time.Time
}

// Names of the mails that have no code.
const (
	mailSignInAlert    = "sign_in_alert"
	mailDeletionNotice = "deletion_notice"
)

// mailNames lists the mails that have templates.
func mailNames() []string {
	names := []string{mailSignInAlert, mailDeletionNotice}
	for _, p := range mailPurposes() {
		names = append(names, string(p))
	}
	return names
}

// mailTemplates are the parsed templates of a server, by the names of mails.
type mailTemplates struct {
	text map[string]*texttemplate.Template
	html map[string]*htmltemplate.Template // a name may be missing
}

// mailLayout is the file that the HTML forms share.
const mailLayout = "layout.html"

// loadMailTemplates reads the templates: those of own, or in their place those
// of over, which may be nil. A mail whose text alone is replaced has no HTML
// form, since that would say something else.
func loadMailTemplates(own, over fs.FS) (*mailTemplates, error) {
	read := func(name string) (content string, replaced bool, err error) {
		if over != nil {
			b, err := fs.ReadFile(over, name)
			if !errors.Is(err, fs.ErrNotExist) {
				return string(b), true, err
			}
		}
		b, err := fs.ReadFile(own, name)
		return string(b), false, err
	}
	t := &mailTemplates{map[string]*texttemplate.Template{}, map[string]*htmltemplate.Template{}}
	layoutText, _, err := read(mailLayout)
	if err != nil {
		return nil, err
	}
	layout, err := htmltemplate.New(mailLayout).Parse(layoutText)
	if err != nil {
		return nil, err
	}
	for _, name := range mailNames() {
		text, newText, err := read(name + ".txt")
		if err != nil {
			return nil, err
		}
		if t.text[name], err = texttemplate.New(name + ".txt").Parse(text); err != nil {
			return nil, err
		}
		html, newHTML, err := read(name + ".html")
		if err != nil {
			return nil, err
		}
		if newText && !newHTML {
			continue
		}
		both, err := layout.Clone()
		if err != nil {
			return nil, err
		}
		if t.html[name], err = both.New(name + ".html").Parse(html); err != nil {
			return nil, err
		}
	}
	if over == nil {
		return t, nil
	}
	for _, name := range mailNames() {
		if _, err := t.render(name, MailData{Code: "AAAAA-AAAAA"}); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// render makes a mail out of its templates.
func (t *mailTemplates) render(name string, data MailData) (Mail, error) {
	m := Mail{To: data.Email}
	var out bytes.Buffer
	if err := t.text[name].Execute(&out, data); err != nil {
		return m, err
	}
	first, rest, _ := strings.Cut(out.String(), "\n")
	subject, ok := strings.CutPrefix(strings.TrimSpace(first), "Subject: ")
	if !ok {
		return m, fmt.Errorf(`template %s.txt must begin with a line "Subject: ..."`, name)
	}
	m.Subject, m.Text = subject, strings.TrimLeft(rest, "\r\n")
	if html := t.html[name]; html != nil {
		out.Reset()
		if err := html.Execute(&out, data); err != nil {
			return m, err
		}
		m.HTML = out.String()
	}
	return m, nil
}
