package pds

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"strings"

	_ "embed"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/xrpc"
)

// Bounds of the part of a handle in front of one of the server's own domains,
// in characters.
const (
	minHandleFront = 3
	maxHandleFront = 18
)

// reservedHandles are the fronts that nobody but an administrator may give
// away, the same as those of the reference server: one on each line, sorted.
//
//go:embed reserved_handles.txt
var reservedHandles string

// errHandleElsewhere is a cause of the refusal of a handle whose domain does not
// name the account.
var errHandleElsewhere = errors.New("pds: handle does not point to the account")

func errInvalidHandle(message string) *xrpc.Error {
	return xrpc.NewError(http.StatusBadRequest, "InvalidHandle", message)
}

func errHandleNotAvailable(message string) *xrpc.Error {
	return xrpc.NewError(http.StatusBadRequest, "HandleNotAvailable", message)
}

func errHandleTaken(h syntax.Handle) *xrpc.Error {
	return errHandleNotAvailable("Handle already taken: " + h.String())
}

// normalizeHandle parses a handle and brings it into lower case.
func normalizeHandle(text string) (syntax.Handle, error) {
	h, err := syntax.ParseHandle(text)
	if err != nil {
		return "", errInvalidHandle("Input/handle must be a valid handle").WithCause(err)
	}
	return h.Normalize(), nil
}

// checkHandle returns the normalised form of a handle that the account may
// have. Under the server's own domains the front has its rules; any other
// handle must point at did, by DNS or well-known document, and is refused with
// UnsupportedDomain if did is empty, as for an account that is still to be
// made. An administrator may also give away reserved and offensive names, and
// the bare service domains, for which this server itself is the proof. Whether
// somebody holds the handle already is not checked.
func (s *Server) checkHandle(ctx context.Context, text string, did syntax.DID, admin bool) (syntax.Handle, error) {
	h, err := normalizeHandle(text)
	if err != nil {
		return "", err
	}
	if !h.AllowedTLD() {
		return "", errInvalidHandle("Handle TLD is invalid or disallowed")
	}
	if !admin && hasExplicitSlur(h.String()) {
		return "", errInvalidHandle("Inappropriate language in handle")
	}
	if domain := s.serviceDomain(h); domain != "" {
		return h, checkHandleFront(strings.TrimSuffix(h.String(), domain), admin)
	}
	if admin && s.ownHandle(h) {
		return h, nil
	}
	if did == "" {
		return "", xrpc.NewError(http.StatusBadRequest, "UnsupportedDomain", "Not a supported handle domain")
	}
	if err := s.cfg.Directory.VerifyHandle(ctx, h, did); err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return "", xrpc.InvalidRequest("External handle did not resolve to DID").WithCause(errors.Join(errHandleElsewhere, err))
	}
	return h, nil
}

// serviceDomain returns the first of the server's domains, with its leading
// dot, that a handle is under, or an empty string.
func (s *Server) serviceDomain(h syntax.Handle) string {
	for _, d := range s.cfg.HandleDomains {
		if strings.HasSuffix(h.String(), d) {
			return d
		}
	}
	return ""
}

// ownHandle reports whether this server alone says whom a handle belongs to:
// it is one of the service domains or under one.
func (s *Server) ownHandle(h syntax.Handle) bool {
	for _, d := range s.cfg.HandleDomains {
		if strings.HasSuffix(h.String(), d) || h.String() == d[1:] {
			return true
		}
	}
	return false
}

// checkHandleFront applies the rules of the server's own domains.
func checkHandleFront(front string, admin bool) error {
	switch {
	case strings.Contains(front, "."):
		return errInvalidHandle("Invalid characters in handle")
	case len(front) < minHandleFront:
		return errInvalidHandle("Handle too short")
	case len(front) > maxHandleFront:
		return errInvalidHandle("Handle too long")
	case !admin && sortedLinesContain(reservedHandles, front):
		return errHandleNotAvailable("Reserved handle")
	}
	return nil
}

// sortedLinesContain searches text, lines in byte order that each end with a
// newline, for a line.
func sortedLinesContain(text, line string) bool {
	if line == "" {
		return false
	}
	for len(text) > 0 {
		start := strings.LastIndexByte(text[:len(text)/2], '\n') + 1
		end := start + strings.IndexByte(text[start:], '\n')
		switch strings.Compare(line, text[start:end]) {
		case 0:
			return true
		case -1:
			text = text[:start]
		default:
			text = text[end+1:]
		}
	}
	return false
}

// slurs matches slurs in lower-case ASCII with the usual digits for letters.
// The last alternative is found inside words, too; the others are whole words.
var slurs = regexp.MustCompile(`\b(?:` + strings.Join([]string{
	`ch[1il]nks?`,
	`c[0o]{2}ns?`,
	`f[4a]g{1,2}(?:[013eilo]t{1,2}(?:ry|r[1il]e)?)?s?`,
	`k[1ily]ke(?:ry|r[1il]e)?s*`,
	`n[14ailo][gq]{2}(?:let|[3ae]r?|n[0o]g|[4a])?s?`,
	`tr[4a]+n{1,2}(?:[1il][3e]|y|[3e]r)s?`,
}, "|") + `)\b|n[14ailo][gq]{2}(?:let|[3e]r)`)

var slurSeparators = strings.NewReplacer(".", "", "-", "", "_", "", "~", "", ":", "")

// hasExplicitSlur reports whether a handle or record key holds a slur, also
// one that is split by punctuation.
func hasExplicitSlur(text string) bool {
	text = strings.ToLower(text)
	if slurs.MatchString(text) {
		return true
	}
	joined := slurSeparators.Replace(text)
	return joined != text && slurs.MatchString(joined)
}
