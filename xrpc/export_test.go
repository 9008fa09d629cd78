package xrpc

// DecodeFrame is decodeFrame, for fuzzing.
func DecodeFrame(p Protocol, nsid string, frame []byte) (*Message, error) {
	return decodeFrame(p, nsid, frame)
}
