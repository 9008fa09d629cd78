package main

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// The errors of this file do not repeat what they are about: it may be secret,
// or a secret that stands in the wrong place.

func parseBool(v string) (bool, error) {
	switch strings.ToLower(v) {
	case "true", "1":
		return true, nil
	case "false", "0":
		return false, nil
	}
	return false, errors.New("must be true or false")
}

func parsePort(v string) (int, error) {
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > 65535 {
		return 0, errors.New("must be a number from 1 to 65535")
	}
	return n, nil
}

func parseNumber(v string) (int64, error) {
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n <= 0 {
		return 0, errors.New("must be a whole number above zero")
	}
	return n, nil
}

// maxRetries bounds PDS_PROXY_MAX_RETRIES: each try costs a service that is in
// trouble one more request.
const maxRetries = 10

func parseRetries(v string) (int, error) {
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 || n > maxRetries {
		return 0, fmt.Errorf("must be a number from 0 to %d", maxRetries)
	}
	return n, nil
}

func parseMilliseconds(v string) (time.Duration, error) {
	n, err := parseNumber(v)
	if err == nil && n > int64(math.MaxInt64/time.Millisecond) {
		err = errors.New("is too large")
	}
	return time.Duration(n) * time.Millisecond, err
}

// parseEpoch accepts milliseconds since 1970.
func parseEpoch(v string) (time.Time, error) {
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || n < 0 {
		return time.Time{}, errors.New("must be milliseconds since 1970")
	}
	return time.UnixMilli(n), nil
}

// parseHost accepts a bare host name.
func parseHost(v string) (string, error) {
	host := strings.ToLower(v)
	if _, err := syntax.ParseHandle(host); err != nil && host != "localhost" {
		return "", errors.New("must be a host name such as pds.example.com, without https:// and port")
	}
	return host, nil
}

// parseURL accepts the base address of a service, whose path may be empty.
func parseURL(v string) (string, error) {
	u, err := url.Parse(v)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return "", errors.New("must be a URL such as https://example.com")
	}
	return strings.TrimSuffix(v, "/"), nil
}

// parseImageURLs reads a URL with %s three times.
func parseImageURLs(v string) (string, error) {
	if strings.Count(v, "%s") != 3 || strings.Count(v, "%") != 3 {
		return "", errors.New("must be a URL with %s three times: for size, DID and CID")
	}
	_, err := parseURL(strings.ReplaceAll(v, "%s", "x"))
	return v, err
}

func parseDID(v string) (syntax.DID, error) {
	did, err := syntax.ParseDID(v)
	if err != nil {
		return "", errors.New("must be a DID such as did:web:example.com")
	}
	return did, nil
}

// parseHandleDomain accepts ".example.com".
func parseHandleDomain(v string) (string, error) {
	v = strings.ToLower(v)
	if _, err := syntax.ParseHandle("a" + v); err != nil || !strings.HasPrefix(v, ".") {
		return "", errors.New("must be domains with a leading dot, such as .example.com")
	}
	return v, nil
}

// parseNameServer accepts an address or a name, with or without a port.
func parseNameServer(v string) (string, error) {
	host := strings.Trim(v, "[]")
	if ap, err := netip.ParseAddrPort(v); err == nil {
		return ap.String(), nil
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return net.JoinHostPort(host, "53"), nil
	}
	name, port, found := strings.Cut(v, ":")
	if !found {
		port = "53"
	}
	_, err := parsePort(port)
	if _, bad := syntax.ParseHandle(strings.ToLower(name)); bad != nil || err != nil {
		return "", errors.New("must be addresses such as 1.1.1.1 or 1.1.1.1:53")
	}
	return net.JoinHostPort(name, port), nil
}

// parsePeers accepts an address or a network.
func parsePeers(v string) (netip.Prefix, error) {
	if p, err := netip.ParsePrefix(v); err == nil {
		return p, nil
	}
	a, err := netip.ParseAddr(v)
	if err != nil {
		return netip.Prefix{}, errors.New("must be addresses or networks such as 203.0.113.7 or 203.0.113.0/24")
	}
	return a.Prefix(a.BitLen())
}

// parseLevel accepts the levels of the reference server. silent is above all.
func parseLevel(v string) (slog.Level, error) {
	level, ok := map[string]slog.Level{
		"trace": slog.LevelDebug, "debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn,
		"error": slog.LevelError, "fatal": slog.LevelError, "silent": math.MaxInt,
	}[strings.ToLower(v)]
	if !ok {
		return 0, errors.New("must be debug, info, warn or error")
	}
	return level, nil
}

// splitList reads a comma-separated list.
func splitList[T any](v string, parse func(string) (T, error)) ([]T, error) {
	var out []T
	for item := range strings.SplitSeq(v, ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		parsed, err := parse(item)
		if err != nil {
			return nil, err
		}
		out = append(out, parsed)
	}
	return out, nil
}

// parseListen accepts an address to listen on.
func parseListen(v string) (string, error) {
	_, port, err := net.SplitHostPort(v)
	if err == nil {
		_, err = parsePort(port)
	}
	if err != nil {
		return "", errors.New("must be an address with a port, such as 127.0.0.1:9100")
	}
	return v, nil
}
