package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/pds"
)

const (
	doctorSample  = 20 // accounts that are checked without "all"
	maxClockSkew  = 5 * time.Second
	minFreeBytes  = 1 << 30
	doctorTimeout = 30 * time.Minute // for one account
)

// finding is what the command "doctor" says about one thing. Cause and Next are
// empty if it is as it should be.
type finding struct {
	Check string `json:"check"`
	State string `json:"state"` // "ok", "warning" or "problem"
	About string `json:"about"`
	Cause string `json:"cause,omitempty"`
	Next  string `json:"next,omitempty"`
}

// doctor looks for what is wrong with a server, its surroundings and its
// accounts.
type doctor struct {
	*admin
	findings []finding
	problems int
	running  bool  // the server answers
	lastSeq  int64 // of its events
	around   surroundings
}

func (d *doctor) ok(check, about string) {
	d.findings = append(d.findings, finding{check, "ok", about, "", ""})
}

func (d *doctor) warn(check, about, cause, next string) {
	d.findings = append(d.findings, finding{check, "warning", about, cause, next})
}

func (d *doctor) problem(check, about, cause, next string) {
	d.findings = append(d.findings, finding{check, "problem", about, cause, next})
	d.problems++
}

// diagnose runs all checks and prints what they found.
func (a *admin) diagnose(ctx context.Context, args []string) error {
	all := len(args) > 0
	if all && args[0] != "all" {
		return usageError("doctor takes: [all]")
	}
	around, err := newSurroundings(a.set)
	if err != nil {
		return err
	}
	d := &doctor{admin: a, around: around}
	d.configuration()
	d.permissions()
	d.disk(a.set.dataDir)
	if rel, err := filepath.Rel(a.set.dataDir, a.set.blobDir); err != nil || !filepath.IsLocal(rel) {
		d.disk(a.set.blobDir)
	}
	d.server(ctx)
	if !a.set.devMode {
		d.network(ctx)
	}
	if d.running {
		d.jobs(ctx)
		d.accounts(ctx, all)
	}
	var rows [][]string
	for _, f := range d.findings {
		rows = append(rows, []string{f.State, f.Check, f.About})
		if f.Cause != "" {
			rows = append(rows, []string{"", "  cause", f.Cause}, []string{"", "  next", f.Next})
		}
	}
	if err := d.print(d.findings, rows...); err != nil {
		return err
	}
	if d.problems > 0 {
		return fmt.Errorf("%d problems were found", d.problems)
	}
	return nil
}

// configuration says what of the configuration has no effect; a malformed one
// has ended the command before.
func (d *doctor) configuration() {
	for _, w := range d.set.warnings {
		cause, next := "the name is set, but not used", "remove it, see \"server help env\""
		if w == devModeWarning {
			cause, next = "PDS_DEV_MODE is true", "set it to false on a server that others can reach"
		}
		d.warn("configuration", w, cause, next)
	}
	if d.set.smtpURL == "" && !d.set.development {
		d.warn("configuration", "mail is only written to the log", "PDS_EMAIL_SMTP_URL is not set", "set it and PDS_EMAIL_FROM_ADDRESS")
	}
	d.ok("configuration", "well-formed, for "+d.set.publicURL())
}

// permissions finds secrets that others on the machine can read.
func (d *doctor) permissions() {
	sound := true
	files := []string{
		d.set.dataDir, filepath.Join(d.set.dataDir, "pds.db"), filepath.Join(d.set.dataDir, masterKeyFile),
		filepath.Join(d.set.dataDir, secretsFile), d.set.envFile,
	}
	for _, file := range files {
		info, err := os.Stat(file)
		switch {
		case file == "" || errors.Is(err, fs.ErrNotExist) && filepath.Base(file) == secretsFile:
		case err != nil:
			sound = false
			d.problem("files", file, err.Error(), "run the command where the data is, as the server's user, with its configuration")
		case info.Mode().Perm()&0o077 != 0 && (!info.IsDir() || info.Mode().Perm()&0o022 != 0):
			sound = false
			d.problem("files", file, fmt.Sprintf("others may use it: its mode is %v", info.Mode().Perm()), "chmod go= "+file)
		}
	}
	if sound {
		d.ok("files", "secrets are readable by their owner only")
	}
}

