package pds

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/bluesky-social/indigo/atproto/syntax"

	"github.com/pdskit/pdskit/identity"
	"github.com/pdskit/pdskit/oauth"
)

// remoteMethodID names the way to sign in for members from other servers.
const remoteMethodID = "elsewhere"

// clientMetadataPath is where this server says what it is as a client of others.
const clientMetadataPath = "/oauth/client-metadata.json"

// remoteCallback is where servers of members send browsers back to, see
// oauth.SignInAttempt.
const remoteCallback = "/oauth/callback/" + remoteMethodID

// maxRemoteState bounds what another server adds to the state of an attempt.
const maxRemoteState = 4 << 10

// remoteMembers is the way to sign in for members whose accounts are elsewhere.
// Browser, state and number of tries are watched over by package oauth; this
// sees to it that whoever comes back is who was sent: the server that answers is
// the one that the DID's document names, and it says that DID.
type remoteMembers struct {
	s *Server
	c *remoteClient
}

var _ oauth.SignInMethod = (*remoteMembers)(nil)

func (s *Server) newRemoteMembers() (*remoteMembers, error) {
	_, lists := s.cfg.Delegation.(GroupLister)
	switch {
	case !lists:
		return nil, errors.New("pds: Config.RemoteMembers: needs a Delegation that is a GroupLister")
	case s.public.Scheme != "https":
		return nil, errors.New("pds: Config.RemoteMembers: needs a PublicURL with https, which other servers can reach")
	}
	transport := s.cfg.OAuth.Transport
	if transport == nil {
		transport = s.cfg.Transport
	}
	return &remoteMembers{s, &remoteClient{
		id: s.public.String() + clientMetadataPath, callback: s.public.String() + remoteCallback, now: s.clock.Now, allowHTTP: s.cfg.DevMode,
		http: identity.NewClient(transport, identity.ClientLimits{Timeout: remoteCallTime, MaxBody: maxRemoteAnswer}),
	}}, nil
}

// serveClientMetadata serves this server's client metadata document.
func (s *Server) serveClientMetadata(w http.ResponseWriter, _ *http.Request) {
	public := s.public.String()
	writeJSON(w, http.StatusOK, map[string]any{
		"client_id":                  public + clientMetadataPath,
		"client_name":                s.cfg.Info.Name,
		"client_uri":                 public,
		"redirect_uris":              []string{public + remoteCallback},
		"scope":                      remoteScope,
		"grant_types":                []string{"authorization_code"},
		"response_types":             []string{"code"},
		"application_type":           "web",
		"token_endpoint_auth_method": "none",
		"dpop_bound_access_tokens":   true,
	})
}

// remoteTexts are the texts of the way in one language.
type remoteTexts struct{ title, heading, text, label, unknown, here, refused, stranger string }

var remoteLanguages = map[string]remoteTexts{
	"en": {
		title:    "Act for a group with an account elsewhere",
		heading:  "Your account elsewhere",
		text:     "You are sent to the server of your account, which tells us who you are. We get no access to the account.",
		label:    "Handle",
		unknown:  "We have not found the server of this account, or it does not let its users sign in elsewhere.",
		here:     "This account is on this server. Go back and sign in with its password.",
		refused:  "Your server has not confirmed who you are. Please try again.",
		stranger: "This account belongs to no group here.",
	},
	"de": {
		title:    "Mit einem Konto anderswo für eine Gruppe handeln",
		heading:  "Ihr Konto anderswo",
		text:     "Sie werden zum Server Ihres Kontos geleitet. Er sagt uns, wer Sie sind. Wir erhalten keinen Zugriff auf das Konto.",
		label:    "Handle",
		unknown:  "Der Server dieses Kontos wurde nicht gefunden, oder er erlaubt keine Anmeldung anderswo.",
		here:     "Dieses Konto liegt auf diesem Server. Gehen Sie zurück und melden Sie sich mit seinem Passwort an.",
		refused:  "Ihr Server hat nicht bestätigt, wer Sie sind. Bitte versuchen Sie es noch einmal.",
		stranger: "Dieses Konto gehört hier zu keiner Gruppe.",
	},
	"es": {
		title:    "Actuar por un grupo con una cuenta de otro servidor",
		heading:  "Su cuenta en otro servidor",
		text:     "Le enviaremos al servidor de su cuenta, que nos dirá quién es usted. No obtenemos acceso a la cuenta.",
		label:    "Identificador",
		unknown:  "No hemos encontrado el servidor de esta cuenta, o no permite iniciar sesión en otros sitios.",
		here:     "Esta cuenta está en este servidor. Vuelva atrás e inicie sesión con su contraseña.",
		refused:  "Su servidor no ha confirmado quién es usted. Inténtelo de nuevo.",
		stranger: "Esta cuenta no pertenece a ningún grupo de aquí.",
	},
}

