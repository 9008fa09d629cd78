package pds

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

type createAppPasswordInput struct {
	Name       string `json:"name"`
	Privileged bool   `json:"privileged"`
}

// appPasswordView is an app password as an answer shows it; the password
// itself is shown once, when it is made.
type appPasswordView struct {
	Name       string `json:"name"`
	Password   string `json:"password,omitempty"`
	CreatedAt  string `json:"createdAt"`
	Privileged bool   `json:"privileged"`
}

func (s *Server) createAppPassword() xrpc.Method {
	return xrpc.Procedure("com.atproto.server.createAppPassword", s.access(accessRule{scopes: fullAccess}),
		func(ctx context.Context, in *createAppPasswordInput) (*appPasswordView, error) {
			password, app, err := s.addAppPassword(ctx, xrpc.CallerFrom(ctx).Account, in.Name, in.Privileged)
			if err != nil {
				return nil, err
			}
			return &appPasswordView{in.Name, password, formatTime(app.CreatedAt), in.Privileged}, nil
		})
}

// Causes of refused app passwords.
var (
	errAppPasswordName   = errors.New("pds: name of an app password is not allowed")
	errAppPasswordExists = errors.New("pds: app password exists")
)

// addAppPassword makes an app password and returns it; only its hash is stored.
func (s *Server) addAppPassword(ctx context.Context, did syntax.DID, name string, privileged bool) (string, appPassword, error) {
	if err := checkAppPasswordName(name); err != nil {
		return "", appPassword{}, err
	}
	password := newAppPassword()
	hash, err := s.passwords.hashWithSalt(ctx, password, appPasswordSalt(did))
	if err != nil {
		return "", appPassword{}, err
	}
	app := appPassword{Hash: hash, Privileged: privileged, CreatedAt: s.clock.Now().UTC()}
	value, err := json.Marshal(app)
	if err != nil {
		return "", appPassword{}, err
	}
	err = s.store.Update(ctx, func(tx storage.Tx) error {
		a, err := tx.Account(did)
		if errors.Is(err, storage.ErrNotFound) {
			return errAccountNotFound()
		}
		if err == nil {
			err = stillAuthorized(ctx, tx, &a)
		}
		if err != nil {
			return err
		}
		list, err := listAppPasswords(tx, did)
		if err != nil {
			return err
		}
		if len(list) >= maxAppPasswords {
			return xrpc.InvalidRequest("An account has at most %d app passwords", maxAppPasswords)
		}
		_, err = tx.PutDoc(storage.Doc{Kind: docAppPassword, Key: appPasswordKey(did, name), Owner: did, Value: value})
		if errors.Is(err, storage.ErrConflict) {
			return xrpc.InvalidRequest("An app password with this name exists already").WithCause(errAppPasswordExists)
		}
		return err
	})
	return password, app, err
}
