package clients_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/oauth/internal/clients"
)

func TestFetch(t *testing.T) {
	w := &web{}
	w.serve(appID, func(r *http.Request) (*http.Response, error) {
		h := r.Header
		if r.Method != http.MethodGet || h.Get("Accept") != "application/json" || h.Get("Accept-Encoding") != "identity" ||
			h.Get("Cookie") != "" || h.Get("Authorization") != "" || r.ContentLength != 0 {
			t.Errorf("asked with %s %v", r.Method, h)
		}
		return answer(200, "Application/JSON; charset=utf-8", text(t, webApp)), nil
	})
	if c, err := newResolver(t, clients.Config{Transport: w}).Client(t.Context(), appID); err != nil || c.ID != appID || c.Class != clients.Discoverable {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestAttack42BadAnswers(t *testing.T) {
	valid := text(t, webApp)
	for name, tt := range map[string]struct {
		answer *http.Response
		says   string
	}{
		"another client_id":       {answer(200, "application/json", text(t, with(webApp, object{"client_id": appID + "x"}))), "not the requested one"},
		"client_id in other case": {answer(200, "application/json", strings.Replace(valid, "app.example", "App.example", 1)), "not the requested one"},
		"encoded client_id":       {answer(200, "application/json", text(t, with(webApp, object{"client_id": strings.Replace(appID, "oauth", "%6fauth", 1)}))), "not the requested one"},
		"no client_id":            {answer(200, "application/json", text(t, with(webApp, object{"client_id": nil}))), "not the requested one"},
		"client_id twice":         {answer(200, "application/json", `{"client_id":"https://evil.com/x",`+valid[1:]), "strict JSON"},
		"CLIENT_ID":               {answer(200, "application/json", strings.Replace(valid, "client_id", "CLIENT_ID", 1)), "not the requested one"},
		"text/html":               {answer(200, "text/html", valid), "is not of type"},
		"no type":                 {answer(200, "", valid), "is not of type"},
		"jwk-set":                 {answer(200, "application/jwk-set+json", valid), "is not of type"},
		"ld+json":                 {answer(200, "application/ld+json", valid), "is not of type"},
		"201":                     {answer(201, "application/json", valid), "status 201"},
		"206":                     {answer(206, "application/json", valid), "status 206"},
		"404":                     {answer(404, "application/json", valid), "status 404"},
		"not JSON":                {answer(200, "application/json", "<html>"), "strict JSON"},
		"JSON and more":           {answer(200, "application/json", valid+"{}"), "strict JSON"},
		"array":                   {answer(200, "application/json", "["+valid+"]"), "strict JSON"},
		"empty":                   {answer(200, "application/json", ""), "strict JSON"},
		"not UTF-8":               {answer(200, "application/json", valid[:len(valid)-1]+`,"client_name":"`+"\xff\"}"), "strict JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			w := &web{}
			w.serve(appID, func(*http.Request) (*http.Response, error) { return tt.answer, nil })
			_, err := newResolver(t, clients.Config{Transport: w}).Client(t.Context(), appID)
			wantError(t, err, clients.CodeInvalidClientMetadata, tt.says)
		})
	}
	for _, status := range []int{301, 302, 303, 307, 308} {
		w := &web{}
		w.put("https://other.example.com/x", valid)
		w.serve(appID, func(*http.Request) (*http.Response, error) {
			resp := answer(status, "application/json", valid)
			resp.Header.Set("Location", "https://other.example.com/x")
			return resp, nil
		})
		_, err := newResolver(t, clients.Config{Transport: w}).Client(t.Context(), appID)
		wantError(t, err, clients.CodeInvalidClientMetadata, fmt.Sprintf("status %d", status))
		if w.hits() != 1 {
			t.Errorf("%d: asked %q", status, w.asked)
		}
	}
}

// endless is a body without end.
type endless struct{ read int }

func (b *endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	b.read += len(p)
	return len(p), nil
}

func TestAttack41HugeAnswers(t *testing.T) {
	serve := func(body io.Reader, length int64, header http.Header) (*clients.Client, error) {
		w := &web{}
		w.serve(appID, func(*http.Request) (*http.Response, error) {
			header.Set("Content-Type", "application/json")
			return &http.Response{StatusCode: 200, Header: header, Body: io.NopCloser(body), ContentLength: length}, nil
		})
		return newResolver(t, clients.Config{Transport: w}).Client(t.Context(), appID)
	}
	valid := text(t, webApp)
	full := valid + strings.Repeat(" ", clients.MaxDocument-len(valid))
	if _, err := serve(strings.NewReader(full), -1, http.Header{}); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	_, err := serve(strings.NewReader(full+" "), -1, http.Header{})
	wantError(t, err, clients.CodeInvalidClientMetadata, "could not be read")

	body := &endless{}
	_, err = serve(body, -1, http.Header{})
	wantError(t, err, clients.CodeInvalidClientMetadata, "could not be read")
	if !errors.Is(err, identity.ErrBodyTooLarge) || body.read > 2*clients.MaxDocument {
		t.Errorf("read %d bytes, %v", body.read, err)
	}
	_, err = serve(body, 1<<30, http.Header{})
	wantError(t, err, clients.CodeInvalidClientMetadata, "could not be fetched")

	var bomb bytes.Buffer
	zip := gzip.NewWriter(&bomb)
	if _, err := zip.Write(bytes.Repeat([]byte(" "), 10<<20)); err != nil {
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = serve(&bomb, -1, http.Header{"Content-Encoding": {"gzip"}})
	wantError(t, err, clients.CodeInvalidClientMetadata, "Content-Encoding")

	_, err = serve(strings.NewReader(valid[:len(valid)-1]+`,"x":`+strings.Repeat("[", 10_000)+strings.Repeat("]", 10_000)+"}"), -1, http.Header{})
	wantError(t, err, clients.CodeInvalidClientMetadata, "strict JSON")

	key := newSigner(t, "x")
	many := strings.Repeat(`{"kty":"x"},`, 5_000)
	_, err = serve(strings.NewReader(text(t, with(webApp, with(backend, object{"jwks_uri": nil})))[:2]+
		`jwks":{"keys":[`+many+text(t, key.jwk(t, nil))+`]},`+text(t, with(webApp, with(backend, object{"jwks_uri": nil})))[1:]), -1, http.Header{})
	wantError(t, err, clients.CodeInvalidClientMetadata, "jwks")
}

func TestAttack41SlowAnswers(t *testing.T) {
	hang := func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	drip := func(r *http.Request) (*http.Response, error) {
		read, write := io.Pipe()
		go func() {
			for r.Context().Err() == nil {
				if _, err := write.Write([]byte(" ")); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
			write.CloseWithError(r.Context().Err())
		}()
		resp := answer(200, "application/json", "")
		resp.Body = read
		return resp, nil
	}
	for name, page := range map[string]func(*http.Request) (*http.Response, error){"no answer": hang, "a byte per second": drip} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &web{}
				w.serve(appID, page)
				start := time.Now()
				_, err := newResolver(t, clients.Config{Transport: w}).Client(t.Context(), appID)
				wantError(t, err, clients.CodeInvalidClientMetadata, "could not be")
				if took := time.Since(start); took > clients.FetchTimeout+2*time.Second {
					t.Errorf("took %v", took)
				}
			})
		})
	}
}