func remoteTextsIn(locale string) remoteTexts {
	if texts, ok := remoteLanguages[locale]; ok {
		return texts
	}
	return remoteLanguages["en"]
}

func (m *remoteMembers) ID() string                 { return remoteMethodID }
func (m *remoteMembers) Title(locale string) string { return remoteTextsIn(locale).title }

func (m *remoteMembers) Begin(_ context.Context, a oauth.SignInAttempt) (*oauth.SignInStep, error) {
	texts := remoteTextsIn(a.Locale)
	return &oauth.SignInStep{Title: texts.heading, Text: texts.text, Fields: []oauth.StepField{
		{Name: "handle", Label: texts.label, Autocomplete: "username", Required: true},
	}}, nil
}

// again asks for the handle once more, and says why.
func (m *remoteMembers) again(ctx context.Context, a oauth.SignInAttempt, problem string, cause error) (syntax.DID, *oauth.SignInStep, error) {
	m.s.log.InfoContext(ctx, "a member from elsewhere was not signed in", "error", cause)
	step, err := m.Begin(ctx, a)
	if err == nil {
		step.Problem = problem
	}
	return "", step, err
}

// Continue takes the handle, or what the member's server has answered.
func (m *remoteMembers) Continue(ctx context.Context, a oauth.SignInAttempt, state []byte, values url.Values) (syntax.DID, *oauth.SignInStep, error) {
	ctx, cancel := context.WithTimeout(ctx, remoteTime)
	defer cancel()
	texts := remoteTextsIn(a.Locale)
	if len(state) == 0 {
		did, home, err := m.homeOf(ctx, values.Get("handle"))
		switch {
		case errors.Is(err, errLocalAccount):
			return m.again(ctx, a, texts.here, err)
		case err != nil:
			return m.again(ctx, a, texts.unknown, err)
		}
		attempt, redirect, err := m.c.begin(ctx, did, home, a.State)
		if err != nil {
			return m.again(ctx, a, texts.unknown, err)
		}
		kept, err := json.Marshal(attempt)
		if err == nil && len(kept) > maxRemoteState {
			return m.again(ctx, a, texts.unknown, errors.New("the addresses of the server are too long"))
		}
		return "", &oauth.SignInStep{State: kept, Redirect: redirect}, err
	}
	var attempt remoteAttempt
	if err := json.Unmarshal(state, &attempt); err != nil {
		return "", nil, err
	}
	if err := m.c.finish(ctx, &attempt, values); err != nil {
		return m.again(ctx, a, texts.refused, err)
	}
	// The account may have moved meanwhile, and its old server does not speak
	// for it any more.
	if _, home, err := m.homeOf(ctx, string(attempt.DID)); err != nil || home != attempt.Home {
		return m.again(ctx, a, texts.refused, errors.Join(errors.New("the account has moved"), err))
	}
	_, err := m.s.accountsForOAuth().Account(ctx, attempt.DID)
	if errors.Is(err, oauth.ErrAccountNotFound) {
		return m.again(ctx, a, texts.stranger, err)
	}
	return attempt.DID, nil, err
}

var errLocalAccount = errors.New("the account is on this server")

// homeOf finds the server of an account elsewhere, by the DID's document of now.
// For an account that there is here, in whatever state, no other server speaks.
func (m *remoteMembers) homeOf(ctx context.Context, identifier string) (did syntax.DID, home string, err error) {
	id, err := syntax.ParseAtIdentifier(strings.ToLower(strings.TrimPrefix(strings.TrimSpace(identifier), "@")))
	if err != nil {
		return "", "", err
	}
	if handle, err := id.AsHandle(); err == nil {
		ident, err := m.s.cfg.Directory.LookupHandle(ctx, handle)
		if err != nil {
			return "", "", err
		}
		did = ident.DID
	} else if did, err = id.AsDID(); err != nil {
		return "", "", err
	}
	ident, err := m.s.cfg.Directory.Refresh(ctx, did)
	if err != nil {
		return "", "", err
	}
	home, err = serviceURL(ident.PDSEndpoint(), m.s.cfg.DevMode)
	if err != nil {
		return "", "", err
	}
	_, err = m.s.callerAccount(ctx, did)
	switch {
	case err == nil || m.s.isPublicURL(home):
		return "", "", errLocalAccount
	case !isAccountNotFound(err):
		return "", "", err
	}
	return did, home, nil
}
