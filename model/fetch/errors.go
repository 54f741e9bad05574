package fetch

import (
	"errors"
	"fmt"
	"strings"

	"polynode/model"
	"polynode/shard"
)

// ErrUnavailable reports parts of a model that no source gave. See MissingError.
var ErrUnavailable = errors.New("parts of the model could not be had")

// ErrSilent reports a source that gave nothing for the time it has.
var ErrSilent = errors.New("gave nothing in time")

// SourceError says why a source did not give what it was asked for.
type SourceError struct {
	Source string
	Err    error
}

// Error names the node and the cause.
func (e *SourceError) Error() string { return fmt.Sprintf("node %s: %v", e.Source, e.Err) }

// Unwrap is the cause.
func (e *SourceError) Unwrap() error { return e.Err }

// MissingError says what could not be had, and from whom. It is an ErrUnavailable.
type MissingError struct {
	Digest  string
	Units   int   // that are missing
	Bytes   int64 // of them
	Tensor  model.Name
	Rows, K shard.Slice // of the first of them; empty where the description itself is missing
	Sources []*SourceError
}

// Error names the first missing part, the amount and each source with its cause.
func (e *MissingError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "fetch model %s: %v: ", e.Digest, ErrUnavailable)
	if e.Units == 0 {
		b.WriteString("nobody described it")
	} else {
		fmt.Fprintf(&b, "%d units (%d bytes) from tensor %s, rows %v, columns %v on", e.Units, e.Bytes, e.Tensor, e.Rows, e.K)
	}
	if len(e.Sources) == 0 {
		b.WriteString("; there is no node to ask")
	}
	for _, s := range e.Sources {
		fmt.Fprintf(&b, "; %v", s)
	}
	return b.String()
}

// Is makes errors.Is(err, ErrUnavailable) true.
func (e *MissingError) Is(target error) bool { return target == ErrUnavailable }

// Unwrap gives the causes of the sources.
func (e *MissingError) Unwrap() []error {
	errs := make([]error, len(e.Sources))
	for i, s := range e.Sources {
		errs[i] = s
	}
	return errs
}
