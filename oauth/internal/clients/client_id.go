package clients

import (
	"errors"
	"strings"
)

// Class is the kind of a client, which its id tells.
type Class int

// Classes of clients.
const (
	// Loopback clients are apps under development on their user's machine. Their
	// id, "http://localhost" with parameters, says all there is. Anybody can use
	// such an id: they are never to be trusted or remembered.
	Loopback Class = iota + 1
	// Discoverable clients have the https URL of their metadata for an id.
	Discoverable
	// Registered clients stand in the configuration.
	Registered
)

// String returns the name of the class.
func (c Class) String() string {
	switch c {
	case Loopback:
		return "loopback"
	case Discoverable:
		return "discoverable"
	case Registered:
		return "registered"
	}
	return "unknown"
}

const loopbackPrefix = "http://localhost"

// ClassOf tells the class of a client id from how it begins. It does not say
// that the id is valid. The class is zero for ids that none has: those that
// begin with "http://" and lead elsewhere than to localhost.
func ClassOf(id string) Class {
	switch {
	case strings.HasPrefix(id, loopbackPrefix):
		return Loopback
	case strings.HasPrefix(id, "https://"):
		return Discoverable
	case strings.HasPrefix(id, "http://"):
		return 0
	}
	return Registered
}

// parseDiscoverable checks the id of a discoverable client and returns its URL.
// The error is a refusal.
func parseDiscoverable(id string) (webURL, error) {
	u, err := parseWebURL(id)
	switch {
	case err != nil:
	case u.port != "":
		err = errors.New("it has a port")
	case u.path == "" || u.path == "/":
		err = errors.New("it has no path")
	case strings.HasSuffix(u.path, "/"):
		err = errors.New("its path ends in a slash")
	default:
		err = checkPath(u.path)
	}
	if err != nil {
		return webURL{}, invalidClient("client_id: %v", err)
	}
	return u, nil
}

// checkRegisteredID checks the id of a client of the configuration.
func checkRegisteredID(id string) error {
	lower := strings.ToLower(id)
	switch {
	case id == "":
		return errors.New("the client id is empty")
	case len(id) > MaxURL:
		return errors.New("the client id is too long")
	case strings.HasPrefix(lower, "http://") || strings.HasPrefix(lower, "https://"):
		return errors.New("the client id is a URL, which means a client that is not registered")
	}
	for i := range len(id) {
		if id[i] <= ' ' || id[i] >= 0x7f {
			return errors.New("the client id has characters other than printable ASCII")
		}
	}
	return nil
}
