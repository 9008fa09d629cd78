// Package gallery holds samples of every page of package ui, in all the states
// that matter for their looks, and serves them: for tests, and for the eyes of
// whoever works on the templates.
package gallery

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"time"

	"github.com/pdskit/pdskit/oauth/ui"
)

// Sample is a page in a certain state.
type Sample struct {
	ID     string // the page's name, with a word for the state
	Status int
	Page   ui.Page
}

var (
	alice = ui.Account{
		DID: "did:plc:ewvi7nxzyoun6zhxrhs64oiz", Handle: "alice.example.com", DisplayName: "Alice Liddell",
		Email: "alice@mail.example", EmailConfirmed: true,
	}
	bob = ui.Account{
		DID: "did:plc:44ybard66vv44zksje25o7dz", Handle: "bob-with-quite-a-long-name.example.com", Email: "bob@mail.example",
		Deactivated: true,
	}
	trusted = &ui.Client{
		ID: "https://skeets.example/oauth/client-metadata.json", Host: "skeets.example", Trusted: true, Name: "Skeets",
		URL: "https://skeets.example", TermsURL: "https://skeets.example/terms", PolicyURL: "https://skeets.example/privacy",
	}
	untrusted = &ui.Client{
		ID: "https://a-rather-long-name.apps.somewhere.example/oauth/client-metadata.json", Host: "a-rather-long-name.apps.somewhere.example",
		Name: "Totally Official App", PolicyURL: "https://a-rather-long-name.apps.somewhere.example/privacy",
	}
	loopback = &ui.Client{ID: "http://localhost?scope=atproto", Loopback: true}

	here    = &ui.Link{URL: "#"}
	post    = &ui.Link{Post: &form}
	form    = ui.Form{Action: "/sent", Hidden: []ui.HiddenField{{Name: ui.FieldCSRF, Value: "token"}, {Name: ui.FieldRequest, Value: "req"}}}
	domains = []string{".example.com", ".pds.example.org"}
	now     = time.Date(2026, 11, 22, 13, 29, 0, 0, time.UTC)
)

const (
	firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
	safari  = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1"
	scope   = "atproto transition:generic account:email repo:app.bsky.feed.post?action=create rpc:*?aud=did:web:api.bsky.app%23bsky_appview"
)

func frame(client *ui.Client, problems ...ui.Problem) ui.Frame {
	f := ui.Frame{LocaleForm: &form, Problems: problems, Client: client}
	if client != nil {
		f.Cancel = &form
	}
	return f
}

func problem(field, code string) ui.Problem { return ui.Problem{Field: field, Code: code} }

