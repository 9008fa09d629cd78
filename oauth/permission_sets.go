package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"
	"golang.org/x/sync/singleflight"

	"github.com/pdskit/pdskit/oauth/scope"
	"github.com/pdskit/pdskit/storage"
)

// Limits of finding permission sets.
const (
	// maxIncludes is how many permission sets a request may refer to.
	maxIncludes = 20
	// lexiconTimeout is how long a request waits for a permission set.
	lexiconTimeout = 10 * time.Second
	// renewTimeout is how long it waits for a newer version of one.
	renewTimeout = 3 * time.Second
	// lexiconRetry is how long a failure is remembered, by maxFailures of them.
	lexiconRetry = 30 * time.Second
	maxFailures  = 1000
	// maxLexiconFetches is how many permission sets are looked for at a time.
	maxLexiconFetches = 16
	// newSetTTL is how long a permission set is kept that nobody has granted:
	// whoever runs a server can name as many as he likes.
	newSetTTL = day
	// grantedSetTTL is how long one is kept after it was found last. An expired
	// set still serves sessions that there are, for as long again.
	grantedSetTTL = 2 * scope.ExpiredAfter
)

// permissionSets keeps permission sets in the store and finds them anew.
type permissionSets struct {
	s       *Server
	flights singleflight.Group // by NSID
	slots   chan struct{}      // one for each fetch

	mu     sync.Mutex // guards following
	failed map[syntax.NSID]time.Time
}

func newPermissionSets(s *Server) *permissionSets {
	return &permissionSets{s: s, slots: make(chan struct{}, maxLexiconFetches), failed: make(map[syntax.NSID]time.Time)}
}

// permissionSetDoc is a permission set as it was found last.
type permissionSetDoc struct {
	Found   time.Time `json:"found"`
	Lexicon []byte    `json:"lexicon"` // JSON
}

// expand returns the scope of a session with permission sets replaced by what they
// hold now, or held when they were found last.
func (s *Server) expand(ctx context.Context, granted string) (string, error) {
	set, err := s.cfg.Scopes.ParseGranted(granted)
	if err != nil {
		return "", errorf(codeInvalidScope, "the scope is too long")
	}
	expanded, err := s.expandSet(ctx, set, false)
	if err != nil {
		return "", err
	}
	return expanded.Source(), nil
}

// expandSet is expand for a set that is parsed already. A new session needs all
// permission sets; otherwise one that is only known in an old version does.
func (s *Server) expandSet(ctx context.Context, set *scope.Set, newSession bool) (*scope.Set, error) {
	includes := 0
	for value := range set.Scopes() {
		if _, _, ok := value.Include(); ok {
			includes++
		}
	}
	switch {
	case includes == 0:
		return set, nil
	case includes > maxIncludes:
		return nil, errorf(codeInvalidScope, "the scope refers to more than %d permission sets", maxIncludes)
	case s.cfg.Lexicons == nil:
		return nil, errorf(codeInvalidScope, "permission sets are not supported here")
	}
	expanded, err := set.Expand(func(nsid syntax.NSID) (*scope.PermissionSet, error) {
		return s.sets.get(ctx, nsid, newSession)
	})
	switch {
	case err == nil:
		return expanded, nil
	case errors.Is(err, scope.ErrTooLong), errors.Is(err, scope.ErrTooMany):
		return nil, errorf(codeInvalidScope, "the permission sets of the scope are too large")
	case errors.Is(err, errNoSet):
		return nil, errorf(codeInvalidScope, "a permission set of the scope cannot be resolved")
	}
	return nil, err
}

// errNoSet says that a permission set cannot be found, or is none.
var errNoSet = errors.New("oauth: no such permission set")

// errSetsLimited is for an address that has named too many that are not known.
var errSetsLimited = &Error{Status: http.StatusTooManyRequests, Code: codeUnavailable, Description: "too many permission sets are being resolved, please wait"}

