package adopt

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/repo"
)

// eventPage is how many events are read at a time.
const eventPage = 200

// eventKinds are the kinds of events by the names that the reference server's
// database has for them.
var eventKinds = map[string]pds.EventKind{
	"append": pds.EventCommit, "sync": pds.EventSync, "identity": pds.EventIdentity, "account": pds.EventAccount,
}

// logState is the state of the source's log.
type logState struct {
	first int64 // number of the oldest event
	last  int64 // the last number that was ever given
	begin int64 // events above it are taken over
}

// readLog finds which part of the log is not older than a time.
func (r *reader) readLog(ctx context.Context, since time.Time) (l logState, err error) {
	var first, last, given sql.NullInt64
	err = r.sequencer.QueryRowContext(ctx, "SELECT min(seq), max(seq) FROM repo_seq").Scan(&first, &last)
	if err == nil {
		// Events of deleted accounts leave the table, their numbers do not
		// come back.
		err = r.sequencer.QueryRowContext(ctx, "SELECT max(seq) FROM sqlite_sequence WHERE name = 'repo_seq'").Scan(&given)
	}
	if err != nil {
		return l, fmt.Errorf("adopt: %s: %w", r.SequencerDB, err)
	}
	l.first, l.last = first.Int64, max(last.Int64, given.Int64)
	var oldest sql.NullInt64
	err = r.sequencer.QueryRowContext(ctx, "SELECT min(seq) FROM repo_seq WHERE sequencedAt >= ?",
		since.UTC().Format("2006-01-02T15:04:05.000Z")).Scan(&oldest)
	if err != nil {
		return l, fmt.Errorf("adopt: %s: %w", r.SequencerDB, err)
	}
	if l.begin = l.last; oldest.Valid {
		l.begin = oldest.Int64 - 1
	}
	return l, nil
}

// copyEvents adopts the part of the log that is taken over, behind what is
// here already. It returns the accounts of which something was left out.
func (r *run) copyEvents(ctx context.Context, l logState) error {
	after, err := r.adoption.LastSeq(ctx)
	if err != nil {
		return err
	}
	if after == 0 && l.begin >= l.first {
		if err := r.adoption.BeginLog(ctx, l.begin); err != nil {
			return err
		}
	}
	for after = max(after, l.begin); after < l.last; {
		var page []pds.AdoptedEvent
		err := each(ctx, r.source.sequencer, func(scan func(...any) error) error {
			var e pds.AdoptedEvent
			var kind, at string
			if err := scan(&e.Seq, &e.DID, &kind, &e.Body, &at); err != nil {
				return err
			}
			t, err := parseTime(sql.NullString{String: at})
			e.Kind, e.Time = eventKinds[kind], t
			page = append(page, e)
			return err
		}, `SELECT seq, did, eventType, event, sequencedAt FROM repo_seq
			WHERE seq > ? AND invalidated = 0 ORDER BY seq LIMIT ?`, after, eventPage)
		if err != nil {
			return fmt.Errorf("adopt: %s: %w", r.source.SequencerDB, err)
		}
		if len(page) == 0 {
			return nil
		}
		faults, err := r.adoption.Events(ctx, page)
		if err != nil {
			return err
		}
		for i, f := range faults {
			if f == nil {
				r.report.Events++
				continue
			}
			r.find(page[i].DID, f, false)
			r.announce[page[i].DID] = true
		}
		after = page[len(page)-1].Seq
	}
	return nil
}

// lastTold returns the rev that the newest event of an account told the
// network, empty if the log holds none, and whether the log has ever told
// anything of it.
func (r *reader) lastTold(ctx context.Context, did syntax.DID) (rev syntax.TID, told bool, err error) {
	var body []byte
	err = r.sequencer.QueryRowContext(ctx, `SELECT event FROM repo_seq
		WHERE did = ? AND eventType IN ('append', 'sync') AND invalidated = 0 ORDER BY seq DESC LIMIT 1`, string(did)).Scan(&body)
	if errors.Is(err, sql.ErrNoRows) {
		err = r.sequencer.QueryRowContext(ctx, "SELECT 1 FROM repo_seq WHERE did = ? LIMIT 1", string(did)).Scan(&told)
		if errors.Is(err, sql.ErrNoRows) {
			err = nil
		}
		return "", told, sourceFault(ctx, err)
	}
	if err != nil {
		return "", false, sourceFault(ctx, err)
	}
	// A damaged event is as if it had told nothing of use.
	value, _ := repo.DecodeCBOR(body)
	fields, _ := value.(map[string]any)
	text, _ := fields["rev"].(string)
	rev, err = syntax.ParseTID(text)
	if err != nil {
		rev = ""
	}
	return rev, true, nil
}
