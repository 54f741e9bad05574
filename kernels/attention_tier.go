package kernels

import "math"

// attendTier is what a tier brings to attention: functions on pages and rows for head dimensions that are multiples of 16. The pointers
// are to the first elements; strides are bytes.
type attendTier struct {
	keys    [kvFormats]keysFunc // any multiple of 16
	keys128 [kvFormats]keysFunc // only 128
	values  []valuesChunk       // the widest first, the last one 16 wide
	widen   [kvFormats]widenFunc
	dots    func(scores, q, keys *float32, dim, tiles, groups int, scale float32)
	mix     []mixTile // the highest first, the last one of one row
	softmax func(part *float32, stride int, scores *float32, keys, step, rows int)
	combine func(out, parts *float32, stride, blocks, dim int)
}

const kvFormats = int(KVF32) + 1

type (
	keysFunc   func(scores, q *float32, page *byte, heads, dim int, scale float32)
	valuesFunc func(acc *float32, accStride int, p *float32, page, scales *byte, vector, heads, keys int)
	widenFunc  func(dst *float32, dstStride int, src, scales *byte, srcStride, count, dim int)
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

// Limits of one call, which cannot be preempted.
const (
	dotsTiles   = 16 // of 4 rows, in one call
	softmaxRows = 64
	callHeads   = 16
)

// fits reports whether the tier has functions for a head dimension.
func (t *attendTier) fits(headDim int) bool { return t != nil && headDim%lanes == 0 }

// oneRow is AttendHeads for one row. It takes a page's keys for all heads, in the order in which they lie in memory, then the next
// page's, then all values.
func (t *attendTier) oneRow(kv *KV, dst, q []float32, head, heads int, table []int32, pos, b int, s *AttendScratch) {
	d, size, first := kv.HeadDim, PartFloats(kv.HeadDim), b*KeyBlock
	n := min(KeyBlock, pos+1-first)
	q, dst = q[:heads*d], dst[:heads*size]
	for h := range heads {
		emptyPart(dst[h*size : (h+1)*size])
	}
	if n <= 0 {
		return
	}
	s.scores = grow(s.scores, heads*KeyBlock)
	keys := t.keys[kv.Format]
	if d == 128 {
		keys = t.keys128[kv.Format]
	}
	scale := scoreScale(d)
	for at := 0; at < n; at += BlockTokens {
		page := kv.heads(table[(first+at)/BlockTokens], keyHalf, head, heads)
		keys(&s.scores[at], &q[0], &page[0], heads, d, scale)
	}
	t.softmax(&dst[0], 4*size, &s.scores[0], n, 0, heads)
	for at := 0; at < n; at += BlockTokens {
		page := kv.heads(table[(first+at)/BlockTokens], valueHalf, head, heads)
		t.addValues(kv, dst, s.scores[at:], page, heads, min(BlockTokens, n-at))
	}
}

// addValues adds n values of a page, of all heads, to the parts in dst.
func (t *attendTier) addValues(kv *KV, dst, p []float32, page []byte, heads, n int) {
	d, size, vector := kv.HeadDim, PartFloats(kv.HeadDim), kv.Format.VectorBytes(kv.HeadDim)
	for c := 0; c < d; {
		chunk := t.valuesChunk(d, d-c)
		from, scales := kv.Format.elementBytes()*c, 0
		if kv.Format == KVQ8 {
			scales = d + 2*(c/kvGroup)
		}
		chunk.add[kv.Format](&dst[2+c], 4*size, &p[0], &page[from], &page[scales], vector, heads, n)
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

// rows computes one head's parts of the key block b for n rows, whose queries are packed in s.query.
func (t *attendTier) rows(kv *KV, dst []float32, n, head int, table []int32, pos, b int, s *AttendScratch) {
	first, size := b*KeyBlock, PartFloats(kv.HeadDim)
	dst = dst[:n*size]
	start := min(n, max(0, first-pos)) // the first row that sees a key
	for r := range n {
		emptyPart(dst[r*size : (r+1)*size])
	}
	if start == n {
		return
	}
	s.scores = grow(s.scores, (n+dotsRows)*KeyBlock)
	t.scoreRows(kv, start, n, head, table, pos, first, s)
	for r := start; r < n; r += softmaxRows {
		t.softmax(&dst[r*size], 4*size, &s.scores[r*KeyBlock], min(KeyBlock, pos+r+1-first), 1, min(softmaxRows, n-r))
	}
	s.chunk = grow(s.chunk, KeyBlock*mixDim)
	for c := 0; c < kv.HeadDim; c += mixDim {
		t.mixRows(kv, dst, start, n, head, c, table, pos, first, s)
	}
}

const (
	dotsRows = 4  // in a tile of scores
	mixDim   = 32 // elements of values that are widened for a whole key block: 16 KiB
)

// scoreRows computes the scores of rows [start, n) for the key block that starts at position first. Keys that a row does not see get
// some score too where a tile needs it.
func (t *attendTier) scoreRows(kv *KV, start, n, head int, table []int32, pos, first int, s *AttendScratch) {
	d, scale := kv.HeadDim, scoreScale(kv.HeadDim)
	s.page = grow(s.page, BlockTokens*d)
	most := min(KeyBlock, pos+n-first)
	for at := 0; at < most; at += BlockTokens {
		t.widenPage(kv, s.page, d, table[(first+at)/BlockTokens], keyHalf, head, 0, min(BlockTokens, most-at))
		for r := start; r < n; {
			seen := min(BlockTokens, pos+min(r+dotsRows, n)-first-at) // by the tile's last row
			groups, tiles := (seen+3)/4, 1
			if groups == BlockTokens/4 {
				tiles = min(dotsTiles, (n-r+dotsRows-1)/dotsRows) // every later row sees as much
			}
			if seen > 0 {
				t.dots(&s.scores[r*KeyBlock+at], &s.query[r*d], &s.page[0], d, tiles, groups, scale)
			}
			r += dotsRows * tiles
		}
	}
}

// mixRows adds up elements [c, c+32) of the weighted values for rows [start, n).
func (t *attendTier) mixRows(kv *KV, dst []float32, start, n, head, c int, table []int32, pos, first int, s *AttendScratch) {
	size, dim, most := PartFloats(kv.HeadDim), min(mixDim, kv.HeadDim-c), min(KeyBlock, pos+n-first)
	for at := 0; at < most; at += BlockTokens {
		t.widenPage(kv, s.chunk[at*dim:], dim, table[(first+at)/BlockTokens], valueHalf, head, c, min(BlockTokens, most-at))
	}
	for r := start; r < n; {
		tile := t.mixTile(n - r)
		keys := min(KeyBlock, pos+r+1-first)
		add := tile.by32
		if dim < mixDim {
			add = tile.by16
		}
		add(&dst[r*size+2+c], 4*size, &s.scores[r*KeyBlock], &s.chunk[0], keys, min(tile.rows-1, KeyBlock-keys))
		r += tile.rows
	}
}

// mixTile is the highest tile of at most so many rows.
func (t *attendTier) mixTile(rows int) *mixTile {
	i := 0
	for t.mix[i].rows > rows {
		i++
	}
	return &t.mix[i]
}

// widenPage widens elements [c, c+dim) of the first n vectors of one head of a block into dst (n, dim).
func (t *attendTier) widenPage(kv *KV, dst []float32, dim int, block int32, half, head, c, n int) {
	src, scales := kv.vectors(block, half, head), 0
	if kv.Format == KVQ8 {
		scales = kv.HeadDim + 2*(c/kvGroup)
	}
	dst = dst[:n*dim]
	t.widen[kv.Format](&dst[0], 4*dim, &src[kv.Format.elementBytes()*c], &src[scales], kv.Format.VectorBytes(kv.HeadDim), n, dim)
}

// pack copies n queries to s.query, with room for a whole last tile: rows that lie a multiple of 4096 bytes apart would fight for the same
// places in the cache.
func (s *AttendScratch) pack(q []float32, qStride, n, d int) {
	s.query = grow(s.query, (n+dotsRows)*d)
	for r := range n {
		copy(s.query[r*d:(r+1)*d], q[r*qStride:r*qStride+d])
	}
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
