package xrpc

import "time"

// DecodeFrame is decodeFrame, for fuzzing.
func DecodeFrame(p Protocol, nsid string, frame []byte) (*Message, error) {
	return decodeFrame(p, nsid, frame)
}

// Intake counts messages of a client at some times, and returns how many are
// let through before the first that is not.
func Intake(rate int, times ...time.Time) (n int) {
	var i intake
	for n < len(times) && i.take(rate, times[n]) {
		n++
	}
	return n
}
