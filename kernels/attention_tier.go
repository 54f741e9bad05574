package kernels

import "math"

// attendTier is what a tier brings to attention: functions on pages and rows for head dimensions that are multiples of 16. The pointers
// are to the first elements; strides are bytes.
type attendTier struct {
	keys    [kvFormats]keysFunc // any multiple of 16
	keys128 [kvFormats]keysFunc // only 128
	values  []valuesChunk       // the widest first, the last one 16 wide
	widen   [kvFormats]widenFunc
	turn    [kvFormats]turnFunc
	dots    func(scores, q, keys, work *float32, dim, tiles int, scale float32)
	mix     []mixTile // the highest first, the last one of one row
	softmax func(part *float32, stride int, scores *float32, keys, step, rows int)
	combine func(out *float32, outStride int, parts *float32, rowStride, stride, blocks, rows, dim int)
	fetch   func(p *byte, lines int) // asks for lines of 64 bytes; nil where the processor is left alone
}

const kvFormats = int(KVF32) + 1

type (
	keysFunc   func(scores, q *float32, page *byte, heads, dim int, scale float32)
	valuesFunc func(acc *float32, accStride int, p *float32, page, scales *byte, vector, heads, keys int)
	widenFunc  func(dst *float32, dstStride int, src, scales *byte, srcStride, count, dim int)
	turnFunc   func(dst *float32, src, scales *byte, vector, dim int)
	mixFunc    func(acc *float32, accStride int, p, v *float32, keys, more int)
)

// valuesChunk adds up so many elements of the values of a page for one row.
type valuesChunk struct {
	dim int
	add [kvFormats]valuesFunc
}

// mixTile adds up widened values for so many rows: 32 elements of them, or 16.
type mixTile struct {
	rows int
	by32 mixFunc
	by16 mixFunc
}

// fits reports whether the tier has functions for a head dimension.
func (t *attendTier) fits(headDim int) bool { return t != nil && headDim%lanes == 0 }

// fewRows is AttendHeads for few rows. It takes a page's keys for all heads and rows, in the order in which they lie in memory, then the
// next page's, then all values.
func (t *attendTier) fewRows(kv *KV, dst, q []float32, qStride, rows, head, heads int, table []int32, pos, b int, s *AttendScratch) {
	d, size, first := kv.HeadDim, PartFloats(kv.HeadDim), b*KeyBlock
	q, dst = q[:(rows-1)*qStride+heads*d], dst[:rows*heads*size]
	for i := range rows * heads {
		emptyPart(dst[i*size : (i+1)*size])
	}
	s.scores = grow(s.scores, rows*heads*KeyBlock) // (rows, heads, KeyBlock)
	keys, scale, most := t.keysOf(kv), scoreScale(d), min(KeyBlock, pos+rows-first)
	for at := 0; at < most; at += BlockTokens {
		page := kv.heads(table[(first+at)/BlockTokens], keyHalf, head, heads)
		for r := max(0, first+at-pos); r < rows; r++ {
			keys(&s.scores[r*heads*KeyBlock+at], &q[r*qStride], &page[0], heads, d, scale)
		}
	}
	for r := max(0, first-pos); r < rows; r++ {
		t.softmax(&dst[r*size], 4*rows*size, &s.scores[r*heads*KeyBlock], min(KeyBlock, pos+r+1-first), 0, heads)
	}
	for at := 0; at < most; at += BlockTokens {
		page := kv.heads(table[(first+at)/BlockTokens], valueHalf, head, heads)
		for r := max(0, first+at-pos); r < rows; r++ {
			t.addValues(kv, dst[r*size:], 4*rows*size, s.scores[r*heads*KeyBlock+at:], page, heads, min(BlockTokens, pos+r+1-first-at))
		}
	}
}

// keysOf is the function for the keys of a cache.
func (t *attendTier) keysOf(kv *KV) keysFunc {
	if kv.HeadDim == 128 {
		return t.keys128[kv.Format]
	}
	return t.keys[kv.Format]
}

// addValues adds n values of a page, of all heads, to the parts in dst, stride bytes apart.
func (t *attendTier) addValues(kv *KV, dst []float32, stride int, p []float32, page []byte, heads, n int) {
	d, vector := kv.HeadDim, kv.Format.VectorBytes(kv.HeadDim)
	if heads > 1 && t.valuesChunk(d, d).dim < d { // all chunks of a head while it is in the cache
		for h := range heads {
			t.addValues(kv, dst[h*stride/4:], stride, p[h*KeyBlock:], page[h*BlockTokens*vector:], 1, n)
		}
		return
	}
	for c := 0; c < d; {
		chunk := t.valuesChunk(d, d-c)
		from, scales := kv.Format.elementBytes()*c, 0
		if kv.Format == KVQ8 {
			scales = d + 2*(c/kvGroup)
		}
		chunk.add[kv.Format](&dst[2+c], stride, &p[0], &page[from], &page[scales], vector, heads, n)
		c += chunk.dim
	}
}

// valuesChunk is the widest chunk for what is left of a head vector. The one of 128 is only for vectors of 128: where the scales of
// KVQ8 lie depends on it.
func (t *attendTier) valuesChunk(headDim, left int) *valuesChunk {
	for i := range t.values {
		if c := &t.values[i]; c.dim <= left && (c.dim < 128 || headDim == 128) {
			return c
		}
	}
	return &t.values[len(t.values)-1]
}

// emptyPart sets a part to that of a row that sees no key.
func emptyPart(part []float32) {
	clear(part)
	part[0] = float32(math.Inf(-1))
}

// scoreScale is what scores are multiplied by.
func scoreScale(headDim int) float32 { return float32(1 / math.Sqrt(float64(headDim))) }

// elementBytes is the size of one stored element.
func (f KVFormat) elementBytes() int {
	switch f {
	case KVF16:
		return 2
	case KVQ8:
		return 1
	}
	return 4
}

// heads is the bytes of the vectors of several heads in one half of a block.
func (kv *KV) heads(block int32, half, head, heads int) []byte {
	size := BlockTokens * kv.Format.VectorBytes(kv.HeadDim)
	at := ((int(block)*2+half)*kv.Heads + head) * size
	return kv.Data[at : at+heads*size : at+heads*size]
}
