package store

import (
	"errors"
	"fmt"

	"polynode/model"
)

// What can go wrong, for errors.Is.
var (
	// ErrCorrupt reports a file whose bytes are not those that its manifest promises. See CorruptError.
	ErrCorrupt = errors.New("corrupt model file")
	// ErrNotFound reports a name, digest or tensor that does not exist.
	ErrNotFound = errors.New("not found")
	// ErrExists reports a name that already stands for another model.
	ErrExists = errors.New("name is taken")
	// ErrName reports a text that cannot be the name of a model.
	ErrName = errors.New("bad model name")
	// ErrAmbiguous reports the beginning of a digest that fits several models.
	ErrAmbiguous = errors.New("ambiguous digest")
	// ErrNoSpace reports a disk without room for the model. See SpaceError.
	ErrNoSpace = errors.New("not enough disk space")
	// ErrWeight reports a weight that is not a finite number or that the format cannot hold.
	ErrWeight = errors.New("unusable weight")
	// ErrOptions reports import options that contradict each other or the model.
	ErrOptions = errors.New("import options")
	// ErrMissing reports a part of a model that this node does not have yet.
	ErrMissing = errors.New("not fetched yet")
	// ErrWhole reports a model of which nothing is missing.
	ErrWhole = errors.New("model is whole")
	// ErrBusy reports a partial model that somebody puts units into already.
	ErrBusy = errors.New("model is being fetched already")
	// ErrClosed reports a model that was closed.
	ErrClosed = errors.New("model is closed")
)

// CorruptError says which bytes of which file are wrong. It is an ErrCorrupt.
type CorruptError struct {
	File   string
	Tensor model.Name // empty outside the tensors
	Offset int64      // first byte of the smallest part known to be bad
	Reason string
}

// Error names the file, the tensor, the place and the reason.
func (e *CorruptError) Error() string {
	what := ""
	if e.Tensor != "" {
		what = fmt.Sprintf("tensor %s: ", e.Tensor)
	}
	return fmt.Sprintf("read %s: %s%s at offset %d: %v", e.File, what, e.Reason, e.Offset, ErrCorrupt)
}

// Is makes errors.Is(err, ErrCorrupt) true.
func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }

// SpaceError says how much room a model needs and how much there is. It is an ErrNoSpace.
type SpaceError struct {
	Folder      string
	Need, Avail int64
}

// Error names the folder and the missing bytes.
func (e *SpaceError) Error() string {
	return fmt.Sprintf("write model to %s: %v: needs %d bytes, %d are free, %d are missing",
		e.Folder, ErrNoSpace, e.Need, e.Avail, e.Need-e.Avail)
}

// Is makes errors.Is(err, ErrNoSpace) true.
func (e *SpaceError) Is(target error) bool { return target == ErrNoSpace }
