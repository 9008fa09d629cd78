package main

import (
	"errors"
	"time"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/pds"
	"github.com/pdskit/pdskit/xrpc"
)

// said is an entry in the log of a room: a message, a new version of one, or a
// reaction to one. The newest version counts; those before it, and what was
// deleted, are redacted.
type said struct {
	Type    string     `json:"type"` // "message" or "reaction"
	ID      string     `json:"id"`   // of the message
	Author  syntax.DID `json:"author"`
	Number  int64      `json:"number,omitempty"` // of the message in its room
	Text    string     `json:"text,omitempty"`
	Reply   string     `json:"reply,omitempty"` // to the message with this id
	Picture *picture   `json:"picture,omitempty"`
	Sent    time.Time  `json:"sent,omitzero"`
	Edited  bool       `json:"edited,omitempty"`
	Emoji   string     `json:"emoji,omitempty"`
	Key     string     `json:"key,omitempty"` // of the record of a reaction
	Gone    bool       `json:"gone,omitempty"`
}

// picture is one in a message: a blob of the community, or an id for getPicture.
type picture struct {
	CID string `json:"cid,omitempty"`
	ID  string `json:"id,omitempty"`
	Alt string `json:"alt"`
}

// message is the document of a message: all but its text, which is in the log.
type message struct {
	said
	Seq int64 `json:"seq"`
}

// journal writes the log of a room in a transaction.
type journal struct {
	*pds.State
	community syntax.DID
	id        string // of the room
	room      *room
	next      int64 // the number of the next entry
}

func openJournal(st *pds.State, community syntax.DID, id string, r *room) (*journal, error) {
	topic, err := st.Topic(roomTopic(community, id))
	return &journal{st, community, id, r, topic.Last + 1}, err
}

func (j *journal) write(s said) error {
	j.next++
	return j.Publish(roomTopic(j.community, j.id), s)
}

// put writes a version of a message.
func (j *journal) put(s said) error {
	if s.Text == "" && s.Picture == nil {
		return xrpc.NewError(400, "EmptyMessage", "A message has a text or a picture")
	}
	m := message{s, j.next}
	m.Text = ""
	return errors.Join(j.write(s), j.PutJSON(messageKey(j.community, j.id, s.ID), m))
}

// send writes a new message and counts it. Its author has read it.
func (j *journal) send(s said) error {
	j.room.Count++
	s.Type, s.Number, s.Sent = "message", j.room.Count, j.Now().UTC()
	return errors.Join(
		j.PutJSON(roomKey(j.community, j.id), j.room),
		j.PutJSON(readKey(j.community, s.Author, j.id), s.Number),
		j.put(s),
	)
}

// edit puts a new version in the place of a message.
func (j *journal) edit(m message, text string, p *picture) error {
	m.Text, m.Picture, m.Edited = text, p, true
	return errors.Join(j.put(m.said), j.redact(m.Seq))
}

// remove removes a message.
func (j *journal) remove(m message) error {
	return errors.Join(j.redact(m.Seq), j.Delete(messageKey(j.community, j.id, m.ID)))
}

func (j *journal) redact(seq int64) error {
	j.next++
	return j.Redact(roomTopic(j.community, j.id), seq)
}

// message returns a message that is there.
func (j *journal) message(id string) (message, error) {
	m, found, err := get[message](j.State, messageKey(j.community, j.id, id))
	if err == nil && !found {
		err = errMessageNotFound
	}
	return m, err
}

// journal opens the log of the private room that the call is about, and returns the
// message, if it is about one.
func (c *call) journal() (j *journal, m message, err error) {
	if !c.room.Private {
		return nil, m, errPublicRoom
	}
	if j, err = openJournal(c.State, c.community, c.id, c.room); err == nil && c.in.ID != "" {
		m, err = j.message(c.in.ID)
	}
	return j, m, err
}

// sendMessage says something in a private room.
func (c *call) sendMessage() error {
	j, _, err := c.journal()
	if err != nil {
		return err
	}
	s := said{ID: string(c.app.ids.Next()), Author: c.who, Text: c.in.Text, Reply: c.in.Reply}
	c.out = object{"id": s.ID}
	if c.in.Picture != "" {
		s.Picture = &picture{ID: c.in.Picture, Alt: c.in.Alt}
		err = c.usePicture(c.in.Picture)
	}
	return errors.Join(err, j.send(s))
}

// editMessage changes the text of one's own message in a private room.
func (c *call) editMessage() error {
	j, m, err := c.journal()
	if err == nil && m.Author != c.who {
		err = errRoleTooLow
	}
	if err != nil {
		return err
	}
	return j.edit(m, c.in.Text, m.Picture)
}

// deleteMessage deletes a message in a private room: the own, or as a moderator any.
func (c *call) deleteMessage() error {
	j, m, err := c.journal()
	if err == nil && m.Author != c.who && c.role.rank() < moderator.rank() {
		err = errRoleTooLow
	}
	if err == nil && m.Picture != nil {
		err = c.dropPicture(m.Picture.ID, c.Now())
	}
	if err != nil {
		return err
	}
	return j.remove(m)
}

// reactTo adds a reaction in a private room, or takes it back.
func (c *call) reactTo() error {
	j, _, err := c.journal()
	if err != nil {
		return err
	}
	return j.write(said{Type: "reaction", ID: c.in.ID, Author: c.who, Emoji: c.in.Emoji, Gone: c.in.Undo})
}
