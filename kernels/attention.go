package kernels

import "math"

// AttendScratch is the working memory of attention for one goroutine. The zero value is ready; it only grows, so a
// warm one allocates nothing.
type AttendScratch struct {
	page   []float32 // (BlockTokens, headDim), or turned keys (headDim, BlockTokens)
	scores []float32 // (rows or heads, KeyBlock)
	parts  []float32 // (key blocks, rows, PartFloats)
	query  []float32 // (rows, headDim)
	chunk  []float32 // (KeyBlock, mixDim)
	work   []float32 // (dotsWork)
}

// PartFloats is the size of what one key block gives to one query row: its largest score, its sum of
// exponentials, and its weighted sum of values (headDim).
func PartFloats(headDim int) int { return 2 + headDim }

// KeyBlocks is the number of key blocks that hold so many keys.
func KeyBlocks(keys int) int { return (keys + KeyBlock - 1) / KeyBlock }

// Attend computes causal attention of one head for rows consecutive tokens of a sequence: row r stands at position
// pos+r and sees the keys of positions [0, pos+r].
//
// q and out hold row r's (HeadDim) of this head at r*qStride and r*outStride; out may be q. table lists the sequence's
// blocks: position p is slot p mod BlockTokens of block table[p/BlockTokens].
//
// It is AttendBlock for every key block and Combine for every row; callers who want to spread one
// row's key blocks over goroutines call those two themselves and get the same bits.
func (kv *KV) Attend(out []float32, outStride int, q []float32, qStride, rows, head int, table []int32, pos int, s *AttendScratch) {
	size := PartFloats(kv.HeadDim)
	for first := 0; first < rows; first += attendRows {
		n, pos := min(attendRows, rows-first), pos+first
		blocks := KeyBlocks(pos + n)
		s.parts = grow(s.parts, blocks*n*size)
		t := activeAttention()
		if t.fits(kv.HeadDim) {
			s.pack(q[first*qStride:], qStride, n, kv.HeadDim)
		}
		for b := range blocks {
			part := s.parts[b*n*size : (b+1)*n*size]
			if t.fits(kv.HeadDim) {
				t.rows(kv, part, n, head, table, pos, b, s)
			} else {
				kv.attendBlock(part, q[first*qStride:], qStride, n, head, table, pos, b, s)
			}
		}
		for r := 0; r < n; {
			blocks := KeyBlocks(pos + r + 1)
			same := min(n, blocks*KeyBlock-pos) - r // rows with so many blocks
			combineRows(out[(first+r)*outStride:], outStride, s.parts[r*size:], size, n*size, blocks, same, kv.HeadDim)
			r += same
		}
	}
}

// attendRows is how many rows Attend takes through the keys together: enough to make the widening of keys and values cheap, and
// so few that their parts stay in a processor's cache.
const attendRows = 128

// AttendBlock computes the part of key block b, the keys of positions [b*KeyBlock, (b+1)*KeyBlock), for the rows that
// Attend describes. Row r's part goes to dst[r*PartFloats]; a row that sees no key of the block has the part
// (-Inf, 0, 0...). For one row and its n visible keys of the block, all in float32 and each step rounded:
//
//	s[j]   = (sum over d of q[d]*k[j][d]) * float32(1/sqrt(HeadDim)), d in lane d mod 16, then laneSum's tree
//	m      = the largest s[j], and +0 for -0
//	p[j]   = Exp(s[j] - m)
//	l      = sum of p[j], j in lane j mod 16, then laneSum's tree
//	acc[d] = sum of p[j]*v[j][d] in the order of j, from +0
func (kv *KV) AttendBlock(dst, q []float32, qStride, rows, head int, table []int32, pos, b int, s *AttendScratch) {
	kv.AttendHeads(dst, q, qStride, rows, head, 1, table, pos, b, s)
}

