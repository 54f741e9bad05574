package engine

import (
	"encoding/binary"
	"math"

	"polynode/engine/sample"
)

// wireReader reads encoded numbers from the front of data. After the first that is not there or too large it has failed, and all others
// are zero, so its callers check once, at the end.
type wireReader struct {
	data   []byte
	failed bool
}

func (r *wireReader) fail() {
	r.failed, r.data = true, nil
}

func (r *wireReader) byte() byte {
	if len(r.data) == 0 {
		r.fail()
		return 0
	}
	b := r.data[0]
	r.data = r.data[1:]
	return b
}

func (r *wireReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.data)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.data = r.data[n:]
	return v
}

// within is a number of at most most.
func (r *wireReader) within(most uint64) uint64 {
	v := r.uvarint()
	if v > most {
		r.fail()
		return 0
	}
	return v
}

// int is a size or a position.
func (r *wireReader) int() int { return int(r.within(math.MaxInt32)) }

// id is a token or a block.
func (r *wireReader) id() int32 { return int32(r.within(math.MaxInt32)) }

// count is the length of a list whose elements take at least size bytes each: one that cannot follow is refused before room is made for it.
func (r *wireReader) count(size int) int { return int(r.within(uint64(len(r.data) / size))) }

// ids appends a list of numbers from -1 up.
func (r *wireReader) ids(list []int32) []int32 {
	for range r.count(1) {
		list = append(list, r.id()-1)
	}
	return list
}

func (r *wireReader) float() float32 {
	if len(r.data) < 4 {
		r.fail()
		return 0
	}
	v := math.Float32frombits(binary.LittleEndian.Uint32(r.data))
	r.data = r.data[4:]
	return v
}

func (r *wireReader) word() uint64 {
	if len(r.data) < 8 {
		r.fail()
		return 0
	}
	v := binary.LittleEndian.Uint64(r.data)
	r.data = r.data[8:]
	return v
}

func (r *wireReader) params() (p sample.Params) {
	for _, v := range []*float32{&p.Temperature, &p.TopP, &p.MinP, &p.RepetitionPenalty, &p.PresencePenalty, &p.FrequencyPenalty} {
		*v = r.float()
	}
	p.Seed, p.TopK = r.word(), r.int()
	for range r.count(5) {
		p.Bias = append(p.Bias, sample.Bias{Token: r.id(), Value: r.float()})
	}
	p.Banned = r.ids(nil)
	return p
}

// candidates reads a list into the memory of another.
func (r *wireReader) candidates(list []sample.Candidate) []sample.Candidate {
	list = list[:0]
	for range r.count(5) {
		list = append(list, sample.Candidate{Token: r.id(), Score: r.float()})
	}
	return list
}
