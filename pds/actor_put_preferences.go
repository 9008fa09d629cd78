package pds

import (
	"context"
	"encoding/json"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

const putPreferencesNSID = "app.bsky.actor.putPreferences"

type putPreferencesInput struct {
	Preferences []json.RawMessage `json:"preferences"`
}

func (s *Server) putPreferences() xrpc.Method {
	return xrpc.Procedure(putPreferencesNSID, s.access(accessRule{scopes: standardAccess, oauthAny: true}),
		func(ctx context.Context, in *putPreferencesInput) (*xrpc.None, error) {
			caller := xrpc.CallerFrom(ctx)
			if passed, err := s.passPreferences(ctx, caller, putPreferencesNSID, in, nil); passed || err != nil {
				return nil, err
			}
			if err := s.requirePreferences(caller, putPreferencesNSID); err != nil {
				return nil, err
			}
			prefs, err := readPreferences(in.Preferences)
			if err != nil {
				return nil, err
			}
			full := seesPersonalDetails(caller)
			for i := range prefs {
				switch p := &prefs[i]; {
				case !p.inNamespace():
					return nil, xrpc.InvalidRequest("Some preferences are not in the %s namespace", preferencesNamespace)
				case p.Type == personalDetailsPref && !full:
					return nil, xrpc.InvalidRequest("Do not have authorization to set preferences: %s", p.Type)
				}
			}
			err = s.store.Update(ctx, func(tx storage.Tx) error {
				old, doc, err := storedPreferences(tx, caller.Account)
				if err != nil {
					return err
				}
				merged := []json.RawMessage{}
				for i := range old {
					p := &old[i]
					// What is not replaced stays.
					if !p.inNamespace() || p.Type == personalDetailsPref && !full {
						merged = append(merged, p.text)
					}
				}
				for i := range prefs {
					if prefs[i].Type != declaredAgePref { // computed
						merged = append(merged, prefs[i].text)
					}
				}
				if doc.Value, err = json.Marshal(merged); err != nil {
					return err
				}
				if _, err = tx.PutDoc(doc); err != nil {
					return err
				}
				return s.noteChange(ctx, tx, caller.Account, causeOf(caller), ChangePreferences)
			})
			return nil, err
		})
}
