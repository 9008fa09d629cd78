package live

import (
	"context"

	"github.com/pdskit/pdskit/storage"
)

// Limits of a [Page].
const (
	DefaultPage  = 50      // entries
	MaxPage      = 100     // entries
	MaxPageBytes = 1 << 20 // of data; a page has at least one entry
)

// scanEntries is how many entries are read at once, which bounds what a read
// takes in memory to 2 MiB.
const scanEntries = 32

// Query selects entries of a topic by their numbers.
type Query struct {
	From    int64 // inclusive; zero: from the first
	To      int64 // exclusive; zero: to the last
	Reverse bool  // the highest numbers first
	Limit   int   // at most MaxPage; zero: DefaultPage
}

// Page is a part of a topic's history, of one moment.
type Page struct {
	Topic Info

	// Entries are in the order that was asked for. If there are fewer than the
	// limit, there may still be more, see MaxPageBytes: the last page is empty.
	Entries []Entry
}

// Page reads entries. A client that shows a topic asks for the newest page and
// then subscribes with the cursor of that moment, Info.Cursor(Info.Last): so
// nothing is missing in between. It returns an error that matches
// [ErrNotFound] if there is no such topic.
func (h *Hub) Page(ctx context.Context, topic string, q Query) (Page, error) {
	var p Page
	err := h.store.View(ctx, func(tx storage.Docs) (err error) {
		p, err = readPage(tx, topic, q)
		return err
	})
	return p, err
}

func readPage(tx storage.Docs, topic string, q Query) (p Page, err error) {
	p = Page{}
	if p.Topic, err = Lookup(tx, topic); err != nil {
		return p, err
	}
	limit := min(q.Limit, MaxPage)
	if limit <= 0 {
		limit = DefaultPage
	}
	from, to := max(q.From, p.Topic.First), p.Topic.Last+1
	if q.To != 0 {
		to = min(to, q.To)
	}
	bytes := 0
	for from < to && len(p.Entries) < limit && bytes < MaxPageBytes {
		list, err := p.Topic.scan(tx, from, to, q.Reverse, min(limit-len(p.Entries), scanEntries))
		if err != nil || len(list) == 0 {
			return p, err
		}
		for _, e := range list {
			if bytes += len(e.Data); bytes > MaxPageBytes && len(p.Entries) > 0 {
				break
			}
			p.Entries = append(p.Entries, e)
			if q.Reverse {
				to = e.Seq
			} else {
				from = e.Seq + 1
			}
		}
	}
	return p, nil
}

// scan reads the entries with numbers in [from, to), at most limit.
func (i *Info) scan(tx storage.Docs, from, to int64, reverse bool, limit int) ([]Entry, error) {
	docs, err := tx.ScanDocs(docEntry, storage.Scan{
		From: entryKey(i.epoch, from), To: entryKey(i.epoch, to), Reverse: reverse, Limit: limit,
	})
	if err != nil {
		return nil, err
	}
	list := make([]Entry, len(docs))
	for n, d := range docs {
		if list[n], err = decodeEntry(d); err != nil {
			return nil, err
		}
	}
	return list, nil
}
