package live

import (
	"crypto/rand"
	"strconv"
	"strings"
)

// epochLength is how many letters and digits name the life of a topic from its
// creation to its deletion.
const epochLength = 16

func newEpoch() string { return rand.Text()[:epochLength] }

// cursor is a position in a topic: everything up to an entry.
type cursor struct {
	epoch string
	seq   int64
}

// String is the form that clients keep, and must not look into.
func (c cursor) String() string { return c.epoch + "-" + strconv.FormatInt(c.seq, 10) }

// parseCursor reads what String has made, and nothing else.
func parseCursor(text string) (cursor, error) {
	epoch, number, _ := strings.Cut(text, "-")
	seq, err := strconv.ParseInt(number, 10, 64)
	c := cursor{epoch, seq}
	if err != nil || seq < 0 || !isEpoch(epoch) || c.String() != text {
		return cursor{}, ErrCursor
	}
	return c, nil
}

func isEpoch(s string) bool {
	for _, r := range s {
		if (r < 'A' || r > 'Z') && (r < '2' || r > '7') {
			return false
		}
	}
	return len(s) == epochLength
}
