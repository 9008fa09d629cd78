package metrics_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/pds/metrics"
	"github.com/pdskit/pdskit/pds/pdstest"
)

// TestMetrics reads what a little traffic led to.
func TestMetrics(t *testing.T) {
	m := metrics.New()
	srv := pdstest.New(t, func(c *pds.Config) { c.OnServed = m.OnServed })
	reg := prometheus.NewPedanticRegistry()
	if err := m.Register(reg, srv.Server); err != nil {
		t.Fatal(err)
	}
	if err := m.Register(reg, srv.Server); err == nil {
		t.Error("registered twice")
	}
	alice := srv.CreateAccount("alice")
	for range 3 {
		alice.CreateRecord("com.example.note", map[string]any{"$type": "com.example.note", "text": "hi"})
	}
	h := http.Header{"Authorization": {"Bearer " + alice.Access}, "Content-Type": {"text/plain"}}
	if _, err := srv.Call(t.Context(), http.MethodPost, "com.atproto.repo.uploadBlob", nil, h, []byte("12345")); err != nil {
		t.Fatal(err)
	}
	for _, made := range []string{"com.example.one", "com.example.two", "no-nsid"} {
		if _, err := srv.Call(t.Context(), http.MethodGet, made, nil, nil, nil); err == nil {
			t.Errorf("%s was answered", made)
		}
	}
	events, err := srv.Subscribe(t.Context(), -1)
	if err != nil {
		t.Fatal(err)
	}
	defer events.Close()
	alice.CreateRecord("com.example.note", map[string]any{"$type": "com.example.note", "text": "hi"})
	if _, err := events.Next(t.Context()); err != nil {
		t.Fatal(err)
	}

	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, one := range f.GetMetric() {
			name := strings.TrimPrefix(f.GetName(), "pdskit_")
			for _, l := range one.GetLabel() {
				name += " " + l.GetValue()
				if strings.Contains(l.GetValue(), "did:") || strings.Contains(l.GetValue(), "example") {
					t.Errorf("%s has the label %s", f.GetName(), l)
				}
			}
			got[name] = valueOf(one)
		}
	}
	for name, want := range map[string]float64{
		"requests_total com.atproto.repo.createRecord 2xx":       4,
		"request_duration_seconds com.atproto.repo.createRecord": 4,
		"requests_total other 5xx":                               0,
		"commits_total":                                          4,
		"writes_total":                                           4,
		"firehose_subscribers":                                   1,
		"accounts":                                               1,
		"records":                                                4,
		"blobs":                                                  1,
		"blob_bytes":                                             5,
		"blobs_temporary":                                        1,
		"jobs dead":                                              0,
		"clock_in_doubt":                                         0,
		"accounts_deleted_total":                                 0,
		"blobs_orphaned_total":                                   0,
		"documents_expired_total":                                0,
		"rows_collected_total":                                   0,
	} {
		if v, there := got[name]; !there && !strings.HasSuffix(name, " 5xx") || v != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
	if n := got["requests_total other 4xx"]; n != 3 {
		t.Errorf("%v requests for methods that nobody has, want 3", n)
	}
	for _, name := range []string{"store_bytes", "events_last_seq", "events_oldest_timestamp_seconds", "lanes", "repo_bytes"} {
		if got[name] <= 0 {
			t.Errorf("%s is %v", name, got[name])
		}
	}
}

func valueOf(m *dto.Metric) float64 {
	switch {
	case m.Counter != nil:
		return m.GetCounter().GetValue()
	case m.Histogram != nil:
		return float64(m.GetHistogram().GetSampleCount())
	}
	return m.GetGauge().GetValue()
}
