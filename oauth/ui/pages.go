package ui

import "net/http"

// UI renders the pages of the authorization server and of the account manager.
// [Renderer] is the one that comes with this module; a program may bring
// another, which switches on the type of the page. Methods are called
// concurrently.
type UI interface {
	// Render answers a request with a page. The caller has set the security
	// headers; Render sets Content-Type, writes the status and the body. An
	// error that it returns before it wrote anything is answered by the caller
	// with a plain text.
	Render(w http.ResponseWriter, r *http.Request, status int, p Page) error

	// Locale says in which of its languages the UI answers a request: the
	// first of preferred (language tags, such as "de-AT") that it has, else
	// what Accept-Language asks for, else its default.
	Locale(r *http.Request, preferred ...string) string

	// Assets serves what the pages refer to: the style sheet, the script,
	// images. It is mounted at AssetsPath (or where [Options] say), which is not
	// stripped from the request's path.
	Assets() http.Handler
}

// AssetsPath is where [UI.Assets] is mounted.
const AssetsPath = "/oauth/assets/"

// Names of form fields. Every form is sent by POST as
// application/x-www-form-urlencoded. A UI renders the hidden fields of a [Form]
// besides those that the page's comment names.
const (
	FieldIdentifier  = "identifier"   // handle, DID or e-mail address
	FieldPassword    = "password"     // the present password; at sign-up the chosen one
	FieldNewPassword = "new_password" // the password to be
	FieldRemember    = "remember"     // checkbox, "1": keep the account on this device
	FieldCode        = "code"         // from a mail, an authenticator app or the recovery codes
	FieldHandle      = "handle"       // without the domain, which is FieldDomain
	FieldDomain      = "domain"       // ".example.com"
	FieldOwnHandle   = "own_handle"   // a domain of the user's own
	FieldEmail       = "email"
	FieldInvite      = "invite"
	FieldTerms       = "terms"      // checkbox, "1": agrees to the terms
	FieldScope       = "scope"      // repeated: the scopes granted; a value may hold several, separated by spaces
	FieldAccount     = "account"    // DID
	FieldActor       = "actor"      // DID of who acts for FieldAccount; absent if nobody else does
	FieldMethod      = "method"     // ID of a way to sign in, or of a second factor
	FieldLocale      = "locale"     // language tag
	FieldName        = "name"       // of an app password or of an authenticator
	FieldPrivileged  = "privileged" // checkbox, "1"
	FieldSession     = "session"    // ID of an app's, a legacy or a device's session
	FieldDevice      = "device"     // ID of a device
	FieldFactor      = "factor"     // ID of an enrolled second factor
	FieldConfirm     = "confirm"    // checkbox, "1": is sure
	FieldCSRF        = "csrf"       // hidden
	FieldRequest     = "request"    // hidden
)

// Page is one screen with all that it shows. The pages of this module are
// pointers to the structs of this package. A program may add its own: a type
// that embeds [Frame], with a template of its name in the overlay.
type Page interface {
	// Name is the name of the page's template, "sign-in" for instance.
	Name() string
	// Common returns what all pages have, never nil.
	Common() *Frame
}

// Frame is what every page has. All of it may be left zero.
type Frame struct {
	Locale     string    // language of the page; "" = [UI.Locale] of the request
	Host       string    // what the address bar should show; "" = the request's
	LocaleForm *Form     // where the language picker sends FieldLocale; nil = no picker
	Problems   []Problem // why the form came back
	Notice     string    // a Notice constant: what went well
	NoticeArgs Args      // values in the notice's text
	Client     *Client   // the app that asks, nil outside of authorization
	Back       *Link     // one step back
	Cancel     *Form     // refuses the authorization request: "Cancel", on the consent page "Deny"
}

// Common implements [Page] for the structs that embed Frame.
func (f *Frame) Common() *Frame { return f }

// Args are values that go into a text of the catalogue, by the name between
// braces. They are shown as text, never as markup.
type Args map[string]string

// Problem is a reason why a form was refused.
type Problem struct {
	Field string // name of the field; "" = the whole form
	Code  string // a Problem constant, or any other for which the catalogue has "problem.<Code>"
	Args  Args
	Text  string // shown where the catalogue has no such code, already in the page's language
}

// Form says where a form goes, always by POST.
type Form struct {
	Action string
	Hidden []HiddenField
}

// HiddenField is a value that a form sends along.
type HiddenField struct {
	Name, Value string
}

// Link leads to another screen: by GET to URL, or, if Post is set, by a button
// that sends that form.
type Link struct {
	URL  string
	Post *Form
}

// Client describes an app. Its texts are the app's own word: a UI shows them
// only of a trusted one, and of any other nothing but ID and Host.
type Client struct {
	ID        string // client_id
	Host      string // host of the client_id; "" for a loopback client
	Loopback  bool   // a program on the user's own machine
	Trusted   bool
	Name      string
	LogoURL   string
	URL       string
	TermsURL  string
	PolicyURL string
}

