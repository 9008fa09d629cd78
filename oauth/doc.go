// Package oauth is the authorization server of the AT Protocol and the verifier
// of its tokens.
package oauth
