package pds

import (
	"context"
	"encoding/json"
	"errors"

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
			if err := checkAppPasswordName(in.Name); err != nil {
				return nil, err
			}
			did := xrpc.CallerFrom(ctx).Account
			password := newAppPassword()
			hash, err := s.passwords.hashWithSalt(ctx, password, appPasswordSalt(did))
			if err != nil {
				return nil, err
			}
			app := appPassword{Hash: hash, Privileged: in.Privileged, CreatedAt: s.clock.Now().UTC()}
			value, err := json.Marshal(app)
			if err != nil {
				return nil, err
			}
			err = s.store.Update(ctx, func(tx storage.Tx) error {
				list, err := listAppPasswords(tx, did)
				if err != nil {
					return err
				}
				if len(list) >= maxAppPasswords {
					return xrpc.InvalidRequest("An account has at most %d app passwords", maxAppPasswords)
				}
				_, err = tx.PutDoc(storage.Doc{
					Kind: docAppPassword, Key: appPasswordKey(did, in.Name), Owner: did, Value: value,
				})
				if errors.Is(err, storage.ErrConflict) {
					return xrpc.InvalidRequest("An app password with this name exists already")
				}
				return err
			})
			if err != nil {
				return nil, err
			}
			return &appPasswordView{in.Name, password, formatTime(app.CreatedAt), in.Privileged}, nil
		})
}
