package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"polynode/engine/sample"
)

// ErrWire reports bytes that are no encoded step or output.
var ErrWire = errors.New("malformed step")

// What a chunk has, in the first byte of its encoding.
const (
	wireSample = 1 << iota
	wireLogprobs
	wireParams
	wireEnd
)

// AppendStep appends the encoding of a step to buf: what the coordinator sends to ranks on other nodes. Numbers are unsigned varints,
// floats and seeds little-endian words, and lists have their length first. Its epoch and ID are not in it; they are those of the frame.
func AppendStep(buf []byte, s *Step) []byte {
	buf = binary.AppendUvarint(buf, uint64(len(s.Copies)))
	for _, c := range s.Copies {
		buf = binary.AppendUvarint(buf, uint64(uint32(c.Source)))
		buf = binary.AppendUvarint(buf, uint64(uint32(c.Target)))
	}
	buf = binary.AppendUvarint(buf, uint64(len(s.Chunks)))
	for i := range s.Chunks {
		buf = appendChunk(buf, &s.Chunks[i])
	}
	return buf
}

func appendChunk(buf []byte, c *Chunk) []byte {
	var flags byte
	if c.Sample {
		flags |= wireSample
	}
	if c.Logprobs {
		flags |= wireLogprobs
	}
	if c.Params != nil {
		flags |= wireParams
	}
	buf = append(buf, flags)
	for _, n := range []uint64{uint64(c.Sequence), uint64(c.Start), uint64(c.Prompt), uint64(c.Top)} {
		buf = binary.AppendUvarint(buf, n)
	}
	for _, list := range [][]int32{c.Tokens, c.Blocks, c.History, c.Targets} {
		buf = appendIDs(buf, list)
	}
	if c.Params != nil {
		buf = appendParams(buf, c.Params)
	}
	return buf
}

// appendIDs appends numbers from -1 up, each one higher.
func appendIDs(buf []byte, list []int32) []byte {
	buf = binary.AppendUvarint(buf, uint64(len(list)))
	for _, id := range list {
		buf = binary.AppendUvarint(buf, uint64(uint32(id+1)))
	}
	return buf
}

func appendParams(buf []byte, p *sample.Params) []byte {
	for _, v := range []float32{p.Temperature, p.TopP, p.MinP, p.RepetitionPenalty, p.PresencePenalty, p.FrequencyPenalty} {
		buf = appendFloat(buf, v)
	}
	buf = binary.LittleEndian.AppendUint64(buf, p.Seed)
	buf = binary.AppendUvarint(buf, uint64(p.TopK))
	buf = binary.AppendUvarint(buf, uint64(len(p.Bias)))
	for _, b := range p.Bias {
		buf = binary.AppendUvarint(buf, uint64(uint32(b.Token)))
		buf = appendFloat(buf, b.Value)
	}
	return appendIDs(buf, p.Banned)
}

func appendFloat(buf []byte, v float32) []byte {
	return binary.LittleEndian.AppendUint32(buf, math.Float32bits(v))
}

// StepDecoder turns bytes back into steps and uses its memory again for the next one. The zero value is ready.
type StepDecoder struct {
	step   Step
	params []sample.Params // one for each chunk that has any
	ids    []int32         // what the chunks' lists are cut from
	in     wireReader
}

