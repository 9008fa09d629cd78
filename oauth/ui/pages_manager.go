package ui

import "time"

// Manager is what every page of the account manager has beside [Frame].
type Manager struct {
	Account  Account
	Sections []Section // what this server can do, in the order shown
	Accounts *Link     // the list of accounts on this device; nil = only one
	SignOut  *Form     // sends FieldAccount along in Hidden
	// PasswordNeeded makes every form that changes the account ask for
	// FieldPassword too, because it was entered too long ago. The forms that
	// change the password or delete the account always ask for it.
	PasswordNeeded bool
}

// Managed returns m; pages have it by embedding Manager.
func (m *Manager) Managed() *Manager { return m }

// Section is an entry of the account manager's navigation.
type Section struct {
	Code  string // a Section constant, or the catalogue has "section.<Code>"
	Title string // shown where the catalogue has no such code
	URL   string
	Here  bool // the page is in this section
}

// Codes of a [Section].
const (
	SectionHome         = "home"
	SectionEmail        = "email"
	SectionHandle       = "handle"
	SectionPassword     = "password"
	SectionFactors      = "factors"
	SectionApps         = "apps"
	SectionAppPasswords = "app_passwords"
	SectionDevices      = "devices"
	SectionExport       = "export"
	SectionDeactivate   = "deactivate"
	SectionDelete       = "delete"
)

// ManagerAccountsPage lists the accounts that are signed in on this device, and
// those that they may act for.
type ManagerAccountsPage struct {
	Frame
	Accounts []ManagedAccount
	SignOut  Form // sends FieldAccount; for accounts without Actor
	SignIn   *Link
	SignUp   *Link
}

// ManagedAccount is an entry of [ManagerAccountsPage].
type ManagedAccount struct {
	Account
	Actor *Account // who is signed in and may act for it, if not the account itself
	URL   string   // its account manager
}

// ManagerHomePage is the overview.
type ManagerHomePage struct {
	Frame
	Manager
	Reactivate *Form // set if the account is deactivated
}

// ManagerEmailPage changes the e-mail address (FieldEmail, and FieldCode if
// CodeNeeded) and confirms it (FieldCode).
type ManagerEmailPage struct {
	Frame
	Manager
	Form           Form   // changes the address
	Email          string // the new one, entered before
	CodeNeeded     bool   // the present address was sent a code
	RequestConfirm *Form  // sends a code to the present address
	Confirm        *Form  // takes the code and so confirms the present address
}

// ManagerHandlePage changes the handle: FieldHandle and FieldDomain, or, in
// the second form, FieldOwnHandle.
type ManagerHandlePage struct {
	Frame
	Manager
	Form           Form
	Domains        []string // ".example.com"; none = only own domains
	Handle         string
	Domain         string
	HandleCheckURL string // as in SignUpPage
	CustomForm     *Form  // nil = own domains not allowed
	Custom         string
	// WellKnownURL says where a file proves the domain, with HOST for its name;
	// it is shown with the name put in. "" = DNS only.
	WellKnownURL string
}

// ManagerPasswordPage changes the password: FieldPassword, FieldNewPassword.
type ManagerPasswordPage struct {
	Frame
	Manager
	Form        Form
	PasswordMin int // characters; 0 = 8
}

// ManagerAppPasswordsPage lists, makes (FieldName, FieldPrivileged) and revokes
// (FieldName) app passwords, and ends legacy sessions (FieldSession).
type ManagerAppPasswordsPage struct {
	Frame
	Manager
	Create     Form
	Revoke     Form
	Entered    string // the name entered before
	Passwords  []AppPassword
	Created    *NewAppPassword // just made, shown once
	EndSession *Form           // nil = sessions are not listed
	Sessions   []LegacySession
}

// AppPassword is an entry of [ManagerAppPasswordsPage].
type AppPassword struct {
	Name       string
	Privileged bool
	Created    time.Time
}

// NewAppPassword is an app password that was just made.
type NewAppPassword struct {
	Name, Password string
}

