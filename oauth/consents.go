package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/oauth/internal/clients"
	"github.com/pdskit/pdskit/storage"
)

// consent is what somebody has let a client do for an account, by
// "account/actor/hash of the client's ID".
type consent struct {
	Client  string    `json:"client"`
	Scopes  []string  `json:"scopes"` // as the client wrote them
	Created time.Time `json:"created"`
	Updated time.Time `json:"updated"`
}

func consentKey(account, actor syntax.DID, client string) string {
	return string(account) + "/" + string(actor) + "/" + client
}

// consentNeeded reports whether the user has to be asked: the client wants it or
// cannot prove who it is, or it asks for more than what was granted before.
func (v *visit) consentNeeded(c choice) (bool, error) {
	if !v.client.trusted() || v.req.Params.Prompt == promptConsent {
		return true, nil
	}
	var given consent
	err := v.view(v.r.Context(), func(docs storage.Docs) error {
		given = consent{}
		_, err := load(docs, kindConsent, consentKey(c.account, c.actor, hash(v.client.ID)), &given)
		return err
	})
	if errors.Is(err, storage.ErrNotFound) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	for value := range strings.FieldsSeq(v.req.Params.Scope) {
		if !slices.Contains(given.Scopes, value) {
			return true, nil
		}
	}
	return false, nil
}

// consentChange is what a request that is granted changes in a consent.
type consentChange struct {
	choice    choice
	client    string
	requested []string
	granted   []string
	now       time.Time
}

// newConsentChange prepares what grant writes, nil for clients whose ID anybody can
// use: what was granted to one of them says nothing about the next.
func (v *visit) newConsentChange(c choice, granted []string) *consentChange {
	if v.client.Class == clients.Loopback {
		return nil
	}
	return &consentChange{
		choice: c, client: v.client.ID,
		requested: strings.Fields(v.req.Params.Scope), granted: granted, now: v.now(),
	}
}

// save writes the consent: what was granted is added, what was asked for and not
// granted is taken away.
func (c *consentChange) save(docs storage.Docs) error {
	if c == nil {
		return nil
	}
	account, actor, client := c.choice.account, c.choice.actor, hash(c.client)
	key := consentKey(account, actor, client)
	given := consent{Client: c.client, Created: c.now}
	version, err := load(docs, kindConsent, key, &given)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	given.Updated = c.now
	given.Scopes = slices.DeleteFunc(given.Scopes, func(value string) bool { return slices.Contains(c.requested, value) })
	for _, value := range c.requested {
		if slices.Contains(c.granted, value) && !slices.Contains(given.Scopes, value) {
			given.Scopes = append(given.Scopes, value)
		}
	}
	if len(given.Scopes) > maxConsentScopes {
		given.Scopes = given.Scopes[len(given.Scopes)-maxConsentScopes:]
	}
	if account != actor {
		if err := replace(docs, kindActorConsent, consentKey(actor, account, client), time.Time{}, struct{}{}); err != nil {
			return err
		}
	}
	return save(docs, kindConsent, key, version, time.Time{}, given)
}

// maxConsentScopes is how many scopes of a client are remembered; of older ones
// the user is asked again.
const maxConsentScopes = 500

// consentsOf returns the consents of an actor for an account.
func (s *Server) consentsOf(ctx context.Context, account, actor syntax.DID) ([]consent, error) {
	var list []consent
	err := s.view(ctx, func(docs storage.Docs) error {
		list = nil
		found, err := docs.ScanDocs(kindConsent, within(string(account)+"/"+string(actor)))
		if err != nil {
			return err
		}
		for _, d := range found {
			var c consent
			if err := json.Unmarshal(d.Value, &c); err != nil {
				return fmt.Errorf("oauth: document %s: %w", kindConsent, err)
			}
			list = append(list, c)
		}
		return nil
	})
	return list, err
}

// endConsent forgets what a client, named by the hash of its ID, may do without
// asking.
func (s *Server) endConsent(ctx context.Context, account, actor syntax.DID, client string) error {
	return s.update(ctx, func(docs storage.Docs) error { return deleteConsent(docs, account, actor, client) })
}

func deleteConsent(docs storage.Docs, account, actor syntax.DID, client string) error {
	if err := docs.DeleteDoc(kindConsent, consentKey(account, actor, client)); err != nil || account == actor {
		return err
	}
	return docs.DeleteDoc(kindActorConsent, consentKey(actor, account, client))
}