// AttendHeads is AttendBlock for heads heads from head on: q holds row r's query of head head+h at r*qStride+h*HeadDim, and its part goes to
// dst[(h*rows+r)*PartFloats]. The heads of a page lie one behind the other, so that few rows (decode) read memory in long runs if they
// take many heads in one call.
func (kv *KV) AttendHeads(dst, q []float32, qStride, rows, head, heads int, table []int32, pos, b int, s *AttendScratch) {
	d, size := kv.HeadDim, rows*PartFloats(kv.HeadDim)
	t := activeAttention()
	if t.fits(d) && rows <= rowsFew {
		for h := 0; h < heads; h += callHeads {
			n := min(callHeads, heads-h)
			t.fewRows(kv, dst[h*size:(h+n)*size], q[h*d:], qStride, rows, head+h, n, table, pos, b, s)
		}
		return
	}
	for h := range heads {
		part, query := dst[h*size:(h+1)*size], q[h*d:]
		if t.fits(d) {
			s.pack(query, qStride, rows, d)
			t.rows(kv, part, rows, head+h, table, pos, b, s)
		} else {
			kv.attendBlock(part, query, qStride, rows, head+h, table, pos, b, s)
		}
	}
}

// attendBlock is AttendBlock in the generic tier.
func (kv *KV) attendBlock(dst, q []float32, qStride, rows, head int, table []int32, pos, b int, s *AttendScratch) {
	d, size, first := kv.HeadDim, PartFloats(kv.HeadDim), b*KeyBlock
	s.page = grow(s.page, BlockTokens*d)
	s.scores = grow(s.scores, rows*KeyBlock)
	most := min(KeyBlock, pos+rows-first) // keys that the last row sees
	scale := scoreScale(d)
	for at := 0; at < most; at += BlockTokens {
		n := min(BlockTokens, most-at)
		kv.loadPage(s.page, table[(first+at)/BlockTokens], keyHalf, head, n)
		for r := range rows {
			seen := min(n, pos+r+1-first-at)
			query, scores := q[r*qStride:r*qStride+d], s.scores[r*KeyBlock+at:]
			for j := range seen {
				scores[j] = dot(query, s.page[j*d:(j+1)*d]) * scale
			}
		}
	}
	for r := range rows {
		part := dst[r*size : (r+1)*size]
		n := max(0, min(KeyBlock, pos+r+1-first))
		part[0], part[1] = softmaxPart(s.scores[r*KeyBlock : r*KeyBlock+n])
		clear(part[2:])
	}
	for at := 0; at < most; at += BlockTokens {
		n := min(BlockTokens, most-at)
		kv.loadPage(s.page, table[(first+at)/BlockTokens], valueHalf, head, n)
		for r := range rows {
			seen := min(n, pos+r+1-first-at)
			acc, p := dst[r*size+2:(r+1)*size], s.scores[r*KeyBlock+at:]
			addWeighted(acc, s.page, p[:max(0, seen)])
		}
	}
}

// loadPage widens the first n vectors of one head of a block into page (n, HeadDim).
func (kv *KV) loadPage(page []float32, block int32, half, head, n int) {
	d, size := kv.HeadDim, kv.Format.VectorBytes(kv.HeadDim)
	src := kv.vectors(block, half, head)
	for j := range n {
		loadVector(kv.Format, page[j*d:(j+1)*d], src[j*size:(j+1)*size])
	}
}

// dot is the sum of a[i]*b[i], each product rounded, in 16 lanes and laneSum's tree. It takes four lanes at a time, which stay in
// registers.
func dot(a, b []float32) float32 {
	b = b[:len(a)]
	var sum [lanes]float32
	whole := len(a) &^ (lanes - 1)
	for l := 0; l < lanes; l += 4 {
		var s0, s1, s2, s3 float32
		for i := l; i < whole; i += lanes {
			x, y := (*[4]float32)(a[i:i+4:i+4]), (*[4]float32)(b[i:i+4:i+4])
			s0 += float32(x[0] * y[0])
			s1 += float32(x[1] * y[1])
			s2 += float32(x[2] * y[2])
			s3 += float32(x[3] * y[3])
		}
		sum[l], sum[l+1], sum[l+2], sum[l+3] = s0, s1, s2, s3
	}
	for i, v := range a[whole:] {
		sum[i] += float32(v * b[whole+i])
	}
	return laneSum(&sum)
}

