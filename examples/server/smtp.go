package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"

	gomail "github.com/wneessen/go-mail"

	"github.com/pdskit/pdskit/pds"
)

// smtpServer is a mail server as PDS_EMAIL_SMTP_URL names it.
type smtpServer struct {
	host, user, password string
	port                 int
	implicitTLS          bool
}

// parseSMTP reads smtp://user:password@host:port or smtps://... Its errors do
// not repeat the value, which has a password in it.
func parseSMTP(text string) (smtpServer, error) {
	u, err := url.Parse(text)
	if err == nil && u.Query().Get("sendmail") == "true" {
		return smtpServer{}, errors.New("sendmail is not supported: name a mail server")
	}
	if err != nil || u.Hostname() == "" || (u.Scheme != "smtp" && u.Scheme != "smtps") {
		return smtpServer{}, errors.New("must be smtp://user:password@host:port, or the same with smtps")
	}
	s := smtpServer{host: u.Hostname(), user: u.User.Username(), implicitTLS: u.Scheme == "smtps", port: 587}
	s.password, _ = u.User.Password()
	if s.implicitTLS {
		s.port = 465
	}
	if p := u.Port(); p != "" {
		if s.port, err = strconv.Atoi(p); err != nil {
			return s, errors.New("the port must be a number")
		}
	}
	return s, nil
}

// smtpMailer sends each mail over a connection of its own.
type smtpMailer struct {
	client *gomail.Client
	from   string
}

func newSMTPMailer(address, from string) (*smtpMailer, error) {
	s, err := parseSMTP(address)
	if err != nil {
		return nil, fmt.Errorf("PDS_EMAIL_SMTP_URL: %w", err)
	}
	opts := []gomail.Option{gomail.WithPort(s.port)}
	if s.implicitTLS {
		opts = append(opts, gomail.WithSSL())
	} else {
		opts = append(opts, gomail.WithTLSPolicy(gomail.TLSOpportunistic))
	}
	if s.user != "" {
		opts = append(opts, gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover), gomail.WithUsername(s.user), gomail.WithPassword(s.password))
	}
	client, err := gomail.NewClient(s.host, opts...)
	if err != nil {
		return nil, err
	}
	return &smtpMailer{client, from}, nil
}

// Send delivers a mail to the server.
func (m *smtpMailer) Send(ctx context.Context, mail pds.Mail) error {
	msg := gomail.NewMsg()
	if err := errors.Join(msg.From(m.from), msg.To(mail.To)); err != nil {
		return err
	}
	msg.Subject(mail.Subject)
	msg.SetBodyString(gomail.TypeTextPlain, mail.Text)
	return m.client.DialAndSendWithContext(ctx, msg)
}
