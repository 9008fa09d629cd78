package pds

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/pdskit/pdskit/identity"
)

// Limits of a request to a crawler.
const (
	crawlTimeout = 10 * time.Second
	maxCrawlBody = 64 << 10
)

// notifyCrawlers asks the configured crawlers to come: at the start, and after
// new events, at most once in Limits.CrawlInterval. Events that come meanwhile
// are told of when the interval ends. It returns when ctx ends or the store
// closes.
func (s *Server) notifyCrawlers(ctx context.Context) {
	if len(s.cfg.Crawlers) == 0 {
		return
	}
	client := identity.NewClient(s.cfg.Transport, identity.ClientLimits{Timeout: crawlTimeout, MaxBody: maxCrawlBody})
	defer client.CloseIdleConnections()
	crawlLoop(ctx, s.store.Watch(ctx), s.cfg.Limits.CrawlInterval, s.firehose.lastSeq, func() bool {
		return s.requestCrawls(ctx, client)
	})
}

// crawlLoop calls request at once and when last has risen after a signal, with
// at least interval in between. If request or last fails, it is called again
// after the interval.
func crawlLoop(ctx context.Context, signals <-chan struct{}, interval time.Duration,
	last func(context.Context) (int64, error), request func() (ok bool),
) {
	told := int64(-1)
	for {
		seq, err := last(ctx)
		if err != nil || seq > told {
			if request() && err == nil {
				told = seq
			} else {
				told = -1
			}
			quiet := time.NewTimer(interval)
			select {
			case <-quiet.C:
			case <-ctx.Done():
				quiet.Stop()
				return
			}
			continue
		}
		select {
		case _, ok := <-signals:
			if !ok {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// requestCrawls asks all crawlers at the same time and reports whether all
// agreed.
func (s *Server) requestCrawls(ctx context.Context, client *http.Client) bool {
	failed := make([]bool, len(s.cfg.Crawlers))
	var wg sync.WaitGroup
	for i, crawler := range s.cfg.Crawlers {
		wg.Go(func() {
			if err := RequestCrawl(ctx, client, crawler, s.public.Host); err != nil && ctx.Err() == nil {
				s.log.WarnContext(ctx, "requesting a crawl failed", "crawler", crawler, "error", err)
				failed[i] = true
			}
		})
	}
	wg.Wait()
	for _, f := range failed {
		if f {
			return false
		}
	}
	return true
}

// RequestCrawl asks a crawler, such as a relay, to come to the server with a host
// name (with its port, if it is an unusual one), by
// com.atproto.sync.requestCrawl. A server does so by itself for
// Config.Crawlers; this is for other crawlers, and for operators who want to
// see the answer.
func RequestCrawl(ctx context.Context, client *http.Client, crawler, hostname string) error {
	body, err := json.Marshal(map[string]string{"hostname": hostname})
	if err != nil {
		return err
	}
	url := strings.TrimRight(crawler, "/") + "/xrpc/com.atproto.sync.requestCrawl"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxCrawlBody))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		var e struct{ Error, Message string }
		_ = json.Unmarshal(text, &e) // an answer of another kind leaves them empty
		return fmt.Errorf("it answers %s %s %s", resp.Status, e.Error, e.Message)
	}
	return nil
}