// A caller that leaves does not take the fetch with it.
func TestCallerLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &web{}
		w.serve(appID, func(r *http.Request) (*http.Response, error) {
			select {
			case <-r.Context().Done():
				return nil, r.Context().Err()
			case <-time.After(3 * time.Second):
				return answer(200, "application/json", text(t, webApp)), nil
			}
		})
		r := newResolver(t, clients.Config{Transport: w})
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := r.Client(ctx, appID); !errors.Is(err, context.DeadlineExceeded) || r.Known(appID) {
			t.Errorf("%v", err)
		}
		if _, err := r.Client(t.Context(), appID); err != nil || w.hits() != 1 || time.Since(start) != 3*time.Second {
			t.Errorf("%v after %d fetches and %v", err, w.hits(), time.Since(start))
		}
	})
}

func TestCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &web{}
		r := newResolver(t, clients.Config{Transport: w})
		ask := func(wantHits int, wantKnown, wantOK bool) {
			t.Helper()
			if known := r.Known(appID); known != wantKnown {
				t.Errorf("known: %v", known)
			}
			if _, err := r.Client(t.Context(), appID); (err == nil) != wantOK || w.hits() != wantHits {
				t.Errorf("%v after %d fetches, want %d", err, w.hits(), wantHits)
			}
		}
		ask(1, false, false) // 404
		w.put(appID, text(t, webApp))
		time.Sleep(clients.DefaultFailureTTL - 1)
		ask(1, true, false)
		time.Sleep(time.Nanosecond)
		ask(2, false, true)
		w.put(appID, text(t, with(webApp, object{"scope": "invalid"})))
		time.Sleep(clients.DefaultTTL - 1)
		ask(2, true, true)
		time.Sleep(time.Nanosecond)
		ask(3, false, false) // an invalid document replaces a valid one that is too old
		ask(3, true, false)
	})
}

