package main

import (
	"cmp"
	"context"
	"errors"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/repo"
)

// Check implements [pds.Policy]. The public side of a community is its repository,
// which members write to by the aliases. Whatever follows from a write is stored in
// the transaction of its commit: the record that says who wrote it, the log of the
// room, the counters. What roles do not say is decided here: whose message may be
// changed, and that nobody writes records of authorship.
func (a *app) Check(_ context.Context, w *pds.Write) error {
	if _, found, err := get[community](w.State, communityKey(w.Account)); err != nil || !found {
		return err // the account of a person, or a community that is being made
	}
	if w.Import != nil {
		return errNotWritable
	}
	if len(w.Ops) > writesAtOnce {
		return errTooMany
	}
	m, _, err := get[standing](w.State, memberKey(w.Account, w.Actor))
	c := check{w, m.Role.rank() >= moderator.rank(), map[string]*journal{}}
	for i := range w.Ops {
		err = errors.Join(err, c.op(&w.Ops[i]))
	}
	return err
}

// check is one call of the policy for a community.
type check struct {
	*pds.Write
	moderates bool
	journals  map[string]*journal // of the rooms
}

func (c *check) op(op *pds.WriteOp) error {
	switch {
	case op.Collection == colMessage:
		return c.message(op)
	case op.Collection == colReaction:
		return c.reaction(op)
	case op.Collection == colProfile && op.Action != pds.Delete:
		return c.profile(op)
	case op.Collection == colRoom && op.Action != pds.Delete:
		return c.room(op)
	}
	return errNotWritable
}

func (c *check) profile(op *pds.WriteOp) error {
	k := communityKey(c.Account)
	doc, _, err := get[community](c.State, k)
	doc.Title = text(op.Record, "title")
	return errors.Join(err, c.State.PutJSON(k, doc), notice(c.State, c.Account))
}

func (c *check) room(op *pds.WriteOp) error {
	id := string(op.RKey)
	if op.Action == pds.Create {
		return addRoom(c.State, c.Account, id, &room{Name: text(op.Record, "name")})
	}
	r, _, err := get[room](c.State, roomKey(c.Account, id))
	r.Name = text(op.Record, "name")
	return errors.Join(err, c.State.PutJSON(roomKey(c.Account, id), r), notice(c.State, c.Account))
}

// journal opens the log of a public room.
func (c *check) journal(id string) (*journal, error) {
	if j := c.journals[id]; j != nil {
		return j, nil
	}
	r, found, err := get[room](c.State, roomKey(c.Account, id))
	if err != nil || !found || r.Private {
		return nil, cmp.Or[error](err, errRoomNotFound)
	}
	c.journals[id], err = openJournal(c.State, c.Account, id, &r)
	return c.journals[id], err
}

func (c *check) message(op *pds.WriteOp) error {
	is := cmp.Or(op.Previous, op.Record) // what it is now, or is to be
	j, err := c.journal(text(is, "room"))
	if err != nil {
		return err
	}
	id := string(op.RKey)
	if op.Action == pds.Create {
		s := said{ID: id, Author: c.Actor, Text: text(is, "text"), Reply: text(is, "reply"), Picture: pictureIn(is)}
		return errors.Join(j.send(s), c.own(op))
	}
	m, err := j.message(id)
	switch {
	case err != nil:
		return err
	case op.Action == pds.Delete && (m.Author == c.Actor || c.moderates):
		return errors.Join(j.remove(m), c.disown(op))
	case op.Action == pds.Update && m.Author == c.Actor && text(op.Record, "room") == j.id:
		return j.edit(m, text(op.Record, "text"), pictureIn(op.Record))
	}
	return errRoleTooLow
}

func (c *check) reaction(op *pds.WriteOp) error {
	is, author, beside := op.Record, c.Actor, c.own
	if op.Action == pds.Delete {
		is, author, beside = op.Previous, op.PreviousAuthor, c.disown
	}
	if op.Action == pds.Update || author != c.Actor && !c.moderates {
		return errRoleTooLow
	}
	j, err := c.journal(text(is, "room"))
	if err != nil {
		return err
	}
	if op.Action == pds.Create {
		_, err = j.message(text(is, "message"))
	}
	s := said{Type: "reaction", ID: text(is, "message"), Author: author, Emoji: text(is, "emoji"), Key: string(op.RKey), Gone: op.Action == pds.Delete}
	return errors.Join(err, j.write(s), beside(op))
}

// own puts a record of authorship beside a record, in the same commit.
func (c *check) own(op *pds.WriteOp) error {
	value := map[string]any{"author": string(c.Actor), "subject": string(op.URI(c.Account))}
	record, err := repo.RecordFromValue(value, colAuthorship)
	return errors.Join(err, c.Add(pds.Op{Action: pds.Create, Collection: colAuthorship, RKey: op.RKey, Record: record}))
}

func (c *check) disown(op *pds.WriteOp) error {
	return c.Add(pds.Op{Action: pds.Delete, Collection: colAuthorship, RKey: op.RKey})
}

// text returns a field of a record that its lexicon has checked.
func text(r *repo.Record, field string) string {
	s, _ := r.Value[field].(string)
	return s
}

// pictureIn returns the picture of a public message.
func pictureIn(r *repo.Record) *picture {
	if len(r.Blobs) == 0 {
		return nil
	}
	p, _ := r.Value["picture"].(map[string]any)
	alt, _ := p["alt"].(string)
	return &picture{CID: r.Blobs[0].CID.String(), Alt: alt}
}
