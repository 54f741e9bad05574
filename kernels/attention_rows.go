package kernels

// Sizes of the tiles of many rows.
const (
	dotsRows = 8   // in a tile of scores, of a page's keys each
	dotsWork = 768 // working memory of a tile
	mixDim   = 32  // elements of values that are widened for a whole key block: 16 KiB

	rowsFew = 4 // so few rows do as well without widened keys and values
)

// rows is AttendBlock of n rows whose queries are packed in s.query.
func (t *attendTier) rows(kv *KV, dst []float32, n, head int, table []int32, pos, b int, s *AttendScratch) {
	first, size, d := b*KeyBlock, PartFloats(kv.HeadDim), kv.HeadDim
	dst = dst[:n*size]
	if n <= rowsFew {
		t.fewRows(kv, dst, s.query, d, n, head, 1, table, pos, b, s)
		return
	}
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

// scoreRows computes the scores of rows [start, n) for the key block that starts at position first. Keys that a row does not see get
// some score too where a tile needs it.
func (t *attendTier) scoreRows(kv *KV, start, n, head int, table []int32, pos, first int, s *AttendScratch) {
	d, scale, scales := kv.HeadDim, scoreScale(kv.HeadDim), 0
	if kv.Format == KVQ8 {
		scales = d
	}
	s.page = grow(s.page, BlockTokens*d)
	s.work = grow(s.work, dotsWork)
	for at := 0; at < min(KeyBlock, pos+n-first); at += BlockTokens {
		src := kv.vectors(table[(first+at)/BlockTokens], keyHalf, head)
		t.turn[kv.Format](&s.page[0], &src[0], &src[scales], kv.Format.VectorBytes(d), d)
		t.fetchAhead(kv, head, table, first+at, pos+n)
		r := start + max(0, first+at-pos-start)/dotsRows*dotsRows // the tile with the first row that sees a key of the page
		for r < n {
			tiles := min(dotsTiles, (n-r+dotsRows-1)/dotsRows)
			t.dots(&s.scores[r*KeyBlock+at], &s.query[r*d], &s.page[0], &s.work[0], d, tiles, scale)
			r += dotsRows * tiles
		}
	}
}

// fetchAhead asks for the values of the keys from position p on, and for the keys behind them, while scores are computed: the pages of a head lie so
// far apart that the processor does not foresee them.
func (t *attendTier) fetchAhead(kv *KV, head int, table []int32, p, keys int) {
	if t.fetch == nil {
		return
	}
	values := kv.vectors(table[p/BlockTokens], valueHalf, head)
	t.fetch(&values[0], (len(values)+63)/64)
	if next := p + BlockTokens; next < keys {
		t.fetch(&kv.vectors(table[next/BlockTokens], keyHalf, head)[0], (len(values)+63)/64)
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
