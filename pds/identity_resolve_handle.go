package pds

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	atid "github.com/bluesky-social/indigo/atproto/identity"
	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// Bounds of a question to the app view.
const (
	appViewTimeout = 5 * time.Second
	appViewBody    = 64 << 10 // bytes
)

type resolveHandleParams struct {
	Handle string `json:"handle"`
}

type resolveHandleOutput struct {
	DID syntax.DID `json:"did"`
}

func (s *Server) resolveHandle() xrpc.Method {
	return xrpc.Query("com.atproto.identity.resolveHandle", xrpc.Public(),
		func(ctx context.Context, p *resolveHandleParams) (*resolveHandleOutput, error) {
			h, err := normalizeHandle(p.Handle)
			if err != nil {
				return nil, err
			}
			did, err := s.didOfHandle(ctx, h)
			if err != nil {
				return nil, err
			}
			return &resolveHandleOutput{did}, nil
		})
}

// didOfHandle resolves a handle: here if an active account has it, else by the
// app view, or, without one, by the directory. This server's own domains are
// known completely here.
func (s *Server) didOfHandle(ctx context.Context, h syntax.Handle) (syntax.DID, error) {
	did, err := s.didOfLocalHandle(ctx, h)
	if err != nil || did != "" {
		return did, err
	}
	if s.cfg.AppView.URL != "" {
		did, err = s.askAppView(ctx, h)
	} else {
		did, err = s.resolveForeignHandle(ctx, h)
	}
	if err != nil {
		return "", xrpc.InvalidRequest("Unable to resolve handle").WithCause(err)
	}
	return did, nil
}

// didOfLocalHandle returns the active account that has a handle here. If there
// is none, it returns nothing for a handle that others may know, and the
// client's error for one of this server's own domains.
func (s *Server) didOfLocalHandle(ctx context.Context, h syntax.Handle) (syntax.DID, error) {
	var a storage.Account
	err := s.store.View(ctx, func(tx storage.Tx) (err error) {
		a, err = tx.AccountByHandle(h)
		return err
	})
	switch {
	case err == nil && a.Active():
		return a.DID, nil
	case err != nil && !errors.Is(err, storage.ErrNotFound):
		return "", err
	case s.ownHandle(h):
		return "", xrpc.NewError(http.StatusBadRequest, "HandleNotFound", "Unable to resolve handle")
	}
	return "", nil
}

// resolveForeignHandle asks the directory only whom a handle points at, if the
// directory can tell; else the two-way lookup must succeed.
func (s *Server) resolveForeignHandle(ctx context.Context, h syntax.Handle) (syntax.DID, error) {
	if r, ok := s.cfg.Directory.(interface {
		ResolveHandle(ctx context.Context, handle syntax.Handle) (syntax.DID, error)
	}); ok {
		return r.ResolveHandle(ctx, h)
	}
	id, err := s.cfg.Directory.LookupHandle(ctx, h)
	if err != nil {
		return "", err
	}
	return id.DID, nil
}

func (s *Server) askAppView(ctx context.Context, h syntax.Handle) (syntax.DID, error) {
	client := identity.NewClient(s.cfg.Transport, identity.ClientLimits{Timeout: appViewTimeout, MaxBody: appViewBody})
	u := s.cfg.AppView.URL + "/xrpc/com.atproto.identity.resolveHandle?handle=" + url.QueryEscape(h.String())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("app view: %w: status %d", atid.ErrHandleNotFound, resp.StatusCode)
	}
	var out resolveHandleOutput
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
		return "", fmt.Errorf("app view: %w", err)
	}
	return syntax.ParseDID(string(out.DID))
}