func TestCacheIsBounded(t *testing.T) {
	id := func(i int) string { return fmt.Sprintf("https://app%d.example.com/x", i) }
	fill := func(cfg clients.Config, n int) (known int) {
		w := &web{}
		cfg.Transport = w
		r := newResolver(t, cfg)
		for i := range n {
			w.put(id(i), text(t, with(webApp, object{"client_id": id(i), "client_name": strings.Repeat("x", 10<<10)})))
			if _, err := r.Client(t.Context(), id(i)); err != nil {
				t.Fatal(err)
			}
			if _, err := r.Client(t.Context(), id(0)); err != nil { // used all the time
				t.Fatal(err)
			}
		}
		for i := range n {
			if r.Known(id(i)) {
				known++
			}
		}
		if !r.Known(id(0)) || !r.Known(id(n-1)) || w.hits() != n {
			t.Errorf("what was used last is gone after %d fetches", w.hits())
		}
		return known
	}
	if known := fill(clients.Config{CacheEntries: 5}, 12); known != 5 {
		t.Errorf("%d entries are kept, want 5", known)
	}
	if known := fill(clients.Config{CacheBytes: 100 << 10}, 12); known != 4 {
		t.Errorf("%d entries are kept, want 4: one takes twice its document of 10 KiB, and a little", known)
	}
}

func TestSingleFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &web{}
		w.serve(appID, func(*http.Request) (*http.Response, error) {
			time.Sleep(time.Second)
			return answer(200, "application/json", text(t, webApp)), nil
		})
		r := newResolver(t, clients.Config{Transport: w})
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if _, err := r.Client(t.Context(), appID); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if w.hits() != 1 {
			t.Errorf("%d fetches", w.hits())
		}
	})
}

// crowd serves any client after a while, and counts who is there at a time.
type crowd struct {
	t    *testing.T
	stay time.Duration

	mu      sync.Mutex // guards following 4 fields
	total   int
	perHost map[string]int
	most    int
	mostOf  int // at one host
}

func (c *crowd) RoundTrip(r *http.Request) (*http.Response, error) {
	c.mu.Lock()
	host := r.URL.Host
	c.total++
	c.perHost[host]++
	c.most, c.mostOf = max(c.most, c.total), max(c.mostOf, c.perHost[host])
	c.mu.Unlock()
	time.Sleep(c.stay)
	c.mu.Lock()
	c.total--
	c.perHost[host]--
	c.mu.Unlock()
	return answer(200, "application/json", text(c.t, with(webApp, object{"client_id": r.URL.String()}))), nil
}