// Decode reads one step, which is valid until the next call. Anything but exactly one well-formed step gives ErrWire. Its sizes are bounded by
// those of the data; whether its numbers fit a model is for the rank to check.
func (d *StepDecoder) Decode(data []byte) (*Step, error) {
	d.in, d.ids, d.params = wireReader{data: data}, d.ids[:0], d.params[:0]
	s := &d.step
	s.Copies, s.Chunks = s.Copies[:0], s.Chunks[:0]
	for range d.in.count(2) {
		s.Copies = append(s.Copies, BlockCopy{Source: d.in.id(), Target: d.in.id()})
	}
	for range d.in.count(8) {
		var c Chunk
		d.chunk(&c)
		s.Chunks = append(s.Chunks, c)
		if d.in.failed {
			break
		}
	}
	if d.in.failed || len(d.in.data) > 0 {
		return nil, fmt.Errorf("decode step: %w: at byte %d of %d", ErrWire, len(data)-len(d.in.data), len(data))
	}
	next := 0 // pointers only now, because params has moved while it grew
	for i := range s.Chunks {
		if s.Chunks[i].Params != nil {
			s.Chunks[i].Params = &d.params[next]
			next++
		}
	}
	return s, nil
}

// hasParams marks a chunk that has parameters until it is known where they lie.
var hasParams sample.Params

func (d *StepDecoder) chunk(c *Chunk) {
	flags := d.in.byte()
	if flags >= wireEnd {
		d.in.failed = true
	}
	c.Sample, c.Logprobs = flags&wireSample != 0, flags&wireLogprobs != 0
	c.Sequence, c.Start, c.Prompt, c.Top = SequenceID(d.in.uvarint()), d.in.int(), d.in.int(), d.in.int()
	for _, list := range []*[]int32{&c.Tokens, &c.Blocks, &c.History, &c.Targets} {
		from := len(d.ids)
		d.ids = d.in.ids(d.ids)
		*list = d.ids[from:len(d.ids):len(d.ids)]
	}
	if flags&wireParams != 0 {
		c.Params = &hasParams
		d.params = append(d.params, d.in.params())
	}
}

// AppendOutput appends the encoding of what a step gave to buf, in the form of AppendStep.
func AppendOutput(buf []byte, o *Output) []byte {
	buf = binary.AppendUvarint(buf, uint64(len(o.Results)))
	for i := range o.Results {
		r := &o.Results[i]
		buf = binary.AppendUvarint(buf, uint64(uint32(r.Token+1)))
		buf = appendFloat(buf, r.Logprob)
		buf = appendCandidates(buf, r.Top)
		buf = binary.AppendUvarint(buf, uint64(len(r.Targets)))
		for j := range r.Targets {
			t := &r.Targets[j]
			buf = appendFloat(buf, t.Logprob)
			buf = binary.AppendUvarint(buf, uint64(t.Rank))
			buf = appendCandidates(buf, t.Top)
		}
	}
	return buf
}

func appendCandidates(buf []byte, list []sample.Candidate) []byte {
	buf = binary.AppendUvarint(buf, uint64(len(list)))
	for _, c := range list {
		buf = binary.AppendUvarint(buf, uint64(uint32(c.Token)))
		buf = appendFloat(buf, c.Score)
	}
	return buf
}

// DecodeOutput reads what AppendOutput wrote into out, whose memory it uses again. Anything else gives ErrWire.
func DecodeOutput(data []byte, out *Output) error {
	in := wireReader{data: data}
	n := in.count(7)
	if cap(out.Results) < n {
		out.Results = append(out.Results[:cap(out.Results)], make([]Result, n-cap(out.Results))...)
	}
	out.Results = out.Results[:n]
	for i := range out.Results {
		r := &out.Results[i]
		r.Token, r.Logprob = in.id()-1, in.float()
		r.Top = in.candidates(r.Top)
		targets := in.count(6)
		if cap(r.Targets) < targets {
			r.Targets = append(r.Targets[:cap(r.Targets)], make([]Target, targets-cap(r.Targets))...)
		}
		r.Targets = r.Targets[:targets]
		for j := range r.Targets {
			t := &r.Targets[j]
			t.Logprob, t.Rank = in.float(), in.int()
			t.Top = in.candidates(t.Top)
		}
	}
	if in.failed || len(in.data) > 0 {
		return fmt.Errorf("decode output: %w: at byte %d of %d", ErrWire, len(data)-len(in.data), len(data))
	}
	return nil
}
