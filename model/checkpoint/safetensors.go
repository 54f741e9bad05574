package checkpoint

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// A safetensors file is the length of its header (8 bytes, little-endian), the header, a
// JSON object that gives each tensor's type, shape and place, and the tensors' bytes
// without gaps. Source: the format section of the safetensors repository's README and the
// checks of its reference reader, all of which are made here.

const safetensorsPrefix = 8

// readSafetensors lists the tensors of a safetensors file.
func readSafetensors(file *weightFile) ([]*stored, error) {
	tensors, err := parseSafetensors(file.file, file.size)
	for _, tensor := range tensors {
		tensor.file = file
	}
	return tensors, inFile(file.name, err)
}

// parseSafetensors does the work of readSafetensors on any bytes.
func parseSafetensors(file io.ReaderAt, size int64) ([]*stored, error) {
	prefix := make([]byte, safetensorsPrefix)
	if n, err := file.ReadAt(prefix, 0); n < len(prefix) {
		return nil, fmt.Errorf("%w: %d bytes, too short for a safetensors file%s", ErrFormat, size, cause(err))
	}
	if string(prefix) == string(pointerStart[:safetensorsPrefix]) {
		return nil, fmt.Errorf("%w: a Git LFS pointer, not the weights: fetch them with git lfs pull", ErrFormat)
	}
	length := binary.LittleEndian.Uint64(prefix)
	if length > headerBytesMax {
		return nil, fmt.Errorf("%w: header of %d bytes, at most %d", ErrLimit, length, headerBytesMax)
	}
	if int64(length) > size-safetensorsPrefix {
		return nil, fmt.Errorf("%w: header of %d bytes in a file of %d: truncated", ErrFormat, length, size)
	}
	header := make([]byte, length)
	if _, err := file.ReadAt(header, safetensorsPrefix); err != nil && err != io.EOF {
		return nil, fmt.Errorf("%w: header: %w", ErrFormat, err)
	}
	start := safetensorsPrefix + int64(length)
	return parseSafetensorsHeader(header, start, size-start)
}

// parseSafetensorsHeader lists the tensors whose bytes are the room bytes from start on.
func parseSafetensorsHeader(header []byte, start, room int64) ([]*stored, error) {
	if len(header) == 0 || header[0] != '{' {
		return nil, fmt.Errorf("%w: header: does not begin with {", ErrFormat)
	}
	var tensors []*stored
	seen := make(map[string]bool)
	err := eachField(header, func(name string, value json.RawMessage) error {
		if name == "__metadata__" {
			return nil
		}
		if err := checkName(name, seen); err != nil {
			return err
		}
		tensor, err := parseTensorInfo(name, value)
		if err != nil {
			return fmt.Errorf("tensor %s: %w", show(name), err)
		}
		tensors = append(tensors, tensor)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	if err := checkCover(tensors, room); err != nil {
		return nil, err
	}
	for _, tensor := range tensors {
		tensor.offset += start
	}
	return tensors, nil
}

// parseTensorInfo reads one entry of the header; the offset counts from the end of the header.
func parseTensorInfo(name string, value json.RawMessage) (*stored, error) {
	var info struct {
		dtype   *string
		shape   []int64
		offsets []int64
	}
	if len(value) > tensorInfoBytesMax {
		return nil, fmt.Errorf("%w: described in %d bytes, at most %d", ErrLimit, len(value), tensorInfoBytesMax)
	}
	err := eachField(value, func(field string, value json.RawMessage) error {
		var err error
		switch field {
		case "dtype":
			err = json.Unmarshal(value, &info.dtype)
		case "shape":
			err = json.Unmarshal(value, &info.shape)
		case "data_offsets":
			err = json.Unmarshal(value, &info.offsets)
		default:
			err = errors.New("unknown field")
		}
		if err != nil {
			return fmt.Errorf("%w: field %s: %s", ErrFormat, show(field), err.Error())
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if info.dtype == nil || info.shape == nil || len(info.offsets) != 2 {
		return nil, fmt.Errorf("%w: needs dtype, shape and two data_offsets", ErrFormat)
	}
	kind, known := dtypeOfSafetensors(*info.dtype)
	if !known {
		return nil, fmt.Errorf("%w: number format %s", ErrUnsupported, show(*info.dtype))
	}
	if err := checkDims(info.shape); err != nil {
		return nil, err
	}
	begin, end := info.offsets[0], info.offsets[1]
	bytes, ok := checkedProduct(append([]int64{kind.size()}, info.shape...)...)
	if begin < 0 || end < begin || !ok || bytes != end-begin {
		return nil, fmt.Errorf("%w: shape %v of %s does not fill the bytes from %d to %d", ErrFormat, info.shape, kind, begin, end)
	}
	return &stored{
		name: name, dtype: kind, shape: info.shape, stride: contiguous(info.shape),
		offset: begin, room: bytes / kind.size(),
	}, nil
}

// contiguous gives the strides of a row-major tensor whose element count fits in an int64.
func contiguous(shape []int64) []int64 {
	stride := make([]int64, len(shape))
	step := int64(1)
	for i := len(shape) - 1; i >= 0; i-- {
		stride[i] = step
		step *= max(shape[i], 1)
	}
	return stride
}

// checkCover makes sure that the tensors fill the room exactly: no overlap, no gap, nothing
// outside and nothing left over. A truncated download fails here.
func checkCover(tensors []*stored, room int64) error {
	order := slices.Clone(tensors)
	slices.SortFunc(order, func(a, b *stored) int {
		// An empty tensor comes before the one that starts beside it.
		return cmp.Or(cmp.Compare(a.offset, b.offset), cmp.Compare(a.room, b.room))
	})
	var end int64
	for _, tensor := range order {
		if tensor.offset < end {
			return fmt.Errorf("tensor %s: %w: overlaps another tensor", show(tensor.name), ErrFormat)
		}
		if tensor.offset > end {
			return fmt.Errorf("tensor %s: %w: %d unused bytes before it", show(tensor.name), ErrFormat, tensor.offset-end)
		}
		end = tensor.offset + tensor.room*tensor.dtype.size()
		if end > room {
			return fmt.Errorf("tensor %s: %w: ends at byte %d of %d: truncated", show(tensor.name), ErrFormat, end, room)
		}
	}
	if end != room {
		return fmt.Errorf("%w: %d bytes after the last tensor", ErrFormat, room-end)
	}
	return nil
}
