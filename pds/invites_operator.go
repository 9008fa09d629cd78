package pds

import "context"

// What programs do with invite codes, besides [Server.DisableInvites] and
// [Server.SetInvitesDisabled].

// Invites lists the invite codes, the newest first: up to limit of them, and
// 500, after the position that the page before returned, "" for the first one.
// The last page returns "".
func (s *Server) Invites(ctx context.Context, after string, limit int) (list []*Invite, next string, err error) {
	return s.listInvites(ctx, docInviteRecent, after, min(max(limit, 1), maxInviteList))
}

// CreateInvites makes invite codes of the administrator's, each for so many
// uses. At most 5,000 can be made at once.
func (s *Server) CreateInvites(ctx context.Context, count, uses int) ([]string, error) {
	made, err := s.makeInvites(ctx, []string{inviteByAdmin}, count, uses)
	if err != nil {
		return nil, err
	}
	return made[0].Codes, nil
}

// MailPasswordReset sends a code by which a new password can be set to an
// address, if it is that of an account.
func (s *Server) MailPasswordReset(ctx context.Context, email string) error {
	return s.requestReset(ctx, email)
}
