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

	"github.com/pdskit/pdskit/storage"
)

// kindAccountDevice lists, by "DID/device", where an account is remembered.
const kindAccountDevice = "oauth-account-device"

// maxDeviceAccounts is how many sign-ins a device has.
const maxDeviceAccounts = 20

// maxListed is how many devices or sign-ins are looked at.
const maxListed = 200

// managerContext is the context of a sign-in to the account manager. That of a
// sign-in during an authorization is the request.
const managerContext = "manager"

// signIn says that somebody has proved to be an account on a device: an account
// for itself, or the actor for others. If the device is to remember it the document is "device/DID", else
// "device/DID/context", and good in that context alone.
type signIn struct {
	Account    syntax.DID `json:"account"`
	Context    string     `json:"context"` // in which it was proved last
	Proved     time.Time  `json:"proved"`  // when the proof began
	Expires    time.Time  `json:"expires"`
	Remembered bool       `json:"remembered,omitempty"`
	Generation int64      `json:"generation,omitempty"` // of the account, see accountDoc
	Identifier string     `json:"identifier,omitempty"` // hash of what was entered
}

func (si *signIn) key(device string) string {
	key := deviceAccountKey(device, si.Account)
	if !si.Remembered {
		key += "/" + si.Context
	}
	return key
}

// within returns the keys below a prefix.
func within(prefix string) storage.Scan {
	return storage.Scan{From: prefix + "/", To: prefix + "0", Limit: maxListed} // '0' follows '/'
}

func decodeSignIn(d storage.Doc) (si signIn, err error) {
	if err = json.Unmarshal(d.Value, &si); err != nil {
		err = fmt.Errorf("oauth: document %s: %w", kindDeviceAccount, err)
	}
	return si, err
}

// signInsOf returns the sign-ins on a device that count in a context.
func (s *Server) signInsOf(docs storage.Docs, device, context string) ([]signIn, error) {
	found, err := docs.ScanDocs(kindDeviceAccount, within(device))
	if err != nil {
		return nil, err
	}
	now := s.now()
	var list []signIn
	for _, d := range found {
		si, err := decodeSignIn(d)
		if err != nil {
			return nil, err
		}
		if ok, err := si.counts(docs, context, now); err != nil {
			return nil, err
		} else if !ok {
			continue
		}
		i := slices.IndexFunc(list, func(other signIn) bool { return other.Account == si.Account })
		switch {
		case i < 0:
			list = append(list, si)
		case si.betterThan(&list[i], context):
			list[i] = si
		}
	}
	return list, nil
}

