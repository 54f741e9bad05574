package kernels

import (
	"math"

	"polynode/kernels/internal/neon"
)

// mulTile computes panel p for n rows of x from row t on, n at most tileT, on the active tier; out starts at the panel's first
// row of token t. It reports false where it cannot vouch for the result, because a leaf's contribution left ±Limit or is a NaN, or
// the tier has no such product: the generic tier then computes the tile anew and counts the clamps.
func mulTile(out []int32, stride int, m *Matrix, x *Activations, p, panels, t, n int, leaf leafRounder) bool {
	var sums [tileT][PanelRows]int32
	limit := math.Float32bits(leaf.limit)
	panel, size, perLeaf := m.Panel(p), m.Format.BlockBytes(), m.Leaf/BlockK
	piece := max(callBlocksNEON/perLeaf, 1) * perLeaf
	for b := 0; b < x.blocks; b += piece {
		job := neonJob{weights: &panel[b*size], blocks: min(piece, x.blocks-b), perLeaf: perLeaf, unit: leaf.scale}
		// The columns follow each other while the weights of the piece are in the first cache.
		for c := 0; c < n; {
			cols := columnsNEON(n - c)
			if top := job.mul(m.Format, sums[c:c+cols], x, b, t+c); top >= limit {
				return false
			}
			c += cols
		}
	}
	rows := min(PanelRows, m.Rows-p*PanelRows)
	for i := range n {
		copy(out[i*stride:i*stride+rows], sums[i][:])
	}
	return true
}

// callBlocksNEON is how many blocks of a tile one call takes at most, if a leaf is not longer: a goroutine inside assembly cannot
// be stopped.
const callBlocksNEON = 32

// columnsNEON is how many of n columns one call takes.
func columnsNEON(n int) int {
	switch {
	case n >= 4:
		return 4
	case n >= 2:
		return 2
	}
	return 1
}

// neonJob is a run of whole leaves of one panel.
type neonJob struct {
	weights         *byte
	blocks, perLeaf int
	unit            float32
}

// mul adds the contributions of the rows of x from row t on, one for each of sums. Block b is the job's first. It returns the bits of the
// largest magnitude of a contribution.
func (j *neonJob) mul(f Format, sums [][PanelRows]int32, x *Activations, b, t int) uint32 {
	switch f {
	case F32:
		return j.mulF32(sums, x.block(t, b), x.blocks*BlockK*4)
	case BF16:
		return j.mulBF16(sums, x.block(t, b), x.blocks*BlockK*4)
	}
	unit, width := x.unit(b, t), x.tileWidth(t)
	q, scale := &x.quant[unit], &x.scale[x.scaleAt(b/j.perLeaf, t)]
	switch {
	case f == Q8 && active == I8MM:
		return j.mulQ8MM(sums, q, scale, &x.start[unit], width)
	case f == Q8:
		return j.mulQ8(sums, q, scale, width)
	case active == I8MM && len(sums) > 1:
		return j.mulQ4MM(sums, q, scale, width)
	}
	return j.mulQ4(sums, q, scale, width)
}

func (j *neonJob) mulQ8(sums [][PanelRows]int32, q *[BlockK]int8, scale *float32, width int) uint32 {
	switch len(sums) {
	case 4:
		return neon.Q8Dot4(&sums[0][0], j.weights, &q[0], scale, width, j.blocks, j.perLeaf, j.unit)
	case 2:
		return neon.Q8Dot2(&sums[0][0], j.weights, &q[0], scale, width, j.blocks, j.perLeaf, j.unit)
	}
	return neon.Q8Dot1(&sums[0][0], j.weights, &q[0], scale, width, j.blocks, j.perLeaf, j.unit)
}

func (j *neonJob) mulQ8MM(sums [][PanelRows]int32, q *[BlockK]int8, scale *float32, start *int32, width int) uint32 {
	switch len(sums) {
	case 4:
		return neon.Q8MM4(&sums[0][0], j.weights, &q[0], scale, start, width, j.blocks, j.perLeaf, j.unit)
	case 2:
		return neon.Q8MM2(&sums[0][0], j.weights, &q[0], scale, start, width, j.blocks, j.perLeaf, j.unit)
	}
	return neon.Q8MM1(&sums[0][0], j.weights, &q[0], scale, start, width, j.blocks, j.perLeaf, j.unit)
}

func (j *neonJob) mulQ4(sums [][PanelRows]int32, q *[BlockK]int8, scale *float32, width int) uint32 {
	switch len(sums) {
	case 4:
		return neon.Q4Dot4(&sums[0][0], j.weights, &q[0], scale, &q4Levels[0], width, j.blocks, j.perLeaf, j.unit)
	case 2:
		return neon.Q4Dot2(&sums[0][0], j.weights, &q[0], scale, &q4Levels[0], width, j.blocks, j.perLeaf, j.unit)
	}
	return neon.Q4Dot1(&sums[0][0], j.weights, &q[0], scale, &q4Levels[0], width, j.blocks, j.perLeaf, j.unit)
}

func (j *neonJob) mulQ4MM(sums [][PanelRows]int32, q *[BlockK]int8, scale *float32, width int) uint32 {
	if len(sums) == 4 {
		return neon.Q4MM4(&sums[0][0], j.weights, &q[0], scale, &q4Levels[0], width, j.blocks, j.perLeaf, j.unit)
	}
	return neon.Q4MM2(&sums[0][0], j.weights, &q[0], scale, &q4Levels[0], width, j.blocks, j.perLeaf, j.unit)
}

func (j *neonJob) mulF32(sums [][PanelRows]int32, x *[BlockK]float32, stride int) uint32 {
	switch len(sums) {
	case 4:
		return neon.F32Dot4(&sums[0][0], j.weights, &x[0], stride, j.blocks, j.perLeaf, j.unit)
	case 2:
		return neon.F32Dot2(&sums[0][0], j.weights, &x[0], stride, j.blocks, j.perLeaf, j.unit)
	}
	return neon.F32Dot1(&sums[0][0], j.weights, &x[0], stride, j.blocks, j.perLeaf, j.unit)
}

func (j *neonJob) mulBF16(sums [][PanelRows]int32, x *[BlockK]float32, stride int) uint32 {
	switch len(sums) {
	case 4:
		return neon.BF16Dot4(&sums[0][0], j.weights, &x[0], stride, j.blocks, j.perLeaf, j.unit)
	case 2:
		return neon.BF16Dot2(&sums[0][0], j.weights, &x[0], stride, j.blocks, j.perLeaf, j.unit)
	}
	return neon.BF16Dot1(&sums[0][0], j.weights, &x[0], stride, j.blocks, j.perLeaf, j.unit)
}

// panelsTogether is how many panels of m one call of mulTile may take.
func panelsTogether(m *Matrix) int { return 1 }