// A flood of requests with new ids opens so many connections and no more, and
// what waits is bounded in number and time. Those who asked too much are told
// that it is not them.
func TestAttack43FloodOfClients(t *testing.T) {
	for _, tt := range []struct {
		name         string
		clients      int
		id           func(int) string
		stay         time.Duration
		most, mostOf int
		served       int
	}{
		{"many hosts", 100, func(i int) string { return fmt.Sprintf("https://app%d.example.com/x", i) }, time.Second, 32, 1, 100},
		{"one host", 10, func(i int) string { return fmt.Sprintf("https://app.example.com/%d", i) }, time.Second, 2, 2, 10},
		{"one slow host", 10, func(i int) string { return fmt.Sprintf("https://app.example.com/%d", i) }, 4 * time.Second, 2, 2, 4},
		{"many slow hosts", 100, func(i int) string { return fmt.Sprintf("https://app%d.example.com/x", i) }, 4 * time.Second, 32, 1, 64},
		{"more than wait", 300, func(i int) string { return fmt.Sprintf("https://app%d.example.com/x", i) }, time.Millisecond, 32, 1, 256},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &crowd{t: t, stay: tt.stay, perHost: map[string]int{}}
				r := newResolver(t, clients.Config{Transport: c})
				errs := make([]error, tt.clients)
				var wg sync.WaitGroup
				for i := range tt.clients {
					wg.Go(func() { _, errs[i] = r.Client(t.Context(), tt.id(i)) })
				}
				wg.Wait()
				served := 0
				for i, err := range errs {
					if err == nil {
						served++
						continue
					}
					wantError(t, err, clients.CodeTemporarilyUnavailable, "too many")
					if r.Known(tt.id(i)) {
						t.Error("our own trouble is kept as the client's")
					}
				}
				if c.most != tt.most || c.mostOf != tt.mostOf || served != tt.served {
					t.Errorf("%d at a time, %d at one host, %d served", c.most, c.mostOf, served)
				}
				// Afterwards there is room again.
				if _, err := r.Client(t.Context(), "https://late.example.com/x"); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// hostileDNS answers all questions for addresses by one, without any network.
func hostileDNS(addr [4]byte) *net.Resolver {
	serve := func(conn net.Conn) {
		defer conn.Close()
		size := make([]byte, 2)
		for {
			if _, err := io.ReadFull(conn, size); err != nil {
				return
			}
			query := make([]byte, binary.BigEndian.Uint16(size))
			if _, err := io.ReadFull(conn, query); err != nil {
				return
			}
			end := 12 // of the question: labels up to an empty one, type, class
			for query[end] != 0 {
				end += int(query[end]) + 1
			}
			end += 5
			out := append([]byte{0, 0}, query[:end]...)
			copy(out[4:], []byte{0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0})
			if out[len(out)-3] == 1 { // type A
				out[9] = 1
				out = append(out, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
				out = append(out, addr[:]...)
			}
			binary.BigEndian.PutUint16(out, uint16(len(out)-2))
			if _, err := conn.Write(out); err != nil {
				return
			}
		}
	}
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go serve(theirs)
		return ours, nil
	}}
}

// Names that lead to private addresses are looked up and not connected to, for
// documents and for keys. Ids with such addresses in them are refused before,
// in TestDiscoverableIDs.
func TestAttack40PrivateAddresses(t *testing.T) {
	for _, addr := range [][4]byte{{127, 0, 0, 1}, {10, 0, 0, 1}, {172, 16, 0, 1}, {192, 168, 0, 1}, {169, 254, 169, 254}, {100, 64, 0, 1}, {0, 0, 0, 0}} {
		guarded := identity.NewTransport(identity.TransportConfig{Resolver: hostileDNS(addr)})
		r := newResolver(t, clients.Config{Transport: guarded})
		_, err := r.Client(t.Context(), "https://rebind.example.com/x")
		wantError(t, err, clients.CodeInvalidClientMetadata, "could not be fetched")
		if !errors.Is(err, identity.ErrBlockedAddress) {
			t.Errorf("%v: %v", addr, err)
		}

		key := newSigner(t, "a")
		app := with(webApp, with(backend, object{"client_id": "our-app", "jwks_uri": "https://rebind.example.com/jwks"}))
		r = newResolver(t, clients.Config{Transport: guarded, Registered: []json.RawMessage{json.RawMessage(text(t, app))}})
		c, err := r.Client(t.Context(), "our-app")
		if err != nil {
			t.Fatal(err)
		}
		_, err = r.Authenticate(t.Context(), c, clients.AssertionType, assertion(t, key, time.Now(), object{"iss": "our-app", "sub": "our-app"}), issuer, "")
		if !errors.Is(err, identity.ErrBlockedAddress) {
			t.Errorf("%v: %v", addr, err)
		}
	}
}

// Key sets are no way around the rules for ids.
func TestAttack40KeysElsewhere(t *testing.T) {
	app := with(webApp, backend)
	for _, uri := range []string{
		"https://127.0.0.1/", "https://10.0.0.1/", "https://169.254.169.254/latest", "https://[::1]/", "https://[::ffff:127.0.0.1]/", "https://[64:ff9b::7f00:1]/", "https://2130706433/", "https://0177.0.0.1/", "https://0x7f.1/",
		"https://localhost/", "https://router.local/", "http://app.example.com/jwks", "file:///etc/passwd", "gopher://app.example.com/", "https://app.example.com:22/",
	} {
		_, err := load(t, with(app, object{"jwks_uri": uri}))
		wantError(t, err, clients.CodeInvalidClientMetadata, "jwks_uri: ")
	}
	w := &web{}
	w.put(appID, text(t, app))
	w.put("https://other.example.com/jwks", text(t, jwks(t, newSigner(t, "a"))))
	w.serve(keysAt, func(*http.Request) (*http.Response, error) {
		resp := answer(302, "application/json", "")
		resp.Header.Set("Location", "https://other.example.com/jwks")
		return resp, nil
	})
	r := newResolver(t, clients.Config{Transport: w})
	c, err := r.Client(t.Context(), appID)
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.HasKey(t.Context(), c, "a", "x")
	wantError(t, err, clients.CodeInvalidClientMetadata, "jwks_uri came with status 302")
}

// What only browsers load is not loaded by the server.
func TestAttack40LogoIsNotFetched(t *testing.T) {
	w := &web{}
	w.put(appID, text(t, with(webApp, object{"logo_uri": "https://evil.com/logo", "tos_uri": "https://evil.com/tos", "client_uri": "https://app.example.com/", "jwks_uri": "https://evil.com/jwks"})))
	if _, err := newResolver(t, clients.Config{Transport: w}).Client(t.Context(), appID); err != nil || w.hits() != 1 {
		t.Errorf("%v, asked %q", err, w.asked)
	}
}
