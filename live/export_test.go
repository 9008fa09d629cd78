package live

import "github.com/pdskit/pdskit/storage"

// ParseCursor reads a cursor and writes it again.
func ParseCursor(text string) (string, error) {
	c, err := parseCursor(text)
	return c.String(), err
}

// DecodeStored reads a document as a topic and as an entry.
func DecodeStored(d storage.Doc) {
	_, _ = decodeTopic(d)
	_, _ = decodeEntry(d)
}

// RingBytes returns what the entries in memory take, in all topics and in the
// largest.
func (h *Hub) RingBytes() (total, largest int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, f := range h.feeds {
		f.mu.Lock()
		total += f.ring.bytes
		largest = max(largest, f.ring.bytes)
		f.mu.Unlock()
	}
	return total, largest
}

// SignalBytes returns what signals take in memory, as it is counted.
func (h *Hub) SignalBytes() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.signalBytes
}
