package xrpc_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pdskit/pdskit/xrpc"
)

// rawServer answers with what RawBody gives, at most limit bytes.
func rawServer(t *testing.T, limit int64) *xrpc.Server {
	return newServer(t, xrpc.Config{Fallback: func(w http.ResponseWriter, r *http.Request) error {
		body, err := xrpc.RawBody(r.Context(), limit)
		if err != nil {
			return err
		}
		defer body.Close()
		text, err := io.ReadAll(body)
		if err != nil {
			return err
		}
		_, err = w.Write(text)
		return err
	}})
}

func TestRawBody(t *testing.T) {
	srv := rawServer(t, 5)
	for _, tt := range []struct {
		body   string
		status int
		answer string
	}{
		{"hello", 200, "hello"},
		{"", 200, ""},
		{"hello!", 413, `{"error":"PayloadTooLarge","message":"request entity too large"}`},
	} {
		for _, chunked := range []bool{false, true} {
			var body io.Reader = strings.NewReader(tt.body)
			if chunked {
				body = io.MultiReader(body)
			}
			r, err := http.NewRequest("POST", serve(t, srv).URL+"/xrpc/com.other.thing", body)
			if err != nil {
				t.Fatal(err)
			}
			// Encoded data comes as it was sent.
			r.Header.Set("Content-Encoding", "gzip")
			res, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			expect(t, res, tt.status, tt.answer)
		}
	}
	if _, err := xrpc.RawBody(t.Context(), 1); err == nil {
		t.Error("a body outside of a request")
	}
}

// TestRawBodyClose: a Read that waits for the client ends with Close, and the
// client is answered without its body.
func TestRawBodyClose(t *testing.T) {
	read := make(chan error, 1)
	srv := serve(t, newServer(t, xrpc.Config{Fallback: func(w http.ResponseWriter, r *http.Request) error {
		body, err := xrpc.RawBody(r.Context(), 1000)
		if err != nil {
			return err
		}
		began := make(chan struct{})
		go func() {
			var buf [10]byte
			if _, err := io.ReadFull(body, buf[:]); err != nil {
				t.Error(err)
			}
			close(began)
			_, err := body.Read(buf[:])
			read <- err
		}()
		<-began
		if err := body.Close(); err != nil {
			t.Error(err)
		}
		if err := <-read; err == nil || errors.Is(err, io.EOF) {
			t.Errorf("Read after Close: %v", err)
		}
		if n, err := body.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("Read of a closed body: %d, %v", n, err)
		}
		_, err = io.WriteString(w, "early")
		return err
	}}))
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprint(conn, "POST /xrpc/com.other.thing HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n0123456789")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(res.Body); string(text) != "early" || err != nil || !res.Close {
		t.Errorf("%q, %v, close: %v", text, err, res.Close)
	}
}

// TestRawBodyKeepsConnection: after a body that was read to its end the
// connection goes on, and the context of the request lives until the answer.
func TestRawBodyKeepsConnection(t *testing.T) {
	srv := serve(t, newServer(t, xrpc.Config{BodyIdle: 20 * time.Millisecond, Fallback: func(w http.ResponseWriter, r *http.Request) error {
		body, err := xrpc.RawBody(r.Context(), 1000)
		if err != nil {
			return err
		}
		text, err := io.ReadAll(body)
		if err != nil {
			return err
		}
		_ = body.Close()
		select {
		case <-r.Context().Done():
			return r.Context().Err()
		case <-time.After(60 * time.Millisecond):
		}
		_, err = w.Write(text)
		return err
	}}))
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	rd := bufio.NewReader(conn)
	for range 2 {
		fmt.Fprint(conn, "POST /xrpc/com.other.thing HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
		res, err := http.ReadResponse(rd, nil)
		if err != nil {
			t.Fatal(err)
		}
		expect(t, res, 200, "abc")
	}
}
