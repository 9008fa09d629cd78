package pds

import (
	"context"
	"encoding/json"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

const getPreferencesNSID = "app.bsky.actor.getPreferences"

type getPreferencesParams struct {
	// DID is whose preferences the moderation service reads.
	DID syntax.DID `json:"did"`
}

type getPreferencesOutput struct {
	Preferences []json.RawMessage `json:"preferences"`
}

func (s *Server) getPreferences() xrpc.Method {
	rule := s.moderatorOr(accessRule{scopes: standardAccess, takendown: true, oauthAny: true})
	return xrpc.Query(getPreferencesNSID, rule,
		func(ctx context.Context, p *getPreferencesParams) (*getPreferencesOutput, error) {
			caller := xrpc.CallerFrom(ctx)
			out := &getPreferencesOutput{Preferences: []json.RawMessage{}}
			if passed, err := s.passPreferences(ctx, caller, getPreferencesNSID, nil, out); passed || err != nil {
				return out, err
			}
			did, err := s.preferencesOwner(ctx, caller, p.DID)
			if err != nil {
				return nil, err
			}
			var prefs []preference
			err = s.store.View(ctx, func(tx storage.Tx) (err error) {
				prefs, _, err = storedPreferences(tx, did)
				return err
			})
			if err != nil {
				return nil, err
			}
			for i := range prefs {
				pref := &prefs[i]
				if !pref.inNamespace() {
					continue
				}
				if pref.Type != personalDetailsPref || seesPersonalDetails(caller) {
					out.Preferences = append(out.Preferences, pref.text)
				}
				if pref.Type == personalDetailsPref {
					age, err := declaredAge(pref.BirthDate, s.clock.Now())
					if err != nil {
						return nil, err
					}
					if age != nil {
						out.Preferences = append(out.Preferences, age)
					}
				}
			}
			return out, nil
		})
}

// preferencesOwner returns whose preferences a caller reads: the caller's own,
// or, for the moderation service and the administrator, those of a DID.
func (s *Server) preferencesOwner(ctx context.Context, caller *xrpc.Caller, did syntax.DID) (syntax.DID, error) {
	if caller.Kind != xrpc.KindAdmin && caller.Kind != xrpc.KindService {
		return caller.Account, s.requirePreferences(caller, getPreferencesNSID)
	}
	if did == "" {
		return "", xrpc.InvalidRequest("Params must have the property \"did\"")
	}
	_, err := s.callerAccount(ctx, did)
	if isRefusal(err) {
		return "", xrpc.InvalidRequest("Could not find account: %s", did)
	}
	return did, err
}

// requirePreferences checks the scope of OAuth callers for a method of the app
// view that is answered here.
func (s *Server) requirePreferences(caller *xrpc.Caller, nsid string) error {
	aud := "*"
	if s.cfg.AppView.DID != "" {
		aud = string(s.cfg.AppView.DID) + "#bsky_appview"
	}
	return requireRPC(caller, nsid, aud)
}
