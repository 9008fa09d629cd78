// Package smtpmail sends the mail of a server: by SMTP (RFC 5321), with TLS
// wherever the mail server offers it, or by the sendmail program of the
// machine.
//
//	mailer, err := smtpmail.New(smtpmail.Config{
//		URL:  "smtps://user:password@mail.example.com:465",
//		From: "PDS <pds@example.com>",
//	})
//	// ...
//	srv, err := pds.New(pds.Config{Mailer: mailer /* ... */})
//
// It is a package of its own so that package pds does without a mail library.
package smtpmail

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/mail"
	"net/url"
	"os/exec"
	"slices"
	"strconv"
	"time"

	gomail "github.com/wneessen/go-mail"

	"github.com/pdskit/pdskit/pds"
)

// Default ports.
const (
	submissionPort  = 587 // RFC 6409
	submissionsPort = 465 // RFC 8314, with TLS from the start
)

// DefaultSendmail is where the sendmail program is looked for.
const DefaultSendmail = gomail.SendmailPath

// dialTimeout bounds each step with a mail server; how long a whole mail may
// take the caller's context says.
const dialTimeout = 15 * time.Second

// Config says how mail is sent.
type Config struct {
	// URL names the mail server, in the forms of the reference server:
	//
	//	smtp://user:password@host:587   TLS after STARTTLS, if it is offered
	//	smtps://user:password@host:465  TLS from the start
	//	smtp:///?sendmail=true          no server, but the program Sendmail
	//
	// User, password and port may be left out; with smtp, the parameter
	// requireTLS=true refuses a server without STARTTLS, and ignoreTLS=true does
	// not look for it. Other parameters are refused.
	URL string

	// From is the sender, an address with or without a name.
	From string

	// TLS, if set, says how the server's certificate is checked. Default: by the
	// authorities that the machine trusts, for the host of URL.
	TLS *tls.Config

	// Sendmail is the program of the third form. Default: DefaultSendmail.
	Sendmail string
}

// Mailer is a pds.Mailer. It opens a connection, or starts a program, for each
// mail. Its methods may be called concurrently.
type Mailer struct {
	from     string
	server   server
	sendmail string
}

var _ pds.Mailer = (*Mailer)(nil)

// New returns a Mailer, without connecting to the server. Its errors do not
// repeat the URL, which has a password in it.
func New(cfg Config) (*Mailer, error) {
	if _, err := mail.ParseAddress(cfg.From); err != nil {
		return nil, fmt.Errorf("smtpmail: From: %w", err)
	}
	m := &Mailer{from: cfg.From, sendmail: cfg.Sendmail}
	if m.sendmail == "" {
		m.sendmail = DefaultSendmail
	}
	var err error
	if m.server, err = parseURL(cfg.URL); err != nil {
		return nil, fmt.Errorf("smtpmail: URL: %w", err)
	}
	m.server.config = &tls.Config{MinVersion: tls.VersionTLS12}
	if cfg.TLS != nil {
		m.server.config = cfg.TLS.Clone()
	}
	if m.server.config.ServerName == "" {
		m.server.config.ServerName = m.server.host
	}
	return m, nil
}

// server is a mail server as a URL names it.
type server struct {
	host, user, password string
	port                 int
	implicitTLS          bool
	tls                  gomail.TLSPolicy // of what is not implicit
	config               *tls.Config
	sendmail             bool
}

func parseURL(text string) (server, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "smtp" && u.Scheme != "smtps" || u.Path != "" && u.Path != "/" || u.Fragment != "" {
		return server{}, errors.New("must be smtp://user:password@host:port, or the same with smtps")
	}
	s := server{host: u.Hostname(), user: u.User.Username(), implicitTLS: u.Scheme == "smtps", port: submissionPort, tls: gomail.TLSOpportunistic}
	s.password, _ = u.User.Password()
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return server{}, errors.New("the parameters are malformed")
	}
	for _, name := range slices.Sorted(maps.Keys(query)) {
		on, err := strconv.ParseBool(query.Get(name))
		switch {
		case err != nil || len(query[name]) != 1:
			return server{}, fmt.Errorf("the parameter %.50q must be true or false, once", name)
		case name == "sendmail":
			s.sendmail = on
		case name == "requireTLS":
			if on {
				s.tls = gomail.TLSMandatory
			}
		case name == "ignoreTLS":
			if on {
				s.tls = gomail.NoTLS
			}
		default:
			return server{}, fmt.Errorf("the parameter %.50q is not supported", name)
		}
	}
	switch {
	case s.sendmail && (s.host != "" || u.User != nil):
		return server{}, errors.New("sendmail=true goes without a server")
	case s.sendmail:
		return s, nil
	case s.host == "":
		return server{}, errors.New("must name a host")
	}
	if s.implicitTLS {
		s.port, s.tls = submissionsPort, gomail.TLSOpportunistic // which finds that there is TLS
	}
	if p := u.Port(); p != "" {
		if s.port, err = strconv.Atoi(p); err != nil || s.port < 1 || s.port > 65535 {
			return server{}, errors.New("the port must be a number from 1 to 65535")
		}
	}
	return s, nil
}

