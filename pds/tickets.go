package pds

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// Browsers cannot set headers for a WebSocket. A caller that is signed in
// therefore fetches a ticket by an ordinary call, and offers it as a subprotocol.

// Limits of tickets.
const (
	TicketLife = time.Minute
	MaxTickets = 32 // of one actor that have neither been used nor expired
)

// TicketProtocol is how the subprotocol begins that carries a ticket.
const TicketProtocol = "pdskit.ticket."

// Sizes of what a ticket is made of.
const (
	ticketTag    = 8  // bytes of a hash of the actor, by which tickets are counted
	ticketSecret = 24 // random bytes
)

// Ticket opens one stream of one subscription, once.
type Ticket struct {
	// Subprotocol is what the client offers for the WebSocket, beside that of the
	// stream: new WebSocket(url, ["xrpc.v1.json", subprotocol]). It is a secret:
	// it belongs into no address and no log.
	Subprotocol string `json:"subprotocol"`

	// Expires is when the stream must have been opened, [TicketLife] from now.
	Expires time.Time `json:"expires"`
}

// docTicket is the kind of the documents that hold tickets. Their key is the tag
// and a hash of the ticket.
const docTicket = "ticket"

// ticket is a ticket as stored: who may open which stream.
type ticket struct {
	Method  string     `json:"method"`
	Account syntax.DID `json:"account"`
	Actor   syntax.DID `json:"actor"`
	Client  string     `json:"client,omitempty"`
	Kind    xrpc.Kind  `json:"kind"`
	Scopes  []string   `json:"scopes,omitempty"`
	Basis   basis      `json:"basis"`
}

func errTicket() *xrpc.Error {
	return xrpc.InvalidToken("The ticket is unknown, used or expired, or for another method")
}

// newTicket makes a ticket of an actor. Its text is tag and secret.
func newTicket(actor syntax.DID) string {
	sum := sha256.Sum256([]byte(actor))
	raw := append(sum[:ticketTag:ticketTag], make([]byte, ticketSecret)...)
	_, _ = rand.Read(raw[ticketTag:]) // never fails
	return base64.RawURLEncoding.EncodeToString(raw)
}

// ticketKey returns the key of a ticket's document and the beginning that the
// keys of its actor share.
func ticketKey(text string) (key, prefix string, ok bool) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) != ticketTag+ticketSecret {
		return "", "", false
	}
	sum := sha256.Sum256(raw)
	prefix = hex.EncodeToString(raw[:ticketTag]) + "/"
	return prefix + hex.EncodeToString(sum[:]), prefix, true
}

// IssueTicket makes a ticket by which caller can open a stream of a subscription,
// from a browser, say, within [TicketLife] and once. The caller is one that
// was authenticated by the server itself: by a session, an app password, OAuth,
// for which the scope rpc:<method>?aud=<this server> is needed by name, or a
// service token, which can be used for one ticket only.
//
// The stream belongs to the caller with the Kind KindTicket, the Origin that
// caller has now, and no more rights than it has now; the rule of the subscription
// is asked then. When the ticket is used,
// and as long as the stream is open, those must last: see [Server.Recheck]. So
// tickets end with what they were made by. They outlive a restart.
//
// Errors for the client are InvalidRequest for a method that is no subscription
// of the server or needs no credentials, ScopeMissingError, Forbidden for other
// callers, TooManyTickets when an actor has [MaxTickets], and those of a caller
// whose rights have just ended.
func (s *Server) IssueTicket(ctx context.Context, caller *xrpc.Caller, method syntax.NSID) (Ticket, error) {
	nsid := method.Normalize().String()
	m, ok := s.xrpc.Method(nsid)
	if !ok || m.Type() != "subscription" || m.Rule().IsPublic() {
		return Ticket{}, xrpc.InvalidRequest("There is no subscription %s that takes tickets", nsid)
	}
	if err := s.mayHaveTicket(caller, nsid); err != nil {
		if caller != nil {
			s.noteActing(ctx, caller, err)
		}
		return Ticket{}, err
	}
	caller, err := s.renew(ctx, caller)
	if err != nil {
		return Ticket{}, err
	}
	value, err := json.Marshal(ticket{
		Method: nsid, Account: caller.Account, Actor: caller.Actor, Client: caller.Client,
		Kind: caller.Kind, Scopes: caller.Scopes, Basis: credentialOf(caller).basis,
	})
	if err != nil {
		return Ticket{}, err
	}
	text := newTicket(caller.Actor)
	key, prefix, _ := ticketKey(text)
	doc := storage.Doc{Kind: docTicket, Key: key, Expires: s.clock.Now().Add(TicketLife), Value: value}
	err = s.store.Update(ctx, func(tx storage.Tx) error {
		if err := s.spendServiceToken(tx, caller); err != nil {
			return err
		}
		there, err := tx.ScanDocs(docTicket, storage.Scan{From: prefix, To: prefix + "~", Limit: MaxTickets})
		if err != nil {
			return err
		}
		if len(there) >= MaxTickets {
			return xrpc.NewError(http.StatusTooManyRequests, "TooManyTickets", fmt.Sprintf("At most %d tickets may be unused", MaxTickets))
		}
		put := doc
		switch _, err := tx.Account(caller.Account); {
		case err == nil:
			put.Owner = caller.Account
		case !errors.Is(err, storage.ErrNotFound):
			return err
		}
		_, err = tx.PutDoc(put)
		return err
	})
	if err != nil {
		return Ticket{}, err
	}
	return Ticket{Subprotocol: TicketProtocol + text, Expires: doc.Expires.UTC().Truncate(time.Millisecond)}, nil
}

