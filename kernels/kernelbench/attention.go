package kernelbench

import (
	"fmt"

	"polynode/kernels"
)

// The attention of PolyLM-13B, and the contexts at which a sequence is decoded.
const (
	heads   = 40
	headDim = 128
)

var contexts = [...]int{128, 512, 1024, 2000}

// The attention of one token is cut as a stage of the model cuts it: some heads together, over a stretch of their keys.
const (
	attendParts = 4 // at least, for each worker
	attendHeads = 16
	groups      = (heads + attendHeads - 1) / attendHeads
)

// attention is a task: one token of one sequence looks at all keys of one layer.
type attention struct {
	kv      kernels.KV
	table   []int32
	query   []float32 // (heads, headDim)
	results []float32 // (key block, head, kernels.PartFloats)
	free    chan *kernels.AttendScratch
	keys    int
	stretch int // key blocks in a part
	combine bool
}

// Do computes one part: some heads over a stretch of keys, or with combine the output of all heads.
func (a *attention) Do(part int) {
	size := kernels.PartFloats(headDim)
	if a.combine {
		for head := range heads {
			kernels.Combine(a.query[head*headDim:(head+1)*headDim], a.results[head*size:], heads*size, kernels.KeyBlocks(a.keys))
		}
		return
	}
	head, first := part%groups*attendHeads, part/groups*a.stretch
	together := min(attendHeads, heads-head)
	scratch := <-a.free
	for b := first; b < min(first+a.stretch, kernels.KeyBlocks(a.keys)); b++ {
		at := (b*heads + head) * size
		a.kv.AttendHeads(a.results[at:at+together*size], a.query[head*headDim:], heads*headDim, 1, head, together, a.table, a.keys-1, b, scratch)
	}
	a.free <- scratch
}

func (b *bench) attentionCases() (cases []aCase) {
	for _, f := range []kernels.KVFormat{kernels.KVF16, kernels.KVQ8} {
		for _, n := range contexts {
			fits := len(b.buffer.data) / kernels.KVBlockBytes(f, heads, headDim) * kernels.BlockTokens
			row := Row{Name: fmt.Sprintf("attention/%s/%d", f, n), Kind: "attention", Format: f.String(), Context: min(n, fits)}
			cases = append(cases, aCase{row, func(row Row) (Row, error) { return b.attention(row, f) }})
		}
	}
	return cases
}

// attention attends in one layer after another; its roof reads as many bytes in as many sections.
func (b *bench) attention(row Row, f kernels.KVFormat) (Row, error) {
	size := (row.Context + kernels.BlockTokens - 1) / kernels.BlockTokens * kernels.KVBlockBytes(f, heads, headDim)
	a := newAttention(row.Context, b.pool.Workers())
	var err error
	if a.kv, err = kernels.NewKV(f, heads, headDim, b.buffer.next(size)); err != nil {
		return row, err
	}
	count := max(1, min(passBytes, len(b.buffer.data)/2)/size)
	t := b.times(func() {
		for range count {
			a.run(b, size)
		}
	}, func() {
		for range count {
			b.sweep(size)
		}
	})
	rate := rateOf(float64(count*size)/1e9, t.kernel)
	row.Passes, row.GBs, row.Read = len(t.kernel), &rate, t.shareOf(1, 0)
	return row, nil
}

func newAttention(keys, workers int) *attention {
	blocks := kernels.KeyBlocks(keys)
	a := &attention{
		keys: keys, stretch: max(1, groups*blocks/(attendParts*workers)),
		query: make([]float32, heads*headDim), results: make([]float32, blocks*heads*kernels.PartFloats(headDim)),
		table: make([]int32, (keys+kernels.BlockTokens-1)/kernels.BlockTokens), free: make(chan *kernels.AttendScratch, workers),
	}
	for range workers {
		a.free <- new(kernels.AttendScratch)
	}
	for i := range a.table {
		a.table[i] = int32(i)
	}
	return a
}

// run attends in one layer, whose keys and values are the next size bytes of the buffer.
func (a *attention) run(b *bench, size int) {
	a.kv.Data = b.buffer.next(size)
	fillVector(a.query, 1)
	a.combine = false
	b.pool.Run((kernels.KeyBlocks(a.keys)+a.stretch-1)/a.stretch*groups, a)
	a.combine = true
	b.pool.Run(1, a)
}
