package sample

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// ErrPart is wrapped by all errors of Parse.
var ErrPart = errors.New("invalid part")

// TopMax is how many of the likeliest tokens a Part may name.
const TopMax = NucleusMax

// Append writes the part to dst, little-endian:
//
//	2 bytes   number of picks, then of each: 4 token, 4 score, 4 raw (float32)
//	mass      heat
//	2 bytes   number of tops, then of each: 4 token, 4 logit (float32)
//	mass      the model's own
//	4 bytes   number of tokens above the target
//
// and a mass is 1 byte, the number of bins up to the last that is not 0; if that is not 0: 4 top octave, 8 each bin.
func (p *Part) Append(dst []byte) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint16(dst, uint16(len(p.Picks)))
	for _, c := range p.Picks {
		dst = le.AppendUint32(dst, uint32(c.Token))
		dst = le.AppendUint32(dst, math.Float32bits(c.Score))
		dst = le.AppendUint32(dst, math.Float32bits(c.Raw))
	}
	dst = p.Heat.append(dst)
	dst = le.AppendUint16(dst, uint16(len(p.Top)))
	for _, c := range p.Top {
		dst = le.AppendUint32(dst, uint32(c.Token))
		dst = le.AppendUint32(dst, math.Float32bits(c.Score))
	}
	return le.AppendUint32(p.Mass.append(dst), p.Above)
}

func (m *Mass) append(dst []byte) []byte {
	n := MassBins
	for n > 0 && m.Bins[n-1] == 0 {
		n--
	}
	dst = append(dst, byte(n))
	if n == 0 {
		return dst
	}
	dst = binary.LittleEndian.AppendUint32(dst, uint32(m.Top))
	for _, b := range m.Bins[:n] {
		dst = binary.LittleEndian.AppendUint64(dst, b)
	}
	return dst
}

// Parse reads what Append wrote and returns the bytes behind it. It checks the form and the limits, not that the numbers are
// those of a model. The part's slices are reused.
func (p *Part) Parse(src []byte) (rest []byte, err error) {
	r := reader{src: src}
	p.Picks, p.Top = p.Picks[:0], p.Top[:0]
	for range r.count("picks", 12, NucleusMax) {
		p.Picks = append(p.Picks, Pick{int32(r.uint32()), r.float(), r.float()})
	}
	p.Heat.parse(&r)
	for range r.count("tops", 8, TopMax) {
		p.Top = append(p.Top, Candidate{int32(r.uint32()), r.float()})
	}
	p.Mass.parse(&r)
	p.Above = r.uint32()
	if r.err != nil {
		return nil, r.err
	}
	return r.src, nil
}

func (m *Mass) parse(r *reader) {
	*m = Mass{}
	head := r.take(1)
	if head == nil || head[0] == 0 {
		return
	}
	if head[0] > MassBins {
		r.fail("mass has %d bins, at most %d are possible", head[0], MassBins)
		return
	}
	m.Top = int32(r.uint32())
	for j := range m.Bins[:head[0]] {
		if b := r.take(8); b != nil {
			m.Bins[j] = binary.LittleEndian.Uint64(b)
		}
	}
	if r.err == nil && m.Bins[0] == 0 {
		r.fail("mass has an empty first bin")
	}
}

// reader takes numbers off the front of src until something is wrong.
type reader struct {
	src []byte
	err error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", ErrPart, fmt.Sprintf(format, args...))
	}
}

func (r *reader) take(n int) []byte {
	if r.err != nil {
		return nil
	}
	if len(r.src) < n {
		r.fail("%d bytes are missing", n-len(r.src))
		return nil
	}
	b := r.src[:n]
	r.src = r.src[n:]
	return b
}

func (r *reader) uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (r *reader) float() float32 { return math.Float32frombits(r.uint32()) }

// count reads the number of things of the given size that follow.
func (r *reader) count(what string, size, most int) int {
	b := r.take(2)
	if b == nil {
		return 0
	}
	n := int(binary.LittleEndian.Uint16(b))
	if n > most {
		r.fail("%d %s, at most %d are possible", n, what, most)
		return 0
	}
	if n*size > len(r.src) {
		r.fail("%d bytes are missing", n*size-len(r.src))
		return 0
	}
	return n
}
