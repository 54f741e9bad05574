package transport

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Kind says what a frame is.
type Kind uint8

// The kinds. The numbers are sent; new ones go to the end.
const (
	KindHello      Kind = 1  // opens a connection: who calls, and in which epoch
	KindSums       Kind = 2  // int32 partial sums of an all-reduce
	KindGather     Kind = 3  // bytes of one rank for all others
	KindActivation Kind = 4  // float32 (tokens, embed), row-major, from stage to stage
	KindBytes      Kind = 5  // a piece of a byte stream without frames of its own: raft and gossip
	KindAssign     Kind = 6  // a place in a plan, for a rank on another node
	KindStep       Kind = 7  // a step for such a rank
	KindDone       Kind = 8  // its answer: ready, or what the step gave
	KindFailed     Kind = 9  // its answer: why it could not
	KindWant       Kind = 10 // asks for a part of a packed model
	KindPart       Kind = 11 // its answer: the part, or a piece of it
	KindProbe      Kind = 12 // measures the way to the other node
	KindEcho       Kind = 13 // its answer
	kindEnd        Kind = 14
)

// Flags of a frame.
type Flags uint16

// FlagMore says that the message goes on in the next frame.
const FlagMore Flags = 1

// Sizes of a frame.
const (
	HeaderBytes = 40
	PayloadMax  = 64 << 20
)

// frameVersion is the version of the header. A reader refuses any other.
const frameVersion = 1

// readPiece bounds what a reader allocates before the bytes have come.
const readPiece = 256 << 10

// Header is what every frame begins with. On the wire it is HeaderBytes long, little-endian:
//
//	 0  2  magic "PN"
//	 2  1  version, 1
//	 3  1  Kind
//	 4  2  Flags
//	 6  2  Rank
//	 8  8  Generation
//	16  8  Epoch
//	24  8  Step
//	32  4  Index
//	36  4  length of the payload in bytes, at most PayloadMax
type Header struct {
	Kind       Kind
	Flags      Flags
	Rank       uint16 // of the sender in its group
	Generation uint64 // of the cluster
	Epoch      uint64 // of the plan
	Step       uint64
	Index      uint32 // number of the frame on this connection within the step
}

// Frame is the unit of all traffic between nodes.
type Frame struct {
	Header
	Payload []byte
}

// AppendFrame appends the encoded frame to buf. It refuses a payload longer than PayloadMax with ErrTooLarge.
func AppendFrame(buf []byte, f *Frame) ([]byte, error) {
	if len(f.Payload) > PayloadMax {
		return buf, fmt.Errorf("%w: %d bytes, limit %d", ErrTooLarge, len(f.Payload), PayloadMax)
	}
	buf = append(buf, 'P', 'N', frameVersion, byte(f.Kind))
	buf = binary.LittleEndian.AppendUint16(buf, uint16(f.Flags))
	buf = binary.LittleEndian.AppendUint16(buf, f.Rank)
	buf = binary.LittleEndian.AppendUint64(buf, f.Generation)
	buf = binary.LittleEndian.AppendUint64(buf, f.Epoch)
	buf = binary.LittleEndian.AppendUint64(buf, f.Step)
	buf = binary.LittleEndian.AppendUint32(buf, f.Index)
	buf = binary.LittleEndian.AppendUint32(buf, uint32(len(f.Payload)))
	return append(buf, f.Payload...), nil
}

// putPayloadLength changes the length of the payload in an encoded header.
func putPayloadLength(header []byte, length int) {
	binary.LittleEndian.PutUint32(header[36:], uint32(length))
}

// DecodeFrame decodes the frame at the start of data and returns the bytes behind it. The payload is a view of data.
// Truncated or foreign bytes give ErrFrame, an absurd length ErrTooLarge.
func DecodeFrame(data []byte) (f Frame, rest []byte, err error) {
	length, err := f.decode(data)
	if err != nil {
		return Frame{}, nil, err
	}
	data = data[HeaderBytes:]
	if len(data) < length {
		return Frame{}, nil, fmt.Errorf("%w: %d bytes of payload, header says %d", ErrFrame, len(data), length)
	}
	f.Payload = data[:length:length]
	return f, data[length:], nil
}

// ReadFrame reads one frame and reuses f.Payload. At a clean end between frames the error is io.EOF itself.
func ReadFrame(r io.Reader, f *Frame) error {
	f.Payload = slices.Grow(f.Payload[:0], HeaderBytes)[:HeaderBytes] // doubles as room for the header
	if _, err := io.ReadFull(r, f.Payload); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("%w: header: %w", ErrFrame, err)
		}
		return err
	}
	length, err := f.decode(f.Payload)
	if err != nil {
		return err
	}
	f.Payload = f.Payload[:0]
	for length > len(f.Payload) {
		have := len(f.Payload)
		piece := min(length-have, max(readPiece, cap(f.Payload)-have))
		f.Payload = slices.Grow(f.Payload, piece)[:have+piece]
		if _, err := io.ReadFull(r, f.Payload[have:]); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return fmt.Errorf("%w: payload of %d bytes: %w", ErrFrame, length, err)
		}
	}
	return nil
}

// decode reads the header at the start of data and returns the length of the payload.
func (h *Header) decode(data []byte) (length int, err error) {
	switch {
	case len(data) < HeaderBytes:
		return 0, fmt.Errorf("%w: %d bytes, header has %d", ErrFrame, len(data), HeaderBytes)
	case data[0] != 'P' || data[1] != 'N':
		return 0, fmt.Errorf("%w: magic %q", ErrFrame, data[:2])
	case data[2] != frameVersion:
		return 0, fmt.Errorf("%w: version %d, want %d", ErrFrame, data[2], frameVersion)
	case data[3] == 0 || Kind(data[3]) >= kindEnd:
		return 0, fmt.Errorf("%w: kind %d", ErrFrame, data[3])
	}
	*h = Header{
		Kind:       Kind(data[3]),
		Flags:      Flags(binary.LittleEndian.Uint16(data[4:])),
		Rank:       binary.LittleEndian.Uint16(data[6:]),
		Generation: binary.LittleEndian.Uint64(data[8:]),
		Epoch:      binary.LittleEndian.Uint64(data[16:]),
		Step:       binary.LittleEndian.Uint64(data[24:]),
		Index:      binary.LittleEndian.Uint32(data[32:]),
	}
	size := binary.LittleEndian.Uint32(data[36:])
	if size > PayloadMax {
		return 0, fmt.Errorf("%w: %d bytes, limit %d", ErrTooLarge, size, PayloadMax)
	}
	return int(size), nil
}
