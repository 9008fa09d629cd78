package pds

import (
	"context"
	"errors"
	"log/slog"
)

// Mail is a message to the owner of an account.
type Mail struct {
	To      string // an address without a name
	Subject string // one line
	Text    string
	HTML    string // the same for those who see HTML; empty: there is Text alone
}

// ErrUndeliverable is for mail that no later attempt can deliver, such as to
// an address that the mail server refuses.
var ErrUndeliverable = errors.New("pds: the mail cannot be delivered")

// Mailer sends mail. No client waits for it: mail is queued as a job and Send
// is called by [Server.Run], concurrently, with a time limit. If it fails, it
// is called again later, unless the error matches [ErrUndeliverable], so that
// a mail may be sent twice. Package smtpmail has one.
type Mailer interface {
	Send(ctx context.Context, m Mail) error
}

// LogMailer returns a Mailer that writes each mail, with the codes in it, to
// the log. It is meant for development, where nobody else reads the log.
func LogMailer(log *slog.Logger) Mailer { return logMailer{log} }

type logMailer struct{ log *slog.Logger }

func (m logMailer) Send(ctx context.Context, mail Mail) error {
	m.log.InfoContext(ctx, "mail", "to", mail.To, "subject", mail.Subject, "text", mail.Text)
	return nil
}
