package model

import "polynode/kernels"

// attendParts is how many parts of attention each worker of the pool should have at least, so that none waits for long at the end.
const attendParts = 4

// A single row takes several heads through its keys together: those of a block lie one behind the other, and memory is read fastest in
// long runs. Sixteen heads of float16 were read at 23 GB/s, four at 15, one at 10 (Zen 4, one core). Fewer than the most are taken only
// where keys are so few that workers would have none.
const (
	attendHeadsMost  = 16
	attendHeadsLeast = 4
)

// attendance is how the attention of a step is cut. A part is some heads of one run over a stretch of its keys. Where there are heads
// and runs enough a stretch is all keys; one long sequence on many cores is cut along its keys as well. The bits are the same.
type attendance struct {
	parts   int         // of one layer
	stretch int         // key blocks in a part; all of a run if it has no more
	runs    []attendRun // (runs)
	results []float32   // (key block, head, row, kernels.PartFloats) for each run that keeps its results
}

// attendRun is one run's place in the list of parts and in results.
type attendRun struct {
	heads     int // of a part
	stretches int // of each group of heads
	firstPart int
	keeps     bool // key blocks leave results, which are combined when they are collected
	result    int  // where they begin
}

// plan cuts the attention of a batch.
func (a *attendance) plan(b *Batch, heads, headDim, workers int) {
	a.runs = a.runs[:0]
	units, total, want := 0, 0, attendParts*workers
	for i := range b.runs {
		total += heads * kernels.KeyBlocks(b.runs[i].keys)
	}
	most := max(1, min(heads, attendHeadsMost, max(total/want, attendHeadsLeast)))
	total = 0
	for i := range b.runs {
		together := 1
		if b.runs[i].rows == 1 {
			together = most
		}
		groups := (heads + together - 1) / together
		units += groups
		total += groups * kernels.KeyBlocks(b.runs[i].keys)
		a.runs = append(a.runs, attendRun{heads: together, keeps: b.runs[i].rows == 1})
	}
	a.stretch = max(1, total/want)
	if units >= want {
		a.stretch = max(1, total)
	}
	a.parts = 0
	results := 0
	for i := range a.runs {
		r, blocks := &a.runs[i], kernels.KeyBlocks(b.runs[i].keys)
		r.firstPart, r.result = a.parts, results
		r.stretches = (blocks + a.stretch - 1) / a.stretch
		a.parts += r.stretches * ((heads + r.heads - 1) / r.heads)
		if r.keeps = r.keeps || r.stretches > 1; r.keeps {
			results += blocks * heads * b.runs[i].rows * kernels.PartFloats(headDim)
		}
	}
	a.results = grow(a.results, results)
}

// find returns the run that a part belongs to and the part's number within it.
func (a *attendance) find(part int) (run, within int) {
	lo, hi := 0, len(a.runs)-1
	for lo < hi {
		middle := (lo + hi + 1) / 2
		if a.runs[middle].firstPart <= part {
			lo = middle
		} else {
			hi = middle - 1
		}
	}
	return lo, part - a.runs[lo].firstPart
}

// attendPart computes one part. Without results, what a head gives takes the place of its query, which nobody else reads.
func (s *Stage) attendPart(part int) {
	a, dim, stride := &s.attendance, s.config.HeadDim(), s.qkvWidth()
	index, within := a.find(part)
	r, cut := &s.batch.runs[index], &a.runs[index]
	head, stretch := within/cut.stretches*cut.heads, within%cut.stretches
	q := s.qkv[r.row*stride+head*dim:]
	kv, position := &s.cache.layers[s.number], int(s.batch.Positions[r.row])
	scratch := <-s.scratch
	if !cut.keeps {
		kv.Attend(q, stride, q, stride, r.rows, head, r.blocks, position, scratch)
		s.scratch <- scratch
		return
	}
	all := s.share.Heads.Len()
	size := r.rows * kernels.PartFloats(dim) // of one head and key block
	heads := min(cut.heads, all-head)
	for b := stretch * a.stretch; b < min((stretch+1)*a.stretch, kernels.KeyBlocks(r.keys)); b++ {
		at := cut.result + (b*all+head)*size
		kv.AttendHeads(a.results[at:at+heads*size], q, stride, r.rows, head, heads, r.blocks, position, b, scratch)
	}
	s.scratch <- scratch
}

// collectAttendedRow hands row t of the attention's result to the output projection.
func (s *Stage) collectAttendedRow(t int) {
	width := s.qkvWidth()
	index := int(s.batch.runOf[t])
	if s.attendance.runs[index].keeps {
		s.combineRow(t, index)
	} else {
		copy(s.attended.Row(t), s.qkv[t*width:t*width+width/3])
	}
	s.quantise(&s.attended, s.layer.attnProj, t)
}

// combineRow joins what the key blocks gave for row t.
func (s *Stage) combineRow(t, index int) {
	dim, heads := s.config.HeadDim(), s.share.Heads.Len()
	size := kernels.PartFloats(dim)
	r, out := &s.batch.runs[index], s.attended.Row(t)
	blocks := kernels.KeyBlocks(int(s.batch.Positions[t]) + 1)
	for head := range heads {
		at := s.attendance.runs[index].result + (head*r.rows+t-r.row)*size
		kernels.Combine(out[head*dim:(head+1)*dim], s.attendance.results[at:], heads*r.rows*size, blocks)
	}
}
