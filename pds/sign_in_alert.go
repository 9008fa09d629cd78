package pds

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

// docDevice is the kind of the documents that remember from where somebody
// signs in to an account. Their key is the DID with a hash.
const docDevice = "device"

// Limits of what is remembered.
const (
	deviceTTL      = 90 * day
	maxDevices     = 100 // of one account; then the one that was seen longest ago is forgotten
	maxDeviceBytes = 200 // of a description
)

// device is from where somebody signs in: a program and its network.
type device struct {
	userAgent string
	ip        netip.Addr
}

func requestDevice(ctx context.Context) device {
	d := device{ip: xrpc.ClientIP(ctx)}
	if r := xrpc.RequestFrom(ctx); r != nil {
		d.userAgent = r.UserAgent()
	}
	return d
}

// id tells devices apart, without their exact address: the same program in the
// network of the same provider, more or less, is the same device.
func (d device) id() string {
	bits := 16
	if d.ip.Is6() && !d.ip.Is4In6() {
		bits = 32
	}
	network, _ := d.ip.Unmap().Prefix(bits) // zero without an address
	sum := sha256.Sum256([]byte(d.userAgent + "\x00" + network.String()))
	return hex.EncodeToString(sum[:16])
}

func (d device) String() string {
	name := strings.ToValidUTF8(d.userAgent[:min(len(d.userAgent), maxDeviceBytes)], "?")
	if name == "" {
		name = "a program without a name"
	}
	if !d.ip.IsValid() {
		return name
	}
	return fmt.Sprintf("%s at %s", name, d.ip.Unmap())
}

// noteSignIn remembers a device and, if it was not known, mails its owner an
// alert that somebody has signed in. A failure is logged: it must not keep
// anybody out.
func (s *Server) noteSignIn(ctx context.Context, did syntax.DID, d device) {
	if !s.cfg.SignInAlerts {
		return
	}
	known, err := s.rememberDevice(ctx, did, d)
	if err == nil && !known {
		err = s.queueMail(ctx, queuedMail{Template: mailSignInAlert, DID: did, Device: d.String(), Time: s.clock.Now()}, alertTTL)
	}
	if err != nil && !errors.Is(err, storage.ErrNotFound) { // a guest has no account here
		s.log.ErrorContext(ctx, "a sign-in was not noted", "did", did, "error", err)
	}
}

// noteSignUp remembers the device that made an account.
func (s *Server) noteSignUp(ctx context.Context, did syntax.DID, d device) {
	if !s.cfg.SignInAlerts {
		return
	}
	if _, err := s.rememberDevice(ctx, did, d); err != nil {
		s.log.ErrorContext(ctx, "the device of a sign-up was not noted", "did", did, "error", err)
	}
}

func (s *Server) rememberDevice(ctx context.Context, did syntax.DID, d device) (known bool, err error) {
	until := s.clock.Latest().Add(deviceTTL)
	doc := storage.Doc{Kind: docDevice, Key: string(did) + "/" + d.id(), Owner: did, Expires: until}
	err = s.store.Update(ctx, func(tx storage.Tx) error {
		list, err := tx.ScanOwner(did, docDevice)
		if err != nil {
			return err
		}
		put := doc
		i := slices.IndexFunc(list, func(o storage.Doc) bool { return o.Key == doc.Key })
		if known = i >= 0; known {
			if until.Sub(list[i].Expires) < day {
				return nil
			}
			put.Version = list[i].Version
		} else if len(list) >= maxDevices {
			oldest := slices.MinFunc(list, func(x, y storage.Doc) int { return x.Expires.Compare(y.Expires) })
			if err := tx.DeleteDoc(docDevice, oldest.Key); err != nil {
				return err
			}
		}
		_, err = tx.PutDoc(put)
		return err
	})
	return known, err
}
