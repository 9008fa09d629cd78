package repo

import (
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// A TID is a time in microseconds, 53 bits, and a clock id, 10 bits.
const (
	tidClockBits = 10
	tidClockMask = 1<<tidClockBits - 1
	tidTimeMax   = 1<<53 - 1
	tidMax       = tidTimeMax<<tidClockBits | tidClockMask
)

// NextRev returns the rev of a commit that follows the one with the rev prev,
// which may be empty: the TID of now, or, if the clock is not ahead of prev,
// one microsecond after prev. So revs never go back, also when clocks do. The
// ten lowest bits of clockID count; processes that write to the same
// repositories should have different ones.
//
// The result is above prev in every case but one: if prev is the greatest TID
// there is (in the year 2255), it is returned as it is.
func NextRev(prev syntax.TID, now time.Time, clockID uint) syntax.TID {
	clock := uint64(clockID & tidClockMask)
	last := prev.Integer()
	micros := uint64(min(max(now.UnixMicro(), 0), tidTimeMax))
	next := micros<<tidClockBits | clock
	if prev != "" && next <= last {
		next = (last>>tidClockBits+1)<<tidClockBits | clock
	}
	if next > tidMax {
		next = min(last+1, tidMax)
	}
	return syntax.NewTIDFromInteger(next)
}
