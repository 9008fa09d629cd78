package smtpmail_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/big"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/smtpmail"
)

func ExampleNew() {
	mailer, err := smtpmail.New(smtpmail.Config{
		URL:  "smtps://user:password@mail.example.com:465",
		From: "PDS <pds@example.com>",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = pds.Config{Mailer: mailer}
	// Output:
}

func TestConfig(t *testing.T) {
	t.Parallel()
	const secret = "s3cret"
	for _, c := range []struct {
		url, from string
		ok        bool
	}{
		{"smtps://user:" + secret + "@mail.example.com:465", "pds@example.com", true},
		{"smtps://user%40example.com:" + secret + "%2F@mail.example.com/", "PDS <pds@example.com>", true},
		{"smtp://mail.example.com", "pds@example.com", true},
		{"smtp://[::1]:2525?requireTLS=true", "pds@example.com", true},
		{"smtp://mail.example.com?ignoreTLS=true&requireTLS=false", "pds@example.com", true},
		{"smtp:///?sendmail=true", "pds@example.com", true},
		{"", "pds@example.com", false},
		{"smtps://", "pds@example.com", false},
		{"https://user:" + secret + "@mail.example.com", "pds@example.com", false},
		{"smtp://user:" + secret + "@mail.example.com/path", "pds@example.com", false},
		{"smtp://user:" + secret + "@mail.example.com:x", "pds@example.com", false},
		{"smtp://user:" + secret + "@mail.example.com:0", "pds@example.com", false},
		{"smtp://user:" + secret + "@mail.example.com:65536", "pds@example.com", false},
		{"smtp://user:" + secret + "@mail.example.com?pool=true", "pds@example.com", false},
		{"smtp://user:" + secret + "@mail.example.com?requireTLS=maybe", "pds@example.com", false},
		{"smtp://user:" + secret + "@mail.example.com?sendmail=true", "pds@example.com", false},
		{"smtp://user:" + secret + "@mail.example.com?a=%zz", "pds@example.com", false},
		{"smtp://mail.example.com", "", false},
		{"smtp://mail.example.com", "nobody", false},
	} {
		_, err := smtpmail.New(smtpmail.Config{URL: c.url, From: c.from})
		if (err == nil) != c.ok {
			t.Errorf("%s from %q: %v", c.url, c.from, err)
		}
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error repeats the password: %v", c.url, err)
		}
	}
}

// fakeServer speaks just enough SMTP.
type fakeServer struct {
	addr    string
	replies map[string]string // by the first word of a command, in place of the usual ones
	tls     *tls.Config       // for STARTTLS; nil: none

	mu    sync.Mutex // guards following field
	mails []string
}

func newFakeServer(t *testing.T, replies map[string]string) *fakeServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &fakeServer{addr: l.Addr().String(), replies: replies}
	s.listen(t, l)
	return s
}

func (s *fakeServer) listen(t *testing.T, l net.Listener) {
	var wg sync.WaitGroup
	t.Cleanup(func() { l.Close(); wg.Wait() })
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { defer conn.Close(); s.serve(conn) })
		}
	})
}

// serverTLS makes a certificate, and a client's configuration that trusts it.
func serverTLS(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, &tls.Config{RootCAs: roots}
}

func (s *fakeServer) serve(conn net.Conn) {
	in := bufio.NewReader(conn)
	fmt.Fprint(conn, "220 fake\r\n")
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		word, _, _ := strings.Cut(strings.ToUpper(strings.TrimSpace(line)), " ")
		reply := "250 ok"
		switch {
		case s.replies[word] != "":
			reply = s.replies[word]
		case word == "EHLO":
			reply = "250-fake"
			if _, secure := conn.(*tls.Conn); !secure && s.tls != nil {
				reply += "\r\n250-STARTTLS"
			}
			reply += "\r\n250 AUTH PLAIN"
		case word == "STARTTLS":
			fmt.Fprint(conn, "220 go on\r\n")
			conn = tls.Server(conn, s.tls)
			in = bufio.NewReader(conn)
			continue
		case word == "AUTH":
			_, secure := conn.(*tls.Conn)
			response, _ := base64.StdEncoding.DecodeString(strings.Fields(line)[2])
			if reply = "235 ok"; !secure || string(response) != "\x00user\x00p@ss" {
				reply = "535 no"
			}
		case word == "DATA":
			fmt.Fprint(conn, "354 go on\r\n")
			var body strings.Builder
			for {
				line, err := in.ReadString('\n')
				if err != nil {
					return
				}
				if line == ".\r\n" {
					break
				}
				body.WriteString(strings.TrimPrefix(line, "."))
			}
			s.mu.Lock()
			s.mails = append(s.mails, body.String())
			s.mu.Unlock()
		case word == "QUIT":
			fmt.Fprint(conn, "221 bye\r\n")
			return
		}
		fmt.Fprint(conn, reply+"\r\n")
	}
}