// Flow returns the pages of signing in and of authorization.
func Flow() []Sample {
	return []Sample{
		{"welcome", 200, &ui.WelcomePage{Frame: frame(trusted), SignIn: *here, SignUp: here}},
		{"account-picker", 200, &ui.AccountPickerPage{
			Frame: frame(trusted), Form: form, Accounts: []ui.PickedAccount{{Account: alice}, {Account: bob, PasswordNeeded: true}},
			Delegated: []ui.DelegatedAccount{{Account: bob, Actor: alice, Form: form}, {Account: bob, Actor: alice, PasswordNeeded: true, Form: form}},
			Another:   here, SignUp: post,
		}},
		{"sign-in", 200, &ui.SignInPage{
			Frame: frame(trusted), Form: form, RememberOffered: true, Remember: true, HandleDomain: ".example.com",
			Forgot: here, SignUp: here,
		}},
		{"sign-in-refused", 400, &ui.SignInPage{
			Frame: frame(untrusted, problem("", ui.ProblemWrongCredentials)), Form: form, Identifier: "alice.example.com",
			RememberOffered: true, Forgot: post,
		}},
		{"sign-in-fixed", 200, &ui.SignInPage{
			Frame: frame(nil), Form: form, Identifier: "alice.example.com", IdentifierFixed: true, Forgot: here,
			Methods: []ui.MethodLink{{ID: "oidc", Title: "Example University"}, {ID: "mail", Title: "Link by e-mail"}}, MethodForm: form,
		}},
		{"second-factor", 200, &ui.SecondFactorPage{
			Frame: frame(trusted), Form: form, Account: alice, Kind: ui.FactorTOTP,
			Others: []ui.FactorChoice{{ID: "r", Kind: ui.FactorRecovery}, {ID: "e", Kind: ui.FactorEmail}}, OtherForm: form,
		}},
		{"second-factor-refused", 400, &ui.SecondFactorPage{
			Frame: frame(trusted, problem(ui.FieldCode, ui.ProblemCodeWrong)), Form: form, Account: alice, Kind: ui.FactorRecovery,
			OtherForm: form,
		}},
		{"sign-in-step", 200, &ui.SignInStepPage{
			Frame: frame(trusted), Form: form, Title: "Library card", Text: "Sign in with the card of the city library.",
			Fields: []ui.Field{
				{Name: "card", Label: "Number of the card", Hint: "On the back, below the bars", Required: true, Kind: ui.KindCode},
				{Name: "branch", Label: "Branch", Kind: ui.KindSelect, Options: []ui.Option{{Value: "1", Label: "Main street"}, {Value: "2", Label: "Station"}}},
				{Name: "pin", Label: "PIN", Kind: ui.KindPassword, Required: true},
				{Name: "news", Label: "Tell me about new books", Kind: ui.KindCheckbox},
			},
		}},
		{"sign-up", 200, &ui.SignUpPage{
			Frame: frame(trusted), Form: form, Domains: domains[:1], HandleCheckURL: "/handle-check",
			TermsURL: "https://example.com/terms", PolicyURL: "https://example.com/privacy", SignIn: here,
		}},
		{"sign-up-refused", 400, &ui.SignUpPage{
			Frame: frame(trusted, problem(ui.FieldInvite, ui.ProblemInviteInvalid), problem(ui.FieldHandle, ui.ProblemHandleTaken),
				ui.Problem{Field: ui.FieldPassword, Code: ui.ProblemPasswordShort, Args: ui.Args{"min": "10"}}),
			Form: form, Domains: domains, HandleCheckURL: "/handle-check", InviteRequired: true, Handle: "alice", Domain: domains[1],
			Email: "alice@mail.example", Invite: "example-com-abcde-fghij", PasswordMin: 10, SignIn: here,
		}},
		{"reset-request", 200, &ui.ResetRequestPage{Frame: frame(nil), Form: form, HaveCode: here, SignIn: here}},
		{"reset-password", 200, &ui.ResetPasswordPage{Frame: noticed(ui.NoticeResetSent), Form: form, Again: here}},
		{"reactivate", 200, &ui.ReactivatePage{Frame: frame(trusted), Form: form, Account: bob, Another: here}},
		{"consent", 200, &ui.ConsentPage{
			Frame: frame(trusted), Form: form, Account: alice, RawScope: scope, Another: here,
			Permissions: []ui.Permission{
				{Code: ui.PermissionIdentify},
				{Code: ui.PermissionGeneric},
				{Code: ui.PermissionChat},
				{Code: ui.PermissionEmailRead, Optional: true, Checked: true, Scope: "account:email"},
			},
		}},
		{"consent-untrusted", 200, &ui.ConsentPage{
			Frame: frame(untrusted), Form: form, Account: bob, Actor: &alice, RawScope: scope, Another: post,
			Permissions: []ui.Permission{
				{Code: ui.PermissionIdentityFull, Warning: true},
				{Code: ui.PermissionIdentify},
				{Code: ui.PermissionPermissionSet, Title: "Write blog posts", Detail: "Create and change the posts of your blog and their drafts.",
					Set: "com.example.blog.authWrite", Repos: []ui.RepoRow{{Collection: "com.example.blog.post", Create: true, Update: true}}},
				{Code: ui.PermissionRepo, Repos: []ui.RepoRow{
					{Collection: "app.bsky.feed.post", Create: true}, {Collection: "app.bsky.graph.follow", Create: true, Delete: true},
					{Collection: "*", Update: true},
				}},
				{Code: ui.PermissionRPC, RPCs: []ui.RPCRow{
					{Audience: "did:web:api.bsky.app#bsky_appview", Methods: []string{"app.bsky.feed.getTimeline", "app.bsky.actor.getProfile"}},
					{Audience: "*", ButChat: true, Methods: []string{"com.example.call"}},
				}},
				{Code: ui.PermissionBlob, Blobs: []string{"image/*", "video/mp4"}},
				{Code: ui.PermissionEmailManage, Optional: true, Scope: "account:email?action=manage"},
				{Code: ui.PermissionOther, Unknown: []string{"space:com.example.thing"}},
			},
		}},
		{"consent-loopback", 200, &ui.ConsentPage{
			Frame: frame(loopback), Form: form, Account: alice, RawScope: "atproto",
			Permissions: []ui.Permission{{Code: ui.PermissionIdentify}, {Code: ui.PermissionRepoAll, Repos: []ui.RepoRow{{Collection: "*", Create: true, Update: true, Delete: true}}}},
		}},
		{"redirect", 200, &ui.RedirectPage{Frame: frame(trusted), URL: "com.example.app:/callback?code=1"}},
		{"form-post", 200, &ui.FormPostPage{Frame: frame(trusted), Action: "/sent", Fields: []ui.HiddenField{{Name: "code", Value: "1"}}}},
		{"error", 400, &ui.ErrorPage{Frame: frame(nil), Code: ui.ErrorInvalidClient, Detail: "client_id: fetch: 404 Not Found"}},
		{"error-expired", 400, &ui.ErrorPage{Frame: frame(nil), Code: ui.ErrorExpired, Home: here}},
		{"cookies", 400, &ui.CookiesPage{Frame: frame(trusted), Return: "https://skeets.example/cb?error=access_denied", Retry: here}},
	}
}

