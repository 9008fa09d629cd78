package pds

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	_ "embed"

	"github.com/pdskit/pdskit/xrpc"
)

// Bounds of an e-mail address, in bytes (RFC 5321, 4.5.3.1).
const (
	maxEmailBytes      = 254
	maxEmailLocalBytes = 64
	maxDomainLabel     = 63
)

// disposableDomains are the domains of mail services that throw addresses
// away: one on each line, sorted.
//
//go:embed disposable_domains.txt
var disposableDomains string

func errUnsupportedEmail() *xrpc.Error {
	return xrpc.InvalidRequest("This email address is not supported, please use a different email.")
}

// errAddressTaken is the cause of errEmailTaken and errEmailInUse.
var errAddressTaken = errors.New("pds: e-mail address is taken")

func errEmailTaken(email string) *xrpc.Error {
	return xrpc.InvalidRequest("Email already taken: %s", email).WithCause(errAddressTaken)
}

// normalizeEmail returns an address in the form in which it is stored and
// compared, lower case, or an error if it is malformed.
func normalizeEmail(text string) (string, error) {
	email := strings.ToLower(text)
	at := strings.LastIndexByte(email, '@')
	if at < 0 || len(email) > maxEmailBytes || !utf8.ValidString(email) ||
		!validEmailLocal(email[:at]) || !validEmailDomain(email[at+1:]) {
		return "", errUnsupportedEmail()
	}
	return email, nil
}

// checkEmail is normalizeEmail for addresses that somebody chooses: those of
// disposable mail services are refused.
func checkEmail(text string) (string, error) {
	email, err := normalizeEmail(text)
	if err == nil && sortedLinesContain(disposableDomains, email[strings.LastIndexByte(email, '@')+1:]) {
		err = errUnsupportedEmail()
	}
	if err != nil {
		return "", err
	}
	return email, nil
}

// validEmailLocal accepts the dot-atoms of RFC 5322 with the letters of RFC
// 6531, which are what mail services give out. Quoted strings and comments are
// refused.
func validEmailLocal(local string) bool {
	if local == "" || len(local) > maxEmailLocalBytes {
		return false
	}
	for atom := range strings.SplitSeq(local, ".") {
		if atom == "" {
			return false
		}
		for _, r := range atom {
			if !emailLetter(r) && !strings.ContainsRune("!#$%&'*+-/=?^_`{|}~", r) {
				return false
			}
		}
	}
	return true
}

func validEmailDomain(domain string) bool {
	labels := strings.Split(domain, ".")
	if len(labels) < 2 {
		return false
	}
	for _, label := range labels {
		if label == "" || len(label) > maxDomainLabel || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, r := range label {
			if !emailLetter(r) && r != '-' {
				return false
			}
		}
	}
	top := labels[len(labels)-1]
	return len(top) >= 2 && strings.Trim(top, "0123456789") != ""
}

func emailLetter(r rune) bool {
	if r < utf8.RuneSelf {
		return 'a' <= r && r <= 'z' || '0' <= r && r <= '9'
	}
	return unicode.IsLetter(r) || unicode.IsMark(r) || unicode.IsDigit(r)
}
