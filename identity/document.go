package identity

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	atid "github.com/bluesky-social/indigo/atproto/identity"
	"github.com/bluesky-social/indigo/atproto/syntax"
)

// MaxDocumentBytes is the longest DID document that is read.
const MaxDocumentBytes = 64 << 10

// ErrInvalidDocument says that a DID document does not parse or is of another
// DID. It also matches indigo's ErrDIDResolutionFailed where a lookup meets it.
var ErrInvalidDocument = errors.New("identity: invalid DID document")

// ParseDocument reads the parts of a DID document that atproto uses. It is
// strict about the id, which must be did, and lenient about the rest, as DID
// documents hold many things: entries of other shapes (a service endpoint that
// is an object, a key without publicKeyMultibase) are left out, as are keys and
// services whose id belongs to another DID. Errors match ErrInvalidDocument.
func ParseDocument(did syntax.DID, data []byte) (*atid.DIDDocument, error) {
	if len(data) > MaxDocumentBytes {
		return nil, fmt.Errorf("%w: longer than %d bytes", ErrInvalidDocument, MaxDocumentBytes)
	}
	var raw struct {
		ID                 json.RawMessage `json:"id"`
		AlsoKnownAs        json.RawMessage `json:"alsoKnownAs"`
		VerificationMethod json.RawMessage `json:"verificationMethod"`
		Service            json.RawMessage `json:"service"`
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalidDocument, err)
	}
	var id string
	if json.Unmarshal(raw.ID, &id) != nil || id != did.String() {
		return nil, fmt.Errorf("%w: id is not %s", ErrInvalidDocument, did)
	}
	doc := &atid.DIDDocument{DID: did}
	for _, v := range rawList(raw.AlsoKnownAs) {
		var uri string
		if json.Unmarshal(v, &uri) == nil {
			doc.AlsoKnownAs = append(doc.AlsoKnownAs, uri)
		}
	}
	for _, v := range rawList(raw.VerificationMethod) {
		var vm atid.DocVerificationMethod
		if json.Unmarshal(v, &vm) == nil && vm.PublicKeyMultibase != "" && ownID(did, vm.ID) {
			doc.VerificationMethod = append(doc.VerificationMethod, vm)
		}
	}
	for _, v := range rawList(raw.Service) {
		var s atid.DocService
		if json.Unmarshal(v, &s) == nil && s.ServiceEndpoint != "" && ownID(did, s.ID) {
			doc.Service = append(doc.Service, s)
		}
	}
	return doc, nil
}

func rawList(data json.RawMessage) []json.RawMessage {
	var list []json.RawMessage
	if json.Unmarshal(data, &list) != nil {
		return nil
	}
	return list
}

// ownID reports whether an id is "#name" or "did#name" of this very DID.
func ownID(did syntax.DID, id string) bool {
	before, name, ok := strings.Cut(id, "#")
	return ok && name != "" && (before == "" || before == did.String())
}

// Document writes the state as a DID document in the form of a PLC directory.
// Names come in alphabetical order. A key that is no did:key is an error that
// matches ErrInvalidOperation; for a tombstone it is indigo's ErrDIDNotFound.
func (s *State) Document() (json.RawMessage, error) {
	if s.Tombstoned {
		return nil, fmt.Errorf("%w: %s is tombstoned", atid.ErrDIDNotFound, s.DID)
	}
	doc := struct {
		Context            []string                     `json:"@context"`
		ID                 syntax.DID                   `json:"id"`
		AlsoKnownAs        []string                     `json:"alsoKnownAs"`
		VerificationMethod []atid.DocVerificationMethod `json:"verificationMethod"`
		Service            []atid.DocService            `json:"service"`
	}{
		Context:            []string{"https://www.w3.org/ns/did/v1", "https://w3id.org/security/multikey/v1"},
		ID:                 s.DID,
		AlsoKnownAs:        append([]string{}, s.AlsoKnownAs...),
		VerificationMethod: []atid.DocVerificationMethod{},
		Service:            []atid.DocService{},
	}
	for _, name := range slices.Sorted(maps.Keys(s.VerificationMethods)) {
		key := s.VerificationMethods[name]
		if !isDIDKey(key) {
			return nil, fmt.Errorf("%w: verification method %q is no did:key", ErrInvalidOperation, name)
		}
		suite := "" // other kinds of keys need none
		switch pub, _ := atcrypto.ParsePublicDIDKey(key); pub.(type) {
		case *atcrypto.PublicKeyK256:
			suite = "https://w3id.org/security/suites/secp256k1-2019/v1"
		case *atcrypto.PublicKeyP256:
			suite = "https://w3id.org/security/suites/ecdsa-2019/v1"
		}
		if suite != "" && !slices.Contains(doc.Context, suite) {
			doc.Context = append(doc.Context, suite)
		}
		doc.VerificationMethod = append(doc.VerificationMethod, atid.DocVerificationMethod{
			ID:                 s.DID.String() + "#" + name,
			Type:               "Multikey",
			Controller:         s.DID.String(),
			PublicKeyMultibase: strings.TrimPrefix(key, "did:key:"),
		})
	}
	for _, name := range slices.Sorted(maps.Keys(s.Services)) {
		doc.Service = append(doc.Service, atid.DocService{
			ID: "#" + name, Type: s.Services[name].Type, ServiceEndpoint: s.Services[name].Endpoint,
		})
	}
	return json.Marshal(doc)
}
