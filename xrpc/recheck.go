package xrpc

import (
	"context"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// recheckTimeout is how long it may take to find out whether a caller may still
// use a stream.
const recheckTimeout = 5 * time.Second

// Recheck has the callers of open streams looked at again whose account or actor
// is one of dids: call it when what somebody may do has changed. Each is passed
// to [Config.Renew], and what that returns to the rule of the method; a stream
// that its caller may not use any more ends with the error. Recheck does not
// wait for that. The same happens every [StreamConfig.Recheck] by itself.
func (s *Server) Recheck(dids ...syntax.DID) { s.streams.recheck(dids) }

// Method returns the method of an NSID.
func (s *Server) Method(nsid string) (m Method, ok bool) {
	b := s.binding(nsid)
	if b == nil {
		return Method{}, false
	}
	return b.method, true
}

// watch looks at the caller of a stream again, at once and whenever that is asked
// for, until the stream is over.
func (b *binding) watch(c *call, s *Stream) {
	tick := time.NewTicker(s.cfg.Recheck)
	defer tick.Stop()
	for {
		if err := b.mayGoOn(s.ctx, c); err != nil {
			if s.ctx.Err() == nil {
				s.finish(err)
			}
			return
		}
		select {
		case <-s.ctx.Done():
			return
		case <-s.again:
		case <-tick.C:
		}
	}
}

// mayGoOn returns why the caller of c may not use a stream any longer. The
// handler of the stream runs meanwhile, so the rule gets a call of its own.
func (b *binding) mayGoOn(ctx context.Context, c *call) (err error) {
	ctx, cancel := context.WithTimeout(ctx, recheckTimeout)
	defer cancel()
	defer recoverTo(&err)
	again := &call{server: c.server, req: c.req, rw: c.rw, nsid: c.nsid, id: c.id, ip: c.ip, caller: c.caller, known: true}
	ctx = context.WithValue(ctx, callKey{}, again)
	if renew := b.server.cfg.Renew; renew != nil {
		if again.caller, err = renew(ctx, c.caller); err != nil {
			return err
		}
	}
	if b.method.rule.check == nil {
		return nil
	}
	return b.method.rule.check(ctx, again.caller)
}
