package identity_test

import (
	"encoding/binary"
	"errors"
	"net"
	"testing"

	"github.com/pdskit/pdskit/identity"
)

// The questions go to the configured server, which here knows no name.
func TestNameserver(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	asked := make(chan string, 16)
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			end := 12
			for end < n && buf[end] != 0 {
				end += int(buf[end]) + 1
			}
			if end += 5; end > n {
				continue
			}
			select {
			case asked <- string(buf[13 : 13+buf[12]]):
			default:
			}
			out := append([]byte{}, buf[:end]...)
			binary.BigEndian.PutUint16(out[2:], 0x8183) // NXDOMAIN
			clear(out[6:12])
			_, _ = conn.WriteTo(out, from) // a lost answer is a lookup that fails
		}
	}()
	_, err = identity.Nameserver(conn.LocalAddr().String()).LookupTXT(t.Context(), "_atproto.nobody.test.")
	var dnsErr *net.DNSError
	if !errors.As(err, &dnsErr) || !dnsErr.IsNotFound {
		t.Errorf("err = %v", err)
	}
	select {
	case name := <-asked:
		if name != "_atproto" {
			t.Errorf("asked for %q", name)
		}
	default:
		t.Error("the server was not asked")
	}
}

func TestPLCErrorText(t *testing.T) {
	err := &identity.PLCError{Status: 400, Message: "bad signature"}
	if got := err.Error(); got != "identity: PLC directory answered 400: bad signature" {
		t.Errorf("%q", got)
	}
	if errors.Is(err, identity.ErrPLCUnavailable) {
		t.Error("a refusal is no outage")
	}
}
