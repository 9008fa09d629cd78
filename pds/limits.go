package pds

import (
	"fmt"
	"reflect"
	"time"
)

// Limits bounds what a server does. A field that is zero takes the default
// named in its comment.
type Limits struct {
	BlobBytes        int64         // size of one blob: 5 MiB
	ImportBytes      int64         // size of an imported CAR: 2 GiB
	ImportBlocks     int64         // blocks in it, about 30 bytes of memory each: 8,000,000
	Writes           int           // writes in one applyWrites: 200
	EventBytes       int           // blocks in one #commit event: 2,000,000
	AccessTTL        time.Duration // life of an access token: 2 h
	RefreshTTL       time.Duration // life of a refresh token: 90 days
	LoginFloor       time.Duration // least time of a refused login: 350 ms
	RefreshGrace     time.Duration // life of a used refresh token: 2 h
	Sessions         int           // sessions of one account, then the oldest ends: 500
	BackfillWindow   time.Duration // how far a firehose cursor may reach back: 24 h
	EventAge         time.Duration // events older than this and BackfillWindow are pruned: 3 days
	EventLogBytes    int64         // size of the log, beyond which the oldest events are pruned: 10 GiB
	RingBytes        int           // encoded events kept in memory: 64 MB
	StallTime        time.Duration // a subscriber behind the ring without progress: 30 s
	TemporaryBlob    time.Duration // life of an unreferenced upload: 24 h
	ReservedKey      time.Duration // life of a reserved signing key: 7 days
	ReservedKeys     int           // reserved signing keys at a time: 1,000
	CrawlInterval    time.Duration // between requests to a crawler: 20 min
	Exports          int           // getRepo spools at a time: 32
	SpoolMemory      int           // bytes of one spool that stay in memory: 1 MiB
	SpoolDisk        int64         // bytes of all spools in temporary files: 16 GiB
	Imports          int           // importRepo at a time: 4
	PasswordKiB      int           // memory of one password hash, in KiB: 19,456
	PasswordHashes   int           // password hashes at a time: 2
	PasswordQueue    int           // waiting password hashes: 64
	IdleLanes        int           // accounts whose write state stays in memory: 256
	LaneQueue        int           // writes waiting for one account: 1,000
	PolicyTime       time.Duration // an answer of Policy: 1 s
	ImportPolicyTime time.Duration // the same for an import: 1 min
	ActEntries       int           // acts for others that are remembered for each account: 10,000
	ActAge           time.Duration // how long they are remembered: 90 days
	DrainTime        time.Duration // how long a shutdown waits for requests, and then for observers: 10 s
	AuditEntries     int           // actions that the audit log remembers: 100,000
	AuditAge         time.Duration // how long it remembers them: 730 days
	Reports          int           // reports that are kept: 10,000
	ReportAge        time.Duration // how long they are kept: 365 days
	MediaUploadIdle  time.Duration // an upload without progress: 60 s
	LexiconWait      time.Duration // how long a write waits for lexicons of others: 1 s
	ProxyCalls       int           // requests to other services at a time: 1,000
	ProxyCallsEach   int           // of them for one account or address: 100
	ProxyBytes       int64         // body of such a request, and of its answer: 10 MiB
	ProxyHeaderTime  time.Duration // how long another service may take to answer: 10 s
	ProxyIdle        time.Duration // an answer of another service without progress: 30 s
	ProxyRetries     int           // further tries of a query whose connection fails: 0
}

// def sets what is zero.
func def[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

func (l *Limits) setDefaults() {
	def(&l.BlobBytes, 5<<20)
	def(&l.ImportBytes, 2<<30)
	def(&l.ImportBlocks, 8_000_000)
	def(&l.Writes, 200)
	def(&l.EventBytes, 2_000_000)
	def(&l.AccessTTL, 2*time.Hour)
	def(&l.RefreshTTL, 90*24*time.Hour)
	def(&l.LoginFloor, 350*time.Millisecond)
	def(&l.RefreshGrace, 2*time.Hour)
	def(&l.Sessions, 500)
	def(&l.BackfillWindow, 24*time.Hour)
	def(&l.EventAge, 3*24*time.Hour)
	def(&l.EventLogBytes, 10<<30)
	def(&l.RingBytes, 64_000_000)
	def(&l.StallTime, 30*time.Second)
	def(&l.TemporaryBlob, 24*time.Hour)
	def(&l.ReservedKey, 7*24*time.Hour)
	def(&l.ReservedKeys, 1000)
	def(&l.CrawlInterval, 20*time.Minute)
	def(&l.Exports, 32)
	def(&l.SpoolMemory, 1<<20)
	def(&l.SpoolDisk, 16<<30)
	def(&l.Imports, 4)
	def(&l.PasswordKiB, 19<<10)
	def(&l.PasswordHashes, 2)
	def(&l.PasswordQueue, 64)
	def(&l.IdleLanes, 256)
	def(&l.LaneQueue, 1000)
	def(&l.PolicyTime, time.Second)
	def(&l.ImportPolicyTime, time.Minute)
	def(&l.ActEntries, 10_000)
	def(&l.ActAge, 90*24*time.Hour)
	def(&l.DrainTime, 10*time.Second)
	def(&l.AuditEntries, 100_000)
	def(&l.AuditAge, 730*24*time.Hour)
	def(&l.Reports, 10_000)
	def(&l.ReportAge, 365*24*time.Hour)
	def(&l.MediaUploadIdle, 60*time.Second)
	def(&l.LexiconWait, time.Second)
	def(&l.ProxyCalls, 1000)
	def(&l.ProxyCallsEach, 100)
	def(&l.ProxyBytes, 10<<20)
	def(&l.ProxyHeaderTime, 10*time.Second)
	def(&l.ProxyIdle, 30*time.Second)
}

// check returns an error that names a limit that is negative.
func (l *Limits) check() error {
	limits := reflect.ValueOf(*l)
	for i := range limits.NumField() {
		if limits.Field(i).Int() < 0 {
			return fmt.Errorf("pds: Config.Limits.%s: must not be negative", limits.Type().Field(i).Name)
		}
	}
	return nil
}
