package identity_test

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/bluesky-social/indigo/atproto/syntax"
	"github.com/pdskit/pdskit/identity"
)

// ledger builds audit logs by hand, so that VerifyLog and MemoryPLC are not
// tested against their own code.
type ledger struct {
	t       testing.TB
	did     syntax.DID
	entries []identity.LogEntry
}

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func (l *ledger) add(op *identity.Operation, key atcrypto.PrivateKey, at time.Duration) *string {
	l.t.Helper()
	sign(l.t, op, key)
	if l.did == "" {
		did, err := op.DID()
		if err != nil {
			l.t.Fatal(err)
		}
		l.did = did
	}
	id := cidOf(l.t, op)
	l.entries = append(l.entries, identity.LogEntry{DID: l.did, Operation: *op, CID: *id, CreatedAt: epoch.Add(at)})
	return id
}

func (l *ledger) nullify(index ...int) {
	for _, i := range index {
		l.entries[i].Nullified = true
	}
}

func tombstone(prev *string) *identity.Operation {
	return &identity.Operation{Type: identity.TypeTombstone, Prev: prev}
}

func TestVerifyLog(t *testing.T) {
	high, h := newP256(t)
	mid, m := newKey(t)
	low, lo := newKey(t)
	other, o := newKey(t)
	const hour = time.Hour
	cases := []struct {
		name  string
		build func(l *ledger)
		want  error // nil: valid
		aka   string
	}{
		{"genesis", func(l *ledger) { l.add(operation(nil, "a.test", h, lo), low, 0) }, nil, "at://a.test"},
		{"update", func(l *ledger) {
			p := l.add(operation(nil, "a.test", h, lo), low, 0)
			l.add(operation(p, "b.test", h, lo), high, 0)
		}, nil, "at://b.test"},
		{"key handed over", func(l *ledger) {
			p := l.add(operation(nil, "a.test", lo), low, 0)
			p = l.add(operation(p, "b.test", o), low, hour)
			l.add(operation(p, "c.test", o), other, 2*hour)
		}, nil, "at://c.test"},
		{"old key after hand-over", func(l *ledger) {
			p := l.add(operation(nil, "a.test", lo), low, 0)
			p = l.add(operation(p, "b.test", o), low, hour)
			l.add(operation(p, "c.test", o), low, 2*hour)
		}, identity.ErrInvalidSignature, ""},
		{"duplicate rotation keys", func(l *ledger) {
			p := l.add(operation(nil, "a.test", lo, lo), low, 0)
			l.add(operation(p, "b.test", lo), low, 0)
		}, nil, "at://b.test"},
		{"rotation keys given up", func(l *ledger) {
			p := l.add(operation(nil, "a.test", lo), low, 0)
			op := operation(p, "b.test", lo)
			op.RotationKeys = nil
			p = l.add(op, low, 0)
			_ = p
		}, nil, "at://b.test"},
		{"nobody may follow", func(l *ledger) {
			p := l.add(operation(nil, "a.test", lo), low, 0)
			op := operation(p, "b.test", lo)
			op.RotationKeys = nil
			p = l.add(op, low, 0)
			l.add(operation(p, "c.test", lo), low, 0)
		}, identity.ErrInvalidSignature, ""},
		{"tombstone", func(l *ledger) {
			p := l.add(operation(nil, "a.test", lo), low, 0)
			l.add(tombstone(p), low, hour)
		}, nil, ""},
		{"update after tombstone", func(l *ledger) {
			p := l.add(operation(nil, "a.test", lo), low, 0)
			p = l.add(tombstone(p), low, hour)
			l.add(operation(p, "b.test", lo), low, hour)
		}, identity.ErrMisordered, ""},
		{"tombstone first", func(l *ledger) {
			l.did = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"
			l.add(tombstone(new("bafy")), low, 0)
		}, identity.ErrMisordered, ""},
		{"nullified tombstone", func(l *ledger) {
			p := l.add(operation(nil, "a.test", h, lo), low, 0)
			l.add(tombstone(p), low, hour)
			l.add(operation(p, "b.test", h), high, 2*hour)
			l.nullify(1)
		}, nil, "at://b.test"},
		{"recovery", func(l *ledger) {
			p := l.add(operation(nil, "a.test", h, lo), low, 0)
			q := l.add(operation(p, "stolen.test", lo), low, hour)
			l.add(operation(q, "stolen2.test", lo), low, 2*hour)
			l.add(operation(p, "back.test", h), high, 3*hour)
			l.nullify(1, 2)
		}, nil, "at://back.test"},
		{"recovery at exactly 72 h", func(l *ledger) {
			p := l.add(operation(nil, "a.test", h, lo), low, 0)
			l.add(operation(p, "stolen.test", lo), low, hour)
			l.add(operation(p, "back.test", h), high, hour+identity.RecoveryWindow)
			l.nullify(1)
		}, nil, "at://back.test"},
		{"recovery 1 ms late", func(l *ledger) {
			p := l.add(operation(nil, "a.test", h, lo), low, 0)
			l.add(operation(p, "stolen.test", lo), low, hour)
			l.add(operation(p, "back.test", h), high, hour+identity.RecoveryWindow+time.Millisecond)
			l.nullify(1)
		}, identity.ErrLateRecovery, ""},
		{"recovery of a recovery by the top key", func(l *ledger) {
			p := l.add(operation(nil, "a.test", h, m, lo), low, 0)
			l.add(operation(p, "stolen.test", h, m, lo), low, hour)
			l.add(operation(p, "mid.test", h, m, lo), mid, 2*hour)
			l.add(operation(p, "top.test", h, m, lo), high, 3*hour)
			l.nullify(1, 2)
		}, nil, "at://top.test"},
		{"recovery by the same key", func(l *ledger) {
			p := l.add(operation(nil, "a.test", h, lo), low, 0)
			l.add(operation(p, "b.test", h, lo), low, hour)
			l.add(operation(p, "c.test", h, lo), low, 2*hour)
			l.nullify(1)
		}, identity.ErrInvalidSignature, ""},
		{"recovery by a weaker key", func(l *ledger) {
			p := l.add(operation(nil, "a.test", h, lo), low, 0)
			l.add(operation(p, "b.test", h, lo), high, hour)
			l.add(operation(p, "c.test", h, lo), low, 2*hour)
			l.nullify(1)
		}, identity.ErrInvalidSignature, ""},
		{"following a nullified operation", func(l *ledger) {
			p := l.add(operation(nil, "a.test", h, lo), low, 0)
			q := l.add(operation(p, "stolen.test", lo), low, hour)
			l.add(operation(p, "back.test", h, lo), high, 2*hour)
			l.add(operation(q, "again.test", lo), low, 3*hour)
			l.nullify(1)
		}, identity.ErrMisordered, ""},
		{"nullified not marked", func(l *ledger) {
			p := l.add(operation(nil, "a.test", h, lo), low, 0)
			l.add(operation(p, "stolen.test", lo), low, hour)
			l.add(operation(p, "back.test", h), high, 2*hour)
		}, identity.ErrInvalidLog, ""},
		{"marked without reason", func(l *ledger) {
			p := l.add(operation(nil, "a.test", h, lo), low, 0)
			l.add(operation(p, "b.test", lo), low, hour)
			l.nullify(1)
		}, identity.ErrInvalidLog, ""},
		{"second genesis", func(l *ledger) {
			l.add(operation(nil, "a.test", lo), low, 0)
			l.add(operation(nil, "b.test", lo), low, hour)
		}, identity.ErrMisordered, ""},
		{"unknown prev", func(l *ledger) {
			l.add(operation(nil, "a.test", lo), low, 0)
			l.add(operation(new("bafyreiho5sanautvnw3det66jcwic4vkeabc35y7iou3ygwj2l3xqcxdau"), "b.test", lo), low, hour)
		}, identity.ErrMisordered, ""},
		{"genesis of another DID", func(l *ledger) {
			l.did = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"
			l.add(operation(nil, "a.test", lo), low, 0)
		}, identity.ErrGenesisHash, ""},
		{"genesis signed by a stranger", func(l *ledger) {
			l.add(operation(nil, "a.test", lo), other, 0)
		}, identity.ErrInvalidSignature, ""},
		{"wrong CID", func(l *ledger) {
			l.add(operation(nil, "a.test", lo), low, 0)
			l.entries[0].CID = "bafyreiho5sanautvnw3det66jcwic4vkeabc35y7iou3ygwj2l3xqcxdau"
		}, identity.ErrInvalidLog, ""},
		{"entry of another DID", func(l *ledger) {
			p := l.add(operation(nil, "a.test", lo), low, 0)
			l.add(operation(p, "b.test", lo), low, hour)
			l.entries[1].DID = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"
		}, identity.ErrInvalidLog, ""},
		{"time runs backwards", func(l *ledger) {
			p := l.add(operation(nil, "a.test", lo), low, hour)
			l.add(operation(p, "b.test", lo), low, 0)
		}, identity.ErrInvalidLog, ""},
		{"unsigned", func(l *ledger) {
			l.add(operation(nil, "a.test", lo), low, 0)
			l.entries[0].Operation.Sig = ""
		}, identity.ErrUnsigned, ""},
		{"changed afterwards", func(l *ledger) {
			p := l.add(operation(nil, "a.test", lo), low, 0)
			l.add(operation(p, "b.test", lo), low, 0)
			l.entries[1].Operation.AlsoKnownAs = []string{"at://evil.test"}
		}, identity.ErrInvalidSignature, ""},
		{"legacy genesis by the signing key", func(l *ledger) {
			l.add(&identity.Operation{Type: identity.TypeLegacyCreate, Legacy: &identity.LegacyCreate{SigningKey: lo, RecoveryKey: h, Handle: "old.test", Service: "pds.test"}}, low, 0)
		}, nil, "at://old.test"},
		{"legacy genesis, recovery by its recovery key", func(l *ledger) {
			p := l.add(&identity.Operation{Type: identity.TypeLegacyCreate, Legacy: &identity.LegacyCreate{SigningKey: lo, RecoveryKey: h, Handle: "old.test", Service: "https://pds.test"}}, low, 0)
			l.add(operation(p, "b.test", lo), low, hour)
			l.add(operation(p, "c.test", h), high, 2*hour)
			l.nullify(1)
		}, nil, "at://c.test"},
		{"empty", func(l *ledger) { l.did = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa" }, identity.ErrInvalidLog, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			l := &ledger{t: t}
			c.build(l)
			// Through JSON, as it comes from a directory.
			data, err := json.Marshal(l.entries)
			if err != nil {
				t.Fatal(err)
			}
			entries := l.entries
			if !errors.Is(c.want, identity.ErrUnsigned) {
				entries = nil
				if err := json.Unmarshal(data, &entries); err != nil {
					t.Fatal(err)
				}
			}
			state, err := identity.VerifyLog(l.did, entries)
			if c.want != nil {
				if !errors.Is(err, c.want) || !errors.Is(err, identity.ErrInvalidLog) {
					t.Fatalf("err = %v, want %v", err, c.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if state.Head != entries[len(entries)-1].CID {
				t.Errorf("head = %s", state.Head)
			}
			if c.aka == "" {
				if !state.Tombstoned {
					t.Error("not tombstoned")
				}
			} else if !slices.Equal(state.AlsoKnownAs, []string{c.aka}) {
				t.Errorf("alsoKnownAs = %v, want %s", state.AlsoKnownAs, c.aka)
			}
		})
	}
}

func TestLegacyNormalize(t *testing.T) {
	op := &identity.Operation{Type: identity.TypeLegacyCreate, Sig: "s", Legacy: &identity.LegacyCreate{SigningKey: "sk", RecoveryKey: "rk", Handle: "a.test", Service: "pds.test"}}
	n := op.Normalize()
	if n.Type != identity.TypeOperation || !slices.Equal(n.RotationKeys, []string{"rk", "sk"}) ||
		n.VerificationMethods["atproto"] != "sk" || n.AlsoKnownAs[0] != "at://a.test" ||
		n.Services["atproto_pds"] != (identity.Service{Type: identity.ServicePDSType, Endpoint: "https://pds.test"}) {
		t.Errorf("normalised to %+v", n)
	}
}
