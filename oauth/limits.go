package oauth

import (
	"fmt"
	"reflect"
	"time"
)

// Limits of sizes that are not configurable.
const (
	// MaxParameterBytes is the most that a parameter of a request may hold,
	// where nothing else is said: state, client_id, redirect_uri and the rest.
	MaxParameterBytes = 2 << 10
	// MaxJWTBytes is the most that a DPoP proof, a client assertion or an
	// access token may hold.
	MaxJWTBytes = 8 << 10
	// MinSecretBytes is how long Config.Secret must be.
	MinSecretBytes = 32
)

// Limits bounds what a server does. A field that is zero takes the default
// named in its comment.
type Limits struct {
	AccessTTL    time.Duration // life of an access token: 15 min
	StatelessTTL time.Duration // the same with Config.Stateless: 5 min
	CodeTTL      time.Duration // life of an authorization code: 1 min

	RequestTTL time.Duration // life of a pushed request, counted again when it is opened: 5 min
	RequestMax time.Duration // its life in total: 30 min

	PublicSession       time.Duration // life of a session of a public client: 14 days
	PublicRefresh       time.Duration // life of each of its refresh tokens: 14 days
	ConfidentialSession time.Duration // life of a session of a confidential or first-party client: 730 days
	ConfidentialRefresh time.Duration // life of each of its refresh tokens: 90 days
	Sessions            int           // sessions of one account, then the one longest unused ends: 500

	NonceRotation  time.Duration // a DPoP nonce is good for two to three of these, 1 to 100 s: 1 min
	ChallengeReuse time.Duration // a used code_challenge is refused for: 24 h
	SignInFresh    time.Duration // a sign-in is asked for again after: 7 days
	SignInOnce     time.Duration // life of a sign-in without "remember me": 15 min
	ClientCache    time.Duration // life of a client's metadata in memory: 10 min

	BodyBytes     int64 // body of a request: 100 KiB
	ReplayEntries int   // DPoP proofs kept in memory, then requests get a 503: 1,000,000

	Rates Rates
}

// Rates are the limits of requests in a time. A field that is zero takes the
// default named in its comment; a Rate with negative Points is no limit. What a
// request "per IP" comes from says Config.ClientIP; of IPv6, a /64 counts as one.
type Rates struct {
	PARPerIP         Rate // 60 in 1 min
	PARPerClient     Rate // 600 in 1 min
	TokenPerIP       Rate // token and revoke, together: 60 in 1 min
	NewClientPerIP   Rate // requests of clients whose metadata are not at hand: 20 in 1 min
	NewSetPerIP      Rate // permission sets that are not at hand: 60 in 1 min
	SignInPerPair    Rate // per identifier and IP: 30 in 5 min
	SignInPerPairDay Rate // per identifier and IP: 300 in 24 h
	SignInPerIP      Rate // 100 in 5 min
	ResetPerIP       Rate // 15 in 1 h
	ResetPerIPDay    Rate // 50 in 24 h
	SignUpPerIP      Rate // 100 in 5 min
	HandleCheckPerIP Rate // 60 in 1 min
	DevicePerIP      Rate // browsers that come for the first time: 300 in 5 min
}

// A Rate allows so many points in a window of time.
type Rate struct {
	Points int
	Window time.Duration
}

const day = 24 * time.Hour

func (l Limits) withDefaults() Limits {
	or(&l.AccessTTL, 15*time.Minute)
	or(&l.StatelessTTL, 5*time.Minute)
	or(&l.CodeTTL, time.Minute)
	or(&l.RequestTTL, 5*time.Minute)
	or(&l.RequestMax, 30*time.Minute)
	or(&l.PublicSession, 14*day)
	or(&l.PublicRefresh, 14*day)
	or(&l.ConfidentialSession, 730*day)
	or(&l.ConfidentialRefresh, 90*day)
	or(&l.Sessions, 500)
	or(&l.NonceRotation, time.Minute)
	or(&l.ChallengeReuse, day)
	or(&l.SignInFresh, 7*day)
	or(&l.SignInOnce, 15*time.Minute)
	or(&l.ClientCache, 10*time.Minute)
	or(&l.BodyBytes, 100<<10)
	or(&l.ReplayEntries, 1_000_000)

	r := &l.Rates
	or(&r.PARPerIP, Rate{60, time.Minute})
	or(&r.PARPerClient, Rate{600, time.Minute})
	or(&r.TokenPerIP, Rate{60, time.Minute})
	or(&r.NewClientPerIP, Rate{20, time.Minute})
	or(&r.NewSetPerIP, Rate{60, time.Minute})
	or(&r.SignInPerPair, Rate{30, 5 * time.Minute})
	or(&r.SignInPerPairDay, Rate{300, day})
	or(&r.SignInPerIP, Rate{100, 5 * time.Minute})
	or(&r.ResetPerIP, Rate{15, time.Hour})
	or(&r.ResetPerIPDay, Rate{50, day})
	or(&r.SignUpPerIP, Rate{100, 5 * time.Minute})
	or(&r.HandleCheckPerIP, Rate{60, time.Minute})
	or(&r.DevicePerIP, Rate{300, 5 * time.Minute})
	return l
}

// check returns an error that names a field with a value below zero.
func (l Limits) check() error {
	v := reflect.ValueOf(l)
	for i := range v.NumField() {
		if field := v.Field(i); field.CanInt() && field.Int() < 0 {
			return fmt.Errorf("oauth: Config.Limits.%s is negative", v.Type().Field(i).Name)
		}
	}
	return nil
}

// or sets what is zero.
func or[T comparable](value *T, fallback T) {
	var zero T
	if *value == zero {
		*value = fallback
	}
}
