package pds

import (
	"fmt"
	"slices"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"
)

// ownedMethod reports whether a method is one that a PDS serves itself or not
// at all: it is never passed on to another service.
func ownedMethod(nsid string) bool {
	for _, namespace := range []string{"server", "repo", "sync", "identity", "admin"} {
		if strings.HasPrefix(nsid, "com.atproto."+namespace+".") {
			return true
		}
	}
	return false
}

// owned reports whether a method is never passed on to another service: it is one
// of those of a PDS, or in a namespace that the program claims. Its authority is
// in lower case.
func (s *Server) owned(nsid string) bool {
	return ownedMethod(nsid) || slices.ContainsFunc(s.cfg.Namespaces, func(namespace string) bool {
		return strings.HasPrefix(nsid, strings.ToLower(namespace)+".")
	})
}

// checkNamespaces checks Config.Namespaces.
func checkNamespaces(list []string) error {
	for _, namespace := range list {
		if _, err := syntax.ParseNSID(namespace + ".method"); err != nil {
			return fmt.Errorf("%q is no namespace", namespace)
		}
	}
	return nil
}

// isProtected reports whether a method is out of bounds for services: no
// service token is made for it. NSIDs are compared without regard to case.
func isProtected(nsid string) bool {
	name, ok := strings.CutPrefix(strings.ToLower(nsid), "com.atproto.")
	return ok && slices.Contains([]string{
		"admin.sendemail",
		"identity.requestplcoperationsignature",
		"identity.signplcoperation",
		"identity.updatehandle",
		"server.activateaccount",
		"server.confirmemail",
		"server.createapppassword",
		"server.deactivateaccount",
		"server.getaccountinvitecodes",
		"server.getsession",
		"server.listapppasswords",
		"server.requestaccountdelete",
		"server.requestemailconfirmation",
		"server.requestemailupdate",
		"server.revokeapppassword",
		"server.updateemail",
	}, name)
}

// isPrivileged reports whether a method is open to privileged app passwords
// only, besides full sessions. NSIDs are compared without regard to case.
func isPrivileged(nsid string) bool {
	nsid = strings.ToLower(nsid)
	return strings.HasPrefix(nsid, "chat.bsky.") || nsid == "com.atproto.server.createaccount"
}