// use calls fn with a client that makes one connection. The library leaves the
// connection open when it fails early, and does not look at the context later
// on; so it is opened, and closed when either is over, here.
func (s *server) use(ctx context.Context, fn func(client *gomail.Client) error) error {
	var closers []func()
	defer func() {
		for _, c := range closers {
			c()
		}
	}()
	opts := []gomail.Option{
		gomail.WithPort(s.port), gomail.WithTimeout(dialTimeout), gomail.WithTLSPolicy(s.tls), gomail.WithTLSConfig(s.config),
		gomail.WithDialContextFunc(func(dialCtx context.Context, network, address string) (net.Conn, error) {
			conn, err := s.dial(dialCtx, network, address)
			if err != nil {
				return nil, err
			}
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			closers = append(closers, func() { stop(); _ = conn.Close() })
			return conn, nil
		}),
	}
	if s.user != "" {
		opts = append(opts, gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover), gomail.WithUsername(s.user), gomail.WithPassword(s.password))
	}
	client, err := gomail.NewClient(s.host, opts...)
	if err != nil {
		return err
	}
	return fn(client)
}

func (s *server) dial(ctx context.Context, network, address string) (net.Conn, error) {
	var d net.Dialer
	if !s.implicitTLS {
		return d.DialContext(ctx, network, address)
	}
	return (&tls.Dialer{NetDialer: &d, Config: s.config}).DialContext(ctx, network, address)
}

// Send sends a mail. Its error matches pds.ErrUndeliverable if the server
// refuses the receiver or the content for good (RFC 5321 section 4.2.1, replies
// 5yz to RCPT and DATA).
func (m *Mailer) Send(ctx context.Context, mail pds.Mail) error {
	msg, err := m.message(mail)
	if err == nil {
		if m.server.sendmail {
			err = m.pipe(ctx, msg)
		} else {
			err = m.server.use(ctx, func(client *gomail.Client) error { return client.DialAndSendWithContext(ctx, msg) })
		}
	}
	if err == nil {
		return nil
	}
	refused, ok := errors.AsType[*gomail.SendError](err)
	final := []gomail.SendErrReason{gomail.ErrSMTPRcptTo, gomail.ErrSMTPData, gomail.ErrSMTPDataClose}
	if ok && refused.ErrorCode() >= 500 && slices.Contains(final, refused.Reason) {
		err = fmt.Errorf("%w: %w", pds.ErrUndeliverable, err)
	}
	return fmt.Errorf("smtpmail: %w", err)
}

// Check connects to the mail server and signs in, or looks for the sendmail
// program, without sending anything: for operators who want to know whether the
// configuration is right.
func (m *Mailer) Check(ctx context.Context) error {
	var err error
	if m.server.sendmail {
		_, err = exec.LookPath(m.sendmail)
	} else {
		err = m.server.use(ctx, func(client *gomail.Client) error {
			if err := client.DialWithContext(ctx); err != nil {
				return err
			}
			return client.Close()
		})
	}
	if err != nil {
		return fmt.Errorf("smtpmail: %w", err)
	}
	return nil
}

// pipe gives a mail to the sendmail program.
func (m *Mailer) pipe(ctx context.Context, msg *gomail.Msg) error {
	var body bytes.Buffer
	if _, err := msg.WriteTo(&body); err != nil {
		return err
	}
	// -oi: a line with a single dot does not end the mail; -t: the receivers
	// are those of the header.
	cmd := exec.CommandContext(ctx, m.sendmail, "-oi", "-t")
	cmd.Stdin = &body
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", m.sendmail, err, bytes.TrimSpace(out))
	}
	return nil
}

func (m *Mailer) message(mail pds.Mail) (*gomail.Msg, error) {
	msg := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	if err := msg.From(m.from); err != nil {
		return nil, err
	}
	if err := msg.To(mail.To); err != nil {
		return nil, fmt.Errorf("%w: %w", pds.ErrUndeliverable, err)
	}
	msg.Subject(mail.Subject)
	msg.SetDate()
	msg.SetMessageID()
	// RFC 3834: no robot answers.
	msg.SetGenHeader("Auto-Submitted", "auto-generated")
	msg.SetBodyString(gomail.TypeTextPlain, mail.Text)
	if mail.HTML != "" {
		msg.AddAlternativeString(gomail.TypeTextHTML, mail.HTML)
	}
	return msg, nil
}
