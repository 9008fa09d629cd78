package pds_test

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/google/go-cmp/cmp"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/pdstest"
)

const (
	requestPlcNSID = "com.atproto.identity.requestPlcOperationSignature"
	signPlcNSID    = "com.atproto.identity.signPlcOperation"
	submitPlcNSID  = "com.atproto.identity.submitPlcOperation"
	recommendNSID  = "com.atproto.identity.getRecommendedDidCredentials"
)

// plcCode asks for a code and returns the one that was mailed.
func plcCode(t *testing.T, a *pdstest.Account) string {
	t.Helper()
	a.Post(requestPlcNSID, nil, nil)
	code := a.PDS.Mail.Code(a.Email)
	if code == "" {
		t.Fatal("no code was mailed")
	}
	return code
}

// signOperation has an operation signed.
func signOperation(t *testing.T, a *pdstest.Account, fields map[string]any) *identity.Operation {
	t.Helper()
	var out struct{ Operation *identity.Operation }
	a.Post(signPlcNSID, with(fields, "token", plcCode(t, a)), &out)
	return out.Operation
}

func operations(t *testing.T, srv *pdstest.PDS, did syntax.DID) int {
	t.Helper()
	log, err := srv.PLC.Client().AuditLog(t.Context(), did)
	ok(t, err)
	return len(log)
}

// labelKey is a key that is no account's.
func labelKey(t *testing.T) string {
	t.Helper()
	key, err := atcrypto.GeneratePrivateKeyK256()
	ok(t, err)
	pub, err := key.PublicKey()
	ok(t, err)
	return pub.DIDKey()
}

var labelerService = identity.Service{Type: "AtprotoLabeler", Endpoint: "https://labels.example.com"}

// addLabeler makes an account's identity that of a labeler, too.
func addLabeler(t *testing.T, srv *pdstest.PDS, did syntax.DID, key string) {
	t.Helper()
	ok(t, srv.Config.Registry.Update(t.Context(), did, func(op *identity.Operation) error {
		op.VerificationMethods["atproto_label"] = key
		op.Services["atproto_labeler"] = labelerService
		return nil
	}))
}

func TestPLCSignToken(t *testing.T) {
	t.Parallel()
	var reg *faultyRegistry
	srv := pdstest.New(t, withRegistry(&reg))
	a := srv.CreateAccount("alice")
	sign := func(fields map[string]any) (op *identity.Operation, err error) {
		var out struct{ Operation *identity.Operation }
		err = post(t, srv, signPlcNSID, "Bearer "+a.Access, fields, &out)
		return out.Operation, err
	}
	_, err := sign(map[string]any{})
	wantError(t, err, 400, "InvalidRequest")
	_, err = sign(map[string]any{"token": "AAAAA-BBBBB"})
	wantError(t, err, 400, "InvalidToken")

	// What fails does not use the code up.
	code := plcCode(t, a)
	reg.set(func(r *faultyRegistry) { r.sign = identity.ErrPLCUnavailable })
	_, err = sign(map[string]any{"token": code})
	wantError(t, err, 502, "UpstreamFailure")
	reg.set(func(r *faultyRegistry) { r.sign = context.DeadlineExceeded })
	_, err = sign(map[string]any{"token": code})
	wantError(t, err, 504, "UpstreamTimeout")
	reg.set(func(r *faultyRegistry) { r.sign = nil })
	for _, bad := range []map[string]any{
		{"rotationKeys": []string{"did:key:nonsense"}},
		{"alsoKnownAs": []string{"at://alice.test", "at://alice.test"}},
		{"verificationMethods": map[string]any{"atproto": "nonsense"}},
		{"verificationMethods": map[string]any{"atproto": 7}},
		{"services": "none"},
		{"services": map[string]any{strings.Repeat("s", identity.MaxNameBytes+1): labelerService}},
	} {
		_, err = sign(with(bad, "token", code))
		wantError(t, err, 400, "InvalidRequest")
	}
	op, err := sign(map[string]any{"token": strings.ToLower(code)})
	ok(t, err)
	if op == nil || op.Prev == nil || op.Sig == "" || operations(t, srv, a.DID) != 1 {
		t.Errorf("signed %+v", op)
	}
	_, err = sign(map[string]any{"token": code}) // single use
	wantError(t, err, 400, "InvalidToken")

	code = plcCode(t, a)
	srv.Clock.Advance(15*time.Minute + time.Second)
	_, err = sign(map[string]any{"token": code})
	wantError(t, err, 400, "ExpiredToken")

	// Parallel uses of one code: one operation.
	code = plcCode(t, a)
	var signed atomic.Int32
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := sign(map[string]any{"token": code}); err == nil {
				signed.Add(1)
			}
		})
	}
	wg.Wait()
	if signed.Load() != 1 {
		t.Errorf("one code signed %d operations", signed.Load())
	}

	// An identity that has ended.
	code = plcCode(t, a)
	ok(t, reg.Registry.Tombstone(t.Context(), a.DID))
	_, err = sign(map[string]any{"token": code})
	wantError(t, err, 400, "InvalidRequest")
}

