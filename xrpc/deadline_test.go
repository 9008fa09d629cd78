package xrpc_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/pdskit/pdskit/xrpc"
)

// TestIdleUpload: a client that stands still in the middle of a body is
// answered with an error.
func TestIdleUpload(t *testing.T) {
	srv := serve(t, newServer(t, xrpc.Config{BodyIdle: 50 * time.Millisecond}, put("com.example.put"), save()))
	for _, target := range []string{"/xrpc/com.example.put", saveURL} {
		conn, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{", target)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		expect(t, res, 400, invalid("the request body could not be read to its end"))
		if !res.Close {
			t.Error("the server waits for the rest")
		}
	}
}

// TestBodyThatNobodyReads: a client that announces a body and does not send it
// is answered all the same, whatever the server thinks of the request.
func TestBodyThatNobodyReads(t *testing.T) {
	srv := serve(t, newServer(t, xrpc.Config{BodyIdle: 50 * time.Millisecond}, touch(xrpc.Public()), put("com.example.put")))
	for _, head := range []string{
		"POST /xrpc/com.unknown.method HTTP/1.1\r\nContent-Length: 100",
		"POST /xrpc/com.unknown.method HTTP/1.1\r\nTransfer-Encoding: chunked",
		"POST /xrpc/not-an-nsid HTTP/1.1\r\nContent-Length: 100",
		"GET /xrpc/com.example.put HTTP/1.1\r\nContent-Length: 100",
		"POST /xrpc/com.example.put HTTP/1.1\r\nContent-Length: 100", // no type
		"POST /xrpc/com.example.touch HTTP/1.1\r\nTransfer-Encoding: chunked",
		"POST /xrpc/com.example.touch HTTP/1.1\r\nContent-Length: 100",
	} {
		conn, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second))
		fmt.Fprintf(conn, "%s\r\nHost: x\r\n\r\n", head)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%q: %v", head, err)
		}
		if res.StatusCode < 400 {
			t.Errorf("%q: %s", head, res.Status)
		}
	}
}

// TestSlowUpload: a client that never stands still but takes for ever is cut.
func TestSlowUpload(t *testing.T) {
	t.Parallel()
	const idle = time.Second
	srv := serve(t, newServer(t, xrpc.Config{BodyIdle: idle}, put("com.example.put")))
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "POST /xrpc/com.example.put HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n{")
	began, stop := time.Now(), make(chan struct{})
	go func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				if _, err := io.WriteString(conn, " "); err != nil {
					return
				}
			}
		}
	}()
	defer close(stop)
	_ = conn.SetReadDeadline(began.Add(30 * time.Second))
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, res, 400, invalid("the request body could not be read to its end"))
	if took := time.Since(began); took < 2*idle {
		t.Errorf("cut after %v, before the average counts", took)
	}
}

// TestDeadlinesEnd: the deadlines of one request do not reach the next one on
// the connection, nor the handler's own time.
func TestDeadlinesEnd(t *testing.T) {
	t.Parallel()
	idle := 200 * time.Millisecond
	big := strings.Repeat("x", 1<<20)
	srv := serve(t, newServer(t, xrpc.Config{BodyIdle: idle}, put("com.example.put"), bodyQuery(func() *xrpc.Body {
		return &xrpc.Body{ContentType: "image/png", Length: int64(len(big)), Write: writes(big)}
	})))
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	rd := bufio.NewReader(conn)
	for range 2 {
		for _, req := range []string{
			"GET /xrpc/com.example.body HTTP/1.1\r\nHost: x\r\n\r\n",
			"POST /xrpc/com.example.put HTTP/1.1\r\nHost: x\r\nContent-Type: a/b\r\nContent-Length: 3\r\n\r\nabc",
		} {
			if _, err := io.WriteString(conn, req); err != nil {
				t.Fatal(err)
			}
			res, err := http.ReadResponse(rd, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != 200 {
				t.Fatal(res.Status, err)
			}
			<-time.After(2 * idle)
		}
	}
}

func TestRequestIDOfProxy(t *testing.T) {
	srv := newServer(t, xrpc.Config{}, touch(xrpc.Public()))
	for id, want := range map[string]bool{"abc-1.2_3:4": true, strings.Repeat("a", 64): true, strings.Repeat("a", 65): false, "a b": false, "a\"": false} {
		r := httptest.NewRequest("POST", "/xrpc/com.example.touch", nil)
		r.RemoteAddr = "127.0.0.1:1"
		r.Header.Set("X-Request-Id", id)
		w := httptest.NewRecorder()
		srv.ServeHTTP(w, r)
		if got := w.Header().Get("X-Request-Id"); (got == id) != want {
			t.Errorf("%q: %q", id, got)
		}
	}
}