func (d *doctor) disk(dir string) {
	free, known := freeBytes(dir)
	switch {
	case !known:
	case free < minFreeBytes:
		d.problem("disk", fmt.Sprintf("%d MiB are free for %s", free>>20, dir), "the disk of "+dir+" is nearly full", "make room: with a full disk the server stops")
	default:
		d.ok("disk", fmt.Sprintf("%d GiB are free for %s", free>>30, dir))
	}
}

// server asks the running server itself.
func (d *doctor) server(ctx context.Context) {
	var health struct{ Version, Clock string }
	if err := d.call(ctx, http.MethodGet, "/xrpc/_health", nil, nil, &health); err != nil {
		d.problem("server", d.base, err.Error(), "start it, or look into its log for why it stopped; accounts were not checked")
		return
	}
	d.running = true
	d.ok("server", d.base+" answers")
	if health.Clock != "" {
		d.problem("clock", "the server does not believe it", health.Clock, "correct the clock, or run \"server clock accept\"")
	}
	if err := d.readSeq(ctx); err != nil {
		d.running = false
		d.problem("server", "it refuses the administrator", err.Error(), "run the command with the server's PDS_ADMIN_PASSWORD")
	}
}

// readSeq asks the running server for its newest event.
func (d *doctor) readSeq(ctx context.Context) error {
	var seq seqAnswer
	err := d.call(ctx, http.MethodGet, "/admin/seq", nil, nil, &seq)
	if err == nil {
		d.lastSeq = seq.Last
	}
	return err
}

func (d *doctor) jobs(ctx context.Context) {
	var page struct{ Jobs []jobRow }
	err := d.call(ctx, http.MethodGet, "/admin/jobs", url.Values{"dead": {"true"}}, nil, &page)
	switch {
	case err != nil:
		d.problem("jobs", "they cannot be listed", err.Error(), "look into the server's log")
	case len(page.Jobs) == 0:
		d.ok("jobs", "none was given up")
	}
	for _, j := range page.Jobs {
		d.warn("jobs", j.Kind+" "+j.Name+" was given up", j.Error, "mend the cause, then: server job retry "+j.Kind+" "+j.Name)
	}
}

// accounts checks all accounts, or some that chance picks.
func (d *doctor) accounts(ctx context.Context, all bool) {
	var list []pds.AccountDetails
	err := d.eachAccount(ctx, func(a *pds.AccountDetails) { list = append(list, *a) })
	if err != nil {
		d.problem("accounts", "they cannot be listed", err.Error(), "look into the server's log")
		return
	}
	total := len(list)
	if !all && total > doctorSample {
		rand.Shuffle(total, func(i, j int) { list[i], list[j] = list[j], list[i] })
		list = list[:doctorSample]
	}
	directory := d.set.plcURL
	if directory == "" {
		directory = d.base // the server is its own
	}
	plc, err := identity.NewPLCClient(directory, identity.NewClient(newTransport(d.set), identity.ClientLimits{MaxBody: identity.MaxPLCBody}))
	if err != nil {
		d.problem("accounts", directory, err.Error(), "check PDS_DID_PLC_URL")
		return
	}
	sound := 0
	for i := range list {
		before := len(d.findings)
		d.account(ctx, &list[i], plc)
		if len(d.findings) == before {
			sound++
		}
	}
	d.ok("accounts", fmt.Sprintf("%d of %d were checked, nothing was found about %d of them", len(list), total, sound))
}