func noticed(code string) ui.Frame {
	f := frame(nil)
	f.Notice = code
	return f
}

// manager returns what the account manager's pages share, in one of its sections.
func manager(section string) ui.Manager {
	m := ui.Manager{Account: alice, Accounts: here, SignOut: &form}
	for _, code := range []string{
		ui.SectionHome, ui.SectionEmail, ui.SectionHandle, ui.SectionPassword, ui.SectionFactors, ui.SectionApps,
		ui.SectionAppPasswords, ui.SectionDevices, ui.SectionExport, ui.SectionDeactivate, ui.SectionDelete,
	} {
		m.Sections = append(m.Sections, ui.Section{Code: code, URL: "#", Here: code == section})
	}
	return m
}

// asking is manager with the password asked for.
func asking(section string) ui.Manager {
	m := manager(section)
	m.PasswordNeeded = true
	return m
}

// Manager returns the pages of the account manager.
func Manager() []Sample {
	empty := manager(ui.SectionHome)
	empty.Account = bob
	return []Sample{
		{"manager-accounts", 200, &ui.ManagerAccountsPage{
			Frame: frame(nil), Accounts: []ui.ManagedAccount{{Account: alice, URL: "#"}, {Account: bob, URL: "#"}, {Account: bob, Actor: &alice, URL: "#"}},
			SignOut: form, SignIn: here, SignUp: here,
		}},
		{"manager-accounts-none", 200, &ui.ManagerAccountsPage{Frame: noticed(ui.NoticeSignedOut), SignIn: here}},
		{"manager-home", 200, &ui.ManagerHomePage{Frame: frame(nil), Manager: manager(ui.SectionHome)}},
		{"manager-home-deactivated", 200, &ui.ManagerHomePage{Frame: frame(nil), Manager: empty, Reactivate: &form}},
		{"manager-email", 200, &ui.ManagerEmailPage{Frame: frame(nil), Manager: asking(ui.SectionEmail), Form: form}},
		{"manager-email-code", 400, &ui.ManagerEmailPage{
			Frame: frame(nil, problem(ui.FieldCode, ui.ProblemCodeWrong)), Manager: manager(ui.SectionEmail), Form: form,
			Email: "new@mail.example", CodeNeeded: true,
		}},
		{"manager-email-confirm", 200, &ui.ManagerEmailPage{
			Frame: noticed(ui.NoticeEmailCodeSent), Manager: unconfirmed(), Form: form, RequestConfirm: &form, Confirm: &form,
		}},
		{"manager-handle", 200, &ui.ManagerHandlePage{
			Frame: frame(nil), Manager: asking(ui.SectionHandle), Form: form, Domains: domains, Handle: "alice", Domain: domains[0],
			HandleCheckURL: "/handle-check", CustomForm: &form, WellKnownURL: "https://HOST/.well-known/atproto-did",
		}},
		{"manager-password", 200, &ui.ManagerPasswordPage{Frame: frame(nil), Manager: manager(ui.SectionPassword), Form: form}},
		{"manager-app-passwords", 200, &ui.ManagerAppPasswordsPage{
			Frame: frame(nil), Manager: manager(ui.SectionAppPasswords), Create: form, Revoke: form, EndSession: &form,
			Created: &ui.NewAppPassword{Name: "old phone", Password: "abcd-efgh-ijkl-mnop"},
			Passwords: []ui.AppPassword{
				{Name: "old phone", Created: now}, {Name: "chat bridge", Privileged: true, Created: now.Add(-9999 * time.Hour)},
			},
			Sessions: []ui.LegacySession{
				{ID: "1", AppPassword: "chat bridge", UserAgent: "bridge/1.2", IP: "203.0.113.7", Created: now, LastUsed: now, Expires: now.Add(720 * time.Hour)},
				{ID: "2", UserAgent: safari, IP: "2001:db8::1", Created: now, Expires: now.Add(720 * time.Hour)},
			},
		}},
		{"manager-apps", 200, &ui.ManagerAppsPage{
			Frame: noticed(ui.NoticeAppRevoked), Manager: manager(ui.SectionApps), Revoke: form,
			Apps: []ui.App{
				{Session: "1", Client: *trusted, Scope: scope, Authorized: now, LastUsed: now, Device: &ui.Device{UserAgent: firefox, IP: "203.0.113.7"}},
				{Session: "2", Client: *untrusted, Scope: "atproto", Authorized: now},
				{Session: "3", Client: *loopback, Scope: "atproto", Authorized: now},
			},
		}},
		{"manager-apps-none", 200, &ui.ManagerAppsPage{Frame: frame(nil), Manager: manager(ui.SectionApps), Revoke: form}},
		{"manager-devices", 200, &ui.ManagerDevicesPage{
			Frame: frame(nil), Manager: manager(ui.SectionDevices), SignOut: form,
			Devices: []ui.Device{
				{ID: "1", UserAgent: firefox, IP: "203.0.113.7", LastSeen: now, Current: true},
				{ID: "2", UserAgent: safari, IP: "2001:db8:85a3:8d3:1319:8a2e:370:7348", LastSeen: now.Add(-50 * time.Hour)},
				{ID: "3", LastSeen: now.Add(-5000 * time.Hour)},
			},
		}},
		{"manager-factors", 200, &ui.ManagerFactorsPage{
			Frame: frame(nil), Manager: asking(ui.SectionFactors), Remove: form, EnrolTOTP: &form, Recovery: &form, RecoveryLeft: 8,
			Factors: []ui.Factor{{ID: "1", Kind: ui.FactorTOTP, Name: "Phone", Created: now, LastUsed: now}, {ID: "2", Kind: ui.FactorTOTP, Created: now}},
		}},
		{"manager-factors-none", 200, &ui.ManagerFactorsPage{Frame: frame(nil), Manager: manager(ui.SectionFactors), EnrolTOTP: &form}},
		{"manager-factors-add", 400, &ui.ManagerFactorsPage{
			Frame: frame(nil, problem(ui.FieldCode, ui.ProblemCodeWrong)), Manager: manager(ui.SectionFactors),
			TOTP: &ui.TOTPEnrolment{Form: form, QR: checkerboard(), Secret: "JBSW Y3DP EHPK 3PXP JBSW Y3DP EHPK 3PXP", URL: "otpauth://totp/example:alice?secret=JBSWY3DP"},
		}},
		{"manager-factors-codes", 200, &ui.ManagerFactorsPage{
			Frame: noticed(ui.NoticeFactorAdded), Manager: manager(ui.SectionFactors), Remove: form,
			Factors: []ui.Factor{{ID: "1", Kind: ui.FactorTOTP, Name: "Phone", Created: now}},
			Codes:   []string{"a1b2c-d3e4f", "g5h6i-j7k8l", "m9n0o-p1q2r", "s3t4u-v5w6x", "y7z8a-b9c0d", "e1f2g-h3i4j"},
		}},
		{"manager-deactivate", 200, &ui.ManagerDeactivatePage{Frame: frame(nil), Manager: asking(ui.SectionDeactivate), Form: form}},
		{"manager-deactivate-back", 200, &ui.ManagerDeactivatePage{Frame: frame(nil), Manager: empty, Form: form, Reactivate: &form}},
		{"manager-delete", 200, &ui.ManagerDeletePage{Frame: frame(nil), Manager: manager(ui.SectionDelete), Request: &form}},
		{"manager-delete-code", 400, &ui.ManagerDeletePage{
			Frame:   frame(nil, problem(ui.FieldPassword, ui.ProblemWrongPassword), problem(ui.FieldConfirm, ui.ProblemConfirmNeeded)),
			Manager: manager(ui.SectionDelete), Request: &form, Form: &form,
		}},
		{"manager-export", 200, &ui.ManagerExportPage{
			Frame: frame(nil), Manager: manager(ui.SectionExport),
			Downloads: []ui.Download{{Code: "archive", URL: "/sent?archive"}, {Code: "repo", URL: "/sent?repo", Size: 4_182_331}, {Code: "blobs", URL: "/sent?blobs"}},
		}},
	}
}

func unconfirmed() ui.Manager {
	m := manager(ui.SectionEmail)
	m.Account.EmailConfirmed = false
	return m
}

// checkerboard stands for a QR code.
func checkerboard() []byte {
	img := image.NewGray(image.Rect(0, 0, 200, 200))
	for y := range 200 {
		for x := range 200 {
			if (x/8+y/8)%2 == 0 {
				img.SetGray(x, y, color.Gray{Y: 255})
			}
		}
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		return nil // a Buffer takes everything
	}
	return b.Bytes()
}
