package fetch

import (
	"encoding/binary"
	"errors"
	"fmt"

	"polynode/model/store"
	"polynode/transport"
)

// Limits of the messages.
const (
	spansMax    = 4096      // runs of units in one request
	batchMax    = 8 << 20   // bytes of units in one request, if it asks for more than one unit
	pieceBytes  = 128 << 10 // bytes of one frame of an answer: a slow source shows that it lives
	reasonMax   = 1 << 10   // bytes of the reason of a refusal
	wantHead    = 1 + len(store.Hash{})
	spanBytes   = 8
	requestsMax = 2 // that a connection has under way: one arrives while the next is being prepared
)

// operation says what of a model is asked for.
type operation byte

// The operations. The numbers are sent; new ones go to the end.
const (
	getManifest  operation = 1
	getHashes    operation = 2 // of all units
	getTokenizer operation = 3
	getPresent   operation = 4 // which units the other node has, as store.UnitSet's bits
	getUnits     operation = 5 // some units, one after the other
	operationEnd operation = 6
)

// errMessage reports a frame that is not what its place in the conversation calls for.
var errMessage = errors.New("malformed message")

// span is a run of units, [lo, hi).
type span struct{ lo, hi int }

// want is one request. On the wire it is the operation, the digest, and for units the spans, two 32-bit numbers each,
// little-endian, ascending and apart from one another.
type want struct {
	operation operation
	digest    store.Hash
	spans     []span
}

// append encodes the request.
func (w *want) append(dst []byte) []byte {
	dst = append(dst, byte(w.operation))
	dst = append(dst, w.digest[:]...)
	for _, s := range w.spans {
		dst = binary.LittleEndian.AppendUint32(dst, uint32(s.lo))
		dst = binary.LittleEndian.AppendUint32(dst, uint32(s.hi))
	}
	return dst
}

// parseWant reads a request and checks everything that can be checked without the model.
func parseWant(f *transport.Frame) (want, error) {
	data := f.Payload
	if f.Kind != transport.KindWant || f.Flags != 0 || len(data) < wantHead {
		return want{}, fmt.Errorf("parse request: %w: kind %d, %d bytes", errMessage, f.Kind, len(data))
	}
	w := want{operation: operation(data[0]), digest: store.Hash(data[1:wantHead])}
	data = data[wantHead:]
	if w.operation == 0 || w.operation >= operationEnd {
		return want{}, fmt.Errorf("parse request: %w: operation %d", errMessage, w.operation)
	}
	if (w.operation == getUnits) != (len(data) > 0) || len(data)%spanBytes != 0 || len(data) > spansMax*spanBytes {
		return want{}, fmt.Errorf("parse request: %w: %d bytes of units", errMessage, len(data))
	}
	at := 0
	for ; len(data) > 0; data = data[spanBytes:] {
		s := span{int(binary.LittleEndian.Uint32(data)), int(binary.LittleEndian.Uint32(data[4:]))}
		if s.lo < at || s.lo >= s.hi {
			return want{}, fmt.Errorf("parse request: %w: units [%d, %d) after %d", errMessage, s.lo, s.hi, at)
		}
		w.spans = append(w.spans, s)
		at = s.hi
	}
	return w, nil
}

// check compares the spans with the model that they are of.
func (w *want) check(units *store.Numbering) error {
	bytes := int64(0)
	for _, s := range w.spans {
		for number := s.lo; number < s.hi; number++ {
			u, err := units.Unit(number)
			if err != nil {
				return err
			}
			if bytes += u.Size(); bytes > batchMax && bytes != u.Size() {
				return fmt.Errorf("request for more than %d bytes: %w", batchMax, errMessage)
			}
		}
	}
	return nil
}

// spansOf writes ascending numbers as runs.
func spansOf(numbers []int) []span {
	var spans []span
	for _, n := range numbers {
		if last := len(spans) - 1; last >= 0 && spans[last].hi == n {
			spans[last].hi++
		} else {
			spans = append(spans, span{n, n + 1})
		}
	}
	return spans
}
