package kernels

// piece512 is a run of blocks of a tile for one call into package avx512, whose comment explains the fields.
type piece512 struct {
	out          *int32
	stride       int
	load, store  uint16
	weights      *byte
	blocks, leaf int
	leafRounder
}

// The blocks that one call takes at most, if a leaf is not longer: some microseconds of work, because a goroutine inside assembly cannot
// be stopped.
const (
	quantCall512 = 384
	floatCall512 = 112
)

// mulTileAVX512 is mulTile. It cuts K at leaf borders into calls, each of which continues the sums of the one before.
func mulTileAVX512(out []int32, stride int, m *Matrix, x *Activations, p, t, n int, leaf leafRounder) bool {
	rows := min(PanelRows, m.Rows-p*PanelRows)
	_ = out[(n-1)*stride+rows-1]
	// Not a literal, which is copied: such a copy has to wait until the rows that the last tile stored have reached the caches.
	var piece piece512
	piece.out, piece.stride, piece.store, piece.leaf = &out[0], stride, uint16(1<<rows-1), m.Leaf/BlockK
	piece.scale, piece.limit = leaf.scale, leaf.limit
	panel, size, blocks := m.Panel(p), m.Format.BlockBytes(), Blocks(m.K)
	step := floatCall512
	if m.Format.Quantised() {
		step = quantCall512
	}
	step = max(step/piece.leaf, 1) * piece.leaf
	for b := 0; b < blocks; b += step {
		piece.weights, piece.blocks = &panel[b*size], min(step, blocks-b)
		ok := false
		switch m.Format {
		case Q8:
			ok = piece.mulQ8(x, x.unit(b, t), x.scaleAt(b/piece.leaf, t), n)
		case Q4:
			ok = piece.mulQ4(x, x.unit(b, t), x.scaleAt(b/piece.leaf, t), n)
		case BF16:
			ok = piece.mulBF16(x.block(t, b), x.blocks*BlockK, n)
		case F32:
			ok = piece.mulF32(x.block(t, b), x.blocks*BlockK, n)
		}
		if !ok {
			return false
		}
		piece.load = piece.store
	}
	return true
}
