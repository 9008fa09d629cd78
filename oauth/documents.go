package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/pdskit/pdskit/oauth/internal/dpop"
	"github.com/pdskit/pdskit/storage"
)

// Kinds of documents in the store. Where a key holds a secret it holds its
// SHA-256.
const (
	kindRequest       = "oauth-request"        // by request id: authRequest
	kindCode          = "oauth-code"           // by code: codeDoc
	kindSession       = "oauth-session"        // by session id: session
	kindOnce          = "oauth-once"           // by namespace and key, see once
	kindAccount       = "oauth-account"        // by DID: accountDoc
	kindKey           = "oauth-key"            // keyDoc
	kindPermissionSet = "oauth-permission-set" // by NSID: permissionSetDoc

	kindDevice        = "oauth-device"         // by device
	kindDeviceAccount = "oauth-device-account" // by deviceAccountKey
	kindConsent       = "oauth-consent"        // by DID, actor and client: consent
	kindActorConsent  = "oauth-actor-consent"  // by actor, DID and client, if they differ: nothing
)

// docSlack is how much longer a document is kept than it is good for. The
// server compares times by its own clock; the store, whose clock may be ahead,
// must not forget a document before that.
const docSlack = 2 * time.Minute

func (s *Server) view(ctx context.Context, fn func(storage.Docs) error) error {
	return s.cfg.Store.View(ctx, fn)
}

func (s *Server) update(ctx context.Context, fn func(storage.Docs) error) error {
	return storage.Retry(ctx, s.cfg.Store, fn)
}

// load reads a document of JSON into value and returns its version. A document
// that is not there is storage.ErrNotFound.
func load(docs storage.Docs, kind, key string, value any) (version int64, err error) {
	doc, err := docs.GetDoc(kind, key)
	if err != nil {
		return 0, err
	}
	if err := json.Unmarshal(doc.Value, value); err != nil {
		return 0, fmt.Errorf("oauth: document %s: %w", kind, err)
	}
	return doc.Version, nil
}

// save writes a document of JSON over the version that was read; zero says that
// there is none. A zero time is never.
func save(docs storage.Docs, kind, key string, version int64, expires time.Time, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("oauth: document %s: %w", kind, err)
	}
	if !expires.IsZero() {
		expires = expires.Add(docSlack)
	}
	_, err = docs.PutDoc(storage.Doc{Kind: kind, Key: key, Version: version, Expires: expires, Value: data})
	return err
}

// Namespaces of once.
const (
	onceProof     = "dpop"      // key: thumbprint and jti
	onceAssertion = "assertion" // key: client and jti
	onceChallenge = "challenge" // key: code_challenge
)

// errSeen says that something happens a second time that may happen once.
var errSeen = errors.New("oauth: seen before")

// once records a key until a time. If it is recorded already, it returns
// errSeen.
func once(docs storage.Docs, namespace, key string, now, until time.Time) error {
	id := hash(namespace + "\x00" + key)
	var seen onceDoc
	version, err := load(docs, kindOnce, id, &seen)
	switch {
	case errors.Is(err, storage.ErrNotFound):
	case err != nil:
		return err
	case now.Before(seen.Until):
		return errSeen
	}
	return save(docs, kindOnce, id, version, until, onceDoc{Until: until})
}

// onceProven records the use of a DPoP proof, for as long as it could be used
// again.
func onceProven(docs storage.Docs, p *dpop.Proof, now time.Time) error {
	return once(docs, onceProof, p.JKT+" "+p.JTI, now, now.Add(dpop.ReplayWindow))
}

// wasSeen reports whether a key is recorded.
func wasSeen(docs storage.Docs, namespace, key string, now time.Time) (bool, error) {
	var seen onceDoc
	_, err := load(docs, kindOnce, hash(namespace+"\x00"+key), &seen)
	if errors.Is(err, storage.ErrNotFound) {
		return false, nil
	}
	return err == nil && now.Before(seen.Until), err
}

type onceDoc struct {
	Until time.Time `json:"until"`
}
