package oauth

import (
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/pdskit/pdskit/oauth/internal/jose"
	"github.com/pdskit/pdskit/oauth/scope"
)

// form holds the parameters of a request. Those that are empty are absent, by
// RFC 6749 section 3.1.
type form map[string]string

// longParameters are those that may be longer than MaxParameterBytes.
var longParameters = map[string]int{
	"scope":            scope.MaxLength,
	"client_assertion": MaxJWTBytes,
	"token":            MaxJWTBytes,
}

// queryParameters are parameters that a request must not have in its address,
// where logs and other pages would see them, and where they could differ from
// those in the body.
var queryParameters = []string{
	"client_id", "client_secret", "client_assertion", "client_assertion_type", "grant_type", "code", "code_verifier",
	"refresh_token", "token", "token_type_hint", "redirect_uri", "scope", "state", "response_type", "response_mode",
	"code_challenge", "code_challenge_method", "login_hint", "prompt", "dpop_jkt", "request", "request_uri",
}

// readForm reads the body of a request: a form, or a flat JSON object, which
// some browser clients send.
func readForm(w http.ResponseWriter, r *http.Request, maxBytes int64) (form, error) {
	if err := checkQuery(r.URL.RawQuery); err != nil {
		return nil, err
	}
	unsupported := func(description string) error {
		return &Error{Status: http.StatusUnsupportedMediaType, Code: codeInvalidRequest, Description: description}
	}
	if r.Header.Get("Content-Encoding") != "" {
		return nil, unsupported("Content-Encoding is not supported")
	}
	mediaType, typeParams, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || len(r.Header.Values("Content-Type")) != 1 {
		return nil, unsupported("Content-Type is missing or malformed")
	}
	if charset := typeParams["charset"]; charset != "" && !strings.EqualFold(charset, "utf-8") {
		return nil, unsupported("the charset is not utf-8")
	}
	var parse func([]byte) (form, error)
	switch mediaType {
	case "application/x-www-form-urlencoded":
		parse = parseForm
	case "application/json":
		parse = parseJSON
	default:
		return nil, unsupported("the Content-Type is neither application/x-www-form-urlencoded nor application/json")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBytes))
	if err != nil {
		if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
			return nil, &Error{Status: http.StatusRequestEntityTooLarge, Code: codeInvalidRequest, Description: "the body is too large"}
		}
		return nil, errorf(codeInvalidRequest, "the body could not be read")
	}
	f, err := parse(body)
	if err != nil {
		return nil, err
	}
	return f, f.check()
}

// checkQuery refuses OAuth parameters in the address.
func checkQuery(query string) error {
	if query == "" {
		return nil
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return errorf(codeInvalidRequest, "the query is malformed")
	}
	for _, name := range queryParameters {
		if values.Has(name) {
			return errorf(codeInvalidRequest, "%s belongs into the body", name)
		}
	}
	return nil
}

// parseForm parses a body of the type application/x-www-form-urlencoded.
func parseForm(body []byte) (form, error) {
	values, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, errorf(codeInvalidRequest, "the form is malformed")
	}
	f := form{}
	for name, list := range values {
		if len(list) > 1 {
			return nil, errorf(codeInvalidRequest, "a parameter is there more than once")
		}
		if list[0] != "" {
			f[name] = list[0]
		}
	}
	return f, nil
}

// parseJSON parses a body of the type application/json.
func parseJSON(body []byte) (form, error) {
	object, err := jose.ParseObject(body)
	if err != nil {
		return nil, errorf(codeInvalidRequest, "the body is not one JSON object without duplicates")
	}
	f := form{}
	for name, raw := range object {
		var text string
		switch raw[0] {
		case '{', '[':
			return nil, errorf(codeInvalidRequest, "a parameter is not a text")
		case 'n': // null
			continue
		case '"':
			if err := json.Unmarshal(raw, &text); err != nil {
				return nil, errorf(codeInvalidRequest, "a parameter is not a text")
			}
		default: // numbers and booleans
			text = string(raw)
		}
		if text != "" {
			f[name] = text
		}
	}
	return f, nil
}

// check checks what holds for all parameters.
func (f form) check() error {
	for name, value := range f {
		limit, ok := longParameters[name]
		if !ok {
			limit = MaxParameterBytes
		}
		switch {
		case len(value) > limit && ok:
			return errorf(codeInvalidRequest, "%s is too long", name)
		case len(value) > limit:
			return errorf(codeInvalidRequest, "a parameter is too long")
		case !utf8.ValidString(value) || strings.ContainsRune(value, 0):
			return errorf(codeInvalidRequest, "a parameter is not valid UTF-8")
		}
	}
	return nil
}

// require returns a parameter, or an error if it is absent.
func (f form) require(name string) (string, error) {
	if value := f[name]; value != "" {
		return value, nil
	}
	return "", errorf(codeInvalidRequest, "%s is missing", name)
}
