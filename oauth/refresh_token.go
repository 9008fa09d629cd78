package oauth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"strings"
)

// A refresh token names its session and its turn in it, and has a random part
// and a code of the server over all of that. So a token that was used before is
// known as such although nothing is kept of it. The session keeps the hash of
// the one that is good.

const (
	refreshBody = 2*sizeID + 4 + sizeID // session, turn, random part
	refreshSize = refreshBody + sha256.Size
)

// newRefreshToken makes the refresh token of a session for a turn.
func (s *Server) newRefreshToken(sessionID string, turn uint32) string {
	raw := make([]byte, 0, refreshSize)
	raw, _ = hex.AppendDecode(raw, []byte(strings.TrimPrefix(sessionID, prefixSession)))
	raw = binary.BigEndian.AppendUint32(raw, turn)
	raw = raw[:refreshBody]
	rand.Read(raw[refreshBody-sizeID:]) // never fails
	return prefixRefresh + base64.RawURLEncoding.EncodeToString(append(raw, s.refreshCode(raw)...))
}

// parseRefreshToken returns what a refresh token names, if this server made it.
func (s *Server) parseRefreshToken(token string) (sessionID string, turn uint32, ok bool) {
	text, ok := strings.CutPrefix(token, prefixRefresh)
	if !ok || len(text) != base64.RawURLEncoding.EncodedLen(refreshSize) {
		return "", 0, false
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || !hmac.Equal(raw[refreshBody:], s.refreshCode(raw[:refreshBody])) {
		return "", 0, false
	}
	return prefixSession + hex.EncodeToString(raw[:2*sizeID]), binary.BigEndian.Uint32(raw[2*sizeID:]), true
}

func (s *Server) refreshCode(body []byte) []byte {
	mac := hmac.New(sha256.New, s.refreshKey[:])
	mac.Write(body)
	return mac.Sum(nil)
}
