// Package xrpc is the server side of XRPC, the HTTP protocol of atproto:
// methods, parameters, bodies, errors, credentials, rate limits and event
// streams. Import it to add methods to a PDS, or to build any other service
// that speaks XRPC; it knows nothing of repositories and stores.
//
// A method is a function with types, made into a [Method] together with the
// rule that says who may call it:
//
//	type params struct {
//		Name string `json:"name"`
//	}
//	type output struct {
//		Greeting string `json:"greeting"`
//	}
//	greet := xrpc.Query("com.example.greet", xrpc.Public(),
//		func(ctx context.Context, p *params) (*output, error) {
//			return &output{"Hello, " + p.Name}, nil
//		})
//	srv, err := xrpc.NewServer(xrpc.Config{})
//	// ...
//	srv.Handle(greet)
//	http.ListenAndServe(":8080", srv)
//
// # Order of checks
//
// Path and verb, parameters, credentials and rule, body, rate limits, handler.
// Parameters, inputs and (with [Config.ValidateOutput]) outputs are checked
// against the schema if the catalog has one, see package
// [github.com/pdskit/pdskit/xrpc/lexicons].
//
// # Parameters
//
// Fields of a parameter struct are matched by their json tags and may be of
// any string, signed integer or bool kind, slices of these for arrays, and
// pointers to these, which stay nil when the parameter is absent. Integers
// and booleans must be written as in JSON. A parameter that is no array may be
// given once. Defaults of the schema are filled in. Without a schema, types
// with UnmarshalText (such as syntax.DID) check themselves.
//
// # Outputs
//
// Outputs are encoded by encoding/json without HTML escapes, or by their
// AppendJSON method. Mind that encoding/json writes a nil slice as null, which
// no schema of an array allows: make slices that may be empty.
//
// # Limits
//
//	JSON input               150 KiB    Config.MaxJSONBody, Method.WithMaxBody
//	text input               100 KiB    Config.MaxTextBody
//	other input              5 MiB      Config.MaxUploadBody, Method.WithMaxBody
//	content codings          3
//	nesting of JSON          128        integers up to 2^53-1, no fractions
//	idle upload or download  60 s       Config.BodyIdle
//	average rate of a body   1 KiB/s    from twice that time on
//	open streams             4096       Config.Stream.MaxStreams
//	open streams of a client 256        Config.Stream.MaxPerClient
//	message of a client      64 KiB     Config.Stream.MaxMessage
//	messages of a client     100/s      Config.Stream.MaxRate
//	one frame to a client    30 s       Config.Stream.WriteTimeout
//	ping and its answer      30 s each  Config.Stream.PingInterval
//	windows of the limiter   100,000    NewMemoryLimiter
//
// Time for headers is the business of http.Server.
package xrpc
