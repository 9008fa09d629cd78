// Package metrics shows a server to Prometheus. Import it to count requests and
// export the state of a pds.Server on a registry of your own:
//
//	m := metrics.New()
//	cfg.OnServed = m.OnServed
//	srv, err := pds.New(cfg)
//	// ...
//	err = m.Register(registry, srv)
//	http.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
//
// All names begin with "pdskit_". Labels are the NSIDs of registered methods,
// classes of HTTP status and states of jobs: nothing that clients make up, and
// no DID.
//
// The package pds does not import it, nor the Prometheus client.
package metrics

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/xrpc"
)

const (
	namespace = "pdskit"

	// otherMethod stands for all methods that the server does not have: those
	// that it passes on, and those that nobody has.
	otherMethod = "other"

	// statsTime is how long reading the state may take.
	statsTime = 10 * time.Second

	// statsAge is how long a state that was read is shown again.
	statsAge = 5 * time.Second
)

// buckets are the upper bounds of durations of requests, in seconds.
var buckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

// Metrics are the metrics of one server. Its methods may be called
// concurrently.
type Metrics struct {
	requests  *prometheus.CounterVec
	durations *prometheus.HistogramVec
	failures  prometheus.Counter
}

// New returns metrics that count nothing yet.
func New() *Metrics {
	return &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: namespace, Name: "requests_total",
			Help: "XRPC requests by method (other: not one of this server) and class of status (none: cut off).",
		}, []string{"method", "status"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Name: "request_duration_seconds", Buckets: buckets,
			Help: "Time until the end of the answer, by method; without subscriptions.",
		}, []string{"method"}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: namespace, Name: "state_failures_total", Help: "How often the state of the server could not be read.",
		}),
	}
}

// OnServed counts a request: pds.Config.OnServed.
func (m *Metrics) OnServed(r xrpc.Served) {
	method := string(r.Method)
	if method == "" {
		method = otherMethod
	}
	class := "none"
	if r.Status >= 100 && r.Status < 600 {
		class = strconv.Itoa(r.Status/100) + "xx"
	}
	m.requests.WithLabelValues(method, class).Inc()
	if class != "1xx" && class != "none" {
		m.durations.WithLabelValues(method).Observe(r.Took.Seconds())
	}
}

// Register adds the metrics, with the state of the server, to a registry. The
// state is read when the registry is gathered, at most every 5 seconds. It
// returns an error if the registry has metrics of these names.
func (m *Metrics) Register(r prometheus.Registerer, srv *pds.Server) error {
	for _, c := range []prometheus.Collector{m.requests, m.durations, m.failures, &state{srv: srv, failures: m.failures}} {
		if err := r.Register(c); err != nil {
			return err
		}
	}
	return nil
}

// state is a collector of pds.Stats.
type state struct {
	srv      *pds.Server
	failures prometheus.Counter

	mu   sync.Mutex // guards following 2 fields
	last *pds.Stats
	read time.Time
}

func (s *state) stats() *pds.Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last != nil && time.Since(s.read) < statsAge {
		return s.last
	}
	ctx, cancel := context.WithTimeout(context.Background(), statsTime) //nolint:forbidigo // a collector is given no context
	defer cancel()
	st, err := s.srv.Stats(ctx)
	if err != nil {
		s.failures.Inc()
		return nil
	}
	s.last, s.read = st, time.Now()
	return st
}

// metric is one number of the state.
type metric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(st *pds.Stats) (v float64, known bool)
	label []string
}

func number(kind prometheus.ValueType, name, help string, value func(st *pds.Stats) float64) metric {
	return metric{
		desc: prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, nil, nil), kind: kind,
		value: func(st *pds.Stats) (float64, bool) { return value(st), true },
	}
}

func counter(name, help string, value func(st *pds.Stats) int64) metric {
	return number(prometheus.CounterValue, name, help, func(st *pds.Stats) float64 { return float64(value(st)) })
}

func gauge(name, help string, value func(st *pds.Stats) int64) metric {
	return number(prometheus.GaugeValue, name, help, func(st *pds.Stats) float64 { return float64(value(st)) })
}

// total is a gauge that only stores with totals have.
func total(name, help string, value func(st *pds.Stats) int64) metric {
	m := gauge(name, help, value)
	m.value = func(st *pds.Stats) (float64, bool) {
		if st.Totals == nil {
			return 0, false
		}
		return float64(value(st)), true
	}
	return m
}

// totalCounter is the same for a counter.
func totalCounter(name, help string, value func(st *pds.Stats) int64) metric {
	m := total(name, help, value)
	m.kind = prometheus.CounterValue
	return m
}

var jobsDesc = prometheus.NewDesc(namespace+"_jobs", "Jobs by state.", []string{"state"}, nil)

func jobs(state string, value func(st *pds.Stats) int) metric {
	return metric{
		desc: jobsDesc, kind: prometheus.GaugeValue, label: []string{state},
		value: func(st *pds.Stats) (float64, bool) { return float64(value(st)), true },
	}
}

