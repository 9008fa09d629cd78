package pds

import (
	"context"
	"net/http"

	"github.com/pdskit/pdskit/xrpc"
)

// viewMethods lists the methods of the app view that this server has a part in.
// There are none without an app view.
func (s *Server) viewMethods() []xrpc.Method {
	if s.cfg.AppView.URL == "" {
		return nil
	}
	return []xrpc.Method{
		s.getProfile(),
		s.getProfiles(),
		s.getActorLikes(),
		s.getAuthorFeed(),
		s.getFeed(),
		s.getPostThread(),
		s.getTimeline(),
		s.registerPush(),
		s.unregisterPush(),
	}
}

// viewCall prepares the call that passes the request of ctx, a query, on to the
// service that callRule has looked at.
func (s *Server) viewCall(ctx context.Context, nsid string) (*serviceCall, error) {
	r := xrpc.RequestFrom(ctx)
	encoding, err := negotiateEncoding(r.Header)
	if err != nil {
		return nil, err
	}
	account, err := s.accountOf(ctx, xrpc.CallerFrom(ctx))
	if err != nil {
		return nil, err
	}
	to, err := s.upstreamOf(r, nsid)
	if err != nil {
		return nil, err
	}
	if err := s.resolve(ctx, &to); err != nil {
		return nil, err
	}
	if s.isSelf(&to) {
		return nil, xrpc.NotImplemented()
	}
	header := requestHeaders(r)
	header.Set("Accept-Encoding", encoding)
	return &serviceCall{to: to, verb: r.Method, url: r.URL, nsid: nsid, header: header, account: account}, nil
}

// passBody makes an answer the output of a method.
func passBody(resp *http.Response) *xrpc.Body {
	h := make(http.Header, 8)
	passHeaders(h, resp.Header, answerHeaders)
	return &xrpc.Body{Status: resp.StatusCode, Header: h, Length: resp.ContentLength, Reader: resp.Body}
}
