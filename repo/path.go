package repo

import (
	"fmt"
	"strings"
)

// Longest parts of a path, from the specifications of NSIDs and record keys.
const (
	maxCollectionBytes = 317
	maxLabelBytes      = 63
	maxRKeyBytes       = 512
)

// CheckPath reports an error that matches [ErrInvalidPath] unless path is
// "collection/rkey" with a valid NSID and a valid record key. It accepts what
// syntax.ParseRepoPath accepts, at a fraction of the cost.
func CheckPath(path string) error {
	collection, rkey, ok := strings.Cut(path, "/")
	if !ok || !isNSID(collection) || !isRecordKey(rkey) {
		return fmt.Errorf("%w: %.100q", ErrInvalidPath, path)
	}
	return nil
}

// checkKey reports an error unless key can be a key of a tree: two parts of
// the characters of record keys, at most [MaxKeyBytes]. That is less than
// CheckPath demands; it is what implementations of the tree agree on.
func checkKey[T []byte | string](key T) error {
	slash := -1
	ok := len(key) <= MaxKeyBytes
	for i := 0; ok && i < len(key); i++ {
		if key[i] == '/' {
			ok = slash < 0
			slash = i
		} else {
			ok = isKeyChar(key[i])
		}
	}
	if !ok || slash <= 0 || slash == len(key)-1 {
		return fmt.Errorf("%w: %.100q", ErrInvalidPath, key)
	}
	return nil
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
func isDigit(c byte) bool  { return '0' <= c && c <= '9' }

func isKeyChar(c byte) bool {
	return isLetter(c) || isDigit(c) || c == '.' || c == '-' || c == '_' || c == '~' || c == ':'
}

func isRecordKey(s string) bool {
	if s == "" || s == "." || s == ".." || len(s) > maxRKeyBytes {
		return false
	}
	for i := 0; i < len(s); i++ {
		if !isKeyChar(s[i]) {
			return false
		}
	}
	return true
}

// isNSID reports whether s has at least three labels, of which the first and
// the last begin with a letter, and the last one, the name, has no hyphens.
func isNSID(s string) bool {
	if len(s) > maxCollectionBytes {
		return false
	}
	labels := 0
	for {
		label, rest, more := strings.Cut(s, ".")
		labels++
		if label == "" || len(label) > maxLabelBytes {
			return false
		}
		if (labels == 1 || !more) && !isLetter(label[0]) {
			return false
		}
		for i := 0; i < len(label); i++ {
			inside := 0 < i && i < len(label)-1 && more
			if c := label[i]; !isLetter(c) && !isDigit(c) && (c != '-' || !inside) {
				return false
			}
		}
		if !more {
			return labels >= 3
		}
		s = rest
	}
}
