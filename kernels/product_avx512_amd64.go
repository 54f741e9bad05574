package kernels

import "github.com/klauspost/cpuid/v2"

// vbmi512 says whether the processor has AVX512_VBMI, with which levels of Q4 are looked up in fewer instructions. Of those with VNNI the
// oldest have not (Cascade Lake).
var vbmi512 = cpuid.CPU.Supports(cpuid.AVX512VBMI)

// piece512 is a run of blocks of a tile for one call into package avx512, whose comment explains the fields.
type piece512 struct {
	out          *int32
	stride       int
	load, store  uint16
	weights      *byte
	panels, skip int
	blocks, leaf int
	leafRounder
}

// The blocks that one call takes at most, if a leaf is not longer: some microseconds of work, because a goroutine inside assembly cannot
// be stopped.
const (
	quantCall512 = 384
	floatCall512 = 112
)

// mulTileAVX512 is mulTile. Panels that are not whole have a call of their own.
func mulTileAVX512(out []int32, stride int, m *Matrix, x *Activations, p, panels, t, n int, leaf leafRounder) bool {
	rows := min(panels*PanelRows, m.Rows-p*PanelRows)
	_ = out[(n-1)*stride+rows-1]
	// Not a literal, which is copied: such a copy has to wait until the rows that the last tile stored have reached the caches.
	var piece piece512
	piece.stride, piece.leaf = stride, m.Leaf/BlockK
	piece.scale, piece.limit = leaf.scale, leaf.limit
	if whole := rows / PanelRows; whole > 0 {
		piece.store, piece.panels = 1<<PanelRows-1, whole
		if !piece.mul(out, m, x, p, t, n) {
			return false
		}
		p, out = p+whole, out[whole*PanelRows:]
	}
	if rest := rows % PanelRows; rest > 0 {
		piece.store, piece.panels = uint16(1<<rest-1), 1
		return piece.mul(out, m, x, p, t, n)
	}
	return true
}

// mul computes the piece's panels from panel p on. It cuts K at leaf borders into calls, each of which continues the sums of the one
// before.
func (p *piece512) mul(out []int32, m *Matrix, x *Activations, panel, t, n int) bool {
	weights, size, blocks := m.Data[panel*m.PanelStride:], m.Format.BlockBytes(), Blocks(m.K)
	step := floatCall512
	if m.Format.Quantised() {
		step = quantCall512
	}
	step = max(step/p.leaf, 1) * p.leaf
	p.out, p.load = &out[0], 0
	for b := 0; b < blocks; b += step {
		p.weights, p.blocks = &weights[b*size], min(step, blocks-b)
		p.skip = m.PanelStride - p.blocks*size
		ok := false
		switch m.Format {
		case Q8:
			ok = p.mulQ8(x, x.unit(b, t), x.scaleAt(b/p.leaf, t), n)
		case Q4:
			if vbmi512 {
				ok = p.mulQ4VBMI(x, x.unit(b, t), x.scaleAt(b/p.leaf, t), n)
			} else {
				ok = p.mulQ4(x, x.unit(b, t), x.scaleAt(b/p.leaf, t), n)
			}
		case BF16:
			ok = p.mulBF16(x.block(t, b), x.blocks*BlockK, n)
		case F32:
			ok = p.mulF32(x.block(t, b), x.blocks*BlockK, n)
		}
		if !ok {
			return false
		}
		p.load = p.store
	}
	return true
}
