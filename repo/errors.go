package repo

import (
	"errors"
	"fmt"
)

// Errors of the data model. Functions that read or write data return them
// inside a [*DataError]; test with errors.Is.
var (
	ErrSyntax       = errors.New("malformed data")
	ErrTooLarge     = errors.New("data is too large")
	ErrTooDeep      = errors.New("data is nested too deeply")
	ErrFloat        = errors.New("number is not an integer")
	ErrInteger      = errors.New("integer is out of range")
	ErrDuplicateKey = errors.New("duplicate key")
	ErrKeyOrder     = errors.New("keys are not in canonical order")
	ErrNotCanonical = errors.New("encoding is not canonical")
	ErrString       = errors.New("string is not valid Unicode")
	ErrLink         = errors.New("malformed link")
	ErrBytes        = errors.New("malformed bytes")
	ErrBlob         = errors.New("malformed blob reference")
	ErrType         = errors.New("malformed $type")
	ErrNotObject    = errors.New("record is not an object")
	ErrUnsupported  = errors.New("type is not part of the data model")
)

// Errors of trees, commits and CAR files.
var (
	// ErrBlockNotFound is what a [BlockSource] returns, or wraps, for a block
	// that it does not have.
	ErrBlockNotFound = errors.New("block not found")

	// ErrHashMismatch says that a block is not the one that its CID names.
	ErrHashMismatch = errors.New("block does not match its CID")

	// ErrInvalidTree says that a node breaks the rules of the tree.
	ErrInvalidTree = errors.New("invalid tree")

	// ErrPartialTree says that an operation needs a node that is not among
	// the blocks at hand.
	ErrPartialTree = errors.New("tree is incomplete")

	// ErrInvalidPath says that a path is no "collection/rkey", or too long.
	ErrInvalidPath = errors.New("invalid repository path")

	// ErrInvalidValue says that a CID cannot be a value in a tree: it is not
	// of version 1, DAG-CBOR or raw, sha2-256.
	ErrInvalidValue = errors.New("invalid value")

	// ErrInversion says that an operation does not describe what happened to
	// the tree, so that it cannot be undone.
	ErrInversion = errors.New("operation does not match the tree")

	// ErrInvalidCommit says that a commit is malformed.
	ErrInvalidCommit = errors.New("invalid commit")

	// ErrInvalidSignature says that a commit is not signed, or not by the key.
	ErrInvalidSignature = errors.New("invalid commit signature")

	// ErrInvalidCAR says that a CAR file is malformed or truncated.
	ErrInvalidCAR = errors.New("invalid CAR file")
)

// DataError says where data breaks the rules of the data model, and which one.
type DataError struct {
	// Offset is the byte offset in the input, or -1 if the data was a value
	// in memory.
	Offset int

	// Path is the place in a value in memory, such as "/embed/images/0";
	// empty if the data was read from bytes.
	Path string

	// Reason is one of the errors of this package.
	Reason error

	// Detail says more for humans; it may be empty.
	Detail string
}

// Error describes the error with its place.
func (e *DataError) Error() string {
	msg := e.Reason.Error()
	if e.Detail != "" {
		msg += ": " + e.Detail
	}
	switch {
	case e.Path != "":
		return fmt.Sprintf("%s (at %s)", msg, e.Path)
	case e.Offset >= 0:
		return fmt.Sprintf("%s (at byte %d)", msg, e.Offset)
	}
	return msg
}

// Unwrap returns the reason, so that errors.Is finds it.
func (e *DataError) Unwrap() error { return e.Reason }
