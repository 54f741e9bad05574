package model

import "polynode/kernels"

// attendParts is how many parts of attention each worker of the pool should have at least, so that none waits for long at the end.
const attendParts = 4

// attendance is how the attention of a step is cut. A part is one head of one run over a stretch of its keys. Where there are heads
// and runs enough a stretch is all keys; one long sequence on many cores is cut along its keys as well. The bits are the same.
type attendance struct {
	parts   int         // of one layer
	stretch int         // key blocks in a part; all of a run if it has no more
	runs    []attendRun // (runs)
	results []float32   // of stretches: (head, key block, row, kernels.PartFloats) for each run that is cut
}

// attendRun is one run's place in the list of parts and in results.
type attendRun struct {
	parts     int // of one head
	firstPart int
	result    int // where its results begin
}

// plan cuts the attention of a batch.
func (a *attendance) plan(b *Batch, heads, headDim, workers int) {
	total := 0
	for i := range b.runs {
		total += kernels.KeyBlocks(b.runs[i].keys) * heads
	}
	a.stretch = max(1, total/(attendParts*workers))
	if len(b.runs)*heads >= attendParts*workers {
		a.stretch = total
	}
	a.runs = a.runs[:0]
	a.parts = 0
	results := 0
	for i := range b.runs {
		blocks := kernels.KeyBlocks(b.runs[i].keys)
		n := (blocks + a.stretch - 1) / a.stretch
		a.runs = append(a.runs, attendRun{parts: n, firstPart: a.parts, result: results})
		a.parts += n * heads
		if n > 1 {
			results += heads * blocks * b.runs[i].rows * kernels.PartFloats(headDim)
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

// of is the results of one head of a run, (key block, row, kernels.PartFloats).
func (a *attendance) of(run, head int, r *run, headDim int) []float32 {
	size := kernels.KeyBlocks(r.keys) * r.rows * kernels.PartFloats(headDim)
	at := a.runs[run].result + head*size
	return a.results[at : at+size]
}

// attendPart computes one part. The result of a head that is not cut takes the place of the query, which nobody else reads.
func (s *Stage) attendPart(part int) {
	a, dim, stride := &s.attendance, s.config.HeadDim(), s.qkvWidth()
	index, within := a.find(part)
	r, cut := &s.batch.runs[index], &a.runs[index]
	head, stretch := within/cut.parts, within%cut.parts
	q := s.qkv[r.row*stride+head*dim:]
	kv, position := &s.cache.layers[s.number], int(s.batch.Positions[r.row])
	scratch := <-s.scratch
	if cut.parts == 1 {
		kv.Attend(q, stride, q, stride, r.rows, head, r.blocks, position, scratch)
	} else {
		results, size := a.of(index, head, r, dim), r.rows*kernels.PartFloats(dim)
		for b := stretch * a.stretch; b < min((stretch+1)*a.stretch, kernels.KeyBlocks(r.keys)); b++ {
			kv.AttendBlock(results[b*size:(b+1)*size], q, stride, r.rows, head, r.blocks, position, b, scratch)
		}
	}
	s.scratch <- scratch
}

// collectAttendedRow hands row t of the attention's result to the output projection.
func (s *Stage) collectAttendedRow(t int) {
	width := s.qkvWidth()
	index := int(s.batch.runOf[t])
	if s.attendance.runs[index].parts == 1 {
		copy(s.attended.Row(t), s.qkv[t*width:t*width+width/3])
	} else {
		s.combineRow(t, index)
	}
	s.quantise(&s.attended, s.layer.attnProj, t)
}

// combineRow joins what the stretches of keys gave for row t.
func (s *Stage) combineRow(t, index int) {
	dim := s.config.HeadDim()
	size := kernels.PartFloats(dim)
	r, out := &s.batch.runs[index], s.attended.Row(t)
	for head := range s.share.Heads.Len() {
		results := s.attendance.of(index, head, r, dim)
		keys := int(s.batch.Positions[t]) + 1
		kernels.Combine(out[head*dim:(head+1)*dim], results[(t-r.row)*size:], r.rows*size, kernels.KeyBlocks(keys))
	}
}
