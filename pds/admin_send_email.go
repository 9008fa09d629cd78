package pds

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/internal/jobs"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

const (
	// moderationSubject is the default subject of a moderator's mail.
	moderationSubject = "Message via your PDS"

	// maxMailSubject is the length of the longest subject of one, in bytes.
	// The rest has room for as much as a job can hold.
	maxMailSubject = 500
)

type sendEmailInput struct {
	RecipientDID syntax.DID `json:"recipientDid"`
	SenderDID    syntax.DID `json:"senderDid"`
	Content      string     `json:"content"` // HTML
	Subject      *string    `json:"subject"`
}

type sendEmailOutput struct {
	Sent bool `json:"sent"`
}

// moderationMail is the data of a job that sends a moderator's mail to the
// owner of the job.
type moderationMail struct {
	Subject string `json:"subject"`
	HTML    string `json:"html"`
}

func (in *sendEmailInput) describe() (subject, detail string) {
	return string(in.RecipientDID), string(in.SenderDID) + ": " + in.subject()
}

// subject is one line.
func (in *sendEmailInput) subject() string {
	if in.Subject == nil {
		return moderationSubject
	}
	return strings.Join(strings.Fields(*in.Subject), " ")
}

// sendEmail queues a moderator's mail. The answer says that it will be sent.
func (s *Server) sendEmail() xrpc.Method {
	return xrpc.Procedure("com.atproto.admin.sendEmail", s.moderator(),
		audited(s, func(ctx context.Context, in *sendEmailInput) (*sendEmailOutput, error) {
			a, err := s.accountByIdentifier(ctx, string(in.RecipientDID))
			if isAccountNotFound(err) {
				return nil, xrpc.InvalidRequest("Recipient not found")
			}
			if err != nil {
				return nil, err
			}
			if a.Email == "" {
				return nil, errNoAddress()
			}
			m := moderationMail{in.subject(), in.Content}
			var data bytes.Buffer
			enc := json.NewEncoder(&data)
			enc.SetEscapeHTML(false)
			if err := enc.Encode(m); err != nil {
				return nil, err
			}
			if data.Len() > jobs.MaxDataBytes || len(m.Subject) > maxMailSubject {
				return nil, xrpc.InvalidRequest("The mail is too long: at most %d bytes as JSON, and %d of subject", jobs.MaxDataBytes, maxMailSubject)
			}
			err = s.schedule(ctx, jobs.Job{Kind: jobModerationMail, Name: rand.Text(), Owner: a.DID, Data: data.Bytes()})
			return &sendEmailOutput{err == nil}, err
		}))
}

// sendModerationMail does the job of sendEmail.
func (s *Server) sendModerationMail(ctx context.Context, j jobs.Job) error {
	var m moderationMail
	if err := json.Unmarshal(j.Data, &m); err != nil {
		return jobs.Permanent(err)
	}
	var a storage.Account
	err := s.store.View(ctx, func(tx storage.Tx) (err error) {
		a, err = tx.Account(j.Owner)
		return err
	})
	if err != nil {
		return err // gone, and the job with it
	}
	return send(ctx, s.cfg.ModerationMailer, Mail{To: a.Email, Subject: m.Subject, Text: plainText(m.HTML), HTML: m.HTML})
}