// mayHaveTicket checks what a caller is and its scope for a method.
func (s *Server) mayHaveTicket(c *xrpc.Caller, nsid string) error {
	if c == nil {
		return xrpc.AuthMissing()
	}
	if _, own := c.Detail.(*credential); !own {
		return xrpc.Forbidden("There are no tickets for this kind of credential")
	}
	switch c.Kind {
	case xrpc.KindSession, xrpc.KindAppPassword, xrpc.KindService:
		return nil
	case xrpc.KindOAuth:
		return s.requireOwnRPC(c, nsid)
	}
	return xrpc.Forbidden("There are no tickets for this kind of credential")
}

// TicketMethod returns a procedure of a program's own, such as
// "com.example.chat.getTicket", by which clients get tickets:
//
//	srv.Handle(srv.TicketMethod("com.example.chat.getTicket"))
//
// Its input is {"lxm": <NSID of the subscription>}, its output a [Ticket], see
// [Server.IssueTicket]. Members with accounts elsewhere call it through their own
// server, with the header atproto-proxy naming this one, and then open the stream
// here. A program whose catalog has the lexicon declares lxm as a string and both
// parts of the output as strings, expires as a datetime.
func (s *Server) TicketMethod(nsid string) xrpc.Method {
	type input struct {
		Method syntax.NSID `json:"lxm"`
	}
	return xrpc.Procedure(nsid, xrpc.Required(nil), func(ctx context.Context, in *input) (*Ticket, error) {
		out, err := s.IssueTicket(ctx, xrpc.CallerFrom(ctx), in.Method)
		return &out, err
	})
}

// authenticateTicket uses up the ticket that a WebSocket request offers as a
// subprotocol, if it does, and returns whom it is for. Whatever comes of it, it
// is no good again.
func (s *Server) authenticateTicket(r *http.Request) (*xrpc.Caller, error) {
	text, offered := "", 0
	for name := range xrpc.Subprotocols(r.Header) {
		if t, ok := strings.CutPrefix(name, TicketProtocol); ok {
			text = t
			offered++
		}
	}
	if offered == 0 {
		return nil, nil
	}
	key, _, ok := ticketKey(text)
	if !ok || offered > 1 {
		return nil, errTicket()
	}
	ctx := r.Context()
	t, err := s.spendTicket(ctx, key)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return nil, errTicket()
	case err != nil:
		return nil, err
	case t.Method != xrpc.MethodFrom(ctx):
		return nil, errTicket()
	}
	cred := &credential{basis: t.Basis}
	if t.Kind == xrpc.KindOAuth {
		if cred.granted, err = s.cfg.OAuth.Scopes.ParseGranted(t.Scopes...); err != nil {
			return nil, err
		}
	}
	return s.renew(ctx, &xrpc.Caller{
		Account: t.Account, Actor: t.Actor, Client: t.Client, Kind: xrpc.KindTicket, Origin: t.Kind, Scopes: t.Scopes, Detail: cred,
	})
}

// spendTicket removes a ticket and returns it: to one of all who try.
func (s *Server) spendTicket(ctx context.Context, key string) (t ticket, err error) {
	// Most of what is made up ends here, without a write.
	err = s.store.View(ctx, func(tx storage.Tx) error {
		_, err := tx.GetDoc(docTicket, key)
		return err
	})
	if err != nil {
		return t, err
	}
	err = s.store.Update(ctx, func(tx storage.Tx) error {
		t = ticket{}
		d, err := tx.GetDoc(docTicket, key)
		if err != nil {
			return err
		}
		if err := json.Unmarshal(d.Value, &t); err != nil {
			return err
		}
		return tx.DeleteDoc(docTicket, key)
	})
	return t, err
}
