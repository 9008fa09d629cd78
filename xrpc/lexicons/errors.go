package lexicons

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/bluesky-social/indigo/atproto/atdata"

	"github.com/pdskit/pdskit/internal/strictjson"
)

// A ValidationError says which part of a value breaks which rule of its
// schema. Its text is fit to be shown to the client.
type ValidationError struct {
	Path   string // such as "embed/images/0/alt"; empty: the whole value
	Reason string
}

func (e *ValidationError) Error() string {
	if e.Path == "" {
		return e.Reason
	}
	return e.Path + ": " + e.Reason
}

func fail(format string, args ...any) error {
	return &ValidationError{Reason: fmt.Sprintf(format, args...)}
}

func missing(name string) error { return fail("required property %q is missing", name) }

func failType(want string, v any) error {
	return fail("must be %s, not %s", want, nameOf(v))
}

func failKind(s *strictjson.Scanner, want string, k strictjson.Kind) error {
	if k == strictjson.Invalid {
		return s.Skip() // tells what is wrong with the text
	}
	return fail("must be %s, not %s", want, k)
}

func nameOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "a boolean"
	case int64:
		return "an integer"
	case string:
		return "a string"
	case []any:
		return "an array"
	case map[string]any:
		return "an object"
	case atdata.Bytes:
		return "bytes"
	case atdata.CIDLink:
		return "a link"
	case atdata.Blob:
		return "a blob"
	}
	return fmt.Sprintf("a value of type %T", v)
}

// within puts a property's name before the path of an error. The path of a
// deeply nested value is cut.
func within(err error, name string) error {
	if err == nil {
		return nil
	}
	e, ok := errors.AsType[*ValidationError](err)
	if !ok || len(e.Path) > maxShown {
		return err
	}
	if name = clip(name); e.Path != "" {
		name += "/" + e.Path
	}
	e.Path = name
	return e
}

func withinItem(err error, i int) error { return within(err, strconv.Itoa(i)) }

// maxShown is the length to which text of the client is cut in errors.
const maxShown = 200

func clip(s string) string {
	if len(s) > maxShown {
		s = s[:maxShown] + "..."
	}
	return strings.ToValidUTF8(s, "")
}

func (b bounds) String() string {
	switch {
	case b.hi == math.MaxInt:
		return fmt.Sprintf("at least %d", b.lo)
	case b.lo == 0:
		return fmt.Sprintf("at most %d", b.hi)
	}
	return fmt.Sprintf("%d to %d", b.lo, b.hi)
}
