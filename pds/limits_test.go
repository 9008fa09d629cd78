package pds_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
)

func TestNegativeLimitsRefused(t *testing.T) {
	t.Parallel()
	cfg := pdstest.New(t).Config
	limits := reflect.TypeFor[pds.Limits]()
	for i := range limits.NumField() {
		bad := cfg
		reflect.ValueOf(&bad.Limits).Elem().Field(i).SetInt(-1)
		name := "Limits." + limits.Field(i).Name
		if _, err := pds.New(bad); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s = -1: %v", name, err)
		}
	}
}

func TestTokenLives(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t, func(c *pds.Config) {
		c.Limits.AccessTTL, c.Limits.RefreshTTL, c.Limits.RefreshGrace = time.Minute, time.Hour, 10*time.Second
	})
	alice := srv.CreateAccount("alice")
	s := login(t, srv, string(alice.DID), alice.Password)
	second, err := refresh(t, srv, s.RefreshJwt)
	ok(t, err)
	srv.Clock.Advance(11 * time.Second)
	_, err = refresh(t, srv, s.RefreshJwt)
	wantError(t, err, 400, "ExpiredToken")
	ok(t, get(t, srv, getSession, s.access(), nil, nil))
	srv.Clock.Advance(50 * time.Second)
	wantError(t, get(t, srv, getSession, s.access(), nil, nil), 400, "ExpiredToken")
	srv.Clock.Advance(time.Hour)
	_, err = refresh(t, srv, second.RefreshJwt)
	wantError(t, err, 400, "ExpiredToken")
}