func (s *fakeServer) received() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mails
}

func newMailer(t *testing.T, cfg smtpmail.Config) *smtpmail.Mailer {
	t.Helper()
	cfg.From = "Ünser PDS <pds@example.com>"
	m, err := smtpmail.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func testMail() pds.Mail {
	return pds.Mail{
		To: "alice@example.com", Subject: "Grüße", Text: "The code:\n\n    ABCDE-FGHIJ\n.\nend\n", HTML: "<p>ABCDE-FGHIJ ü</p>",
	}
}

// wantMail checks a mail as it came.
func wantMail(t *testing.T, raw string) {
	t.Helper()
	m, err := mail.ReadMessage(strings.NewReader(raw))
	if err != nil {
		t.Fatalf("%v:\n%s", err, raw)
	}
	var words mime.WordDecoder
	subject, err := words.DecodeHeader(m.Header.Get("Subject"))
	if err != nil || subject != "Grüße" {
		t.Errorf("subject %q, %v", subject, err)
	}
	from, err := mail.ParseAddress(m.Header.Get("From"))
	if err != nil || from.Name != "Ünser PDS" || from.Address != "pds@example.com" {
		t.Errorf("from %v, %v", from, err)
	}
	for _, name := range []string{"Date", "Message-Id", "Auto-Submitted"} {
		if m.Header.Get(name) == "" {
			t.Errorf("no %s:\n%s", name, raw)
		}
	}
	kind, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil || kind != "multipart/alternative" {
		t.Fatalf("type %s, %v", kind, err)
	}
	parts := multipart.NewReader(m.Body, params["boundary"])
	for _, want := range []string{testMail().Text, testMail().HTML} {
		p, err := parts.NextRawPart()
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(quotedprintable.NewReader(p))
		if got := strings.ReplaceAll(string(body), "\r\n", "\n"); err != nil || strings.TrimRight(got, "\n") != strings.TrimRight(want, "\n") {
			t.Errorf("part %q, %v", got, err)
		}
	}
}

func TestSend(t *testing.T) {
	t.Parallel()
	s := newFakeServer(t, nil)
	m := newMailer(t, smtpmail.Config{URL: "smtp://" + s.addr})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			if err := m.Send(t.Context(), testMail()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	mails := s.received()
	if len(mails) != 3 {
		t.Fatalf("%d mails came", len(mails))
	}
	wantMail(t, mails[0])
}

// TestTLS signs in with a password, which goes nowhere but through TLS.
func TestTLS(t *testing.T) {
	t.Parallel()
	serverConfig, trusting := serverTLS(t)
	for _, c := range []struct {
		scheme, params string
		startTLS       bool
		client         *tls.Config
		ok             bool
	}{
		{scheme: "smtps", client: trusting, ok: true},
		{scheme: "smtps", client: trusting, params: "?ignoreTLS=true", ok: true}, // which is about STARTTLS
		{scheme: "smtps"}, // an unknown authority
		{scheme: "smtp", startTLS: true, client: trusting, ok: true},
		{scheme: "smtp", startTLS: true, client: trusting, params: "?requireTLS=true", ok: true},
		{scheme: "smtp", startTLS: true},
		{scheme: "smtp", startTLS: true, client: trusting, params: "?ignoreTLS=true"}, // the password is not sent
		{scheme: "smtp", client: trusting},
	} {
		t.Run(fmt.Sprintf("%s%s/starttls=%t/trust=%t", c.scheme, c.params, c.startTLS, c.client != nil), func(t *testing.T) {
			t.Parallel()
			s := new(fakeServer)
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			s.addr = l.Addr().String()
			if c.startTLS {
				s.tls = serverConfig
			}
			if c.scheme == "smtps" {
				l = tls.NewListener(l, serverConfig)
			}
			s.listen(t, l)
			m := newMailer(t, smtpmail.Config{URL: c.scheme + "://user:p%40ss@" + s.addr + c.params, TLS: c.client})
			err = m.Send(t.Context(), testMail())
			if (err == nil) != c.ok || errors.Is(err, pds.ErrUndeliverable) || len(s.received()) > 0 != c.ok {
				t.Errorf("got %v, %d mails", err, len(s.received()))
			}
		})
	}
}

// TestSendFails: what later attempts cannot mend is told from the rest.
func TestSendFails(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		replies map[string]string
		params  string
		to      string
		final   bool
	}{
		"unknown receiver":     {replies: map[string]string{"RCPT": "550 no such user"}, final: true},
		"refused content":      {replies: map[string]string{"DATA": "554 spam"}, final: true},
		"greylisted":           {replies: map[string]string{"RCPT": "450 later"}},
		"mailbox full":         {replies: map[string]string{"DATA": "452 full"}},
		"sender not allowed":   {replies: map[string]string{"MAIL": "550 log in first"}},
		"server says go away":  {replies: map[string]string{"EHLO": "554 no", "HELO": "554 no"}},
		"TLS is missing":       {params: "?requireTLS=true"},
		"not even an address":  {to: "alice", final: true},
		"more than an address": {to: "alice@example.com\r\nRCPT TO:<bob@example.com>", final: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newFakeServer(t, c.replies)
			m := newMailer(t, smtpmail.Config{URL: "smtp://" + s.addr + c.params})
			mail := testMail()
			if c.to != "" {
				mail.To = c.to
			}
			err := m.Send(t.Context(), mail)
			if err == nil || errors.Is(err, pds.ErrUndeliverable) != c.final {
				t.Errorf("got %v, want undeliverable: %t", err, c.final)
			}
			if n := len(s.received()); n != 0 {
				t.Errorf("%d mails came", n)
			}
		})
	}
	t.Run("nobody listens", func(t *testing.T) {
		t.Parallel()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		for _, scheme := range []string{"smtp", "smtps"} {
			err = newMailer(t, smtpmail.Config{URL: scheme + "://" + l.Addr().String()}).Send(t.Context(), testMail())
			if err == nil || errors.Is(err, pds.ErrUndeliverable) {
				t.Errorf("%s: %v", scheme, err)
			}
		}
	})
	t.Run("time is over", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		s := newFakeServer(t, nil)
		if err := newMailer(t, smtpmail.Config{URL: "smtp://" + s.addr}).Send(ctx, testMail()); err == nil {
			t.Error("sent after the end of the context")
		}
	})
}

