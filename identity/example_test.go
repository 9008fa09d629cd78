package identity_test

import (
	"context"
	"fmt"
	"log"

	"github.com/bluesky-social/indigo/atproto/atcrypto"
	"github.com/pdskit/pdskit/identity"
)

// Create an identity in a directory inside the process, rename it, look it up.
func Example() {
	ctx := context.Background()
	plc, err := identity.NewMemoryPLC(identity.MemoryPLCConfig{})
	if err != nil {
		log.Fatal(err)
	}
	rotation, err := atcrypto.GeneratePrivateKeyK256()
	if err != nil {
		log.Fatal(err)
	}
	signing, err := rotation.PublicKey() // an example; use another key
	if err != nil {
		log.Fatal(err)
	}
	registry := identity.NewPLCRegistry(plc.Client(), rotation, "")
	did, op, err := registry.New(ctx, identity.NewIdentity{
		Handle: "alice.test", SigningKey: signing, PDS: "https://pds.test",
	})
	if err != nil {
		log.Fatal(err)
	}
	// Record the DID, then submit. After a crash, submit again.
	if err := registry.Submit(ctx, did, op); err != nil {
		log.Fatal(err)
	}
	err = registry.Update(ctx, did, func(op *identity.Operation) error {
		op.SetHandle("alice.example.com")
		return nil
	})
	if err != nil {
		log.Fatal(err)
	}
	resolver, err := identity.NewResolver(identity.ResolverConfig{PLC: plc.Client()})
	if err != nil {
		log.Fatal(err)
	}
	doc, err := resolver.ResolveDID(ctx, did)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(doc.AlsoKnownAs, doc.Service[0].ServiceEndpoint)
	// Output: [at://alice.example.com] https://pds.test
}

// Fetch what a user named, with limits.
func ExampleNewClient() {
	transport := identity.NewTransport(identity.TransportConfig{
		AllowHosts: []string{"plc.internal:2582"}, // configured by the operator
	})
	client := identity.NewClient(transport, identity.ClientLimits{MaxBody: 64 << 10})
	_, err := client.Get("https://127.0.0.1/")
	fmt.Println(err != nil)
	// Output: true
}

// Check a log that came from anywhere.
func ExampleVerifyLog() {
	_, err := identity.VerifyLog("did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", nil)
	fmt.Println(err)
	// Output: identity: invalid PLC log: empty
}