// account checks what is stored of an account, and what the PLC directory says
// of it.
func (d *doctor) account(ctx context.Context, row *pds.AccountDetails, plc *identity.PLCClient) {
	patient := *d.admin
	patient.client = &http.Client{Timeout: doctorTimeout}
	var check pds.AccountCheck
	if err := patient.call(ctx, http.MethodGet, "/admin/check", url.Values{"did": {string(row.DID)}, "blobs": {"true"}}, nil, &check); err != nil {
		d.problem("account", string(row.DID), err.Error(), "look into the server's log")
		return
	}
	for _, fault := range check.Faults {
		d.problem("account", string(row.DID), fault, "put the account's data back from a backup; keep a copy of the damaged data first")
	}
	if check.Missing > 0 {
		d.warn("account", string(row.DID), fmt.Sprintf("%d blobs that records refer to were never uploaded here", check.Missing),
			"after a move: upload them, see com.atproto.repo.listMissingBlobs")
	}
	if row.Status == "active" {
		d.handle(ctx, row)
	}
	if row.Status != "active" || row.DID.Method() != "plc" {
		return // one that moved away belongs to another server; other documents are not the server's to change
	}
	state, err := plc.State(ctx, row.DID)
	if err != nil {
		d.problem("identity", string(row.DID), "the PLC directory does not know it, or does not answer: "+err.Error(), "if others are known: the account does not exist for the network; delete it")
		return
	}
	d.identity(row, state, check.Key)
}

// handle finds handles of others' domains that do not lead to their accounts. The
// server's own domains are looked at by handles.
func (d *doctor) handle(ctx context.Context, row *pds.AccountDetails) {
	if row.Handle == "" || isUnder(string(row.Handle), d.set.handleDomains) {
		return
	}
	var out struct{ DID string }
	err := d.call(ctx, http.MethodGet, "/xrpc/com.atproto.identity.resolveHandle", url.Values{"handle": {string(row.Handle)}}, nil, &out)
	if err == nil && out.DID == string(row.DID) {
		return
	}
	cause := "its domain proves it for " + out.DID
	if err != nil {
		cause = err.Error()
	}
	d.warn("handle", fmt.Sprintf("%s of %s", row.Handle, row.DID), cause,
		fmt.Sprintf("its owner must prove it, by a TXT entry of _atproto.%s or at https://%s/.well-known/atproto-did; until then others show the account without it", row.Handle, row.Handle))
}

// identity compares a PLC entry with what this server needs of it.
func (d *doctor) identity(row *pds.AccountDetails, state *identity.State, key string) {
	did := string(row.DID)
	if state.Tombstoned {
		d.problem("identity", did, "it has ended in the PLC directory", "delete the account")
		return
	}
	if at := state.Services[identity.ServicePDS].Endpoint; strings.TrimSuffix(at, "/") != d.set.publicURL() {
		d.problem("identity", did, "its PDS is "+at, "if the account moved there, deactivate it here; else correct its identity")
		return
	}
	if got := state.VerificationMethods[identity.KeyAtproto]; got != key {
		d.problem("identity", did, fmt.Sprintf("the network knows the signing key %s, the account here has %s", got, key), "server key rotate "+did)
	}
	if want := "at://" + string(row.Handle); row.Handle != "" && !slices.Equal(state.AlsoKnownAs[:min(len(state.AlsoKnownAs), 1)], []string{want}) {
		d.problem("identity", did, fmt.Sprintf("the network knows the names %q, the account here has the handle %s", state.AlsoKnownAs, row.Handle),
			fmt.Sprintf("server account handle %s %s", did, row.Handle))
	}
	public, err := d.set.rotationKey.PublicKey()
	if err != nil {
		d.problem("configuration", "the rotation key", err.Error(), "correct PDS_PLC_ROTATION_KEY_K256_PRIVATE_KEY_HEX")
		return
	}
	for _, k := range state.RotationKeys {
		if k == public.DIDKey() {
			return
		}
	}
	d.problem("identity", did, "this server's rotation key is not among its own", "its owner must add "+public.DIDKey()+"; until then handle and key cannot be changed here")
}