// Account describes an account.
type Account struct {
	DID            string
	Handle         string // "" if it has none
	Email          string // only where the account is signed in
	EmailConfirmed bool
	DisplayName    string
	Deactivated    bool
}

// Field is an input whose purpose only the one who asked for it knows: a
// sign-in method or a sign-up hook. Label, Hint and Options come in the page's
// language.
type Field struct {
	Name         string
	Kind         string // a Kind constant; "" = KindText
	Label        string
	Hint         string
	Value        string // kept of an earlier try; ignored for KindPassword
	Options      []Option
	Autocomplete string // "" = off
	Required     bool
}

// Kinds of a [Field].
const (
	KindText     = "text"
	KindEmail    = "email"
	KindPassword = "password"
	KindCode     = "code"     // digits from a mail or an app
	KindCheckbox = "checkbox" // sends "1"
	KindSelect   = "select"
)

// Option is a choice of a [Field] of KindSelect.
type Option struct {
	Value, Label string
}

// MethodLink is a further way to sign in, a button that sends Form.
type MethodLink struct {
	ID    string // sent as FieldMethod
	Title string // in the page's language
}

// WelcomePage asks whether to sign in or to create an account.
type WelcomePage struct {
	Frame
	SignIn Link
	SignUp *Link // nil = not offered
}

// AccountPickerPage lists the accounts that are signed in on the device, each of
// which sends FieldAccount, and those that they may act for.
type AccountPickerPage struct {
	Frame
	Form      Form
	Accounts  []PickedAccount
	Delegated []DelegatedAccount
	Another   *Link // sign in with another account
	SignUp    *Link
}

// PickedAccount is an entry of the account picker.
type PickedAccount struct {
	Account
	PasswordNeeded bool // signed in too long ago
}

// DelegatedAccount is an account that Actor, who is signed in, may act for.
type DelegatedAccount struct {
	Account
	Actor          Account
	PasswordNeeded bool // Actor has signed in too long ago
	Form           Form // chooses it; nothing but its hidden fields is sent
}

// SignInPage asks for identifier and password: FieldIdentifier, FieldPassword
// and FieldRemember.
type SignInPage struct {
	Frame
	Form            Form
	Identifier      string // entered before, or the login hint
	IdentifierFixed bool   // only this account may sign in
	Remember        bool
	RememberOffered bool
	HandleDomain    string // ".example.com": appended to a bare name; "" = none
	Methods         []MethodLink
	MethodForm      Form // where the buttons of Methods send FieldMethod
	Forgot          *Link
	SignUp          *Link
}

// SecondFactorPage asks for a second factor: FieldCode.
type SecondFactorPage struct {
	Frame
	Form    Form
	Account Account
	Kind    string         // a Factor constant, or the catalogue has "factor.<Kind>.hint"
	Hint    string         // the factor's own words, say the end of a phone number
	Others  []FactorChoice // other factors of the account
	// OtherForm is where the buttons of Others send FieldMethod.
	OtherForm Form
}

// FactorChoice is another second factor that could be used.
type FactorChoice struct {
	ID   string // sent as FieldMethod
	Kind string
}

// Kinds of second factors that the catalogues know.
const (
	FactorTOTP     = "totp"
	FactorRecovery = "recovery"
	FactorEmail    = "email"
)

// SignInStepPage is a step of a sign-in method: its fields.
type SignInStepPage struct {
	Frame
	Form   Form
	Title  string // in the page's language
	Text   string
	Fields []Field
}

// SignUpPage creates an account: FieldHandle, FieldDomain, FieldInvite,
// FieldEmail, FieldPassword, FieldTerms (if there are terms) and Extra.
type SignUpPage struct {
	Frame
	Form           Form
	Domains        []string // ".example.com", at least one
	InviteRequired bool
	Handle         string // entered before
	Domain         string
	Email          string
	Invite         string
	Extra          []Field // of a hook, a captcha for instance
	// HandleCheckURL answers GET with ?handle=<full handle> by the JSON
	// {"available": true}, or {"problem": "<code>"} with "text" in the page's
	// language if it has something better to say than that the handle is taken
	// or invalid. "" = no check while typing.
	HandleCheckURL string
	PasswordMin    int // characters; 0 = 8
	TermsURL       string
	PolicyURL      string
	SignIn         *Link
}

// ResetRequestPage asks where to send a code: FieldEmail.
type ResetRequestPage struct {
	Frame
	Form     Form
	Email    string
	HaveCode *Link
	SignIn   *Link
}

// ResetPasswordPage takes the code and the new password: FieldCode,
// FieldNewPassword.
type ResetPasswordPage struct {
	Frame
	Form        Form
	Code        string
	PasswordMin int // characters; 0 = 8
	Again       *Link
}

