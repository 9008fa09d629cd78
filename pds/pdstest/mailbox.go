package pdstest

import (
	"context"
	"regexp"
	"slices"
	"sync"

	"github.com/pdskit/pdskit/pds"
)

// Mailbox is a pds.Mailer that keeps what it is given. Its methods may be
// called concurrently.
type Mailbox struct {
	settle func() // sends what waits to be sent; nil: nothing to do

	mu    sync.Mutex // guards following field
	mails []pds.Mail
}

// Send keeps a mail.
func (m *Mailbox) Send(_ context.Context, mail pds.Mail) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mails = append(m.mails, mail)
	return nil
}

// To returns the mails to an address, oldest first. In the mailbox of a PDS it
// lets the server send what waits to be sent, first, see [PDS.RunJobs].
func (m *Mailbox) To(address string) []pds.Mail {
	if m.settle != nil {
		m.settle()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(m.mails), func(mail pds.Mail) bool { return mail.To != address })
}

var mailCode = regexp.MustCompile(`\b[A-Z2-7]{5}-[A-Z2-7]{5}\b`)

// Code returns the code in the newest mail to an address, or an empty string.
func (m *Mailbox) Code(address string) string {
	mails := m.To(address)
	if len(mails) == 0 {
		return ""
	}
	return mailCode.FindString(mails[len(mails)-1].Text)
}
