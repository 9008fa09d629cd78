package pds

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/internal/jobs"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// Mail is sent by jobs: nobody waits for the mail server. What is queued says
// which mail, to whom; the code in it is made when it is sent, so that codes
// are nowhere stored but as hashes, and live for as long as the mail says.

// Kinds of the jobs that send mail.
const (
	jobMail           = "mail"            // out of a template, see queuedMail
	jobModerationMail = "moderation-mail" // see moderationMail
)

// alertTTL is how long a sign-in alert is worth sending.
const alertTTL = 24 * time.Hour

// queuedMail is the data of a job that sends a mail out of a template.
type queuedMail struct {
	Template string     `json:"template"`
	DID      syntax.DID `json:"did,omitempty"`

	// Email is what somebody has entered instead of naming an account. Whether
	// anybody has this address turns out when the mail is sent.
	Email string `json:"email,omitempty"`

	Device string    `json:"device,omitempty"` // of a sign-in alert, with the next
	Time   time.Time `json:"time,omitzero"`
}

// job is the job that sends the mail. A mail of the same kind to the same
// account that was not sent yet is replaced.
func (m queuedMail) job(until time.Time) (jobs.Job, error) {
	data, err := json.Marshal(m)
	name := string(m.DID)
	if m.Email != "" {
		sum := sha256.Sum256([]byte(m.Email))
		name = "#" + hex.EncodeToString(sum[:16])
	}
	if m.Device != "" { // each of these is news
		name += "/" + rand.Text()
	}
	return jobs.Job{Kind: jobMail, Name: m.Template + "/" + name, Owner: m.DID, Until: until, Data: data}, err
}

func errNoAddress() *xrpc.Error {
	return xrpc.InvalidRequest("account does not have an email address")
}

// sendMailToken lets a code be made and mailed to the account, in place of an
// earlier one. It returns when that is certain to be tried, as long as the
// code would live.
func (s *Server) sendMailToken(ctx context.Context, a *storage.Account, purpose mailPurpose) error {
	if a.Email == "" {
		return errNoAddress()
	}
	return s.queueMail(ctx, queuedMail{Template: string(purpose), DID: a.DID}, mailTokenTTL)
}

func (s *Server) queueMail(ctx context.Context, m queuedMail, life time.Duration) error {
	j, err := m.job(s.clock.Latest().Add(life))
	if err != nil {
		return err
	}
	return s.schedule(ctx, j)
}

// mailJobs sends queued mail.
func (s *Server) mailJobs() []jobs.Handler {
	return []jobs.Handler{
		{Kind: jobMail, Run: s.sendQueued},
		{Kind: jobModerationMail, Run: s.sendModerationMail},
	}
}

func send(ctx context.Context, mailer Mailer, m Mail) error {
	err := mailer.Send(ctx, m)
	if errors.Is(err, ErrUndeliverable) {
		return jobs.Permanent(err)
	}
	return err
}

// sendQueued sends a mail, if there still is somebody to send it to.
func (s *Server) sendQueued(ctx context.Context, j jobs.Job) error {
	var m queuedMail
	if err := json.Unmarshal(j.Data, &m); err != nil {
		return jobs.Permanent(err)
	}
	now := s.clock.Latest() // a clock that is behind must not end the code early when it returns
	var a storage.Account
	code := ""
	if m.Template != mailSignInAlert && m.Template != mailDeletionNotice {
		code = newMailToken()
	}
	err := s.store.Update(ctx, func(tx storage.Tx) (err error) {
		if m.DID != "" {
			a, err = tx.Account(m.DID)
		} else {
			a, err = tx.AccountByEmail(m.Email)
		}
		if err == nil && !s.mayGet(m.Template, &a) {
			err = storage.ErrNotFound
		}
		if err != nil || code == "" {
			return err
		}
		return putMailToken(tx, mailPurpose(m.Template), a.DID, code, now)
	})
	if errors.Is(err, storage.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if m.Template == mailDeletionNotice {
		m.Time = a.DeleteAfter
	}
	mail, err := s.mails.render(m.Template, MailData{
		Service: s.cfg.Info.Name, URL: s.public.String(), Contact: s.cfg.Info.Contact,
		Handle: displayName(&a), Email: a.Email, Code: code, Minutes: int(mailTokenTTL.Minutes()),
		Device: m.Device, Time: m.Time,
	})
	if err != nil {
		return jobs.Permanent(err)
	}
	return send(ctx, s.cfg.Mailer, mail)
}

// mayGet reports whether an account gets a mail, as it is by now. One without a
// password is that of a group, a service or an external login: to have its
// mail is not enough to sign in to it.
func (s *Server) mayGet(template string, a *storage.Account) bool {
	switch template {
	case string(mailResetPassword):
		if a.PasswordHash == "" {
			return false
		}
	case mailDeletionNotice:
		if a.DeactivatedAt.IsZero() || a.DeleteAfter.IsZero() || s.cfg.KeepDeactivated {
			return false
		}
	}
	return !a.Pending && a.Email != ""
}

// displayName is what a mail calls an account.
func displayName(a *storage.Account) string {
	if a.Handle == "" {
		return string(a.DID)
	}
	return string(a.Handle)
}

// newMailToken returns a code "XXXXX-XXXXX".
func newMailToken() string { return strings.ToUpper(randomPair()) }
