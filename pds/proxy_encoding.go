package pds

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/pdskit/pdskit/xrpc"
)

// maxAcceptedEncodings is how many encodings a client may list.
const maxAcceptedEncodings = 32

// negotiateEncoding returns the Accept-Encoding to send to an upstream whose
// answer may have to be read here: gzip if the client takes it, so that most
// answers pass as they are, else none. It is an error if the client takes
// neither, or if its own header is malformed.
func negotiateEncoding(h http.Header) (string, error) {
	weights, err := parseAcceptEncoding(h.Values("Accept-Encoding"))
	if err != nil {
		return "", err
	}
	takes := func(coding string, otherwise bool) bool {
		if q, listed := weights[coding]; listed {
			return q > 0
		}
		if q, listed := weights["*"]; listed {
			return q > 0
		}
		return otherwise
	}
	gzip, identity := takes("gzip", false), takes("identity", true)
	switch {
	case gzip && identity:
		return "gzip, identity;q=0.5", nil
	case gzip:
		return "gzip, *;q=0", nil
	case identity:
		return "identity", nil
	}
	return "", xrpc.NewError(http.StatusNotAcceptable, "", "this service does not support any of the requested encodings")
}

// parseAcceptEncoding returns the weight of each encoding that a client lists.
func parseAcceptEncoding(values []string) (map[string]float64, error) {
	weights := make(map[string]float64, 4)
	for _, value := range values {
		if strings.TrimSpace(value) == "" {
			continue // no wish
		}
		for item := range strings.SplitSeq(value, ",") {
			coding, params, weighted := strings.Cut(item, ";")
			coding = strings.ToLower(strings.TrimSpace(coding))
			weight := 1.0
			if weighted {
				name, text, _ := strings.Cut(strings.TrimSpace(params), "=")
				var err error
				weight, err = strconv.ParseFloat(text, 64)
				if err != nil || !strings.EqualFold(name, "q") || !(weight >= 0 && weight <= 1) {
					return nil, errAcceptEncoding(item)
				}
			}
			if coding == "" || strings.ContainsAny(coding, "= \t") || len(weights) == maxAcceptedEncodings {
				return nil, errAcceptEncoding(item)
			}
			weights[coding] = weight
		}
	}
	return weights, nil
}

func errAcceptEncoding(item string) *xrpc.Error {
	return xrpc.InvalidRequest("Invalid accept-encoding: %q", strings.TrimSpace(item))
}
