package jose

import (
	"errors"
	"strconv"
	"time"
)

// maxNumericDate is the last second of the year 9999.
const maxNumericDate = 253402300799

var errNumericDate = errors.New("not a number of seconds since 1970")

// NumericDate is a time in a token: seconds since 1970 (RFC 7519 section 2).
// Decoding takes numbers only, not texts with numbers and not null, from 0 to
// the end of the year 9999, and drops fractions of a second. A field that may be
// absent is a *NumericDate.
type NumericDate int64

// NewNumericDate returns t in whole seconds.
func NewNumericDate(t time.Time) NumericDate { return NumericDate(t.Unix()) }

// Time returns d as a time.
func (d NumericDate) Time() time.Time { return time.Unix(int64(d), 0) }

// UnmarshalJSON reads a JSON number.
func (d *NumericDate) UnmarshalJSON(data []byte) error {
	if len(data) == 0 || data[0] < '0' || data[0] > '9' {
		return errNumericDate
	}
	if n, err := strconv.ParseInt(string(data), 10, 64); err == nil && n <= maxNumericDate {
		*d = NumericDate(n)
		return nil
	}
	f, err := strconv.ParseFloat(string(data), 64)
	if err != nil || f > maxNumericDate {
		return errNumericDate
	}
	*d = NumericDate(f)
	return nil
}