// ReactivatePage stands before a deactivated account.
type ReactivatePage struct {
	Frame
	Form    Form
	Account Account
	Another *Link
}

// ConsentPage asks whether the app may do what it asks for. FieldScope is sent
// for each optional permission that is left ticked; what is not optional is
// among the hidden fields of Form.
type ConsentPage struct {
	Frame
	Form        Form
	Account     Account
	Actor       *Account // who signed in, if not the account itself
	Permissions []Permission
	RawScope    string // shown under "Technical details"
	Another     *Link  // with another account
}

// Permission is a card of the consent page.
type Permission struct {
	// Code is a Permission constant, or any other for which the catalogue has
	// "permission.<Code>.title" and "permission.<Code>.detail".
	Code    string
	Args    Args
	Warning bool // may lock the user out or cost the account

	// Title and Detail are the words of a permission set, or of a scope kind
	// that the catalogue does not know, in the page's language. A UI shows
	// them cut to MaxTitle and MaxDetail and without control characters.
	Title, Detail string
	Set           string // NSID of the permission set, shown beside its words

	// Optional makes it a checkbox that sends Scope as FieldScope.
	Optional bool
	Checked  bool
	Scope    string // one scope, or several separated by spaces

	// Details, folded.
	Repos   []RepoRow
	RPCs    []RPCRow
	Blobs   []string // media types, "image/*" for instance
	Unknown []string // scopes in their own syntax
}

// Codes of a [Permission].
const (
	PermissionIdentify      = "identify"       // atproto: knows who the user is
	PermissionGeneric       = "generic"        // transition:generic
	PermissionChat          = "chat"           // transition:chat.bsky
	PermissionEmailRead     = "email_read"     // sees the e-mail address
	PermissionEmailManage   = "email_manage"   // changes it
	PermissionRepoImport    = "repo_import"    // account:repo?action=manage
	PermissionStatusManage  = "status_manage"  // deactivates the account
	PermissionAccount       = "account"        // any other account attribute; Args: attr, action
	PermissionHandle        = "handle"         // changes the handle
	PermissionIdentityFull  = "identity_full"  // identity:*
	PermissionRepo          = "repo"           // Repos
	PermissionRepoAll       = "repo_all"       // any collection
	PermissionBlob          = "blob"           // Blobs
	PermissionRPC           = "rpc"            // RPCs
	PermissionPermissionSet = "permission_set" // Title, Detail, Set
	PermissionOther         = "other"          // Unknown
)

// RepoRow is what may be done to the records of a collection.
type RepoRow struct {
	Collection             string // "*" = any
	Create, Update, Delete bool
}

// RPCRow is what may be called of a service in the user's name.
type RPCRow struct {
	Audience string   // "did:web:api.example.com#service"; "*" = any
	Methods  []string // "*" = any
	ButChat  bool     // any but those of chat.bsky
}

// RedirectPage leads back to the app by a link, where a redirect would not do.
type RedirectPage struct {
	Frame
	URL string // the redirect URI that was checked, with its parameters
}

// FormPostPage sends the answer to the app as a form (response_mode
// form_post): by the script at once, else by a button.
type FormPostPage struct {
	Frame
	Action string
	Fields []HiddenField
}

// ErrorPage says that it cannot go on.
type ErrorPage struct {
	Frame
	// Code is an Error constant, or any other for which the catalogue has
	// "error.<Code>.title" and "error.<Code>.text".
	Code   string
	Args   Args
	Detail string // technical, in English; "" = none
	Home   *Link  // where to go from here
}

// CookiesPage says that the browser does not keep cookies.
type CookiesPage struct {
	Frame
	Return string // URL of the app with the error; "" = none
	Retry  *Link
}

// Name implements [Page].
func (*WelcomePage) Name() string { return "welcome" }

// Name implements [Page].
func (*AccountPickerPage) Name() string { return "account-picker" }

// Name implements [Page].
func (*SignInPage) Name() string { return "sign-in" }

// Name implements [Page].
func (*SecondFactorPage) Name() string { return "second-factor" }

// Name implements [Page].
func (*SignInStepPage) Name() string { return "sign-in-step" }

// Name implements [Page].
func (*SignUpPage) Name() string { return "sign-up" }

// Name implements [Page].
func (*ResetRequestPage) Name() string { return "reset-request" }

// Name implements [Page].
func (*ResetPasswordPage) Name() string { return "reset-password" }

// Name implements [Page].
func (*ReactivatePage) Name() string { return "reactivate" }

// Name implements [Page].
func (*ConsentPage) Name() string { return "consent" }

// Name implements [Page].
func (*RedirectPage) Name() string { return "redirect" }

// Name implements [Page].
func (*FormPostPage) Name() string { return "form-post" }

// Name implements [Page].
func (*ErrorPage) Name() string { return "error" }

// Name implements [Page].
func (*CookiesPage) Name() string { return "cookies" }
