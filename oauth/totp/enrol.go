package totp

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"image/png"
	"slices"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/pquerna/otp"
	"github.com/pquerna/otp/hotp"
	"github.com/pquerna/otp/totp"

	"github.com/pdskit/pdskit/oauth"
	"github.com/pdskit/pdskit/oauth/ui"
)

const (
	period  = 30 // seconds; what all apps understand, RFC 6238 section 4.1
	skew    = 1  // periods that a clock may be off
	qrSize  = 256
	idBytes = 8
)

// stepOf returns the period that a code belongs to, if it is one of now.
func stepOf(secret, code string, now time.Time) (step int64, ok bool) {
	current := now.Unix() / period
	for step := current - skew; step <= current+skew; step++ {
		if step < 0 {
			continue
		}
		want, err := hotp.GenerateCodeCustom(secret, uint64(step), hotp.ValidateOpts{Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1})
		if err == nil && subtle.ConstantTimeCompare([]byte(want), []byte(code)) == 1 {
			return step, true
		}
	}
	return 0, false
}

// Factors implements [oauth.FactorManager].
func (f *Factor) Factors(ctx context.Context, did syntax.DID) (oauth.Factors, error) {
	e, err := f.read(ctx, did)
	if err != nil {
		return oauth.Factors{}, err
	}
	out := oauth.Factors{RecoveryLeft: len(e.Recovery)}
	for _, a := range e.Apps {
		out.Enrolled = append(out.Enrolled, oauth.Factor{
			ID: a.ID, Kind: ui.FactorTOTP, Name: a.Name, Created: a.Created, LastUsed: a.LastUsed,
		})
	}
	if e.Pending == nil {
		return out, nil
	}
	key, err := f.pendingKey(did, e.Pending)
	if err != nil {
		return out, err
	}
	img, err := key.Image(qrSize, qrSize)
	if err != nil {
		return out, fmt.Errorf("totp: %w", err)
	}
	var qr bytes.Buffer
	if err := png.Encode(&qr, img); err != nil {
		return out, fmt.Errorf("totp: %w", err)
	}
	out.Pending = &oauth.Enrolment{Secret: key.Secret(), URL: key.URL(), QR: qr.Bytes()}
	return out, nil
}

func (f *Factor) pendingKey(did syntax.DID, p *pending) (*otp.Key, error) {
	url, err := f.opened(did, p.ID, p.URL)
	if err != nil {
		return nil, err
	}
	return otp.NewKeyFromURL(url)
}

// Enrol implements [oauth.FactorManager].
func (f *Factor) Enrol(ctx context.Context, a oauth.Account) error {
	name := string(a.Handle)
	if name == "" || a.Handle.IsInvalidHandle() {
		name = string(a.DID)
	}
	key, err := totp.Generate(totp.GenerateOpts{
		Issuer: f.cfg.Issuer, AccountName: name, Period: period, Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1, Rand: rand.Reader,
	})
	if err != nil {
		return fmt.Errorf("totp: %w", err)
	}
	id := make([]byte, idBytes)
	rand.Read(id) // never fails
	p := &pending{ID: hex.EncodeToString(id), Expires: f.cfg.Clock().Add(pendingTTL)}
	p.URL = f.sealed(a.DID, p.ID, key.URL())
	return f.change(ctx, a.DID, func(e *enrolments) error {
		if len(e.Apps) >= MaxApps {
			return oauth.ErrFactorLimit
		}
		e.Pending = p
		return nil
	})
}

// errGone says that an enrolment has been replaced while it was looked at.
var errGone = errors.New("totp: another enrolment has begun")

// Confirm implements [oauth.FactorManager].
func (f *Factor) Confirm(ctx context.Context, did syntax.DID, name, code string) ([]string, error) {
	e, err := f.read(ctx, did)
	if err != nil {
		return nil, err
	}
	if e.Pending == nil {
		return nil, oauth.ErrCodeInvalid
	}
	key, err := f.pendingKey(did, e.Pending)
	if err != nil {
		return nil, err
	}
	now := f.cfg.Clock()
	step, ok := stepOf(key.Secret(), normal(code), now)
	if !ok {
		return nil, oauth.ErrCodeInvalid
	}
	if name == "" {
		name = f.cfg.Issuer
	}
	added := app{
		ID: e.Pending.ID, Name: name, Secret: f.sealed(did, e.Pending.ID, key.Secret()), Step: step, Created: now,
	}
	codes, hashes := f.newRecovery(did)
	var first bool
	err = f.change(ctx, did, func(e *enrolments) error {
		if e.Pending == nil || e.Pending.ID != added.ID {
			return errGone
		}
		if len(e.Apps) >= MaxApps {
			return oauth.ErrFactorLimit
		}
		e.Pending = nil
		e.Apps = append(e.Apps, added)
		if first = len(e.Recovery) == 0; first {
			e.Recovery = hashes
		}
		return nil
	})
	if errors.Is(err, errGone) {
		err = oauth.ErrCodeInvalid
	}
	if err != nil || !first {
		return nil, err
	}
	return codes, nil
}

// Remove implements [oauth.FactorManager].
func (f *Factor) Remove(ctx context.Context, did syntax.DID, factor string) error {
	return f.change(ctx, did, func(e *enrolments) error {
		e.Apps = slices.DeleteFunc(e.Apps, func(a app) bool { return a.ID == factor })
		if len(e.Apps) == 0 {
			e.Recovery = nil
		}
		return nil
	})
}

// NewRecovery implements [oauth.FactorManager]. An account without apps has no
// use for recovery codes and gets none.
func (f *Factor) NewRecovery(ctx context.Context, did syntax.DID) ([]string, error) {
	codes, hashes := f.newRecovery(did)
	var none bool
	err := f.change(ctx, did, func(e *enrolments) error {
		if none = len(e.Apps) == 0; !none {
			e.Recovery = hashes
		}
		return nil
	})
	if err != nil || none {
		return nil, err
	}
	return codes, nil
}