// LegacySession is a session made with a password, not by OAuth.
type LegacySession struct {
	ID          string
	AppPassword string // name of the one it was made with; "" = the account's own
	UserAgent   string
	IP          string
	Created     time.Time
	LastUsed    time.Time
	Expires     time.Time
}

// ManagerAppsPage lists the connected apps. Revoke sends FieldSession.
type ManagerAppsPage struct {
	Frame
	Manager
	Apps   []App
	Revoke Form
}

// App is a session of an app.
type App struct {
	Session    string // ID
	Client     Client
	Scope      string
	Authorized time.Time
	LastUsed   time.Time
	Device     *Device // where it was authorized, if known
}

// ManagerDevicesPage lists the devices where the account is signed in. SignOut
// sends FieldDevice.
type ManagerDevicesPage struct {
	Frame
	Manager
	Devices []Device
	SignOut Form
}

// ManagerFactorsPage shows and changes the second factors.
type ManagerFactorsPage struct {
	Frame
	Manager
	Factors      []Factor
	Remove       Form  // FieldFactor
	EnrolTOTP    *Form // begins enrolment
	TOTP         *TOTPEnrolment
	RecoveryLeft int      // unused recovery codes
	Recovery     *Form    // makes new recovery codes; nil = not offered
	Codes        []string // recovery codes just made, shown once
}

// Factor is an enrolled second factor.
type Factor struct {
	ID       string
	Kind     string // a Factor constant
	Name     string
	Created  time.Time
	LastUsed time.Time // zero = never
}

// TOTPEnrolment is shown while an authenticator app is added: FieldCode, FieldName.
type TOTPEnrolment struct {
	Form   Form
	QR     []byte // PNG image
	Secret string // base32, for typing
	URL    string // otpauth: URL
	Name   string
}

// ManagerDeactivatePage deactivates (FieldConfirm), or takes it
// back if the account is deactivated.
type ManagerDeactivatePage struct {
	Frame
	Manager
	Form       Form
	Reactivate *Form
}

// ManagerDeletePage deletes the account: first Request has a code sent, then
// Form takes FieldCode, FieldPassword and FieldConfirm.
type ManagerDeletePage struct {
	Frame
	Manager
	Request *Form // nil = the code was sent
	Form    *Form // nil = ask for the code first
}

// ManagerExportPage offers the account's data. A download is a link.
type ManagerExportPage struct {
	Frame
	Manager
	Downloads []Download
}

// Download is a file of [ManagerExportPage].
type Download struct {
	Code string // "archive", "repo" or "blobs", or the catalogue has "download.<Code>"
	URL  string
	Size int64 // bytes; 0 = unknown
}

// Device describes a browser that was used.
type Device struct {
	ID        string
	UserAgent string // as sent; a UI shows the browser and the system
	IP        string
	LastSeen  time.Time
	Current   bool // the one that asks
}

// Name implements [Page].
func (*ManagerAccountsPage) Name() string { return "manager-accounts" }

// Name implements [Page].
func (*ManagerHomePage) Name() string { return "manager-home" }

// Name implements [Page].
func (*ManagerEmailPage) Name() string { return "manager-email" }

// Name implements [Page].
func (*ManagerHandlePage) Name() string { return "manager-handle" }

// Name implements [Page].
func (*ManagerPasswordPage) Name() string { return "manager-password" }

// Name implements [Page].
func (*ManagerAppPasswordsPage) Name() string { return "manager-app-passwords" }

// Name implements [Page].
func (*ManagerAppsPage) Name() string { return "manager-apps" }

// Name implements [Page].
func (*ManagerDevicesPage) Name() string { return "manager-devices" }

// Name implements [Page].
func (*ManagerFactorsPage) Name() string { return "manager-factors" }

// Name implements [Page].
func (*ManagerDeactivatePage) Name() string { return "manager-deactivate" }

// Name implements [Page].
func (*ManagerDeletePage) Name() string { return "manager-delete" }

// Name implements [Page].
func (*ManagerExportPage) Name() string { return "manager-export" }