// signInOf returns the sign-in of an account on a device, nil if there is none
// in the context.
func (s *Server) signInOf(docs storage.Docs, device, context string, did syntax.DID) (*signIn, error) {
	now := s.now()
	var best *signIn
	for _, key := range []string{deviceAccountKey(device, did), (&signIn{Account: did, Context: context}).key(device)} {
		var si signIn
		_, err := load(docs, kindDeviceAccount, key, &si)
		if errors.Is(err, storage.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		ok, err := si.counts(docs, context, now)
		if err != nil {
			return nil, err
		}
		if ok && (best == nil || si.betterThan(best, context)) {
			best = &si
		}
	}
	return best, nil
}

// betterThan reports whether, of two sign-ins of an account, this is the one to
// go by: the one in the context itself, or the later one.
func (si *signIn) betterThan(other *signIn, context string) bool {
	if here := si.Context == context; here != (other.Context == context) {
		return here
	}
	return other.Proved.Before(si.Proved)
}

// counts reports whether a sign-in is still good, and in this context.
func (si *signIn) counts(docs storage.Docs, context string, now time.Time) (bool, error) {
	if !now.Before(si.Expires) || !si.Remembered && si.Context != context {
		return false, nil
	}
	generation, err := loadGeneration(docs, si.Account)
	return err == nil && generation == si.Generation, err
}

// fresh reports whether a sign-in is recent enough to go on without asking for
// the password again. In the authorization request in which it was proved it
// always is; the account manager goes on for ever.
func (s *Server) fresh(si *signIn, context string, maxAge time.Duration) bool {
	return si.Context == context && context != managerContext || s.now().Sub(si.Proved) < min(maxAge, s.cfg.Limits.SignInFresh)
}

// putSignIn records a sign-in. If the device has too many, the oldest goes.
func putSignIn(docs storage.Docs, device string, si *signIn) error {
	found, err := docs.ScanDocs(kindDeviceAccount, within(device))
	if err != nil {
		return err
	}
	var others []signIn
	for _, d := range found {
		if other, err := decodeSignIn(d); err != nil {
			return err
		} else if other.key(device) != si.key(device) {
			others = append(others, other)
		}
	}
	if len(others) >= maxDeviceAccounts {
		oldest := slices.MinFunc(others, func(a, b signIn) int { return a.Proved.Compare(b.Proved) })
		if err := docs.DeleteDoc(kindDeviceAccount, oldest.key(device)); err != nil {
			return err
		}
		if oldest.Remembered {
			if err := docs.DeleteDoc(kindAccountDevice, string(oldest.Account)+"/"+device); err != nil {
				return err
			}
		}
	}
	if err := replace(docs, kindDeviceAccount, si.key(device), si.Expires, si); err != nil || !si.Remembered {
		return err
	}
	return replace(docs, kindAccountDevice, string(si.Account)+"/"+device, si.Expires, struct{}{})
}

// replace writes a document, whether or not there is one.
func replace(docs storage.Docs, kind, key string, expires time.Time, value any) error {
	d, err := docs.GetDoc(kind, key)
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	return save(docs, kind, key, d.Version, expires, value)
}

// signOut ends the sign-ins of an account on a device, in all contexts.
func signOut(docs storage.Docs, device string, did syntax.DID) error {
	key := deviceAccountKey(device, did)
	found, err := docs.ScanDocs(kindDeviceAccount, within(key))
	if err != nil {
		return err
	}
	for _, d := range found {
		if err := docs.DeleteDoc(kindDeviceAccount, d.Key); err != nil {
			return err
		}
	}
	if err := docs.DeleteDoc(kindDeviceAccount, key); err != nil {
		return err
	}
	return docs.DeleteDoc(kindAccountDevice, string(did)+"/"+device)
}

// deleteDevice forgets a device with all its sign-ins.
func deleteDevice(docs storage.Docs, device string) error {
	found, err := docs.ScanDocs(kindDeviceAccount, within(device))
	if err != nil {
		return err
	}
	for _, d := range found {
		did, _, _ := strings.Cut(strings.TrimPrefix(d.Key, device+"/"), "/")
		if err := docs.DeleteDoc(kindDeviceAccount, d.Key); err != nil {
			return err
		}
		if err := docs.DeleteDoc(kindAccountDevice, did+"/"+device); err != nil {
			return err
		}
	}
	return docs.DeleteDoc(kindDevice, device)
}

// rememberedDevice is a device on which an account is remembered.
type rememberedDevice struct {
	key string
	doc deviceDoc
}

// devicesOf returns the devices on which an account is remembered.
func (s *Server) devicesOf(ctx context.Context, did syntax.DID) ([]rememberedDevice, error) {
	var list []rememberedDevice
	err := s.view(ctx, func(docs storage.Docs) error {
		list = nil
		found, err := docs.ScanDocs(kindAccountDevice, within(string(did)))
		if err != nil {
			return err
		}
		for _, d := range found {
			entry := rememberedDevice{key: strings.TrimPrefix(d.Key, string(did)+"/")}
			_, err := load(docs, kindDevice, entry.key, &entry.doc)
			if errors.Is(err, storage.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			si, err := s.signInOf(docs, entry.key, "", did)
			if err != nil {
				return err
			}
			if si != nil {
				list = append(list, entry)
			}
		}
		return nil
	})
	return list, err
}
