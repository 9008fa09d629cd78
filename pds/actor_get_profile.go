package pds

import (
	"context"
	"encoding/json"

	"github.com/pdskit/pdskit/xrpc"
)

// getProfile shows the caller's newest profile at once.
func (s *Server) getProfile() xrpc.Method {
	return s.mergedView("app.bsky.actor.getProfile", func(_ context.Context, m *merger, answer jsonObject) (bool, error) {
		return m.mergeProfile(answer)
	})
}

// getProfiles shows the caller's newest profile at once, among others.
func (s *Server) getProfiles() xrpc.Method {
	return s.mergedView("app.bsky.actor.getProfiles", func(_ context.Context, m *merger, answer jsonObject) (changed bool, err error) {
		var profiles []jsonObject
		if err := json.Unmarshal(answer["profiles"], &profiles); err != nil {
			return false, err
		}
		for _, p := range profiles {
			merged, err := m.mergeProfile(p)
			if err != nil {
				return false, err
			}
			changed = changed || merged
		}
		if changed {
			answer["profiles"], err = encodeJSON(profiles)
		}
		return changed, err
	})
}

// mergeProfile puts the local profile into a detailed view of it.
func (m *merger) mergeProfile(view jsonObject) (changed bool, err error) {
	var did string
	if err := json.Unmarshal(view["did"], &did); err != nil {
		return false, err
	}
	if m.profile == nil || did != string(m.call.account.DID) {
		return false, nil
	}
	return true, m.updateView(view, true)
}