// Absent fields of an operation keep their values.
func TestPLCSignKeepsAbsentFields(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	a := srv.CreateAccount("alice")
	key := labelKey(t)
	addLabeler(t, srv, a.DID, key)
	last, err := srv.PLC.Client().LastOperation(t.Context(), a.DID)
	ok(t, err)
	for _, c := range []struct {
		field string
		value any
		want  func(op *identity.Operation)
	}{
		{"alsoKnownAs", []string{"at://other.test"}, func(op *identity.Operation) { op.AlsoKnownAs = []string{"at://other.test"} }},
		{"rotationKeys", []string{key}, func(op *identity.Operation) { op.RotationKeys = []string{key} }},
		{"verificationMethods", map[string]string{"atproto": key}, func(op *identity.Operation) { op.VerificationMethods = map[string]string{"atproto": key} }},
		{"services", map[string]any{}, func(op *identity.Operation) { op.Services = nil }},
	} {
		want := last.Normalize()
		c.want(want)
		got := signOperation(t, a, map[string]any{c.field: c.value})
		if !got.SameContent(want) {
			t.Errorf("%s: signed %+v, want %+v", c.field, got, want)
		}
	}
}

// Whoever moves to this server keeps the keys and services that are no PDS's.
func TestRecommendedCredentialsCarryOverOthers(t *testing.T) {
	t.Parallel()
	var reg *faultyRegistry
	srv := pdstest.New(t, withRegistry(&reg))
	a := srv.CreateAccount("alice")
	key := labelKey(t)
	addLabeler(t, srv, a.DID, key)
	var got struct {
		AlsoKnownAs         []string
		VerificationMethods map[string]string
		RotationKeys        []string
		Services            map[string]identity.Service
	}
	a.Get(recommendNSID, nil, &got)
	stored, _ := account(t, srv, a.DID)
	want := got
	want.AlsoKnownAs = []string{"at://alice.test"}
	want.VerificationMethods = map[string]string{"atproto": stored.KeyID, "atproto_label": key}
	want.RotationKeys = srv.Config.Registry.RotationKeys("")
	want.Services = map[string]identity.Service{
		"atproto_pds": {Type: "AtprotoPersonalDataServer", Endpoint: srv.URL}, "atproto_labeler": labelerService,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	// Rather none than some.
	reg.set(func(r *faultyRegistry) { r.update = identity.ErrPLCUnavailable })
	wantError(t, get(t, srv, recommendNSID, "Bearer "+a.Access, nil, nil), 502, "UpstreamFailure")
}

func TestPLCSubmitRefusesEachWrongField(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	a := srv.CreateAccount("alice")
	submit := func(op any) error {
		return post(t, srv, submitPlcNSID, "Bearer "+a.Access, map[string]any{"operation": op}, nil)
	}
	good, err := srv.Config.Registry.Sign(t.Context(), a.DID, func(*identity.Operation) error { return nil })
	ok(t, err)
	key := labelKey(t)
	for _, c := range []struct {
		what, message string
		change        func(op *identity.Operation)
	}{
		{"server's rotation key", "rotation key", func(op *identity.Operation) { op.RotationKeys = []string{key} }},
		{"no rotation key", "rotation key", func(op *identity.Operation) { op.RotationKeys = nil }},
		{"type of service", "type", func(op *identity.Operation) {
			op.Services["atproto_pds"] = identity.Service{Type: "Other", Endpoint: srv.URL}
		}},
		{"endpoint", "endpoint", func(op *identity.Operation) {
			op.Services["atproto_pds"] = identity.Service{Type: "AtprotoPersonalDataServer", Endpoint: "https://elsewhere.example.com"}
		}},
		{"no service", "service", func(op *identity.Operation) { op.Services = nil }},
		{"signing key", "signing key", func(op *identity.Operation) { op.VerificationMethods["atproto"] = key }},
		{"no signing key", "signing key", func(op *identity.Operation) { op.VerificationMethods = nil }},
		{"handle", "handle", func(op *identity.Operation) { op.AlsoKnownAs[0] = "at://other.test" }},
		{"order of names", "handle", func(op *identity.Operation) {
			op.AlsoKnownAs = append([]string{"at://other.test"}, op.AlsoKnownAs...)
		}},
		{"no handle", "handle", func(op *identity.Operation) { op.AlsoKnownAs = nil }},
		{"no signature", "operation", func(op *identity.Operation) { op.Sig = "" }},
		{"tombstone", "operation", func(op *identity.Operation) { op.Type = "plc_tombstone" }},
	} {
		op := good.Normalize()
		c.change(op)
		err := submit(op)
		wantError(t, err, 400, "InvalidRequest")
		if !strings.Contains(strings.ToLower(err.Error()), c.message) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
	for _, malformed := range []any{"x", 7, []any{}, map[string]any{}, map[string]any{"type": "plc_operation"}} {
		wantError(t, submit(malformed), 400, "InvalidRequest")
	}
	// The directory's refusals are passed on: somebody else's signature.
	forged := good.Normalize()
	stranger, err := atcrypto.GeneratePrivateKeyK256()
	ok(t, err)
	ok(t, forged.Sign(stranger))
	seq := lastSeq(t, srv)
	wantError(t, submit(forged), 400, "InvalidRequest")
	if n := operations(t, srv, a.DID); n != 1 || lastSeq(t, srv) != seq {
		t.Errorf("%d operations, events %v", n, eventsAfter(t, srv, seq))
	}
}

func TestPLCSubmitAnnouncesTheIdentity(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	a := srv.CreateAccount("alice")
	_, err := srv.Config.Directory.LookupDID(t.Context(), a.DID) // cached from now on
	ok(t, err)
	key := labelKey(t)
	op := signOperation(t, a, map[string]any{"services": map[string]any{
		"atproto_pds": map[string]any{"type": "AtprotoPersonalDataServer", "endpoint": srv.URL}, "atproto_labeler": labelerService,
	}, "rotationKeys": append([]string{key}, srv.Config.Registry.RotationKeys("")...)})
	for range 2 { // the second time it is there already
		seq := lastSeq(t, srv)
		a.Post(submitPlcNSID, map[string]any{"operation": op}, nil)
		if d := cmp.Diff([]string{"#identity"}, eventsAfter(t, srv, seq)); d != "" {
			t.Error(d)
		}
	}
	if n := operations(t, srv, a.DID); n != 2 {
		t.Errorf("%d operations", n)
	}
	id, err := srv.Config.Directory.LookupDID(t.Context(), a.DID)
	ok(t, err)
	if id.Services["atproto_labeler"].URL != labelerService.Endpoint {
		t.Errorf("the server's own directory still has %+v", id.Services)
	}
}

// A did:web is its owner's to change.
func TestPLCMethodsRefuseOtherDIDs(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	did := syntax.DID("did:web:eve.example.org")
	_, err := srv.Server.CreateAccount(t.Context(), pds.NewAccount{
		Handle: "eve.test", DID: did, Email: "eve@example.com", Password: "password of eve",
	})
	ok(t, err)
	a := &pdstest.Account{PDS: srv, DID: did, Password: "password of eve"}
	a.Login()
	for nsid, in := range map[string]any{
		requestPlcNSID: nil,
		signPlcNSID:    map[string]any{"token": "AAAAA-BBBBB"},
		submitPlcNSID:  map[string]any{"operation": map[string]any{}},
	} {
		err := post(t, srv, nsid, "Bearer "+a.Access, in, nil)
		wantError(t, err, http.StatusBadRequest, "InvalidRequest")
		if !strings.Contains(err.Error(), "did:web") {
			t.Errorf("%s: %v", nsid, err)
		}
	}
	if mails := srv.Mail.To("eve@example.com"); len(mails) != 0 {
		t.Errorf("mails %v", mails)
	}
	var got struct{ Services map[string]identity.Service }
	a.Get(recommendNSID, nil, &got)
	if len(got.Services) != 1 {
		t.Errorf("recommended %+v", got)
	}
}

// An account that is taken down can leave with its identity.
func TestPLCOperationOfATakendownAccount(t *testing.T) {
	t.Parallel()
	srv := pdstest.New(t)
	a := srv.CreateAccount("alice")
	ok(t, post(t, srv, updateSubjectStatus, adminAuth, map[string]any{"subject": repoRef(a), "takedown": map[string]any{"applied": true}}, nil))
	var narrow struct{ AccessJwt string }
	ok(t, post(t, srv, createSession, "", map[string]any{"identifier": a.DID, "password": a.Password, "allowTakendown": true}, &narrow))
	a.Access = narrow.AccessJwt
	op := signOperation(t, a, map[string]any{"services": map[string]any{
		"atproto_pds": map[string]any{"type": "AtprotoPersonalDataServer", "endpoint": "https://elsewhere.example.com"},
	}})
	ok(t, srv.PLC.Client().Submit(t.Context(), a.DID, op))
	wantError(t, post(t, srv, submitPlcNSID, "Bearer "+a.Access, map[string]any{"operation": op}, nil), 400, "InvalidToken")
}
