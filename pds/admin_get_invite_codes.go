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
			var order string
			switch p.Sort {
			case "", "recent":
				order = docInviteRecent
			case "usage":
				order = docInviteUsage
			default:
				return nil, xrpc.InvalidRequest("unknown sort method: %s", p.Sort)
			}
			out := &inviteCodesOutput{Codes: []*inviteView{}}
			return out, s.store.View(ctx, func(tx storage.Tx) error {
				docs, err := tx.ScanDocs(order, storage.Scan{To: p.Cursor, Reverse: true, Limit: limit})
				if err != nil {
					return err
				}
				for _, d := range docs {
					v, err := viewInvite(tx, d.Key[strings.LastIndexByte(d.Key, '/')+1:])
					if err != nil {
						return err
					}
					out.Codes = append(out.Codes, v)
				}
				if len(docs) == limit {
					out.Cursor = docs[limit-1].Key
				}
				return nil
			})
		})
}
