package xrpc

import (
	"context"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// maxForwarded is the number of addresses of X-Forwarded-For that are looked
// at, from the last.
const maxForwarded = 32

// PrivateProxies returns the peers whose X-Forwarded-For is trusted unless a
// [Config] says otherwise: loopback, link-local and unique-local (private)
// addresses.
func PrivateProxies() []netip.Prefix {
	return []netip.Prefix{
		netip.MustParsePrefix("127.0.0.0/8"),
		netip.MustParsePrefix("::1/128"),
		netip.MustParsePrefix("169.254.0.0/16"),
		netip.MustParsePrefix("fe80::/10"),
		netip.MustParsePrefix("10.0.0.0/8"),
		netip.MustParsePrefix("172.16.0.0/12"),
		netip.MustParsePrefix("192.168.0.0/16"),
		netip.MustParsePrefix("fc00::/7"),
	}
}

// ForwardedIP returns the address of the client of a request: that of the
// peer, or, if the peer is a trusted proxy, the last address in
// X-Forwarded-For that is not one. What cannot be parsed ends the search. It
// returns the zero Addr if the peer has no address.
func ForwardedIP(r *http.Request, trusted []netip.Prefix) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	ip := peer.Addr().Unmap().WithZone("")
	values := r.Header["X-Forwarded-For"]
	seen := 0
	for _, rest := range slices.Backward(values) {
		for rest != "" {
			if !containsIP(trusted, ip) || seen == maxForwarded {
				return ip
			}
			seen++
			var item string
			if at := strings.LastIndexByte(rest, ','); at >= 0 {
				rest, item = rest[:at], rest[at+1:]
			} else {
				rest, item = "", rest
			}
			next, ok := parseForwarded(strings.TrimSpace(item))
			if !ok {
				return ip
			}
			ip = next
		}
	}
	return ip
}

// parseForwarded reads an address, with a port if some proxy adds it.
func parseForwarded(s string) (netip.Addr, bool) {
	if ip, err := netip.ParseAddr(s); err == nil {
		return ip.Unmap().WithZone(""), true
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().WithZone(""), true
	}
	return netip.Addr{}, false
}

func containsIP(list []netip.Prefix, ip netip.Addr) bool {
	for _, p := range list {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// ClientKey returns the address by which the client of the request that ctx
// belongs to is counted, IPv6 by /64. It is empty if the client is not known:
// outside of a request, and for a trusted proxy that names nobody else.
func ClientKey(ctx context.Context) string {
	c := callFrom(ctx)
	if c == nil || c.server == nil || !c.ip.IsValid() || containsIP(c.server.cfg.TrustedProxies, c.ip) {
		return ""
	}
	return AddressKey(c.ip)
}

// ipv6Client is the prefix length by which IPv6 clients are told apart: one
// customer has at least so much.
const ipv6Client = 64

// AddressKey returns what a client's address is counted by, IPv6 by /64, for
// limits of routes beside the server.
func AddressKey(ip netip.Addr) string {
	if ip.Is6() {
		if p, err := ip.Prefix(ipv6Client); err == nil {
			return p.String()
		}
	}
	return ip.String()
}
