// Package jose reads, checks and makes what OAuth needs of JSON Web Keys and
// signed tokens (RFC 7515, 7517, 7518, 7519, 7638), and reads JSON strictly.
//
//	token, err := jose.Parse(compact, 8<<10)
//	// ...
//	err = token.Verify(key, []string{"ES256"})
//	// ...
//	err = jose.DecodeJSON(token.Claims, &claims)
//
// It knows less than the standards allow, on purpose: compact serialization
// only, public keys only, no critical extensions, nothing fetched from where a
// header points to, no encryption. An algorithm is accepted only if the caller
// lists it, and fixes the type and curve of the key. Text has one reading: names
// match exactly, no member comes twice, base64url has no padding.
//
// No function does I/O. Keys and tokens do not change once made, so any number
// of goroutines may use them.
package jose
