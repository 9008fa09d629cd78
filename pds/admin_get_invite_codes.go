package pds

import (
	"context"
	"strings"

	"github.com/pdskit/pdskit/storage"
	"github.com/pdskit/pdskit/xrpc"
)

const (
	defaultInviteList = 100
	maxInviteList     = 500
)

type getInviteCodesParams struct {
	Sort   string `json:"sort"`
	Limit  int    `json:"limit"`
	Cursor string `json:"cursor"`
}

// getInviteCodes lists all codes, the newest or the most used first. The cursor
// is the key of the last one.
func (s *Server) getInviteCodes() xrpc.Method {
	return xrpc.Query("com.atproto.admin.getInviteCodes", s.moderator(),
		func(ctx context.Context, p *getInviteCodesParams) (*inviteCodesOutput, error) {
			limit, err := listLimit(p.Limit, defaultInviteList, maxInviteList)
			if err != nil {
				return nil, err
			}
			var out inviteCodesOutput
			switch p.Sort {
			case "", "recent":
				out.Codes, out.Cursor, err = s.listInvites(ctx, docInviteRecent, p.Cursor, limit)
			case "usage":
				out.Codes, out.Cursor, err = s.listInvites(ctx, docInviteUsage, p.Cursor, limit)
			default:
				return nil, xrpc.InvalidRequest("unknown sort method: %s", p.Sort)
			}
			return &out, err
		})
}

// listInvites returns a page of codes in the order of an index, the last first.
func (s *Server) listInvites(ctx context.Context, order, cursor string, limit int) (list []*Invite, next string, err error) {
	err = s.store.View(ctx, func(tx storage.Tx) error {
		list, next = []*Invite{}, ""
		docs, err := tx.ScanDocs(order, storage.Scan{To: cursor, Reverse: true, Limit: limit})
		if err != nil {
			return err
		}
		for _, d := range docs {
			v, err := viewInvite(tx, d.Key[strings.LastIndexByte(d.Key, '/')+1:])
			if err != nil {
				return err
			}
			list = append(list, v)
		}
		if len(docs) == limit {
			next = docs[limit-1].Key
		}
		return nil
	})
	return list, next, err
}