// get returns a permission set. A fresh one comes from the store; else it is
// found anew, and the one in the store serves if that fails, unless it is too
// old for a new session.
func (p *permissionSets) get(ctx context.Context, nsid syntax.NSID, newSession bool) (*scope.PermissionSet, error) {
	var known permissionSetDoc
	err := p.s.view(ctx, func(docs storage.Docs) error {
		known = permissionSetDoc{}
		_, err := load(docs, kindPermissionSet, nsid.String(), &known)
		return err
	})
	isKnown := err == nil
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return nil, err
	}
	freshness := scope.FreshnessOf(p.s.now().Sub(known.Found))
	if isKnown && freshness == scope.Fresh {
		return scope.DecodePermissionSet(nsid, known.Lexicon)
	}
	usable := isKnown && freshness.Usable(newSession)
	timeout := lexiconTimeout
	if usable {
		timeout = renewTimeout
	}
	if !isKnown && !p.failedLately(nsid) && p.s.limited(ctx, "new set", ipKey(originOf(ctx).IP), p.s.cfg.Limits.Rates.NewSetPerIP) > 0 {
		return nil, errSetsLimited
	}
	set, err := p.renew(ctx, nsid, timeout)
	if err != nil && usable {
		return scope.DecodePermissionSet(nsid, known.Lexicon)
	}
	return set, err
}

// renew finds a permission set, once for all who want it at the same time.
func (p *permissionSets) renew(ctx context.Context, nsid syntax.NSID, timeout time.Duration) (*scope.PermissionSet, error) {
	if p.failedLately(nsid) {
		return nil, errNoSet
	}
	result := p.flights.DoChan(nsid.String(), func() (any, error) {
		// Whoever began this may leave; others wait for it, too.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lexiconTimeout)
		defer cancel()
		return p.find(ctx, nsid)
	})
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case r := <-result:
		set, _ := r.Val.(*scope.PermissionSet)
		return set, r.Err
	case <-timer.C:
		return nil, errNoSet
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// find asks the embedder for a permission set and stores it.
func (p *permissionSets) find(ctx context.Context, nsid syntax.NSID) (*scope.PermissionSet, error) {
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	default:
		return nil, fmt.Errorf("%w: too many others are being resolved", errNoSet)
	}
	lexicon, err := p.s.cfg.Lexicons.PermissionSet(ctx, nsid)
	var set *scope.PermissionSet
	if err == nil {
		set, err = scope.DecodePermissionSet(nsid, lexicon)
	}
	if err != nil {
		p.s.cfg.Logger.InfoContext(ctx, "oauth: a permission set was not found", "nsid", nsid, "error", err)
		p.noteFailure(nsid)
		return nil, fmt.Errorf("%w: %w", errNoSet, err)
	}
	now := p.s.now()
	err = p.s.update(ctx, func(docs storage.Docs) error {
		doc, err := docs.GetDoc(kindPermissionSet, nsid.String())
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return err
		}
		life := newSetTTL
		if doc.Expires.After(now.Add(2 * newSetTTL)) {
			life = grantedSetTTL
		}
		return save(docs, kindPermissionSet, nsid.String(), doc.Version, now.Add(life), permissionSetDoc{Found: now, Lexicon: lexicon})
	})
	return set, err
}

// keep keeps the permission sets of a scope that was granted.
func (p *permissionSets) keep(ctx context.Context, granted *scope.Set) error {
	for value := range granted.Scopes() {
		nsid, _, ok := value.Include()
		if !ok {
			continue
		}
		// It is there: it was just expanded. Mostly others have granted it, too.
		isKept := func(docs storage.Docs) (doc permissionSetDoc, version int64, kept bool, err error) {
			stored, err := docs.GetDoc(kindPermissionSet, nsid.String())
			if err == nil {
				err = json.Unmarshal(stored.Value, &doc)
			}
			return doc, stored.Version, stored.Expires.After(doc.Found.Add(2 * newSetTTL)), err
		}
		kept := false
		err := p.s.view(ctx, func(docs storage.Docs) (err error) {
			_, _, kept, err = isKept(docs)
			return err
		})
		if err == nil && !kept {
			err = p.s.update(ctx, func(docs storage.Docs) error {
				doc, version, kept, err := isKept(docs)
				if err != nil || kept {
					return err
				}
				return save(docs, kindPermissionSet, nsid.String(), version, doc.Found.Add(grantedSetTTL), doc)
			})
		}
		if err != nil && !errors.Is(err, storage.ErrNotFound) {
			return err
		}
	}
	return nil
}

// failedLately reports whether a permission set could not be found a moment ago.
func (p *permissionSets) failedLately(nsid syntax.NSID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	at, ok := p.failed[nsid]
	return ok && p.s.now().Sub(at) < lexiconRetry
}

func (p *permissionSets) noteFailure(nsid syntax.NSID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.failed) >= maxFailures {
		clear(p.failed)
	}
	p.failed[nsid] = p.s.now()
}
