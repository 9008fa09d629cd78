package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/pdskit/pdskit/pds"
)

func (a *admin) health(ctx context.Context, _ []string) error {
	var out struct {
		Version string `json:"version"`
		Clock   string `json:"clock,omitempty"`
	}
	if err := a.call(ctx, http.MethodGet, "/xrpc/_health", nil, nil, &out); err != nil {
		return err
	}
	rows := [][]string{{"version", out.Version}, {"storage", "answers"}}
	if out.Clock != "" {
		rows = append(rows, []string{"clock", out.Clock})
	}
	return a.print(out, rows...)
}

// audit prints a page of the audit log.
func (a *admin) audit(ctx context.Context, args []string) error {
	params := url.Values{"limit": {"100"}}
	if len(args) > 0 {
		params.Set("before", args[0])
	}
	var out struct {
		Entries []pds.AuditEntry `json:"entries"`
	}
	if err := a.call(ctx, http.MethodGet, "/admin/audit", params, nil, &out); err != nil {
		return err
	}
	rows := [][]string{{"NUMBER", "TIME", "ACTOR", "ACTION", "SUBJECT", "DETAIL", "RESULT"}}
	for _, e := range out.Entries {
		rows = append(rows, []string{
			strconv.FormatInt(e.Number, 10), e.Time.Format(time.RFC3339), e.Actor, e.Action, e.Subject,
			strconv.Quote(e.Detail), cmp.Or(e.Result, "cut off, or not done yet"),
		})
	}
	return a.print(out.Entries, rows...)
}

func (a *admin) acceptClock(ctx context.Context, _ []string) error {
	if err := a.call(ctx, http.MethodPost, "/admin/clock/accept", nil, nil, nil); err != nil {
		return err
	}
	return a.print(map[string]bool{"accepted": true}, []string{"the clock is accepted as it is now"})
}

// crawl asks relays to come: those of the configuration, or those named.
func (a *admin) crawl(ctx context.Context, crawlers []string) error {
	if len(crawlers) == 0 {
		crawlers = a.set.crawlers
	}
	if len(crawlers) == 0 {
		return errors.New("PDS_CRAWLERS names no relay: set it, or name one here, such as https://bsky.network")
	}
	public, err := url.Parse(a.set.publicURL())
	if err != nil {
		return err
	}
	type answer struct {
		Crawler string `json:"crawler"`
		Error   string `json:"error,omitempty"`
	}
	answers := []answer{}
	rows := [][]string{{"RELAY", "ANSWER"}}
	failed := 0
	for _, crawler := range crawlers {
		if !strings.Contains(crawler, "://") {
			crawler = "https://" + crawler
		}
		text := ""
		if err := pds.RequestCrawl(ctx, a.client, crawler, public.Host); err != nil {
			failed++
			text = strings.TrimSpace(err.Error())
		}
		answers = append(answers, answer{crawler, text})
		rows = append(rows, []string{crawler, cmp.Or(text, "it will come to "+public.Host)})
	}
	if err := a.print(answers, rows...); err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d relays did not agree", failed, len(crawlers))
	}
	return nil
}

// showSeq prints the number of the newest event.
func (a *admin) showSeq(ctx context.Context, _ []string) error {
	var out seqAnswer
	if err := a.call(ctx, http.MethodGet, "/admin/seq", nil, nil, &out); err != nil {
		return err
	}
	return a.printSeq(out)
}

type seqAnswer struct {
	Last int64 `json:"last"`
}

func (a *admin) printSeq(out seqAnswer) error {
	rows := [][]string{{"last", strconv.FormatInt(out.Last, 10)}}
	if ahead := time.Until(time.UnixMicro(out.Last)); ahead > time.Second {
		rows = append(rows, []string{"ahead", fmt.Sprintf("numbers follow the clock again after %v", ahead.Round(time.Second))})
	}
	return a.print(out, rows...)
}

// raiseSeq lets the numbers of events go on above one.
func (a *admin) raiseSeq(ctx context.Context, args []string) error {
	above, err := strconv.ParseInt(args[0], 10, 64)
	if err != nil || above <= 0 {
		return usageError(fmt.Sprintf("%q is no number of an event", args[0]))
	}
	var now seqAnswer
	if err := a.call(ctx, http.MethodGet, "/admin/seq", nil, nil, &now); err != nil {
		return err
	}
	if now.Last >= above {
		return fmt.Errorf("nothing is to be done: the last number is %d", now.Last)
	}
	if err := a.confirm("the numbers of events go from %d to above %d; that cannot be undone", now.Last, above); err != nil {
		return err
	}
	if err := a.call(ctx, http.MethodPost, "/admin/seq", nil, map[string]int64{"above": above}, &now); err != nil {
		return err
	}
	return a.printSeq(now)
}