// metrics lists the state's numbers.
var metrics = []metric{
	counter("commits_total", "Commits of writes to repositories, by this process.", func(st *pds.Stats) int64 { return st.Commits }),
	counter("writes_total", "Records that these commits changed.", func(st *pds.Stats) int64 { return st.Writes }),
	counter("events_pruned_total", "Events removed from the log because of their age.", func(st *pds.Stats) int64 { return st.PrunedEvents }),
	counter("uploads_swept_total", "Uploads that nothing referred to in time.", func(st *pds.Stats) int64 { return st.SweptUploads }),
	counter("blobs_deleted_total", "Blobs whose bytes were deleted.", func(st *pds.Stats) int64 { return st.DeletedBlobs }),
	counter("blobs_orphaned_total", "Bytes of uploads that a crash cut off, deleted: how many uploads.", func(st *pds.Stats) int64 { return st.OrphanedBlobs }),
	counter("accounts_deleted_total", "Accounts that were deleted.", func(st *pds.Stats) int64 { return st.DeletedAccounts }),
	gauge("events_last_seq", "Number of the last event.", func(st *pds.Stats) int64 { return st.LastSeq }),
	number(prometheus.GaugeValue, "events_oldest_timestamp_seconds", "Time of the oldest event in the log; 0 without any.", func(st *pds.Stats) float64 {
		if st.OldestEvent.IsZero() {
			return 0
		}
		return float64(st.OldestEvent.UnixMilli()) / 1000
	}),
	gauge("firehose_subscribers", "Subscribers of the firehose.", func(st *pds.Stats) int64 { return int64(st.Subscribers) }),
	number(prometheus.GaugeValue, "firehose_lag_seconds", "How far the slowest subscriber is behind the last event.", func(st *pds.Stats) float64 { return st.Lag.Seconds() }),
	gauge("lanes", "Accounts whose state is in memory.", func(st *pds.Stats) int64 { return int64(st.Lanes) }),
	gauge("proxy_calls", "Calls of other services under way.", func(st *pds.Stats) int64 { return int64(st.ProxyCalls) }),
	gauge("passwords_hashing", "Passwords that are being hashed.", func(st *pds.Stats) int64 { return int64(st.PasswordsHashing) }),
	gauge("passwords_waiting", "Passwords that wait to be hashed.", func(st *pds.Stats) int64 { return int64(st.PasswordsWaiting) }),
	gauge("exports", "Exports of repositories under way.", func(st *pds.Stats) int64 { return int64(st.Exports) }),
	gauge("imports", "Imports of repositories under way.", func(st *pds.Stats) int64 { return int64(st.Imports) }),
	gauge("clock_in_doubt", "1 while the clock is not believed, so that nothing is deleted.", func(st *pds.Stats) int64 {
		if st.ClockInDoubt {
			return 1
		}
		return 0
	}),
	jobs("waiting", func(st *pds.Stats) int { return st.JobsWaiting }),
	jobs("running", func(st *pds.Stats) int { return st.JobsRunning }),
	jobs("dead", func(st *pds.Stats) int { return st.JobsDead }),
	total("accounts", "Accounts.", func(st *pds.Stats) int64 { return st.Totals.Accounts }),
	total("records", "Records of all accounts.", func(st *pds.Stats) int64 { return st.Totals.Records }),
	total("repo_bytes", "Bytes of tree nodes and records.", func(st *pds.Stats) int64 { return st.Totals.RepoBytes }),
	total("blobs", "Blobs of all accounts.", func(st *pds.Stats) int64 { return st.Totals.Blobs }),
	total("blob_bytes", "Bytes of all blobs.", func(st *pds.Stats) int64 { return st.Totals.BlobBytes }),
	total("blobs_temporary", "Uploads that nothing refers to yet.", func(st *pds.Stats) int64 { return st.Totals.TemporaryBlobs }),
	totalCounter("documents_expired_total", "Documents that were removed after their time.", func(st *pds.Stats) int64 { return st.Totals.ExpiredDocs }),
	totalCounter("rows_collected_total", "Rows of deleted accounts and of replaced repositories that were removed.", func(st *pds.Stats) int64 { return st.Totals.CollectedRows }),
	total("store_bytes", "Bytes that the database takes on its disk.", func(st *pds.Stats) int64 { return st.Totals.StoreBytes }),
}

// Describe implements prometheus.Collector.
func (s *state) Describe(ch chan<- *prometheus.Desc) {
	for _, m := range metrics {
		ch <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (s *state) Collect(ch chan<- prometheus.Metric) {
	st := s.stats()
	if st == nil {
		return
	}
	for _, m := range metrics {
		if v, known := m.value(st); known {
			ch <- prometheus.MustNewConstMetric(m.desc, m.kind, v, m.label...)
		}
	}
}
