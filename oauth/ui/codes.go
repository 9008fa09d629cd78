package ui

// Codes of a [Problem]. A program may use others if it adds "problem.<code>" to
// the catalogues or fills Problem.Text.
const (
	ProblemRequired          = "required" // a field was left empty
	ProblemWrongCredentials  = "wrong_credentials"
	ProblemWrongPassword     = "wrong_password" // of an account that is signed in
	ProblemTooManyTries      = "too_many_tries" // Args: minutes, may be absent
	ProblemBusy              = "busy"
	ProblemAccountTakenDown  = "account_taken_down"
	ProblemWrongAccount      = "wrong_account" // signed in to another one than the app asked for
	ProblemPasswordNeeded    = "password_needed"
	ProblemCodeWrong         = "code_wrong" // or expired
	ProblemHandleTaken       = "handle_taken"
	ProblemHandleInvalid     = "handle_invalid"
	ProblemHandleUnproven    = "handle_unproven" // the domain does not name the account
	ProblemDomainUnsupported = "domain_unsupported"
	ProblemEmailInvalid      = "email_invalid"
	ProblemEmailTaken        = "email_taken"
	ProblemPasswordShort     = "password_short" // Args: min
	ProblemPasswordLong      = "password_long"  // Args: max
	ProblemPasswordWeak      = "password_weak"
	ProblemInviteInvalid     = "invite_invalid"
	ProblemTermsNeeded       = "terms_needed"
	ProblemConfirmNeeded     = "confirm_needed"
	ProblemNameTaken         = "name_taken" // of an app password
	ProblemNameInvalid       = "name_invalid"
	ProblemExpired           = "expired"      // the form was open for too long
	ProblemNotPossible       = "not_possible" // refused, for whatever reason
)

// Codes of a [Frame]'s Notice.
const (
	NoticeResetSent        = "reset_sent" // said whether or not there is such an account
	NoticePasswordChanged  = "password_changed"
	NoticeEmailChanged     = "email_changed"
	NoticeEmailCodeSent    = "email_code_sent"
	NoticeEmailConfirmed   = "email_confirmed"
	NoticeHandleChanged    = "handle_changed"
	NoticeAppRevoked       = "app_revoked"
	NoticeAppPasswordEnded = "app_password_ended"
	NoticeSessionEnded     = "session_ended"
	NoticeDeviceSignedOut  = "device_signed_out"
	NoticeSignedOut        = "signed_out"
	NoticeFactorAdded      = "factor_added"
	NoticeFactorRemoved    = "factor_removed"
	NoticeDeactivated      = "deactivated"
	NoticeReactivated      = "reactivated"
	NoticeDeleteCodeSent   = "delete_code_sent"
	NoticeDeleted          = "deleted"
)

// Codes of an [ErrorPage].
const (
	ErrorInvalidRequest = "invalid_request" // the link is damaged
	ErrorInvalidClient  = "invalid_client"  // the app's metadata cannot be had or is wrong
	ErrorExpired        = "expired"         // the authorization request is over
	ErrorForbidden      = "forbidden"       // CSRF, a foreign origin
	ErrorAccessDenied   = "access_denied"
	ErrorNotFound       = "not_found"
	ErrorTooMany        = "too_many"
	ErrorUnavailable    = "unavailable" // later perhaps
	ErrorInternal       = "internal"
)
