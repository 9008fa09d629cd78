package main

import (
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"

	"github.com/pdskit/pdskit/identity"
)

// greet tells a newcomer what is there and what to try.
func greet(w io.Writer, set *settings, made []string) {
	data, err := filepath.Abs(set.dataDir)
	if err != nil {
		data = set.dataDir
	}
	fmt.Fprint(w, "pdskit, in development mode: for this machine only, with identities that nobody else knows.\n\n")
	for _, m := range made {
		fmt.Fprintf(w, "  made      %s\n", m)
	}
	fmt.Fprintf(w, `  address   %[1]s
  handles   NAME%[2]s, no invite code needed
  accounts  %[1]s/account, to sign up and manage them in a browser
  mail      is not sent, but shown in this log
  admin     %[1]s/admin, the password is in %[3]s
  PLC       %[1]s is also the PLC directory of its accounts: name it to tools that resolve DIDs
  data      %[4]s (to start anew, stop the server and delete the folder)

Try, in another terminal:

  curl %[1]s/xrpc/com.atproto.server.describeServer

  curl %[1]s/xrpc/com.atproto.server.createAccount \
    -H 'Content-Type: application/json' \
    -d '{"handle":"alice%[2]s","email":"alice@example.com","password":"a long password"}'

  go run ./examples/server account list

Stop it with Ctrl-C. For a public server see "go run ./examples/server help".

`, set.publicURL(), set.handleDomains[0], filepath.Join(set.dataDir, secretsFile), data)
}

// withPLC answers the routes of a PLC directory (/did:plc:... and /export) and
// leaves all others to the server.
func withPLC(directory *identity.MemoryPLC, server http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/did:plc:") || r.URL.Path == "/export" {
			directory.ServeHTTP(w, r)
			return
		}
		server.ServeHTTP(w, r)
	})
}
