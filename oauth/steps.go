package oauth

// SignInMethod is a way to sign in besides the password.
type SignInMethod interface {
	// ID names the method in addresses and logs: lower-case letters and digits.
	ID() string

	// Title is what its button says.
	Title(locale string) string
}
