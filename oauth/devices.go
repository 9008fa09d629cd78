package oauth

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/pdskit/pdskit/storage"
)

// A device is a browser, known by two cookies: one that stays and one that
// changes. Whoever comes with a value of the second that has been replaced has
// a copy, or was copied from; the device is forgotten then, with all sign-ins.

const (
	// rotateAfter is the age at which the session secret is replaced.
	rotateAfter = 5 * time.Minute
	// rotateGrace is how much longer the one before is good, for requests that
	// were already on their way.
	rotateGrace = 5 * time.Second
	// newDeviceTTL is how long a device is kept on which nobody has signed in.
	newDeviceTTL = day
	// maxFormer is how many replaced secrets are remembered.
	maxFormer = 4
	// maxUserAgent is how much is kept of a User-Agent header.
	maxUserAgent = 256
)

// errDeviceGone is for a device that was forgotten since the request began.
var errDeviceGone = errors.New("oauth: device was forgotten")

// device is the browser of a request.
type device struct {
	key     string // its name in the store
	id      string // the secret in the cookie
	version int64
	doc     deviceDoc
	rotated bool // this request has replaced the session secret
}

type deviceDoc struct {
	Secret    string    `json:"secret"`           // hash of the session secret
	Former    []former  `json:"former,omitempty"` // those before, newest first
	Rotated   time.Time `json:"rotated"`
	Created   time.Time `json:"created"`
	UserAgent string    `json:"userAgent,omitempty"`
	IP        string    `json:"ip,omitempty"`
	Used      bool      `json:"used,omitempty"` // somebody has signed in
}

type former struct {
	Secret string    `json:"secret"`
	Until  time.Time `json:"until"`
}

func (d *deviceDoc) expires() time.Time {
	if d.Used {
		return d.Rotated.Add(cookieTTL)
	}
	return d.Rotated.Add(newDeviceTTL)
}

// standing is what a device's cookies are worth.
type standing int

const (
	deviceUnknown standing = iota
	deviceGood
	deviceDue    // good, and the session secret is to be replaced
	deviceCopied // a session secret that was replaced
)

func (d *deviceDoc) standing(secret, ip, userAgent string, now time.Time) standing {
	if !now.Before(d.expires()) {
		return deviceUnknown
	}
	if secret == d.Secret {
		if now.Sub(d.Rotated) >= rotateAfter || ip != d.IP || userAgent != d.UserAgent {
			return deviceDue
		}
		return deviceGood
	}
	for _, f := range d.Former {
		if secret == f.Secret && now.Before(f.Until) {
			return deviceGood
		}
	}
	return deviceCopied
}

// rotate replaces the session secret.
func (d *deviceDoc) rotate(secret, ip, userAgent string, now time.Time) {
	d.Former = append([]former{{d.Secret, now.Add(rotateGrace)}}, d.Former...)
	if len(d.Former) > maxFormer {
		d.Former = d.Former[:maxFormer]
	}
	d.Secret, d.Rotated, d.IP, d.UserAgent = secret, now, ip, userAgent
}

// deviceOrigin is what a device remembers of where it was.
func deviceOrigin(ctx context.Context) (ip, userAgent string) {
	o := originOf(ctx)
	// What is compared with it has been JSON in between.
	return ipText(o.IP), strings.ToValidUTF8(cut(o.UserAgent, maxUserAgent), "?")
}

// ipText returns an address as text, empty if there is none.
func ipText(addr netip.Addr) string {
	if !addr.IsValid() {
		return ""
	}
	return addr.String()
}

