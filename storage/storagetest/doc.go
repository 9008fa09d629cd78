// Package storagetest is the conformance suite of [storage.Store] and
// [storage.BlobStore]. Every store and every wrapper of one passes it:
//
//	func TestStore(t *testing.T) {
//		storagetest.Run(t, func(t testing.TB, clock storage.Clock) storage.Store {
//			return mystore.New(clock)
//		}, storagetest.Options{})
//	}
//
// Each case guards one rule of the contract and prints the rule when it fails.
// Open returns an empty store with the clock that it is given; the suite
// closes it. Cases that need what a store cannot do are skipped by name, see
// [Options].
//
// [Counting] wraps a store so that it refuses transactions larger than the
// contract allows. Use it below the tests of whatever composes transactions.
//
// The package depends on the standard library's testing alone.
package storagetest
