package checkpoint

import (
	"errors"
	"fmt"
)

// What can be wrong with a checkpoint. Every error of this package that is not one of the
// operating system's wraps exactly one of these.
var (
	// ErrFolder reports a folder that lacks a config.json or weights, or whose parts are
	// not regular files.
	ErrFolder = errors.New("not a checkpoint folder")
	// ErrConfig reports a config.json that cannot be parsed or describes no network.
	ErrConfig = errors.New("bad config")
	// ErrUnsupported reports a sound checkpoint of a network or number format that would
	// give other numbers than its makers' if it were run here.
	ErrUnsupported = errors.New("unsupported checkpoint")
	// ErrFormat reports bytes that break the rules of their format: truncated, lying or
	// made by something else.
	ErrFormat = errors.New("malformed file")
	// ErrUnsafePickle reports a pickle that asks for anything but tensors in dictionaries.
	ErrUnsafePickle = errors.New("unsafe pickle")
	// ErrLimit reports a file that exceeds one of this package's limits.
	ErrLimit = errors.New("over the limit")
	// ErrIndex reports an index of shards that names impossible files or tensors.
	ErrIndex = errors.New("bad index")
	// ErrMissing reports a tensor that the network needs and no file has.
	ErrMissing = errors.New("missing tensor")
	// ErrUnexpected reports a tensor that the network has no place for.
	ErrUnexpected = errors.New("unexpected tensor")
	// ErrShape reports a tensor whose shape contradicts config.json.
	ErrShape = errors.New("wrong shape")
	// ErrLayout reports matrices that are stored (inputs, outputs) in one place and
	// (outputs, inputs) in another.
	ErrLayout = errors.New("contradictory layout")
	// ErrRange reports a request for rows that a tensor does not have, or a destination
	// of the wrong length.
	ErrRange = errors.New("out of range")
	// ErrRead reports weights that were there at Open and cannot be read any more.
	ErrRead = errors.New("unreadable weights")
	// ErrClosed reports the use of a closed checkpoint.
	ErrClosed = errors.New("checkpoint is closed")
)

// shownMax bounds how much of a file's own text an error or finding repeats.
const shownMax = 120

// show quotes text from a file for an error message, shortened if it is long.
func show(text string) string {
	if len(text) > shownMax {
		text = text[:shownMax] + "…"
	}
	return fmt.Sprintf("%q", text)
}

// inFile puts the name of a file before an error about its content.
func inFile(file string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", file, err)
}