// find reads a document of JSON outside of a transaction, if it is there.
func (s *Server) find(ctx context.Context, kind, key string, value any) (found bool, err error) {
	err = s.view(ctx, func(docs storage.Docs) error {
		_, err := load(docs, kind, key, value)
		return err
	})
	if errors.Is(err, storage.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// cut returns at most n bytes of s.
func cut(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}

// knownDevice returns the device of a request, nil if there is none. It replaces
// the session secret when it is time, and forgets a device that was copied.
func (s *Server) knownDevice(w http.ResponseWriter, r *http.Request) (*device, error) {
	id, secret, ok := s.deviceCookies(r)
	if !ok {
		return nil, nil
	}
	var (
		ctx           = r.Context()
		ip, userAgent = deviceOrigin(r.Context())
		now           = s.now()
		hashed        = hash(secret)
		d             = device{id: id, key: hash(id)}
		state         standing
	)
	read := func(docs storage.Docs) error {
		d.doc, state = deviceDoc{}, deviceUnknown
		var err error
		d.version, err = load(docs, kindDevice, d.key, &d.doc)
		if errors.Is(err, storage.ErrNotFound) {
			return nil
		}
		if err == nil {
			state = d.doc.standing(hashed, ip, userAgent, now)
		}
		return err
	}
	if err := s.view(ctx, read); err != nil {
		return nil, err
	}
	if state == deviceGood {
		return &d, nil
	}
	if state == deviceUnknown {
		return nil, nil
	}
	next := randomID(prefixSession, sizeID)
	err := s.update(ctx, func(docs storage.Docs) error {
		if err := read(docs); err != nil {
			return err
		}
		switch state {
		case deviceDue:
			d.doc.rotate(hash(next), ip, userAgent, now)
			return s.saveDevice(docs, &d)
		case deviceCopied:
			return deleteDevice(docs, d.key)
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case state == deviceCopied:
		s.cfg.Logger.WarnContext(ctx, "oauth: a replaced session cookie was used, its device is forgotten", "ip", ip)
		return nil, nil
	case state == deviceUnknown:
		return nil, nil
	case state == deviceDue:
		d.rotated = true
		s.setDeviceCookies(w, id, next)
	}
	return &d, nil
}

func (s *Server) setDeviceCookies(w http.ResponseWriter, id, secret string) {
	s.setCookie(w, cookieDevice, id)
	s.setCookie(w, cookieSession, secret)
}

// saveDevice writes a device over the version that was read.
func (s *Server) saveDevice(docs storage.Docs, d *device) error {
	return save(docs, kindDevice, d.key, d.version, d.doc.expires(), d.doc)
}

// newDevice makes a device for a browser that has none, and sets its cookies.
func (s *Server) newDevice(w http.ResponseWriter, r *http.Request) (*device, error) {
	if err := s.spend(r.Context(), bucketDevice, ipKey(originOf(r.Context()).IP), s.cfg.Limits.Rates.DevicePerIP); err != nil {
		return nil, err
	}
	var (
		ip, userAgent = deviceOrigin(r.Context())
		now           = s.now()
		id            = randomID(prefixDevice, sizeID)
		secret        = randomID(prefixSession, sizeID)
	)
	d := &device{id: id, key: hash(id), rotated: true, doc: deviceDoc{
		Secret: hash(secret), Rotated: now, Created: now, UserAgent: userAgent, IP: ip,
	}}
	err := s.update(r.Context(), func(docs storage.Docs) error { return s.saveDevice(docs, d) })
	if err != nil {
		return nil, err
	}
	s.setDeviceCookies(w, id, secret)
	return d, nil
}

// changeDevice runs a transaction that changes who is signed in on a device,
// and replaces the session secret in it. signIn says that somebody signs in.
func (s *Server) changeDevice(ctx context.Context, w http.ResponseWriter, d *device, signIn bool, change func(storage.Docs) error) error {
	var (
		next = randomID(prefixSession, sizeID)
		now  = s.now()
		to   device
	)
	err := s.update(ctx, func(docs storage.Docs) error {
		to = device{key: d.key, id: d.id, rotated: true}
		var err error
		to.version, err = load(docs, kindDevice, d.key, &to.doc)
		if errors.Is(err, storage.ErrNotFound) {
			return errDeviceGone
		}
		if err != nil {
			return err
		}
		to.doc.Used = to.doc.Used || signIn
		if !d.rotated {
			to.doc.rotate(hash(next), d.doc.IP, d.doc.UserAgent, now)
		}
		if err := s.saveDevice(docs, &to); err != nil {
			return err
		}
		return change(docs)
	})
	if err != nil {
		return err
	}
	if !d.rotated {
		s.setDeviceCookies(w, d.id, next)
	}
	*d = to
	return nil
}