// TestSendmail uses a program.
func TestSendmail(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	program := filepath.Join(dir, "sendmail")
	script := func(text string) {
		t.Helper()
		if err := os.WriteFile(program, []byte("#!/bin/sh\n"+text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	m := newMailer(t, smtpmail.Config{URL: "smtp:///?sendmail=true", Sendmail: program})
	if err := m.Send(t.Context(), testMail()); err == nil {
		t.Error("no error without the program")
	}
	script("echo \"$@\" > " + dir + "/args\ncat > " + dir + "/mail\n")
	if _, err := os.Stat("/bin/sh"); err != nil {
		t.Skip("no shell")
	}
	if err := m.Send(t.Context(), testMail()); err != nil {
		t.Fatal(err)
	}
	args, err := os.ReadFile(filepath.Join(dir, "args"))
	if err != nil || strings.TrimSpace(string(args)) != "-oi -t" {
		t.Errorf("arguments %q, %v", args, err)
	}
	raw, err := os.ReadFile(filepath.Join(dir, "mail"))
	if err != nil {
		t.Fatal(err)
	}
	wantMail(t, string(raw))

	script("cat > /dev/null\necho the queue is full >&2\nexit 75\n")
	if err := m.Send(t.Context(), testMail()); err == nil || !strings.Contains(err.Error(), "the queue is full") {
		t.Errorf("a program that fails: %v", err)
	}
}

// Check tells whether mail could be sent, and sends none.
func TestCheck(t *testing.T) {
	t.Parallel()
	secure, trusts := serverTLS(t)
	s := newFakeServer(t, nil)
	s.tls = secure
	for url, want := range map[string]string{
		"smtp://user:p%40ss@" + s.addr: "",
		"smtp://user:wrong@" + s.addr:  "535",
		"smtp://127.0.0.1:1":           "connect",
	} {
		err := newMailer(t, smtpmail.Config{URL: url, TLS: trusts}).Check(t.Context())
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", url, err, want)
		}
	}
	if n := len(s.received()); n != 0 {
		t.Errorf("%d mails came", n)
	}
	for program, there := range map[string]bool{"/bin/sh": true, "/nowhere/sendmail": false} {
		if err := newMailer(t, smtpmail.Config{URL: "smtp:///?sendmail=true", Sendmail: program}).Check(t.Context()); (err == nil) != there {
			t.Errorf("%s: %v", program, err)
		}
	}
}
