package pds

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// docPreferences is the kind of the documents that hold the preferences of
// accounts, by DID: a JSON array.
const docPreferences = "preferences"

const (
	preferencesNamespace = "app.bsky"
	personalDetailsPref  = "app.bsky.actor.defs#personalDetailsPref"
	declaredAgePref      = "app.bsky.actor.defs#declaredAgePref"
)

// preference is one preference with what the server has to know of it.
type preference struct {
	Type      string `json:"$type"`
	BirthDate string `json:"birthDate"` // of personalDetailsPref

	text json.RawMessage
}

// readPreferences takes a list of preferences apart.
func readPreferences(list []json.RawMessage) ([]preference, error) {
	out := make([]preference, len(list))
	for i, text := range list {
		var head struct {
			Type string `json:"$type"`
		}
		if err := json.Unmarshal(text, &head); err != nil || head.Type == "" {
			return nil, xrpc.InvalidRequest("Preference is missing a $type")
		}
		out[i] = preference{Type: head.Type, text: text}
		if head.Type == personalDetailsPref {
			// A birth date of another type than string is no birth date.
			_ = json.Unmarshal(text, &out[i])
		}
	}
	return out, nil
}

// inNamespace reports whether a preference is of the namespace that the app
// view's methods handle.
func (p *preference) inNamespace() bool {
	return strings.HasPrefix(p.Type, preferencesNamespace+".")
}

// storedPreferences returns the preferences of an account, and the document
// that holds them. Without one, the document is the one to be put.
func storedPreferences(tx storage.Docs, did syntax.DID) ([]preference, storage.Doc, error) {
	d, err := tx.GetDoc(docPreferences, string(did))
	if errors.Is(err, storage.ErrNotFound) {
		return nil, storage.Doc{Kind: docPreferences, Key: string(did), Owner: did}, nil
	}
	if err != nil {
		return nil, d, err
	}
	var list []json.RawMessage
	if err := json.Unmarshal(d.Value, &list); err != nil {
		return nil, d, err
	}
	prefs, err := readPreferences(list)
	return prefs, d, err
}

// declaredAge computes the preference that tells applications what the birth
// date, which most of them do not get to see, means. It returns nil without a
// birth date.
func declaredAge(birthDate string, now time.Time) (json.RawMessage, error) {
	at, err := syntax.ParseDatetimeLenient(birthDate)
	if err != nil {
		return nil, nil
	}
	born, now := at.Time().UTC(), now.UTC()
	age := now.Year() - born.Year()
	if now.Month() < born.Month() || now.Month() == born.Month() && now.Day() < born.Day() {
		age--
	}
	return json.Marshal(struct {
		Type   string `json:"$type"`
		Over13 bool   `json:"isOverAge13"`
		Over16 bool   `json:"isOverAge16"`
		Over18 bool   `json:"isOverAge18"`
	}{declaredAgePref, age >= 13, age >= 16, age >= 18})
}

// seesPersonalDetails reports whether a caller may read and change personal
// details.
func seesPersonalDetails(c *xrpc.Caller) bool {
	switch c.Kind {
	case xrpc.KindAdmin, xrpc.KindService:
		return true
	case xrpc.KindSession:
		return sessionScope(c) == scopeAccess
	}
	return false
}

// passPreferences passes a request on to the app view that it names, if that is
// another one than this server's own, whose preferences are kept here.
func (s *Server) passPreferences(ctx context.Context, caller *xrpc.Caller, nsid string, in, out any) (passed bool, err error) {
	values := xrpc.RequestFrom(ctx).Header.Values(proxyHeader)
	if len(values) == 0 || caller.Kind == xrpc.KindAdmin || caller.Kind == xrpc.KindService {
		return false, nil
	}
	to, err := parseProxyHeader(values[0])
	if err != nil {
		return false, err
	}
	if s.isSelf(&to) || to.did == s.cfg.AppView.DID && to.service == appViewService {
		return false, nil
	}
	if err := mayCall(caller, to.audience(), nsid); err != nil {
		return false, err
	}
	account, err := s.accountOf(ctx, caller)
	if err != nil {
		return false, err
	}
	if err := s.resolve(ctx, &to); err != nil {
		return false, err
	}
	if s.isSelf(&to) {
		return false, nil
	}
	text, err := s.callJSON(ctx, to, account, nsid, nil, in)
	if err != nil || out == nil {
		return true, err
	}
	if err := json.Unmarshal(text, out); err != nil {
		return true, errUpstreamUnreachable(err)
	}
	return true, nil
}
