package pds

import (
	"context"
	"log/slog"
)

// Mail is a message to the owner of an account.
type Mail struct {
	To      string
	Subject string
	Text    string
}

// Mailer sends mail. Send may be called concurrently; the server gives up when
// ctx ends. The client that caused the mail waits for it, and gets an
// UpstreamFailure if Send fails, without the text of the error.
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
