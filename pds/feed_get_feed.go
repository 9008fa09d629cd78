package pds

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/xrpc"
)

const (
	getFeedNSID         = "app.bsky.feed.getFeed"
	getFeedSkeletonNSID = "app.bsky.feed.getFeedSkeleton"
)

type getFeedParams struct {
	Feed syntax.ATURI `json:"feed"`
}

// getFeed asks the app view for a feed, with a token that is not for the app
// view but for the feed's generator, to which the app view hands it on.
func (s *Server) getFeed() xrpc.Method {
	return xrpc.QueryBody(getFeedNSID, s.callRule(getFeedNSID, getFeedSkeletonNSID),
		func(ctx context.Context, p *getFeedParams) (*xrpc.Body, error) {
			call, err := s.viewCall(ctx, getFeedNSID)
			if err != nil {
				return nil, err
			}
			generator, err := s.feedGenerator(ctx, p.Feed)
			if err != nil {
				return nil, err
			}
			call.aud, call.lxm = string(generator), getFeedSkeletonNSID
			resp, err := s.send(ctx, call)
			if err != nil {
				return nil, err
			}
			return passBody(resp), nil
		})
}

// feedGenerator returns the DID of the service behind a feed, which is in the
// feed's record.
func (s *Server) feedGenerator(ctx context.Context, feed syntax.ATURI) (syntax.DID, error) {
	unknown := xrpc.NewError(http.StatusBadRequest, "UnknownFeed", "could not resolve feed did")
	to := upstream{s.cfg.AppView.DID, appViewService, s.cfg.AppView.URL}
	text, err := s.callJSON(ctx, to, nil, getRecordNSID, url.Values{
		"repo": {feed.Authority().String()}, "collection": {feed.Collection().String()}, "rkey": {feed.RecordKey().String()},
	}, nil)
	if refused, ok := errors.AsType[*xrpc.Error](err); ok && refused.Status < http.StatusInternalServerError {
		return "", unknown.WithCause(err)
	}
	if err != nil {
		return "", err
	}
	var record struct {
		Value struct {
			DID string `json:"did"`
		} `json:"value"`
	}
	if err := json.Unmarshal(text, &record); err != nil {
		return "", unknown.WithCause(err)
	}
	did, err := syntax.ParseDID(record.Value.DID)
	if err != nil {
		return "", unknown.WithCause(err)
	}
	return did, nil
}