// softmaxPart replaces the scores by Exp(score - max) and returns the max (-Inf of none) and the sum.
func softmaxPart(scores []float32) (m, l float32) {
	m = float32(math.Inf(-1))
	for _, v := range scores {
		if v > m {
			m = v
		}
	}
	var sum [lanes]float32
	for j, v := range scores {
		p := Exp(v - m)
		scores[j] = p
		sum[j%lanes] += p
	}
	if m == 0 {
		m = 0 // which of two zeros is the largest is nobody's business
	}
	return m, laneSum(&sum)
}

// addWeighted adds to acc[i] the products p[j]*x[j][i], x (len(p), len(acc)), each rounded, in the order of j.
func addWeighted(acc, x, p []float32) {
	d := len(acc)
	i := 0
	for ; i+4 <= d; i += 4 {
		a := (*[4]float32)(acc[i:])
		a0, a1, a2, a3 := a[0], a[1], a[2], a[3]
		for j, w := range p {
			v := (*[4]float32)(x[j*d+i : j*d+i+4 : j*d+i+4])
			a0 += float32(w * v[0])
			a1 += float32(w * v[1])
			a2 += float32(w * v[2])
			a3 += float32(w * v[3])
		}
		a[0], a[1], a[2], a[3] = a0, a1, a2, a3
	}
	for ; i < d; i++ {
		for j, w := range p {
			acc[i] += float32(w * x[j*d+i])
		}
	}
}

// Combine joins the parts of n key blocks, part b at parts[b*stride], in ascending order into out (headDim):
//
//	m = the largest m_b;  w_b = Exp(m_b - m)
//	L = sum of l_b*w_b;  O[d] = sum of acc_b[d]*w_b;  out[d] = O[d] / L
//
// each step rounded to float32, the sums from +0.
func Combine(out, parts []float32, stride, n int) {
	if n > 0 {
		combineRows(out, 0, parts, 0, stride, n, 1, len(out))
		return
	}
	combineGeneric(out, parts, stride, n)
}

// combineRows is Combine of rows rows of d elements, rowStride apart in parts and outStride in out.
func combineRows(out []float32, outStride int, parts []float32, rowStride, stride, n, rows, d int) {
	if t := activeAttention(); t.fits(d) && d > 0 {
		for r := 0; r < rows; {
			some := min(rows-r, max(1, combineParts/n))
			to, from := out[r*outStride:(r+some-1)*outStride+d], parts[r*rowStride:(r+some-1)*rowStride+(n-1)*stride+PartFloats(d)]
			t.combine(&to[0], 4*outStride, &from[0], 4*rowStride, 4*stride, n, some, d)
			r += some
		}
		return
	}
	for r := range rows {
		combineGeneric(out[r*outStride:r*outStride+d], parts[r*rowStride:], stride, n)
	}
}

// combineGeneric is Combine.
func combineGeneric(out, parts []float32, stride, n int) {
	m := float32(math.Inf(-1))
	for b := range n {
		if v := parts[b*stride]; v > m {
			m = v
		}
	}
	clear(out)
	var sum float32
	for b := range n {
		part := parts[b*stride : b*stride+2+len(out)]
		w := Exp(part[0] - m)
		sum += float32(part[1] * w)
		acc := part[2:]
		for i := leadAddScaled(out, acc, w); i < len(out); i++ {
			out[i] += float32(acc[i] * w)
		}
	}
	for i := leadDivide(out, sum); i < len(out); i++ {
		out[i] /= sum
	}
}
