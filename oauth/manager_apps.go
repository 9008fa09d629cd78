package oauth

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/pdskit/pdskit/oauth/ui"
)

// appsTimeout is how long the page of the connected apps waits for what they say
// of themselves.
const appsTimeout = 3 * time.Second

// prefixConsent begins the name of an entry for an app that has no session at
// the moment, but may get one without asking.
const prefixConsent = "con-"

// appSessions returns the sessions of the account; for who acts for it, the own.
func (v *visit) appSessions() ([]SessionInfo, error) {
	sessions, err := v.Sessions(v.r.Context(), v.owner.DID)
	if v.owner.acting() {
		sessions = slices.DeleteFunc(sessions, func(one SessionInfo) bool { return one.Actor != v.owner.actor })
	}
	return sessions, err
}

// managerApps lists the connected apps.
func (v *visit) managerApps() error {
	ctx := v.r.Context()
	page := &ui.ManagerAppsPage{Frame: v.frame(nil), Manager: v.manager(ui.SectionApps), Revoke: v.sectionForm("apps")}
	sessions, err := v.appSessions()
	if err != nil {
		return err
	}
	consents, err := v.consentsOf(ctx, v.owner.DID, v.owner.actor)
	if err != nil {
		return err
	}
	lookups, cancel := context.WithTimeout(ctx, appsTimeout)
	defer cancel()
	seen := map[string]*ui.Client{}
	view := func(id string) ui.Client {
		if seen[id] == nil {
			seen[id] = v.appView(lookups, id)
		}
		return *seen[id]
	}
	for _, one := range sessions {
		var device *ui.Device
		if one.Actor == v.owner.actor { // where others are is not the owner's to see
			if device, err = v.deviceView(one.Device); err != nil {
				return err
			}
		}
		page.Apps = append(page.Apps, ui.App{
			Session: one.ID, Client: view(one.Client), Scope: one.Scope, Authorized: one.Created, LastUsed: one.Refreshed, Device: device,
		})
	}
	for _, c := range consents {
		if seen[c.Client] == nil {
			page.Apps = append(page.Apps, ui.App{
				Session: prefixConsent + hash(c.Client), Client: view(c.Client), Scope: strings.Join(c.Scopes, " "),
				Authorized: c.Created, LastUsed: c.Updated,
			})
		}
	}
	return v.show(http.StatusOK, page)
}

// appView describes a client, by its ID alone if it cannot be reached.
func (v *visit) appView(ctx context.Context, id string) *ui.Client {
	if c, err := v.Server.client(ctx, id); err == nil {
		return clientView(c)
	}
	view := &ui.Client{ID: id, Host: id}
	if u, err := url.Parse(id); err == nil && u.Host != "" {
		view.Host = u.Host
	}
	return view
}

// deviceView describes a device by its key, nil if it is forgotten.
func (v *visit) deviceView(key string) (*ui.Device, error) {
	if key == "" {
		return nil, nil
	}
	var doc deviceDoc
	found, err := v.find(v.r.Context(), kindDevice, key, &doc)
	if err != nil || !found {
		return nil, err
	}
	return newDeviceView(key, doc, v.dev.key), nil
}

func newDeviceView(key string, doc deviceDoc, current string) *ui.Device {
	return &ui.Device{ID: key, UserAgent: doc.UserAgent, IP: doc.IP, LastSeen: doc.Rotated, Current: key == current}
}

// managerAppsPost ends a session of an app, and what the app may get without
// asking.
func (v *visit) managerAppsPost() error {
	ctx, did, named := v.r.Context(), v.owner.DID, v.field(ui.FieldSession)
	if hashed, ok := strings.CutPrefix(named, prefixConsent); ok {
		if err := v.endConsent(ctx, did, v.owner.actor, hashed); err != nil {
			return err
		}
		return v.goTo(v.section("apps", fieldNotice, ui.NoticeAppRevoked))
	}
	sessions, err := v.appSessions()
	if err != nil {
		return err
	}
	for _, one := range sessions {
		if one.ID != named {
			continue
		}
		if err := v.EndSession(ctx, did, one.ID); err != nil {
			return err
		}
		if err := v.endConsent(ctx, did, one.Actor, hash(one.Client)); err != nil {
			return err
		}
	}
	return v.goTo(v.section("apps", fieldNotice, ui.NoticeAppRevoked))
}
